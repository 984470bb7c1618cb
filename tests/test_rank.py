"""The command that draws rank over noise levels: what it writes, that it continues, what it refuses."""

import pytest
import torch
from tiny import contents, farfield, make_images, make_model, summary, undrawn

from farfield.core.artifact import load
from farfield.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, linear_betas
from farfield.study.manifold.rank import levels, over_points
from farfield.study.manifold.spectra import FACTS, Spectra, unpacked


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rank")
    return make_model(folder / "model", (3, 8, 8)), make_images(folder / "images", 3, 8, 8)


def test_the_command_writes_spectra_figures_and_goes_on_where_it_stopped(inputs, tmp_path):
    model, images = inputs
    command = ("rank", model, "--images", images, "--points", 2, "--sigmas", "0.3,3", "-q", "-o")
    done = farfield(*command, tmp_path / "run")
    assert done.code == 0, done.err
    found = summary(tmp_path / "run")
    assert found["n"] == 2 and found["dimension"] == 192 and len(found["levels"]) == 2
    for one in found["levels"]:
        assert 0 < one["rank"]["min"] <= one["rank"]["mean"]["value"] <= one["rank"]["max"] <= 192
        assert one["ranks"]["0.9"]["mean"]["value"] <= one["ranks"]["0.99"]["mean"]["value"]
        assert one["methods"] == {"exact": 2, "matrix-free": 0} and one["cosine"]["mean"]["value"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "also measures training" in page and page.count("<svg") == 3
    spectra = load(tmp_path / "run" / "spectra", Spectra)
    assert spectra.values.shape == (4, len(FACTS) + 192)
    spectrum, facts = unpacked(spectra.values[0])
    assert facts["sigma"] == found["levels"][0]["sigma"] and len(spectrum.values) == 192
    assert spectrum.energy.value == pytest.approx(float(spectrum.values.square().sum()))
    (tmp_path / "run" / "spectra" / "shard-00002.safetensors").unlink()
    before = contents(tmp_path / "run" / "spectra")
    assert farfield(*command, tmp_path / "run").code == 0
    assert before.items() <= contents(tmp_path / "run" / "spectra").items() and summary(tmp_path / "run") == found


def test_a_spectrum_depends_on_its_point_and_level_alone(inputs, tmp_path):
    """Another batch of levels beside it changes nothing; nor does the order in which processes take them."""
    model, images = inputs
    command = ("rank", model, "--images", images, "--points", 2, "-q", "-o")
    with undrawn():
        assert farfield(*command, tmp_path / "one", "--sigmas", "0.3").code == 0
        assert farfield(*command, tmp_path / "two", "--sigmas", "0.3,3").code == 0
    one, two = (load(tmp_path / name / "spectra", Spectra) for name in ("one", "two"))
    assert torch.equal(one.values, two.select(one.keys).values)


def test_points_along_a_trajectory_and_clean_images(inputs, tmp_path):
    model, images = inputs
    top = 157.4
    done = farfield(
        "rank", model, "--along", "trajectory", "--points", 1, "--sigmas", f"1,{top}", "-q", "-o", tmp_path / "t"
    )
    assert done.code == 0, done.err
    assert summary(tmp_path / "t")["images"] is None and summary(tmp_path / "t")["points"] == ["0"]
    done = farfield(
        "rank",
        model,
        "--along",
        "clean",
        "--images",
        images,
        "--points",
        1,
        "--sigmas",
        "1",
        "-q",
        "-o",
        tmp_path / "c",
    )
    assert done.code == 0, done.err


def test_a_class_conditional_model(inputs, tmp_path):
    model = make_model(tmp_path / "m", (3, 8, 8), classes=3)
    command = ("rank", model, "--images", inputs[1], "--points", 1, "--sigmas", "1", "-q", "--label")
    for label in (0, 2):
        with undrawn():
            assert farfield(*command, label, "-o", tmp_path / str(label)).code == 0
    assert summary(tmp_path / "0")["levels"] != summary(tmp_path / "2")["levels"]


def test_levels_are_trained_ones():
    discrete = DiscreteSchedule(linear_betas())
    assert levels(discrete, [3.0, 1.0]) == [discrete.nearest(1.0), discrete.nearest(3.0)]
    assert levels(ContinuousSchedule(), [3.0]) == [3.0]
    assert len(levels(discrete, None)) == 8 and levels(ContinuousSchedule(0.1, 10.0), None)[-1] == pytest.approx(10)


def test_the_mean_over_points_has_an_interval():
    found = over_points([1.0, 2.0, 3.0, 4.0])
    assert found.mean.value == 2.5 and found.mean.low == pytest.approx(2.5 - 3.1824 * (5 / 12) ** 0.5, abs=1e-4)
    assert over_points([2.0]).mean.low is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sigmas", "500"), "out of range"),
        (("--along", "nowhere"), "noised, trajectory, clean"),
        (("--along", "trajectory", "--images", "hubble"), "begins at noise"),
        (("--points", 4), "only 3 images"),
        (("--points", 0), "at least 1"),
        (("--points", 2, "--method", "guess"), "auto, exact, matrix-free"),
        (("--points", 2, "--share", 1.5), "above 0 and below 1"),
        (("--points", 2, "--label", 1), "label"),
    ],
)
def test_bad_input_is_one_line(inputs, tmp_path, options, message):
    model, images = inputs
    given = () if "--along" in options else ("--images", images)
    done = farfield("rank", model, *given, *options, "-q", "-o", tmp_path / "run")
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
