"""Controls that ask no network: what they are made of, what they cost, and what is said of a model that adds nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tiny import farfield, make_images, make_model, picture
from torch.nn import functional

from farfield.audit.advice import added
from farfield.command.compare import CONTROLS, Compare, CompareResult, Count, Entry
from farfield.command.expand import Sampler
from farfield.command.measures import Measures, Novelty
from farfield.command.result import from_json, to_json
from farfield.command.shared import Solving
from farfield.core.artifact import Images, Score, Store
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.diffusion.solver import network_calls
from farfield.present.methods import gains, meaning
from farfield.study.unseen.calibration import calls_each
from farfield.study.unseen.control import PARENTS, SAMPLERS, WITHOUT_MODEL, mixed, repeated
from farfield.study.unseen.proposal import sampler_calls, sampler_calls_each
from farfield.unseen.jitter import jitter

pytestmark = pytest.mark.usefixtures("few_views")

QUICK = ("-n", 6, "--steps", 2, "--descriptor", "pixels", "--seed", 3, "-q")
FREE = (*CONTROLS, "examples")


@pytest.fixture(autouse=True, scope="module")
def one_thread_only():
    """Networks this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    make_model(root / "model")
    make_images(root / "images", 30)
    make_images(root / "made", 9, first=100)
    return root


def compare(root: Path, out: Path, *options: object, sources: tuple[str, ...] = ("images",)) -> Any:
    return farfield("compare", root / "model", *(root / s for s in sources), "-o", out, *QUICK, *options)


@pytest.fixture(scope="module")
def run(root):
    """Everything that asks no network, and how often the network was asked all the same."""
    rows, real = [], NetworkDenoiser.forward

    def counting(self, x, sigma):
        rows.append(len(x))
        return real(self, x, sigma)

    with patch.object(NetworkDenoiser, "forward", counting):
        options = ("--counts", 5, "--methods", ",".join(FREE), "--samples", f"theirs={root / 'made'}")
        done = compare(root, root / "run", *options)
    assert done.code == 0, done.err
    return root / "run", sum(rows)


def result(folder: Path) -> CompareResult:
    return from_json(CompareResult, json.loads((folder / "summary.json").read_text()))


def images(folder: Path) -> Images:
    return Store(folder, Images).read()


def test_no_control_asks_the_network_and_none_is_said_to(run):
    folder, asked = run
    assert (
        asked == 6 * 4
    )  # the model's own samples: two steps of the multistep solver are three calls, and one cleans up
    [row] = result(folder).domains[0].counts
    assert list(row.methods) == [*FREE, "theirs"] == result(folder).methods
    assert all(entry.calls["total"] == 0 and not entry.trained for entry in row.methods.values())
    assert sampler_calls(Sampler(network=False), 50, 10, Solving()) == {"inversion": 0, "sampling": 0}


def test_copies_are_counted_as_such(run):
    [row] = result(run[0]).domains[0].counts
    copied = row.methods["examples"]
    assert copied.novelty["pixels"].copies.value == copied.local_copies.value == 1
    given = images(run[0] / "1-images" / "shown" / "5-examples").keys
    made = images(run[0] / "1-images" / "0005-examples" / "samples")
    assert made.keys == tuple(f"{s:06d}" for s in range(3, 9))
    for seed, value in zip(range(3, 9), made.values, strict=True):  # one after the other, to the bit
        pixels = np.asarray(picture(int(given[seed % 5].removeprefix("img-"))))
        assert torch.equal(value, torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1)


def test_samples_made_elsewhere_are_measured_as_they_lie(root, run):
    [domain] = result(run[0]).domains
    entry = domain.counts[0].methods["theirs"]
    assert entry.source == str(root / "made") and entry.measures["pixels"].precision.n == 6  # the first six of nine
    html = (run[0] / "report.html").read_text()
    assert "Samples made elsewhere" in html and "no model, Wiener filter" in html and "the examples themselves" in html
    assert "copies of an example (%)" in html and not any("theirs" in note for note in domain.notes)


def test_a_method_is_shown_blindly_beside_held_out_images(run, tmp_path):
    one = run[0] / "1-images" / "0005-pixels"
    done = farfield("blind", one, "-o", tmp_path / "page", "-q")
    assert done.code == 0, done.err
    truth = json.loads((tmp_path / "page" / "truth.json").read_text()).values()
    made = [told["key"] for told in truth if told["kind"] == "made"]
    real = {told["key"] for told in truth if told["kind"] == "real"}
    given = images(run[0] / "1-images" / "shown" / "5-examples").keys
    assert sorted(made) == list(images(one / "samples").keys) and len(real) == 6 and not real & {*given}
    done = farfield("blind", run[0], "-o", tmp_path / "whole", "-q")
    assert done.code == 2 and "give the folder of one, as" in done.err and "0005-wiener" in done.err


def test_a_control_is_expand_without_the_network(root, run):
    out, options = root / "expand", ("--examples", 5, "--no-network", "--no-patches")
    done = farfield("expand", root / "model", root / "images", "-o", out, *QUICK, *options)
    assert done.code == 0, done.err
    assert torch.equal(images(out / "samples").values, images(run[0] / "1-images" / "0005-wiener" / "samples").values)
    assert sum(json.loads((out / "summary.json").read_text())["evaluations"].values()) == 0


def test_a_control_goes_the_way_that_ours_came_to(root):
    done = compare(root, root / "way", "--counts", 10, "--methods", "patches,ours")
    assert done.code == 0, done.err
    made = root / "way" / "1-images"
    ours, patches = (result(root / "way").domains[0].counts[0].methods[name] for name in ("ours", "patches"))
    assert patches.sampler == replace(ours.sampler, network=False) and patches.sigma == ours.sigma
    assert list(made.glob("*/search.json")) == [made / "0010-ours" / "search.json"]  # searched once
    done = farfield("expand", root / "model", root / "images", "-o", root / "whole", *QUICK, "--examples", 10)
    assert done.code == 0, done.err
    pairs = zip(
        images(root / "whole" / "control" / "samples").values,
        images(made / "0010-patches" / "samples").values,
        strict=True,
    )
    # expand's control takes the first candidate of each seed, and so do most here
    assert sum(torch.equal(alone, control) for alone, control in pairs) >= 2


def test_the_parent_that_is_told_is_the_one_that_was_changed():
    """Of flat examples, far apart in shade, each image is nearest to the one that it was made from."""
    shades = torch.linspace(-0.8, 0.8, 5, dtype=torch.float64)
    flat, seeds = shades[:, None, None, None].expand(5, 3, 8, 8), range(40)
    for name in ("augment", "examples"):
        made = (WITHOUT_MODEL[name](flat, seeds).mean((1, 2, 3)) - shades[:, None]).abs().argmin(0).tolist()
        told = PARENTS[name](5, seeds)
        assert set(told) == {*range(5)} and sum(a == b for a, b in zip(made, told, strict=True)) >= 36


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint", "multistep"])
def test_calls_of_a_denoiser_that_is_always_asked_are_the_solvers(solver):
    grid = torch.tensor([9.0, 4.0, 1.0, 0.1], dtype=torch.float64)
    knows = GaussianDenoiser(torch.zeros(2), torch.zeros(2, 0), torch.zeros(0), 1.0, ContinuousSchedule(0.1, 9.0))
    each = calls_each(knows, solver, grid)
    assert each == (network_calls(solver, 3),) * 2
    for sampler in (Sampler(), Sampler("patchwork", candidates=3)):
        most = sampler_calls(sampler, 10, 4, Solving(3, solver))
        assert most == sampler_calls(
            sampler, 10, 4, Solving(3, solver), sampler_calls_each(sampler, knows, solver, grid)
        )


def test_controls_differ_from_ours_in_the_network_alone():
    ours = SAMPLERS["ours"].request()
    assert ours == Sampler().request()
    differ = {name: {k for k, v in SAMPLERS[name].request().items() if v != ours[k]} for name in ("wiener", "patches")}
    assert differ == {"wiener": {"network", "patches"}, "patches": {"network"}}


def test_the_published_sampler_is_the_released_one():
    released, told = SAMPLERS["published"], SAMPLERS["described"]
    assert (released.partner, told.partner) == ("prior", "example")
    for one in (released, told):
        assert (one.sampler, one.t, one.centre, one.prior) == ("interpolation", (0.5, 0.5), False, "isotropic")
        assert (one.candidates, one.calibrate) == (1, False)


@pytest.mark.parametrize("make", [mixed, repeated, jitter])
def test_image_k_depends_on_seed_k_alone(make):
    x = torch.rand((7, 3, 8, 12), generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = make(x, [4, 9, 2, 30])
    assert whole.shape == (4, 3, 8, 12) and torch.equal(make(x, [2]), whole[2:3])
    assert torch.equal(make(x, [30, 4]), whole[[3, 0]]) and not torch.equal(whole[0], whole[1])


def test_augmentation_keeps_to_its_bounds():
    """Of a ramp the crop, the flip, contrast and brightness can be read off; what is flat stays flat."""
    ramp = (torch.arange(64, dtype=torch.float64) / 63).expand(1, 1, 64, 64) * 0.8 - 0.6
    made = jitter(ramp, range(200))
    slopes = (made[:, 0, 32, 40] - made[:, 0, 32, 24]) / (ramp[0, 0, 32, 40] - ramp[0, 0, 32, 24])
    assert 60 < int((slopes < 0).sum()) < 140  # half are flipped
    assert 0.8**0.5 * 0.9**2 - 1e-6 < float(slopes.abs().min()) < 0.85
    assert 1.05 < float(slopes.abs().max()) < 1.1**2 + 1e-6
    flat = jitter(torch.full((1, 3, 8, 8), 0.5), range(100))
    assert float((flat.amax((1, 2, 3)) - flat.amin((1, 2, 3))).max()) < 1e-12
    brightness = (flat[:, 0, 0, 0] + 1) / 1.5
    assert 0.9 <= float(brightness.min()) < 0.93 and 1.07 < float(brightness.max()) <= 1.1
    with pytest.raises(FarfieldError, match="jitter: expected examples"):
        jitter(ramp[0], [1])


def test_a_crop_is_of_the_example_itself():
    """Undone in brightness and contrast, the image is the example at places inside it: none beyond its border."""
    x = torch.rand((1, 1, 6, 6), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    smooth = functional.interpolate(x, (48, 48), mode="bilinear", align_corners=True)
    for value in jitter(smooth, range(20)):
        assert max(float(torch.corrcoef(torch.stack([value.flatten(), other.flatten()]))[0, 1])
                   for other in (smooth[0], smooth[0].flip(-1))) > 0.75  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sources", "says"),
    [
        (("--samples", "made"), ("images",), "--samples made: expected NAME=PATH"),
        (("--samples", "a/b=made"), ("images",), "expected NAME=PATH"),
        (("--samples", "lora=made"), ("images",), "lora means something else here"),
        (("--samples", "a=made", "--samples", "a=images"), ("images",), "two are named a"),
        (("--samples", "a=made"), ("images", "made"), "belongs to one domain"),
        (("--samples", "a=nowhere"), ("images",), "nowhere"),
        (("--samples", "a=images"), ("images",), "are among the held-out images"),
        (("--samples", "a=fields.npy"), ("images",), "holds physical fields, but the examples are pictures"),
        (("--samples", "a=made"), ("fields.npy",), "holds pictures, but the examples are physical fields"),
    ],
)
def test_samples_that_cannot_be_measured_are_refused_in_a_line(root, tmp_path, monkeypatch, options, sources, says):
    monkeypatch.chdir(root)
    if not (root / "fields.npy").exists():
        np.save(root / "fields.npy", np.random.default_rng(0).normal(size=(24, 16, 16)))
    refused = compare(root, tmp_path / "run", "--counts", 4, "--methods", "pixels", *options, sources=sources)
    assert refused.code == 2 and says in refused.err and refused.err.count("\n") == 1, refused.err
    assert not (tmp_path / "run" / "summary.json").exists()


def test_fields_go_through_the_domains_stretch(root, tmp_path):
    """Fields that were made elsewhere come back in physical units as they were, and a part of them suffices."""
    made = np.random.default_rng(1).normal(3, 2, size=(5, 16, 16))
    np.save(tmp_path / "maps.npy", np.random.default_rng(0).normal(3, 2, size=(24, 16, 16)))
    np.savez(tmp_path / "made.npz", images=made)
    options = ("--counts", 4, "--methods", "examples,augment", "--samples", f"gan={tmp_path / 'made.npz'}")
    done = compare(root, tmp_path / "run", *options, sources=(str(tmp_path / "maps.npy"),))
    assert done.code == 0, done.err
    [domain] = result(tmp_path / "run").domains
    assert "gan: 5 images, where each other method has 6." in domain.notes
    fields = domain.counts[0].methods["gan"].fields
    assert fields.n.generated == 5
    assert fields.moments["mean"].generated.value == pytest.approx(made.mean(), rel=1e-5)
    assert fields.moments["variance"].generated.value == pytest.approx(made.var(), rel=1e-4)


def score(value: float, half: float = 0.1) -> Score:
    return Score(value, 100, value - half, value + half)


def entry(*distances: float, copies: float = 0.05, paired: float | None = None) -> Entry:
    return Entry(
        trained=False,
        calls={"total": 100},
        seconds=1.0,
        measures={f"d{i}": Measures(kernel_distance=score(d)) for i, d in enumerate(distances)},
        novelty={"d0": Novelty(copies=score(copies, 0.03), copies_floor=score(0.05, 0.03))},
        paired=None if paired is None else {"d0": score(paired)},
    )


@pytest.mark.parametrize(
    ("wiener", "pixels", "copied", "verdict", "begins"),
    [
        ((1.0, 1.0), (2.0, 0.9), (), "adds", "No model-free control comes nearer: wiener, pixels stand farther"),
        ((1.0, 0.4), (2.0, 0.9), (), "even", "No model-free control comes nearer, but the intervals of wiener (in d1)"),
        ((1.0, 0.1), (2.0, 0.9), (), "less", "wiener (in d1), without asking a network, stands nearer"),
        ((0.1, 0.1), (2.0, 0.9), ("wiener",), "copies", "wiener, without asking a network, stands nearer"),
        ((0.1, 0.1), (2.0, 0.9), ("wiener", "ours"), "less", "wiener, without asking"),
        ((1.0, 1.0), (2.0, 0.9), ("ours",), "doubt", "Ours stands nearer than every model-free control"),
    ],
)
def test_what_the_model_adds_follows_intervals_in_every_descriptor(wiener, pixels, copied, verdict, begins):
    rows = {"ours": (0.5, 0.5), "wiener": wiener, "pixels": pixels, "examples": (0.0, 0.0)}
    methods = {name: entry(*row, copies=0.6 if name in copied else 0.05) for name, row in rows.items()}
    found = added(methods)
    assert found.verdict == verdict and found.sentence.startswith(begins), found
    told = {"copies": {"wiener"}, "less": {*copied} - {"ours"}, "doubt": {"ours"}}.get(verdict, set())
    assert {name for name in rows if f"Copies of examples by {name}: " in found.sentence} == told
    said = gains([Count(count=10, methods={}, local_copies_floor=None, advice=None, added=found)])
    assert said.startswith("Does the frozen model add anything? ") and "with 10 examples" in said.lower()


def test_a_paired_difference_is_believed_before_two_intervals():
    ours = entry(0.5)
    for paired, verdict in ((0.2, "adds"), (-0.2, "less"), (0.05, "even")):
        assert added({"ours": ours, "wiener": entry(0.5, paired=paired)}).verdict == verdict
    assert added({"ours": ours}) is None and added({"wiener": ours}) is None and gains([]) == ""
    assert added({"ours": ours, "examples": entry(0.0), "published": entry(0.0)}) is None


def test_older_runs_are_read_and_their_published_sampler_is_named_rightly(run):
    """They have no controls, and say nothing of their samplers."""
    old = to_json(result(run[0]))
    row = old["domains"][0]["counts"][0]
    row.pop("added", None)
    row["methods"] = {"published": {k: v for k, v in row["methods"]["wiener"].items() if k != "sampler"}}
    before = from_json(CompareResult, old).domains[0].counts[0]
    assert before.added is None and "between two examples" in meaning("published", before.methods["published"])
    now = before.methods["published"].but(sampler=SAMPLERS["published"])
    assert "a draw of an isotropic Gaussian" in meaning("published", now)


def test_the_defaults_have_every_control():
    settings = Compare("model", ("images",))
    assert set(FREE) < set(settings.chosen) and settings.foreign == {}
    assert Compare("model", ("images",), samples=("a=x=y",)).foreign == {"a": "x=y"}
