"""What is said of a model, kept of it, and found by running it: with exact denoisers as the truth."""

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch
from edm_files import saved_model, write_snapshot
from tiny import farfield
from torch import nn

from farfield.api.call import function
from farfield.checkpoints.foreign import kept_answers
from farfield.checkpoints.load import load_denoiser, locate, model_digest
from farfield.command.commands import COMMANDS
from farfield.core.error import FarfieldError
from farfield.core.terminal import plain
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.reading import Reading, Readings, SecondHalf, readings
from farfield.diffusion.sanity import MATTERS, examine, first_look, levels
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    SubVPSchedule,
    VESchedule,
    VPSchedule,
    cosine_betas,
    linear_betas,
)
from farfield.networks.build import from_config, network_config
from farfield.networks.guided_unet import GuidedUNet
from farfield.networks.words import in_words
from farfield.study.model.description import describe, licence_of

inspect = function(COMMANDS["inspect"])
SHAPE = (1, 4, 4)
VARIANCES = torch.tensor([2.0, 1.0, 0.3, 0.1, 0.05] + [0.01] * 11, dtype=torch.float64)


@pytest.fixture
def exact():
    """Gaussian data of 16 dimensions whose directions have very different variances, and images of exactly its covariance."""
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, 16, generator=g, dtype=torch.float64)).Q
    model = GaussianDenoiser(torch.zeros(SHAPE, dtype=torch.float64), basis, VARIANCES)
    white = torch.linalg.qr(torch.randn(200, 16, generator=g, dtype=torch.float64)).Q * 200**0.5
    return model, (white * VARIANCES.sqrt() @ basis.T).reshape(-1, *SHAPE)


class Exact(nn.Module):
    """The network of an exact denoiser in closed form: what it is told, undone; what it should answer, computed."""

    def __init__(self, inner, schedule, answer, scale=None, out=1):
        super().__init__()
        self.inner, self.schedule, self.answer, self.scale, self.out = inner, schedule, answer, scale, out

    def sigma(self, time):
        if isinstance(self.schedule, DiscreteSchedule):
            logs, t = (
                self.schedule.levels.log(),
                (time.double() / self.schedule.scale).clamp(0, len(self.schedule.levels) - 1),
            )
            low = t.floor().long().clamp(max=len(logs) - 2)
            return (logs[low] + (t - low) * (logs[low + 1] - logs[low])).exp()
        if isinstance(self.schedule, ContinuousSchedule):
            return (4 * time.double() / self.schedule.scale).exp().clamp(1e-4, 1e4)
        return 2 * time.double().exp()

    def forward(self, seen, time):
        s = self.sigma(time)[:, None, None, None]
        x = seen.double() * (self.scale(s) if self.scale else (1 + s**2).sqrt())
        d = self.inner(x, s.flatten())
        a, q = (1 + s**2).rsqrt(), s * (1 + s**2).rsqrt()
        noise = (x - d) / s
        answer = self.answer(x, d, noise, a, q, s)
        return torch.cat([torch.zeros_like(answer), answer], 1) if self.out == 2 else answer


def epsilon(x, d, noise, a, q, s):
    return noise


def sample(x, d, noise, a, q, s):
    return d


def velocity(x, d, noise, a, q, s):
    return a * noise - q * d


def minus(x, d, noise, a, q, s):
    return -noise


def edm(x, d, noise, a, q, s, data=0.5):
    v = s**2 + data**2
    return (d - data**2 / v * x) / (s * data * v.rsqrt())


LINEAR, COSINE = DiscreteSchedule(linear_betas()), DiscreteSchedule(cosine_betas())
LONG = DiscreteSchedule(cosine_betas(4000))
ANSWERS = {"epsilon": epsilon, "sample": sample, "v": velocity}


def vp(exact, prediction, schedule=LINEAR, **of):
    """A network of this prediction and schedule."""
    return Exact(exact, schedule, ANSWERS[prediction], **of)


def tried(denoiser, x0, doubled=False):
    return examine([Readings.of(denoiser, doubled)], x0, levels(denoiser.schedule), batch_size=200)


def truth(sigmas):
    """The error of the posterior mean, for each level: the mean of l σ² / (l + σ²) over the directions."""
    s = torch.tensor(sigmas)[:, None] ** 2
    return (VARIANCES * s / (VARIANCES + s)).mean(1)


def built(kind, exact, x0):
    """A denoiser of each kind around the network of the exact one."""
    if kind in ANSWERS:
        return NetworkDenoiser(vp(exact, kind), LINEAR, SHAPE, kind)
    if kind == "edm":
        network = Exact(exact, ContinuousSchedule(), edm, lambda s: (s**2 + 0.25).sqrt())
        return NetworkDenoiser(network, ContinuousSchedule(), SHAPE, "edm")
    return NetworkDenoiser(Exact(exact, VESchedule(), minus, torch.ones_like), VESchedule(), SHAPE, "ve")


class ExactInTime(Exact):
    """The same of an SDE whose network is told 999 t."""

    def sigma(self, time):
        return self.schedule.level(time.double() / 999)


SDES = {
    "vp": (VPSchedule(), lambda s: (1 + s**2).sqrt()),
    "subvp": (SubVPSchedule(), lambda s: (s + (s**2 + 4).sqrt()) / 2),
}


@pytest.mark.parametrize("true", SDES)
@pytest.mark.parametrize("read", SDES)
def test_the_two_sdes_of_the_same_time_steps_are_told_apart(exact, true, read):
    """They have the same network, told the same numbers: nothing in a file says which."""
    model, x0 = exact
    schedule, scale = SDES[true]
    found = tried(NetworkDenoiser(ExactInTime(model, schedule, epsilon, scale), SDES[read][0], SHAPE), x0)
    if read == true:
        assert found.verdict == "understood" and found.better is None
        assert torch.allclose(torch.tensor(found.present.errors).double(), truth(found.sigmas), rtol=0.06)
    else:
        alike = {"vp", "ddpm"} if true == "vp" else {"subvp"}  # DDPM's steps are vp's
        assert found.verdict == "misread" and found.better.changes.keys() == {"sde"}
        assert found.better.changes["sde"] in alike
        assert found.present.ratio.value > 1.1 * found.better.ratio.value


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v", "edm", "ve"])
def test_a_network_that_is_read_rightly_has_the_exact_error(exact, kind):
    model, x0 = exact
    found = tried(built(kind, model, x0), x0)
    assert found.verdict == "understood" and found.better is None and found.present.finite
    expected = truth(found.sigmas)
    assert torch.allclose(torch.tensor(found.present.errors).double(), expected, rtol=0.06)  # of 3,200 normal numbers
    multiple = torch.tensor(found.trivial["multiple"], dtype=torch.float64)
    s = torch.tensor(found.sigmas, dtype=torch.float64)
    assert torch.allclose(multiple, found.power * s**2 / (found.power + s**2), rtol=0.06)
    assert bool((expected < multiple).all())
    assert found.trivial["zero"] == (pytest.approx(float(x0.square().mean())),) * len(s)
    assert found.trivial["image"] == pytest.approx((s**2).tolist())
    ratio = found.present.ratio
    assert ratio.low < ratio.value < ratio.high < 1 and ratio.n == 200


@pytest.mark.parametrize(
    ("real", "taken", "flagged"),
    [
        (("epsilon", LINEAR), ("v", LINEAR), {"prediction": "epsilon"}),
        (("v", LINEAR), ("epsilon", LINEAR), {"prediction": "v"}),
        (("sample", LINEAR), ("epsilon", LINEAR), {"prediction": "sample"}),
        (("epsilon", COSINE), ("epsilon", LINEAR), {"schedule": "cosine"}),
        (("epsilon", LINEAR), ("epsilon", COSINE), {"schedule": "linear"}),
        (("v", COSINE), ("epsilon", LINEAR), {"schedule": "cosine", "prediction": "v"}),
        (("epsilon", LONG), ("epsilon", LINEAR), {"schedule": "cosine", "steps": "4000"}),
    ],
)
def test_a_wrong_prediction_or_schedule_is_flagged_by_name(exact, real, taken, flagged):
    model, x0 = exact
    found = tried(NetworkDenoiser(vp(model, *real), taken[1], SHAPE, taken[0]), x0)
    assert found.verdict == "misread" and found.better.changes == flagged
    assert torch.allclose(torch.tensor(found.better.errors).double(), truth(found.sigmas), rtol=0.06)


@pytest.mark.parametrize("kind", ["epsilon", "edm", "ve"])
def test_a_wrong_preconditioning_is_flagged_by_name(exact, kind):
    model, x0 = exact
    network = built(kind, model, x0).network
    as_edm = NetworkDenoiser(network, ContinuousSchedule(), SHAPE, "edm")
    found = tried(as_edm if kind != "edm" else NetworkDenoiser(network, LINEAR, SHAPE), x0)
    named = {"epsilon": {"schedule": "linear", "prediction": "epsilon"}, "ve": {"prediction": "ve"}}
    named |= {"edm": {"prediction": "edm", "sigma_data": "0.5", "time_scale": "1"}}
    assert found.verdict == "misread" and found.better.changes == named[kind]


def test_what_a_network_of_edms_is_told_is_flagged(exact):
    """A network made for time steps (the consistency release's) is told 1000 ln(sigma)/4; both ways, and read as discrete."""
    model, x0 = exact
    told = ContinuousSchedule(scale=1000)
    network = Exact(model, told, edm, lambda s: (s**2 + 0.25).sqrt())
    right = NetworkDenoiser(network, told, SHAPE, "edm")
    assert tried(right, x0).verdict == "understood"
    taken = NetworkDenoiser(network, ContinuousSchedule(), SHAPE, "edm")
    assert tried(taken, x0).better.changes == {"time_scale": "1000"}
    taken = NetworkDenoiser(network, LINEAR, SHAPE)
    assert tried(taken, x0).better.changes == {"prediction": "edm", "sigma_data": "0.5", "time_scale": "1000"}
    taken = NetworkDenoiser(built("edm", model, x0).network, told, SHAPE, "edm")
    assert tried(taken, x0).better.changes == {"time_scale": "1"}


def test_images_that_were_trained_on_in_other_units_are_flagged(exact):
    """The network knows images in [0, 1]: half as large, around a half."""
    model, x0 = exact
    halves = GaussianDenoiser(torch.full(SHAPE, 0.5, dtype=torch.float64), model.basis, VARIANCES / 4)
    found = tried(NetworkDenoiser(vp(halves, "epsilon"), LINEAR, SHAPE), x0)
    assert found.verdict == "misread" and found.better.changes == {"images": "[0, 1]"}


def test_a_mean_in_the_wrong_half_of_the_channels_is_flagged(exact):
    model, x0 = exact
    found = tried(NetworkDenoiser(vp(model, "epsilon", out=2), LINEAR, SHAPE), x0, doubled=True)
    assert found.better.changes == {"mean": "second half of the channels"}


def test_readings_that_hardly_differ_are_the_same_in_effect(exact):
    model, x0 = exact
    near = DiscreteSchedule(linear_betas(1000, 1e-4, 0.0215))
    network = vp(model, "epsilon", near)
    found = examine(
        [
            Readings(
                ("a", "b"),
                lambda: [
                    Reading({k: "1"}, NetworkDenoiser(network, s, SHAPE)) for k, s in (("a", LINEAR), ("b", near))
                ],
            )
        ],
        x0,
        levels(LINEAR),
        batch_size=200,
    )
    (other,) = found.same
    assert found.verdict == "understood" and found.better is None
    assert other.changes == {"b": "1"} and 1 / MATTERS < other.against.value < 1  # the right one, by a little


class Sometimes(Denoiser):
    """The exact denoiser where an image's first number is of this sign, else the noisy image itself."""

    def __init__(self, inner, sign):
        super().__init__()
        self.inner, self.sign, self.shape, self.schedule = inner, sign, inner.shape, inner.schedule

    def forward(self, x, sigma):
        right = self.inner(x, sigma)
        return torch.where(self.sign * right[:, :1, :1, :1] > 0, right, x)


def test_too_few_images_are_no_decision(exact):
    """Two readings, each of which is right for other images."""
    model, x0 = exact
    group = Readings(
        ("+", "-"), lambda: [Reading({name: "1"}, Sometimes(model, s)) for name, s in (("+", 1), ("-", -1))]
    )
    found = examine([group], x0[:6], levels(LINEAR))
    assert found.verdict == "undecided" and found.open == found.others and found.n == 6


def test_a_network_that_was_never_trained_denoises_in_no_reading(exact):
    _, x0 = exact

    class Noise(nn.Module):
        def forward(self, x, time):
            return torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype) * 3

    found = tried(NetworkDenoiser(Noise(), LINEAR, SHAPE), x0)
    assert found.verdict == "senseless" and found.better is None


def test_what_is_not_finite_is_the_worst(exact):
    _, x0 = exact

    class Broken(nn.Module):
        def forward(self, x, time):
            return x / 0

    found = tried(NetworkDenoiser(Broken(), LINEAR, SHAPE), x0)
    assert not found.present.finite and found.verdict == "senseless"


def test_the_first_look_finds_the_kind_of_picture_that_a_model_knows(exact):
    model, x0 = exact
    other = torch.randn(x0[:8].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    denoiser = NetworkDenoiser(vp(model, "v"), LINEAR, SHAPE)  # misread, which must not matter
    kind, keep = first_look([Readings.of(denoiser)], {"white": other, "its own": x0[:8]}, levels(LINEAR))
    assert kind == "its own" and {"as read", "prediction v"} <= keep
    found = examine([Readings.of(denoiser)], x0, levels(LINEAR), keep=keep)
    assert found.better.name == "prediction v" and found.far == len(readings(denoiser)) - len(keep)


def test_readings_that_ask_the_same_share_the_answer(exact):
    model, x0 = exact
    calls = []

    class Counted(Exact):
        def forward(self, seen, time):
            calls.append(len(seen))
            return super().forward(seen, time)

    denoiser = NetworkDenoiser(Counted(model, LINEAR, epsilon), LINEAR, SHAPE)
    examine([Readings.of(denoiser)], x0[:4], levels(LINEAR, 2))
    # as read, [0, 1], other schedules (each with every prediction), EDM with two sigma_data and two time scales, VE, flows
    inputs = 1 + 1 + 4 + 4 + 1 + 5
    assert len(calls) == 2 * inputs and len(readings(denoiser)) == 3 * 6 + 5 + 5


def test_the_best_multiple_itself_has_the_ratio_one(exact):
    """Also where images are of very different brightness."""
    _, x0 = exact
    x0 = x0 * torch.linspace(0.1, 3, len(x0), dtype=torch.float64)[:, None, None, None]
    power = float(x0.square().mean())

    class Multiple(nn.Module):
        def forward(self, x, time):
            s = (4 * time.double()).exp()[:, None, None, None]
            wanted = power / (power + s**2) * x.double() * (s**2 + 0.25).sqrt()
            return edm(x.double() * (s**2 + 0.25).sqrt(), wanted, None, None, None, s)

    found = tried(NetworkDenoiser(Multiple(), ContinuousSchedule(), SHAPE, "edm"), x0)
    assert found.present.ratio.value == pytest.approx(1) and found.verdict == "undecided"


def test_a_small_set_is_refused(exact):
    model, x0 = exact
    with pytest.raises(FarfieldError, match=r"3 images .* expected at least 4"):
        tried(built("v", model, x0), x0[:3])
    with pytest.raises(FarfieldError, match="not all zero"):
        tried(built("v", model, x0), torch.zeros(4, *SHAPE))


def test_the_second_half():
    x = torch.arange(4.0).reshape(1, 4, 1, 1)
    assert torch.equal(SecondHalf(nn.Identity())(x), x[:, 2:])


# The command


@pytest.fixture
def copy(tmp_path):
    """A copy of the bundled model, whose scheduler's configuration can be changed."""
    shutil.copytree(locate("cifar10-32"), tmp_path / "copy")
    path = tmp_path / "copy/scheduler/scheduler_config.json"

    def change(**changes):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return str(tmp_path / "copy")

    return change


def test_the_bundled_model_is_understood():
    found = inspect("cifar10-32", checked=True, data="ihc", limit=4, quiet=True).checked
    assert found.sanity.verdict == "understood", found.sentences
    assert found.sanity.present.ratio.value < 0.3


@pytest.mark.parametrize(
    ("changes", "flagged", "remedy"),
    [
        ({"prediction_type": "epsilon"}, {"prediction": "v"}, "prediction_type v_prediction"),
        pytest.param(
            {"beta_schedule": "squaredcos_cap_v2"},
            {"schedule": "linear"},
            "beta_schedule linear",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
            {"schedule": "linear"},
            "linear",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_wrong_configuration_of_the_bundled_model_is_flagged_by_name(copy, changes, flagged, remedy):
    found = inspect(copy(**changes), checked=True, data="ihc", limit=4, quiet=True).checked
    assert found.sanity.better is not None and found.sanity.better.changes == flagged
    assert remedy in found.sentences[0] and found.to_json()["better"] == flagged


def test_the_digit_models_are_understood_on_digits_and_find_them():
    found = inspect("digits-generalizing", checked=True, quiet=True).checked
    assert found.source == "digits" and found.sanity.verdict == "understood", found.sentences


def test_inspect_says_what_the_bundled_model_is():
    told = json.loads(farfield("inspect", "cifar10-32", "--json").out)
    assert (told["family"], told["prediction"], told["parameters"]) == ("diffusers", "v", 2_736_099)
    assert told["shape"] == told["image_shape"] == [3, 32, 32] and told["classes"] == 0 and told["dtype"] == "float16"
    assert told["schedule"]["steps"] == 1000 and told["schedule"]["sigma_max"] == pytest.approx(157.407, rel=1e-4)
    assert told["sha256"] == model_digest("cifar10-32") and told["licence"] == "Apache-2.0"
    assert told["questions"] == [] and told["check"] is None
    shown = farfield("inspect", "cifar10-32").out
    for part in ("UNet2DModel: channels 32 · 64 · 128", "2,736,099", "32×32, RGB", "1000 linear betas", told["sha256"]):
        assert part in shown


def test_the_check_is_shown_with_its_numbers(tmp_path):
    told = farfield("inspect", "digits-generalizing", "--check", "--data", "digits", "-q", "--json").out
    told = json.loads(told)["check"]
    assert told["verdict"] == "understood" and told["data"] == "digits" and told["n"] == 16
    shown = farfield("inspect", "digits-generalizing", "--check", "--data", "digits", "-q").out
    assert "understood: denoises as it is read" in shown and "best multiple" in shown and "sigma_data 1" in shown


@pytest.fixture
def guided(tmp_path):
    """A file of guided-diffusion's format, of a random network."""
    torch.manual_seed(0)
    network = GuidedUNet(3, 6, 32, (32, 64), 1, attention=(2,), heads=4)
    path = tmp_path / "my-32.pt"
    torch.save(network.state_dict(), path)
    return path


def test_open_questions_are_asked_and_answers_kept(guided):
    before = guided.read_bytes()
    told = json.loads(farfield("inspect", guided, "--json").out)
    assert told["family"] == "guided-diffusion" and {q["name"] for q in told["questions"]} > {"size", "schedule"}
    shown = farfield("inspect", guided).out
    assert "Answer once: farfield inspect" in shown and "--set size=32" in shown
    said = farfield(
        "inspect", guided, "--set", "size=32", "--set", "schedule=cosine", "--set", "steps=1000", "--set", "heads=4"
    )
    assert said.code == 0 and "answers kept in" in said.out
    assert kept_answers(guided) == {"size": 32, "schedule": "cosine", "steps": 1000, "heads": 4}
    farfield("inspect", guided, "--set", "order=legacy")
    told = json.loads(farfield("inspect", guided, "--json").out)
    assert (told["questions"] == [] and told["schedule"]["levels"].startswith("1000 cosine")) or told["schedule"][
        "steps"
    ]
    assert guided.read_bytes() == before


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("colour=blue", "colour"),
        ("schedule=quadratic", "expected one of linear, cosine"),
        ("size=31", "multiple of 2"),
        ("size", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
    ],
)
def test_answers_that_cannot_be_are_not_kept(guided, answer, message):
    said = farfield("inspect", guided, "--set", answer)
    assert said.code == 2 and message in said.err and kept_answers(guided) == {}


def test_answers_that_do_not_go_with_kept_ones_say_where_these_are(guided):
    assert farfield("inspect", guided, "--set", "heads=4").code == 0
    said = farfield("inspect", guided, "--set", "head_channels=32")
    assert said.code == 2 and "my-32.pt.farfield.json keeps {'heads': 4}, delete it" in said.err


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="a folder that nobody can write into")
def test_where_nothing_can_be_kept_it_is_said(guided):
    with open(guided, "rb") as file:
        said = farfield("inspect", f"/proc/self/fd/{file.fileno()}", "--set", "size=32")
    assert said.code == 2 and "/proc/self/fd: cannot write here" in said.err and "folder of your own" in said.err


def test_a_file_that_says_everything_takes_no_answers(tmp_path):
    config = network_config("ddpmpp", (3, 8, 8), width=8, multipliers=(1,), blocks=1)
    path = write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", from_config(config), config, sigma_data=0.5))
    for command in (("inspect", path), ("convert", path, tmp_path / "out")):
        said = farfield(*command, "--set", "steps=1000")
        assert said.code == 2 and "no question of this file" in said.err
    assert not kept_answers(path)


def test_a_folder_has_no_questions():
    assert "a folder says everything" in farfield("inspect", "cifar10-32", "--set", "size=32").err


def test_other_answers_are_tried_as_other_networks(guided):
    """A random network denoises in no reading; what is tested is that the file's alternatives are among them."""
    chosen = ("size=8", "schedule=linear", "steps=1000", "heads=4", "order=legacy")
    found = inspect(str(guided), checked=True, data="digits", limit=4, answers=chosen, quiet=True).checked
    tried = len(found.sanity.others) + 1 + found.sanity.far
    # 6 ways to be told of levels and images, each with 3 predictions, 4 of EDM and VE, 5 flows, the other half; order, heads of
    # 1, 2, 8 or of 32 and 64 channels (a network of 64 channels there), and 1, 2, 8 heads on the way up alone
    assert tried == 3 * 6 + 5 + 5 + 1 + 1 + 3 + 2 + 3
    assert found.sanity.verdict in ("senseless", "undecided")


def test_bad_input_is_one_line(tmp_path):
    assert "no such folder" in farfield("inspect", "nothing-there").err
    assert "no file and no network" in farfield("inspect", "empirical:digits").err
    for option in (("--data", "digits"), ("--limit", 4), ("--images", 4)):  # the last its former spelling
        assert "are for --check" in farfield("inspect", "cifar10-32", *option).err
    (tmp_path / "page.pt").write_text("<html></html>")
    assert "web page" in farfield("inspect", tmp_path / "page.pt").err


@pytest.mark.parametrize(("content", "message"), [(None, "weights.safetensors"), (b"<html>", "web page")])
def test_a_folder_with_other_weights_is_refused(tmp_path, content, message):
    config = network_config("ddpmpp", (3, 8, 8), width=8, multipliers=(1,), blocks=1)
    told = {"network": config, "shape": [3, 8, 8], "family": "edm", "classes": 0, "sigma_data": 0.5}
    (tmp_path / "model.json").write_text(json.dumps(told))
    if content:
        (tmp_path / "weights.safetensors").write_bytes(content)
    else:
        torch.save([1, 2], tmp_path / "weights.safetensors")
    said = farfield("inspect", tmp_path)
    assert said.code == 2 and message in said.err


def test_a_large_file_is_hashed_on_request_alone(guided, monkeypatch):
    from farfield.study.model import description

    assert len(describe(str(guided)).sha256) == 64
    monkeypatch.setattr(description, "HASHED", 10)
    assert describe(str(guided)).sha256 is None
    assert "not computed (--hash)" in farfield("inspect", guided).out
    assert describe(str(guided), hashed=True).sha256 in farfield("inspect", guided, "--hash").out


def test_a_file_that_changed_since_its_download_is_named(guided):
    guided.with_name(guided.name + ".sha256").write_text(f"{'0' * 64}  {guided.name}\n")
    found = describe(str(guided))
    assert any("the file was changed" in f.why for f in found.findings)


def test_inspecting_reads_no_weights(tmp_path):
    """4 GB of them, which the disk does not hold, are described and next to none of their pages looked at."""
    size = 4_000_000_000
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with open(tmp_path / "weights.safetensors", "wb") as f:
        f.write(len(header).to_bytes(8, "little") + header)
        f.truncate(8 + len(header) + size)
    config = network_config("ddpmpp", (3, 32, 32), width=8, multipliers=(1,), blocks=1)
    told = {"network": config, "shape": [3, 32, 32], "family": "edm", "classes": 0, "sigma_data": 0.5}
    (tmp_path / "model.json").write_text(json.dumps(told))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    found = describe(str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20_000  # of a million, or 60,000 by sixteens
    assert (found.size, found.parameters, found.sha256) == (size, size // 4, None)


def test_licences_are_what_cards_and_readmes_state(tmp_path):
    path = tmp_path / "edm-cifar10-32x32-uncond-vp.pkl"
    path.write_bytes(b"")
    assert licence_of(str(path), path).startswith("CC BY-NC-SA 4.0")
    assert licence_of("google/ddpm-church-256", tmp_path) == "Apache-2.0"
    assert licence_of("other", tmp_path) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\nlicense: none\n")
    assert licence_of("other", tmp_path) == "mit"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ddpmpp", "DDPM++: channels 32 · 64, 1 block a level, attention at 8×8"),
        ("ncsnpp", "NCSN++: channels 32 · 64, 1 block a level, attention at 8×8, residual encoder"),
        ("adm", "ADM: channels 32 · 64, 1 block a level, attention at 8×8"),
        ("unet2d", "UNet2DModel: channels 32 · 64, 1 block a level, attention at 8×8"),
    ],
)
def test_configurations_in_words(kind, words):
    assert in_words(network_config(kind, (3, 16, 16), width=32, multipliers=(1, 2), blocks=1, attention=(8,))) == words


def test_a_configuration_that_cannot_be_is_no_traceback(copy):
    path = Path(copy()) / "unet/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "down_block_types": [1, 2, 3]}))
    said = farfield("inspect", path.parents[1])
    assert said.code == 2 and "configuration of a network" in said.err


def test_text_from_a_file_cannot_move_the_cursor():
    assert plain("a\x1b[2Jb\r\x07é\n") == "a\\x1b[2Jb\\r\\x07é\n"


@pytest.mark.parametrize("which", ["ldm", "stable"])
def test_latent_models_are_described_as_they_are_loaded(tmp_path, which):
    pytest.importorskip("transformers", reason="text encoders are in the extra `features`")
    from test_latent import make_ldm
    from test_prompt import make_pipeline

    folder = (make_ldm if which == "ldm" else make_pipeline)(tmp_path / "m")
    found, loaded = describe(str(folder)), load_denoiser(str(folder))
    assert found.architecture.startswith("UNet2DModel: " if which == "ldm" else "UNet2DConditionModel: ")
    assert (found.family, found.shape, found.image_shape) == ("latent diffusion", loaded.shape, loaded.image_shape)
    assert (found.schedule["sigma_min"], found.schedule["sigma_max"]) == (
        loaded.schedule.sigma_min,
        loaded.schedule.sigma_max,
    )
    assert found.prediction == loaded.prediction and found.parameters == sum(
        p.numel() for p in loaded.network.parameters()
    )
    assert inspect(str(folder), checked=True, data="digits", limit=4, quiet=True).checked.sanity.n == 4
    said = farfield("convert", folder, tmp_path / "out")
    assert said.code == 2 and "latent" in said.err and not (tmp_path / "out").exists()
