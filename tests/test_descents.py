"""Walking down from a noisy image: its law where it is known, and what each seed and each example decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.shared import Solving
from farfield.core.artifact import Images
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.run import Run
from farfield.study.unseen.calibration import calibrate
from farfield.study.unseen.expand import _started
from farfield.study.unseen.proposal import Producer
from farfield.study.unseen.start import Trials, settle

SHAPE = (1, 12, 12)
SCHEDULE = ContinuousSchedule(0.01, 20.0)


def gaussian() -> GaussianDenoiser:
    """Of N(1/2, 1/4)."""
    return GaussianDenoiser(torch.full(SHAPE, 0.5), torch.zeros(144, 0), torch.zeros(0), 0.25, SCHEDULE)


@pytest.fixture(scope="module")
def examples() -> Images:
    values = 0.5 + 0.5 * torch.randn((20, *SHAPE), generator=torch.Generator().manual_seed(0))
    return Images(tuple(f"{i:02d}" for i in range(20)), values)


def producer(examples: Images, sampler: str, sigma: float, steps: int = 60) -> Producer:
    return Producer(Carrier(gaussian(), SCHEDULE.sigmas(steps, sigma)), examples, None, Sampler(sampler))  # type: ignore[arg-type]


def test_from_noise_a_right_denoiser_makes_the_data_s_law(examples: Images):
    made, latents = producer(examples, "noise", 20.0, 200).candidate(range(400), "a", lambda n: None)
    assert float(made.values.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(made.values.std()) == pytest.approx(0.5, abs=0.03)
    assert float(latents.values.std()) == pytest.approx(1.0, abs=0.03)


def test_the_lower_the_level_the_more_is_left_of_an_example(examples: Images):
    """The correlation of a sample with its example, which for Gaussian data is v / (v + s²)."""
    for sigma in (0.2, 0.5, 2.0):
        one = producer(examples, "sdedit", sigma)
        made, _ = one.candidate(range(400), "a", lambda n: None)
        parents = examples.values[one._start(range(400), "a")[1][:, 0]]
        moved, given = made.values - 0.5, parents - 0.5
        assert float((moved * given).mean() / 0.25) == pytest.approx(0.25 / (0.25 + sigma**2), abs=0.05)
        assert float(moved.std()) == pytest.approx(0.5, abs=0.03)


def test_image_k_depends_on_seed_k_alone(examples: Images):
    for sampler, sigma in (("sdedit", 2.0), ("noise", 20.0)):
        one = producer(examples, sampler, sigma, 6)
        together, latents = one.candidate(range(5), "a", lambda n: None)
        apart, latent = one.candidate([3], "a", lambda n: None)
        torch.testing.assert_close(apart.values[0], together.values[3])
        assert torch.equal(latent.values[0], latents.values[3])
        assert not torch.equal(one.candidate([3], "b", lambda n: None)[0].values, apart.values)


def test_an_example_s_own_patches_are_no_candidates(examples: Images, tmp_path: Path):
    run = Run(tmp_path / "run", "expand", {}, {}, True)
    flow = calibrate(run, gaussian(), examples, SCHEDULE.sigmas(4, 20.0), 64, Sampler(network=False))
    x, level = examples.values[:3].double(), torch.tensor(1.0)
    assert flow.patches is not None
    others = torch.ones(20, dtype=torch.bool)
    for k in range(3):
        left_out = flow.leaving_out(torch.tensor([k]))(x[k : k + 1], level)
        others[k] = False
        kept, flow.patches.examples = flow.patches.examples, flow.patches.examples[others]
        torch.testing.assert_close(left_out, flow(x[k : k + 1], level), rtol=0, atol=1e-5)
        flow.patches.examples, others[k] = kept, True


def test_the_level_is_the_lowest_that_copies_no_more_than_examples_do(examples: Images, tmp_path: Path):
    run = Run(tmp_path / "run", "expand", {}, {}, True)
    rows = Trials(run, gaussian(), examples, Solving(steps=100), Sampler("sdedit"), None).from_examples(1)
    assert [row.new for row in rows] == [False] * (len(rows) - 1) + [True] and rows[-1].discrepancy is not None
    chosen = rows[-1]
    for row in rows[:-1]:  # every lower level that was tried failed, and copies more
        assert row.copies is not None and chosen.copies is not None
        assert row.copies > chosen.copies or row.sigma > chosen.sigma
    assert (
        0.5 < rows[-1].sigma < 5
    )  # an example under noise of its own spread is still itself; of ten times that no more
    again = Trials(run, gaussian(), examples, Solving(steps=100), Sampler("sdedit"), None).from_examples(1)
    assert again == rows


def test_where_no_start_is_new_what_copies_least_is_taken_and_it_is_said(examples: Images, tmp_path: Path):
    solving = Solving(steps=4)
    few = examples.select(examples.keys[:5])
    sampler, rows, said = settle(
        Run(tmp_path / "few", "expand", {}, {}, True), gaussian(), few, solving, Sampler(), None
    )
    assert (sampler.sampler, sampler.candidates, rows) == ("patchwork", 3, []) and "Fewer than 8 examples" in str(said)
    memory = EmpiricalDenoiser(examples.values, SCHEDULE)  # which makes the examples themselves from every level
    run = Run(tmp_path / "memory", "expand", {}, {}, True)
    sampler, rows, said = settle(run, memory, examples, Solving(steps=20), Sampler(), None)
    assert {row.sampler for row in rows} == {"noise", "sdedit", "patchwork", "interpolation"}
    assert rows[-1].chosen and rows[-1].copies == min(row.copies for row in rows) and not any(row.new for row in rows)
    assert sampler.sampler == rows[-1].sampler and "copies least" in str(said) and f"{rows[-1].copies:.0%}" in str(said)
    run = Run(tmp_path / "asked", "expand", {}, {}, True)
    assert settle(run, gaussian(), examples, solving, Sampler("sdedit"), None)[0].sampler == "sdedit"
    assert settle(run, gaussian(), examples, solving, Sampler("gaussian"), None) == (Sampler("gaussian"), [], None)


@pytest.mark.parametrize(
    ("discrepancies", "chosen"),
    [
        ((0.05, 0.05, 0.05), "noise"),  # what holds least of single examples comes first
        ((0.05, 0.03, 0.025), "noise"),  # by less than the interval
        ((0.09, 0.05, 0.04), 1),
        ((0.09, 0.05, 0.01), 2),
        ((None, 0.05, 0.04), 1),  # from noise nothing is new
        ((0.05, None, 0.01), 2),
    ],
)
def test_a_later_start_is_taken_where_it_is_nearer_by_more_than_chance(
    discrepancies, chosen, tmp_path, monkeypatch, examples
):
    noise, one, two = discrepancies

    def row(sampler: str, parents: int | None, value: float | None) -> SearchedLevel:
        new = value is not None
        return SearchedLevel(
            sampler=sampler,
            sigma=1.0,
            parents=parents,
            discrepancy=value,
            error=0.01,
            copies=0.1,
            new=new,
            chosen=False,
        )

    monkeypatch.setattr(Trials, "from_noise", lambda trials: row("noise", None, noise))
    monkeypatch.setattr(
        Trials, "from_examples", lambda trials, parents: [row("sdedit", parents, one if parents == 1 else two)]
    )
    run = Run(tmp_path / "run", "expand", {}, {}, True)
    sampler, rows, said = settle(run, gaussian(), examples, Solving(steps=4), Sampler(), None)
    assert said is None and len(rows) == 3 and [row.parents or row.sampler for row in rows if row.chosen] == [chosen]
    assert (sampler.sampler, sampler.parents) == (("noise", None) if chosen == "noise" else ("sdedit", chosen))


def test_how_many_examples_a_few_samples_start_from_is_counted():
    walking = Sampler("sdedit")
    assert [_started(walking, 12, range(first, first + n)) for first, n in ((0, 8), (0, 12), (24, 12))] == [8, 12, 12]
    assert 8 < _started(replace(walking, parents=2), 12, range(8)) <= 12
    assert (
        _started(replace(walking, candidates=2), 12, range(8)) is _started(Sampler("patchwork"), 12, range(8)) is None
    )
