"""How a model is run: its numbers, and what a summary says of both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError
from farfield.core.runtime import resolve_device, resolve_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import find_solver


@dataclass(frozen=True)
class Numerics:
    """How a model is run; shared by every command that inverts or decodes."""

    sigma: float | None = None
    steps: int = 24
    solver: str = "multistep"
    batch_size: int = 64
    device: str = "auto"
    dtype: str = "float32"
    label: int | None = None

    def load(self, model: str) -> Denoiser:
        """The frozen denoiser, on its device."""
        if self.batch_size < 1:
            raise FarfieldError(f"batch size {self.batch_size}: expected at least 1")
        denoiser = load_denoiser(
            model, device=resolve_device(self.device), dtype=resolve_dtype(self.dtype), label=self.label
        )
        self._check(denoiser)
        return denoiser

    def _check(self, denoiser: Denoiser) -> None:
        """Refuse a solver, level or number of steps that the model cannot do, before a folder is begun with them."""
        find_solver(self.solver)
        denoiser.schedule.sigmas(self.steps, self.sigma)
        try:
            denoiser.schedule.sigmas(2 * self.steps, self.sigma)
        except FarfieldError as error:
            raise FarfieldError(
                f"{self.steps} steps: the latents are certified with twice as many, and {error}; use half of that"
            ) from error

    def request(self) -> dict[str, Any]:
        """What changes a result: everything but the device."""
        return {k: v for k, v in asdict(self).items() if k != "device"}


def describe_model(request: dict[str, Any], denoiser: Denoiser) -> dict[str, Any]:
    """What a summary says of the model that a request names."""
    return {
        "name": request["model"],
        "digest": request["model_digest"],
        "shape": list(denoiser.image_shape),
        **({"latent_shape": list(denoiser.shape)} if denoiser.codec else {}),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
    }
