"""`--field-fill drawn`: masked pixels of physical examples are drawn, all others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import farfield, make_model, summary

from farfield.command.shared import Loading, Reading, Solving
from farfield.core.artifact import Images, Store
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.study.bench.domain import open_source
from farfield.study.bench.run import Run
from farfield.study.unseen.fill import fill, fill_calls

SIDE, SHARED = 4, 0.8
"""Pixels of N(0, I) plus what all of a field share."""


def law(scale: float, offset: float) -> GaussianDenoiser:
    """The Gaussian of 0.2² in each pixel and SHARED² of what all share, of a field (x − offset) / scale."""
    one = torch.full((SIDE**2, 1), 1 / SIDE, dtype=torch.float64)
    spread = torch.tensor([SIDE**2 * SHARED**2 + 0.04], dtype=torch.float64) / scale**2
    mean = torch.full((1, SIDE, SIDE), -offset / scale, dtype=torch.float64)
    return GaussianDenoiser(mean, one, spread, 0.04 / scale**2, ContinuousSchedule(0.002, 80.0))


def test_draws_are_those_of_the_conditional_gaussian(tmp_path):
    """Of 400 fields that share a level, with one pixel masked: its mean and variance given the others, in closed form."""
    g = np.random.default_rng(0)
    fields = SHARED * g.standard_normal((400, 1, 1)) + 0.2 * g.standard_normal((400, SIDE, SIDE))
    fields[:300, 1, 2] = np.nan
    np.savez(tmp_path / "fields.npz", images=fields)
    domain = open_source(str(tmp_path / "fields.npz"), (1, SIDE, SIDE), Reading(stretch="linear"))
    scale, offset = np.polyfit(domain.examples.values[300:].double().flatten().numpy(), fields[300:].flatten(), 1)
    wide = Solving(steps=40, solver="heun", loading=Loading(batch_size=400))
    run = Run(tmp_path / "run", "test", {}, {}, quiet=True)
    found = fill(run, law(scale, offset), domain, domain.examples, wide)
    assert fill_calls(law(1, 0), domain, wide) == 300 * 40 * 4
    masked = torch.from_numpy(np.isnan(fields))[:, None]
    assert torch.equal(found.values[~masked], domain.examples.values[~masked])
    mean = np.nanmean(fields.reshape(400, -1), 1)[:300] * SHARED**2 / (SHARED**2 + 0.04 / 15)
    left = found.values[:300, 0, 1, 2].double().numpy() * scale + offset - mean
    expected = np.sqrt(0.04 + SHARED**2 * 0.04 / 15 / (SHARED**2 + 0.04 / 15))
    assert abs(left.mean()) < 4 * expected / np.sqrt(300) and left.std() == pytest.approx(expected, rel=0.2)
    assert np.corrcoef(left, mean)[0, 1] < 0.25
    few, alone = domain.examples.select(domain.examples.keys[:3]), Run(tmp_path / "alone", "test", {}, {}, quiet=True)
    assert torch.allclose(fill(alone, law(scale, offset), domain, few, wide).values, found.values[:3], atol=1e-6)


def test_expand_shows_the_network_its_own_draws(tmp_path):
    model, g = make_model(tmp_path / "tiny", (1, 8, 8), channels=(8,)), np.random.default_rng(1)
    fields = g.random((14, 8, 8)).cumsum(1)
    fields[3, 2:4, 3:6] = np.nan
    np.savez(tmp_path / "fields.npz", images=fields)
    how = ("--examples", 14, "-n", 2, "--steps", 4, "--sampler", "sdedit", "--descriptor", "pixels", "-q")
    kept = {}
    for name in ("median", "drawn"):
        out = tmp_path / name
        done = farfield("expand", model, tmp_path / "fields.npz", "--field-fill", name, *how, "-o", out)
        assert done.code == 0, done.err
        kept[name] = Store(out / "examples", Images).read().values
        assert any("draws of the model" in note for note in summary(out)["notes"]) is (name == "drawn")
    apart = (kept["median"] != kept["drawn"]).flatten(1).sum(1)
    assert sorted(apart.tolist()) == [0] * 13 + [6]
