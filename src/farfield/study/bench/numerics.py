"""How the ODE of a model is solved, and what a summary says of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import find_solver
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.loading import Loading
from farfield.unseen.method import Method


@dataclass(frozen=True)
class Numerics:
    """How the ODE of a model is solved; shared by every command that inverts or decodes."""

    sigma: float | None = None
    steps: int = 24
    solver: str = "multistep"
    loading: Loading = Loading()

    def load(self, model: str) -> Denoiser:
        """The frozen denoiser, on its device."""
        denoiser = self.loading.load(model)
        self._check(denoiser)
        return denoiser

    def carrier(self, denoiser: Denoiser, sigmas: Tensor | None = None) -> Carrier:
        """By the explicit method over a grid; over that of this level, if not given."""
        grid = denoiser.schedule.sigmas(self.steps, self.sigma) if sigmas is None else sigmas
        return Carrier(denoiser, grid, Method(solver=self.solver), self.loading.batch_size)

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
        """What changes a result."""
        return {"sigma": self.sigma, "steps": self.steps, "solver": self.solver, **self.loading.request()}


def describe_model(request: dict[str, Any], denoiser: Denoiser) -> dict[str, Any]:
    """What a summary says of the model that a request names."""
    return {
        "name": request["model"],
        "digest": request["model_digest"],
        "shape": list(denoiser.image_shape),
        **({"latent_shape": list(denoiser.shape)} if denoiser.codec else {}),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
    }
