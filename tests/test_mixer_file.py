"""Score networks of galaxies: read from a file without names as what they are, by a name or a path, in units of their own."""

import json
import sys

import numpy as np
import pytest
import torch
from mixer_files import arrays, score, stream, write
from tiny import farfield, make_images, read_stretch, summary

from farfield.checkpoints import mixer_published
from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.load import load_denoiser, locate
from farfield.checkpoints.mixer_published import NAMES, PUBLISHED, Published
from farfield.core.download import file_sha256
from farfield.core.error import FarfieldError
from farfield.diffusion.units import Units

pytestmark = pytest.mark.usefixtures("few_views")

TOLD = {"units": "0,10"}
UNITS = Units(0, 10, 0.1)


@pytest.mark.parametrize(
    "size", [{}, {"patches": 9, "channels": 2, "patch": 3, "width": 4, "blocks": 1}, {"patches": 1, "until": 3.0}]
)
def test_the_denoiser_is_the_posterior_mean_of_the_published_network(tmp_path, size):
    """Against the network in NumPy, and Tweedie's formula for x_t = exp(-t/2) x0 + sqrt(1 - exp(-t)) n in the model's units."""
    parts = arrays(**size)
    checkpoint = open_checkpoint(write(tmp_path / "m.eqx", parts), {"units": "-1.5,8.5"})
    denoiser = checkpoint.denoiser(dtype=torch.float64)
    assert checkpoint.parameters == sum(part.size for part in parts[:-1])
    y = np.random.default_rng(1).normal(size=denoiser.shape)
    for t in (0.01, 1.0, 2.5):
        own, s = 5 * y + 3.5, np.sqrt(np.expm1(t))
        answer = score(parts, own * np.exp(-t / 2), t)
        want = (np.exp(t / 2) * (own * np.exp(-t / 2) + (1 - np.exp(-t)) * answer) - 3.5) / 5
        got = denoiser(torch.from_numpy(y)[None], torch.tensor(s / 5, dtype=torch.float64))[0].numpy()
        assert np.abs(got - want).max() < 1e-9


def test_the_weights_are_those_of_the_file_to_the_bit(tmp_path):
    parts = arrays()
    state = open_checkpoint(write(tmp_path / "m.eqx", parts), TOLD).network().state_dict()
    assert sorted(v.numel() for v in state.values()) == sorted(part.size for part in parts[:-1])
    assert np.array_equal(state["blocks.1.channel_mixer.2.weight"].numpy(), parts[22])
    assert np.array_equal(state["conv_out.weight"][2, 0].numpy(), parts[2][0, 2, ::-1, ::-1])
    levels = open_checkpoint(tmp_path / "m.eqx", TOLD).denoiser().schedule
    assert levels.sigma_max == pytest.approx(np.expm1(10) ** 0.5 / 5, rel=1e-12)


def test_what_a_file_does_not_say_is_asked_once(tmp_path):
    path = write(tmp_path / "m.eqx", arrays())
    assert [q.name for q in open_checkpoint(path).questions] == ["units"]
    refused = farfield("generate", path, "--seeds", "0", "-o", tmp_path / "out")
    assert refused.code == 2 and "--set units=0,10" in refused.err, refused
    for wrong in ("units=3", "units=4,2", "units=a,b", "scale=x", "size=3"):
        outcome = farfield("inspect", path, "--set", "units=0,10", "--set", wrong)
        assert outcome.code == 2 and wrong.split("=")[0] in outcome.err, outcome
    outcome = farfield("inspect", path, "--set", "units=0,10", "--set", "scale=0.1")
    assert outcome.code == 0 and "MLP-Mixer: patches of 2 pixels" in outcome.out, outcome
    assert open_checkpoint(path).plan.units == UNITS and "constant rate" in outcome.out


def spoilt(kind):
    parts = arrays()
    if kind == "cut":
        return stream(parts)[:-9]
    if kind == "more behind":
        return stream(parts) + b"more"
    change = {
        "one array": lambda p: p[:1],
        "one less": lambda p: p[:-1],
        "another order": lambda p: [p[1], p[0], *p[2:]],
        "no square": lambda p: arrays(patches=6),
        "another shape": lambda p: [*p[:5], p[5][:-1], *p[6:]],
        "whole numbers": lambda p: [*p[:5], p[5].astype(np.int64), *p[6:]],
        "an object": lambda p: [*p[:5], np.array([None, "x"], dtype=object), *p[6:]],
        "fields": lambda p: [*p[:5], np.zeros(5, dtype=[("a", "f4")]), *p[6:]],
        "empty": lambda p: arrays(width=0),
        "no end": lambda p: [*p[:-1], np.float64("nan")],
        "Fortran's order": lambda p: [np.asfortranarray(p[0]), *p[1:]],
        "text": lambda p: [*p[:-1], np.array("10")],
    }
    return stream(change[kind](parts))


SPOILT = [
    "cut",
    "more behind",
    "one array",
    "one less",
    "another order",
    "no square",
    "another shape",
    "whole numbers",
    "an object",
    "fields",
    "empty",
    "no end",
    "Fortran's order",
    "text",
]


@pytest.mark.parametrize("kind", SPOILT)
def test_other_files_are_refused_in_one_line(tmp_path, kind):
    (tmp_path / "m.eqx").write_bytes(spoilt(kind))
    outcome = farfield("inspect", tmp_path / "m.eqx")
    assert outcome.code == 2 and "m.eqx: " in outcome.err and len(outcome.err.strip().splitlines()) == 1, outcome
    assert "Traceback" not in outcome.err and len(outcome.err) < 500


def test_a_file_holds_no_parts(tmp_path):
    with pytest.raises(FarfieldError, match="leave @ema out"):
        load_denoiser(f"{write(tmp_path / 'm.eqx', arrays())}@ema")


def test_a_header_that_is_a_program_is_not_one(tmp_path):
    """NumPy's reader compiles it; here it is only matched."""
    content = stream(arrays()).replace(b"'shape': (3, 2, 2, 2)", b"'shape': (exit(),)   ", 1)
    (tmp_path / "m.eqx").write_bytes(content)
    with pytest.raises(FarfieldError, match="no header of an array"):
        open_checkpoint(tmp_path / "m.eqx")


class TestNames:
    def test_a_package_that_is_not_there_is_said_in_one_line(self, monkeypatch):
        monkeypatch.setattr(mixer_published, "PACKAGE", "galaxygrad_of_no_one")
        outcome = farfield("inspect", "galaxygrad:hsc-64")
        assert outcome.code == 2 and "pip install --no-deps galaxygrad==0.2.0" in outcome.err, outcome
        assert len(outcome.err.strip().splitlines()) == 1

    def test_an_unknown_name_is_refused_with_those_that_are(self):
        with pytest.raises(FarfieldError, match="galaxygrad:roman-120"):
            locate("galaxygrad:hst-64")

    def test_the_package_is_looked_for_and_never_imported(self, tmp_path, monkeypatch):
        """It stops whoever imports it."""
        package = tmp_path / "galaxygrad"
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        write(package / NAMES["hsc-32"], arrays())
        monkeypatch.syspath_prepend(tmp_path)
        assert str(locate("galaxygrad:hsc-32")) == str(package / NAMES["hsc-32"])
        with pytest.raises(FarfieldError, match=r"is installed without eqx_hsc_ScoreNet64\.eqx"):
            locate("galaxygrad:hsc-64")
        assert "galaxygrad" not in sys.modules

    def test_a_published_file_is_known_by_its_content_under_any_name(self, tmp_path, monkeypatch):
        path = write(tmp_path / "mine.eqx", arrays())
        card = Published(file_sha256(path, quiet=True), UNITS, "hsc-64")
        monkeypatch.setattr(mixer_published, "PUBLISHED", {"eqx_hsc_ScoreNet64.eqx": card})
        assert open_checkpoint(path).plan.units == UNITS and not open_checkpoint(path).questions
        assert open_checkpoint(path, {"units": "-1,1"}).plan.units == Units(-1, 1, 0.1)  # an answer goes before

    def test_a_published_name_alone_settles_nothing(self, tmp_path):
        file = NAMES["roman-120"]
        question = open_checkpoint(write(tmp_path / file, arrays())).questions[0]
        low, high = (float(n) for n in question.likely.split(","))
        assert (low, high) == (PUBLISHED[file].units.low, PUBLISHED[file].units.high)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny one of 16×16 grey pictures, whose units are known."""
    path = write(tmp_path_factory.mktemp("model") / "m.eqx", arrays(patches=16, patch=4, width=4))
    assert farfield("inspect", path, "--set", "units=0,10", "--set", "scale=0.1").code == 0
    return path


QUICK = ("-n", 4, "--steps", 4, "--sigma", 2, "--candidates", 1, "--descriptor", "pixels", "--device", "cpu", "--quiet")


def test_a_converted_model_keeps_its_units(model, tmp_path):
    assert farfield("convert", model, tmp_path / "folder").code == 0
    described = json.loads((tmp_path / "folder/model.json").read_text())
    assert described["units"] == {"low": 0.0, "high": 10.0, "scale": 0.1}
    x, sigma = torch.randn(2, 1, 16, 16, dtype=torch.float64), torch.tensor([0.3, 3.0], dtype=torch.float64)
    ours, again = load_denoiser(str(model)), load_denoiser(str(tmp_path / "folder"))
    assert torch.equal(ours(x, sigma), again(x, sigma)) and torch.equal(
        ours.schedule.sigmas(5), again.schedule.sigmas(5)
    )
    (tmp_path / "folder/model.json").write_text(json.dumps({**described, "units": {"low": 3, "high": 2}}))
    refused = farfield("inspect", tmp_path / "folder")
    assert refused.code == 2 and "units 3 to 2" in refused.err, refused


def test_it_generates_and_is_not_trained_further(model, tmp_path):
    made = farfield("generate", model, "--seeds", "0-2", "--steps", 3, "-o", tmp_path / "made", "--quiet")
    assert made.code == 0 and len(list((tmp_path / "made/samples").iterdir())) == 3, made
    images = make_images(tmp_path / "images", 4)
    refused = farfield("train", "--data", images, "--from", model, "--length", 64, "-o", tmp_path / "run")
    assert refused.code == 2 and "units of its own (0 to 10" in refused.err, refused


def test_pictures_are_expanded(model, tmp_path):
    images = make_images(tmp_path / "images", 6)
    outcome = farfield("expand", model, images, "-o", tmp_path / "run", *QUICK)
    assert outcome.code == 0 and summary(tmp_path / "run")["model"]["shape"] == [1, 16, 16], outcome


@pytest.mark.parametrize(("factor", "kind"), [(1, "log1p"), (1e5, "asinh")])
def test_fields_in_the_models_units_enter_through_its_own_stretch(model, tmp_path, factor, kind):
    """ln(1 + flux) from 0 to 1 is black to white; fluxes of another unit are fitted, and it is said."""
    g = np.random.default_rng(0)
    place = np.mgrid[:16, :16] - 8
    fluxes = [(1 + g.random()) * np.exp(-(place**2).sum(0) / 8) + 0.01 * g.normal(size=(16, 16)) for _ in range(6)]
    np.savez(tmp_path / "sky.npz", factor * np.stack(fluxes))
    outcome = farfield("expand", model, tmp_path / "sky.npz", "-o", tmp_path / "run", *QUICK, "--stretch", "auto")
    assert outcome.code == 0, outcome
    stretch = read_stretch(tmp_path / "run/stretch.json")
    assert stretch.kind == kind
    assert ("the model's own" if factor == 1 else "not in the model's units") in " ".join(
        summary(tmp_path / "run")["reading"]
    )
    if factor == 1:
        assert (stretch.channels[0].low, stretch.channels[0].high) == pytest.approx((0, 1))


def test_the_bundled_galaxies_are_a_mixer_that_denoises():
    """Of a round bright spot on a dark sky, which is nearest to what it knows here, it takes more noise than a blur can."""
    folder = locate("galaxies-64")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12 << 20
    denoiser = load_denoiser("galaxies-64")
    assert denoiser.image_shape == (3, 64, 64)
    axis = torch.arange(64.0) - 31.5
    spot = 2 * (-(axis[:, None] ** 2 + axis**2) / 72).exp() * 0.7 - 0.95
    clean = spot.expand(4, 3, 64, 64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    for sigma in (0.1, 0.5, 2.0):
        answer = denoiser(clean + sigma * noise, torch.tensor(sigma))
        blurs = [torch.nn.functional.avg_pool2d(clean + sigma * noise, k, 1, k // 2) for k in (3, 5, 9, 17)]
        assert float((answer - clean).square().mean()) < min(float((b - clean).square().mean()) for b in blurs)


@pytest.mark.parametrize("command", ["gain", "expand"])
def test_fields_are_read_through_the_models_stretch_whoever_reads_them(model, tmp_path, command):
    values = np.random.default_rng(0).uniform(0, 1, (8, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "sky.npz", images=values)
    words = [tmp_path / "sky.npz", model] if command == "gain" else [model, tmp_path / "sky.npz", *QUICK]
    assert farfield(command, *words, "-o", tmp_path / "run", "--stretch", "model").code == 0
    told = summary(tmp_path / "run")
    physical = told["models"][0]["physical"] if command == "gain" else told["physical"]
    assert physical["stretch"]["kind"] == "log1p"
