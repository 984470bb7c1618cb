"""The one door of all studies to a model, and what a summary says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farfield.checkpoints.load import load_denoiser
from farfield.command.facts import ModelFacts
from farfield.command.shared import Loading, Solving
from farfield.core.error import FarfieldError
from farfield.core.runtime import resolve_device, resolve_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import find_solver


def load_model(model: str, loading: Loading) -> Denoiser:
    """The frozen denoiser, on its device."""
    return load_denoiser(
        model, device=resolve_device(loading.device), dtype=resolve_dtype(loading.dtype), label=loading.label
    )


def open_model(model: str, numerics: Solving) -> Denoiser:
    """The frozen denoiser, on its device, for a solver that will be certified.

    Raises:
        FarfieldError: a solver, level or number of steps that the model cannot do; before a folder is begun with them.
    """
    denoiser = load_model(model, numerics.loading)
    find_solver(numerics.solver)
    denoiser.schedule.sigmas(numerics.steps, numerics.sigma)
    try:
        denoiser.schedule.sigmas(2 * numerics.steps, numerics.sigma)
    except FarfieldError as error:
        raise FarfieldError(
            f"{numerics.steps} steps: the latents are certified with twice as many, and {error}; use half of that"
        ) from error
    return denoiser


def model_facts(request: Mapping[str, Any], denoiser: Denoiser) -> ModelFacts:
    """What a summary says of the model that a request names."""
    return ModelFacts(
        name=request["model"],
        digest=request["model_digest"],
        shape=list(denoiser.image_shape),
        latent_shape=list(denoiser.shape) if denoiser.codec else None,
        parameters=sum(p.numel() for p in denoiser.parameters()),
    )
