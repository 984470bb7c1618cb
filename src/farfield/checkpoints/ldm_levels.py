"""The levels of a file of latent diffusion: of the betas that it keeps, or as published models have them.

LDM's betas have equally spaced roots (arXiv 2112.10752).
"""

from __future__ import annotations

from typing import Any, Final

import torch

from farfield.checkpoints.checkpoint import Finding, Question
from farfield.checkpoints.file.stored import State
from farfield.checkpoints.inquiry import Inquiry
from farfield.core.error import FarfieldError
from farfield.diffusion.schedule import scaled_linear_betas

_SPACED: Final = "scaled_linear"
_STABLE: Final = (0.00085, 0.012)
"""The first and the last beta of Stable Diffusion."""
_START: Final = 0.0015
"""The first one of the others."""
_MOST_STEPS: Final = 100_000


def read_levels(rest: State, stable: bool, inquiry: Inquiry) -> dict[str, Any]:
    """The configuration of a scheduler.

    Args:
        rest: what the file holds beside its networks. Numbers in half precision are too coarse to be believed.
        stable: whether it is Stable Diffusion.

    Raises:
        FarfieldError: levels that cannot be.
    """
    extra = {"rescale_betas_zero_snr": True} if "ztsnr" in rest else {}
    for name in ("betas", "alphas_cumprod"):
        tensor = rest.get(name)
        if tensor is None or tensor.dtype.itemsize < 4:
            continue
        values = tensor.load().double()
        if values.ndim != 1 or not 2 <= len(values) <= _MOST_STEPS or not bool(((values > 0) & (values < 1)).all()):
            raise FarfieldError(
                f"{inquiry.path}: {name} of shape {tensor.shape}; expected numbers between 0 and 1; damaged"
            )
        betas = values if name == "betas" else 1 - values / torch.cat([torch.ones(1).double(), values[:-1]])
        low, high = (round(float(b), 7) for b in (betas[0], betas[-1]))
        inquiry.findings.append(
            Finding("levels", f"{len(betas)} steps, betas {low:g} to {high:g}", f"{name} in the file")
        )
        if 0 < low < high < 1 and torch.allclose(betas, scaled_linear_betas(len(betas), low, high), rtol=1e-3):
            return _spaced(len(betas), low, high) | extra
        return {"num_train_timesteps": len(betas), "trained_betas": betas.tolist(), **extra}
    if stable:
        low, high = _STABLE
        why = "as Stable Diffusion has them; not said in the file"
        inquiry.findings.append(Finding("levels", f"1000 steps, betas {low:g} to {high:g}", why))
        return _spaced(1000, low, high) | extra
    ask = f"the last of its betas, whose roots are equally spaced from that of {_START}"
    end = inquiry.settle(Question("beta_end", ask, 0.0195, (), "of most published LDMs; the file keeps none"))
    if not _START < end < 1:
        raise FarfieldError(f"{inquiry.path}: beta_end={end:g}; expected a number from {_START} to 1")
    return _spaced(1000, _START, end) | extra


def _spaced(steps: int, low: float, high: float) -> dict[str, Any]:
    return {"num_train_timesteps": steps, "beta_schedule": _SPACED, "beta_start": low, "beta_end": high}
