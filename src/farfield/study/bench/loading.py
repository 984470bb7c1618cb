"""How a model is loaded: the one door of all studies to a denoiser."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError
from farfield.core.runtime import resolve_device, resolve_dtype
from farfield.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Loading:
    """How a model is loaded and called: rows at a time, where, in which precision, for which class."""

    batch_size: int = 64
    device: str = "auto"
    dtype: str = "float32"
    label: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise FarfieldError(f"batch size {self.batch_size}: expected at least 1")

    def load(self, model: str) -> Denoiser:
        """The frozen denoiser, on its device."""
        return load_denoiser(
            model, device=resolve_device(self.device), dtype=resolve_dtype(self.dtype), label=self.label
        )

    def request(self) -> dict[str, Any]:
        """What changes a result: everything but the device."""
        return {k: v for k, v in asdict(self).items() if k != "device"}
