"""Masked pixels of physical examples, drawn by the frozen model from what was measured beside them (``--field-fill drawn``)."""

from __future__ import annotations

from dataclasses import replace

import torch

from farfield.command.restore import Restore
from farfield.command.shared import Solving
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.operator import Whole
from farfield.study.bench.domain import Domain, Physical
from farfield.study.bench.run import Run
from farfield.study.unseen.degrading import Degrading, measure
from farfield.study.unseen.restore import draw

FILLED = "filled"
"""The folder of the draws."""


def fill(run: Run, denoiser: Denoiser, domain: Domain, images: Images, numerics: Solving) -> Images:
    """``images``, the examples or their signal, with one draw of `restore` where a pixel was masked; the others as they are.

    A draw depends on the example's key alone.
    """
    masked = _gaps(domain.physical, images)
    keys = [key for key, row in zip(images.keys, masked, strict=True) if bool(row.any())]
    if domain.physical is None or not keys:
        return images
    sigmas = denoiser.schedule.sigmas(numerics.steps)
    how = Restore("", "", steps=numerics.steps, solver=numerics.solver, loading=numerics.loading)
    fields = {"examples": domain.physical.fields["examples"].select(keys)}
    some = replace(domain, examples=domain.examples.select(keys), physical=replace(domain.physical, fields=fields))
    y = measure(how, Degrading(Whole(), None, {}), some, True)
    drawn = draw(run, how, denoiser, y, sigmas, FILLED, "drawing masked pixels", 1).values.to(images.values)
    values, rows = images.values.clone(), [images.keys.index(key) for key in keys]
    values[rows] = torch.where(masked[rows], drawn, values[rows])
    return Images(images.keys, values)


def fill_calls(denoiser: Denoiser, domain: Domain, numerics: Solving) -> float:
    """Images through the network, at most.

    Raises:
        FarfieldError: a latent model, which measures no pixels.
    """
    if denoiser.codec is not None:
        raise FarfieldError("--field-fill drawn: pixels are drawn by a pixel model, this is a latent one; leave it out")
    masked = int(_gaps(domain.physical, domain.examples).flatten(1).any(1).sum())
    return float(masked * numerics.steps * (1 + Restore.iterations))


def _gaps(physical: Physical | None, images: Images) -> torch.Tensor:
    """Where a pixel was masked, bool as the images are."""
    if physical is None:
        return torch.zeros_like(images.values, dtype=torch.bool)
    return physical.fields["examples"].select(images.keys).values.isnan().expand_as(images.values)
