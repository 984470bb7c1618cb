"""A network of one's own as a model: read as it is said, checked, and called whatever it takes."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import farfield as front
from farfield.checkpoints.given import given_digest, given_model, holding
from farfield.checkpoints.load import load_denoiser
from farfield.core.content import content_digest
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.diffusion.own import Called, own_denoiser, own_remedy, own_schedule
from farfield.diffusion.schedule import DiscreteSchedule, linear_betas
from tests.tiny import farfield

pytestmark = pytest.mark.usefixtures("without_the_page")

GUIDE = Path(__file__).parents[1] / "docs" / "own-network.md"
SHAPE, VARIANCE = (1, 4, 4), 0.3
BETAS = linear_betas(100, 1e-3, 0.2)


class Exact(nn.Module):
    """The best network there can be for images N(0, s² I), whatever it is to answer: linear in x, in closed form."""

    def __init__(self, prediction: str):
        super().__init__()
        self.prediction = prediction
        self.register_buffer("signal", torch.cumprod(1 - BETAS.double(), 0))

    def forward(self, x, t):
        if self.prediction == "flow":  # toward the data, told times 1000
            t = 1 - t[:, None, None, None].to(x) / 1000
            x0 = (1 - t) * VARIANCE / ((1 - t) ** 2 * VARIANCE + t**2) * x
            return x0 - (x - (1 - t) * x0) / t
        if self.prediction in ("edm", "ve"):
            sigma = (4 * t).exp() if self.prediction == "edm" else 2 * t.exp()
            sigma = sigma[:, None, None, None].to(x)
            v = sigma**2 + 0.25
            y = x * v.sqrt() if self.prediction == "edm" else x
            x0 = VARIANCE / (VARIANCE + sigma**2) * y
            return (x0 - 0.25 / v * y) * v.sqrt() / (0.5 * sigma) if self.prediction == "edm" else (x0 - y) / sigma
        a = self.signal[t.round().long()][:, None, None, None].to(x)
        x0 = a.sqrt() * VARIANCE / (a * VARIANCE + 1 - a) * x
        noise = (x - a.sqrt() * x0) / (1 - a).sqrt()
        answers = {
            "sample": x0,
            "epsilon": noise,
            "v": a.sqrt() * noise - (1 - a).sqrt() * x0,
            "score": -noise / (1 - a).sqrt(),
        }
        return answers[self.prediction]


@pytest.mark.parametrize("prediction", ("epsilon", "sample", "v", "score", "edm", "ve", "flow"))
@pytest.mark.parametrize("images", ((-1.0, 1.0), (0.0, 1.0)))
def test_every_prediction_gives_the_exact_posterior_mean(prediction, images):
    """Of images y the module sees h y + c: its denoiser is E[y | y + sigma n] of the law of y that this implies."""
    levels = {} if prediction in ("edm", "ve", "flow") else {"betas": BETAS}
    levels |= {"direction": "data", "time_scale": 1000.0} if prediction == "flow" else {}
    model = own_denoiser(Exact(prediction), SHAPE, prediction=prediction, images=images, **levels)
    low, high = images
    half, centre = (high - low) / 2, (high + low) / 2
    for sigma in model.schedule.sigmas(5).tolist():
        x = torch.randn(3, *SHAPE, dtype=torch.float64)
        y, level = half * x + centre, half * sigma
        expected = (VARIANCE / (VARIANCE + level**2) * y - centre) / half
        assert torch.allclose(model(x, torch.tensor(sigma).double()), expected, rtol=1e-3, atol=1e-3)


def test_levels_are_the_same_however_they_are_said():
    signal = torch.cumprod(1 - BETAS.double(), 0)
    same = [
        own_schedule("epsilon", betas=BETAS.tolist()),
        own_schedule("v", alphas_cumprod=signal.numpy()),
        own_schedule("sample", sigmas=((1 - signal) / signal).sqrt()),
    ]
    for schedule in same:
        assert torch.allclose(schedule.levels, DiscreteSchedule(BETAS).levels, rtol=1e-9)
    assert len(own_schedule("epsilon", betas="cosine").levels) > 990
    ends = own_schedule("edm", sigmas=(80, 0.01))
    assert (ends.sigma_min, ends.sigma_max) == (0.01, 80)
    told = own_denoiser(Exact("edm"), SHAPE, prediction="edm", sigmas=(0.01, 50), time_scale=1000).schedule
    assert (told.sigma_min, told.sigma_max) == (0.01, 50)
    assert float(told.time(torch.tensor(2.0))) == pytest.approx(250 * math.log(2))
    cut = own_schedule("v", alphas_cumprod=[0.9, 0.1, 0.0])  # no signal at all is no level
    assert len(cut.levels) == 2


@pytest.mark.parametrize(
    ("levels", "said"),
    (
        ({}, "no levels: expected one of betas="),
        ({"betas": BETAS, "sigmas": BETAS}, "betas and sigmas: expected one of"),
        ({"betas": "quadratic"}, "betas 'quadratic': expected linear, cosine, scaled_linear"),
        ({"alphas_cumprod": 1 - BETAS}, "the highest noise level is 0.5; .* are these the alphas themselves"),
        ({"alphas_cumprod": [0.1, 0.9]}, "falling, between 0 and 1"),
        ({"sigmas": [5.0, 1.0]}, "rising, above 0"),
        ({"betas": [0.5, float("nan")]}, "betas: expected a number for each time step"),
        ({"betas": object()}, "betas: expected numbers, found object"),
        ({"prediction": "edm", "betas": BETAS}, r"betas: expected sigmas=\(lowest, highest\) with prediction 'edm'"),
        ({"prediction": "flow", "betas": BETAS}, "a flow's levels are those of its path"),
        ({"path": "curved", "betas": BETAS}, "direction=, time_scale= and path= are of 'flow'"),
        ({"path": "curved", "prediction": "edm"}, "direction=, time_scale= and path= are of 'flow'"),
        ({"time_scale": 1000, "betas": BETAS}, "direction=, time_scale= and path= are of 'flow'"),
        ({"prediction": "noise", "betas": BETAS}, "prediction 'noise': expected one of epsilon, "),
        ({"betas": BETAS, "shape": (8, 8)}, r"expected \(channels, height, width\)"),
        ({"betas": BETAS, "module": Exact}, "expected a torch.nn.Module, found type"),
        ({"betas": BETAS, "module": nn.Linear(4, 4)}, r"^Linear\(x \[2, 1, 4, 4\], t \[2\]\): TypeError"),
    ),
)
def test_what_cannot_be_is_refused_in_a_line(levels, said):
    levels = {"module": Exact("epsilon"), "shape": SHAPE, **levels}
    with pytest.raises(FarfieldError, match=said) as told:
        own_denoiser(levels.pop("module"), levels.pop("shape"), **levels)
    assert "\n" not in str(told.value)


class Table(nn.Module):
    """Takes whole time steps alone, and a class; answers an object with its sample, of twice the channels."""

    def __init__(self):
        super().__init__()
        self.steps, self.kinds = nn.Embedding(10, 1), nn.Embedding(3, 1)
        nn.init.constant_(self.kinds.weight, 0.0)
        self.kinds.weight.data[2] = 5.0
        self.steps.weight.data[:, 0] = torch.arange(10.0) ** 2

    def forward(self, x, t, label):
        value = (self.steps(t) + self.kinds(label))[:, :, None, None] + 0 * x
        return type("Answer", (), {"sample": torch.cat([value, value], 1)})()


def test_a_module_is_called_as_it_takes_it():
    """Between two whole steps the answer is interpolated; a label is told; `time` changes what t is."""
    model = own_denoiser(Table(), (1, 2, 2), betas=torch.linspace(0.1, 0.5, 10), label=2)
    network = model.network
    assert isinstance(network, Called) and network.whole == 10 and network.doubled
    x, label = torch.zeros(3, 1, 2, 2), torch.tensor([2, 2, 0])
    answer = network(x, torch.tensor([3.0, 3.25, 9.0]), label)[:, 0, 0, 0]
    assert answer.tolist() == [14.0, 0.75 * 14 + 0.25 * 21, 81.0]
    level = model.schedule.levels[4]
    assert torch.allclose(model(x.double(), level), -level * torch.full_like(x, 21).double())
    shifted = own_denoiser(Table(), (1, 2, 2), betas=torch.linspace(0.1, 0.5, 9), label=0, time=lambda t: t + 1)
    assert float(shifted.network(x, torch.tensor([3.0] * 3), label * 0)[0, 0, 0, 0]) == 16.0


def test_a_wrapped_module_is_a_frozen_copy_named_by_its_content():
    module = Exact("epsilon").train()
    module.weight = nn.Parameter(torch.ones(2))
    model = own_denoiser(module, SHAPE, betas=BETAS)
    assert module.training and module.weight.requires_grad and not any(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        module.weight.fill_(3.0)
    assert float(model.network.module.weight[0]) == 1.0
    with holding() as hold:
        name = hold(model)
        assert name.startswith("Exact-") and hold(own_denoiser(module, SHAPE, betas=BETAS)) != name
        loaded = load_denoiser(name, dtype=torch.float64)
        assert (
            loaded is not model
            and loaded.network.module.weight.dtype == torch.float64 != model.network.module.weight.dtype
        )
        assert given_digest(name) == content_digest(model)
        with pytest.raises(FarfieldError, match="a label was given, but it was made without one"):
            load_denoiser(name, label=1)
        with pytest.raises(FarfieldError, match="a module of your own has no file"):
            from farfield.checkpoints.load import open_network

            open_network(name)
    others = [
        own_denoiser(module, SHAPE, betas=BETAS, **more) for more in ({"prediction": "v"}, {"time": lambda t: 0.5 * t})
    ]
    others += [
        own_denoiser(module, SHAPE, betas=BETAS * 0.99),
        own_denoiser(module, SHAPE, betas=BETAS, time=lambda t: 0.25 * t),
    ]
    digests = {content_digest(other) for other in [*others, model]}
    assert len(digests) == 5


def test_content_is_told_apart_by_code_and_not_by_place():
    def adds(n):
        return lambda x: x + n

    assert content_digest(adds(1)) == content_digest(adds(1)) != content_digest(adds(2))
    assert content_digest(lambda x: x in {"a", "b"}) != content_digest(lambda x: x in {"a", "c"})
    assert content_digest([1, 2]) != content_digest([12]) and content_digest("1") != content_digest(1)
    loop = {}
    loop["self"] = loop
    assert content_digest(loop)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The guide's DDPM as it stands there, trained for a third as long."""
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)[-1]
    assert "range(300)" in code and 40 < len(code.splitlines()) < 70
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("recipe"))
        exec(compile(code.replace("range(300)", "range(100)"), GUIDE.name, "exec"), names)
        names["made"] = Path("digits.png").exists()
    return names


def test_the_recipe_is_a_model_for_the_functions(recipe):
    assert recipe["made"] and recipe["run"].samples.shape == (1, 8, 8)
    model = recipe["model"]
    assert model.network.whole == 200
    up = front.invert(model, "digits", limit=2, steps=4, quiet=True)
    assert front.decode(model, up).shape == (1, 8, 8)
    found = front.rank(model, images="digits", points=1, sigmas=[1.0], quiet=True)
    assert found.model.name.startswith("DDPM-")


def test_the_example_of_the_readme_runs(recipe, tmp_path, monkeypatch):
    """Its second block, with the recipe's network and images."""
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", (GUIDE.parents[1] / "README.md").read_text(), re.S)[1]
    for word, ours in (
        ("(3, 32, 32)", "(1, 8, 8)"),
        ('"linear"', "network.betas"),
        ('"training/"', "images[:100]"),
        ('"heldout/"', "images[100:300]"),
        ("generate(mine)", "generate(mine, seeds=range(16), steps=4)"),
    ):
        assert word in code
        code = code.replace(word, ours)
    exec(code, names := {"farfield": front, "network": recipe["network"], "images": recipe["images"]})
    assert names["copies"].samples.n == names["apart"].generated.n == 16


def test_a_wrong_reading_is_named(recipe):
    network = recipe["network"]
    right = {"betas": network.betas, "prediction": "epsilon", "data": "digits"}
    for wrong, remedy in (
        ({"prediction": "v"}, 'prediction="epsilon"'),
        ({"prediction": "sample"}, 'prediction="epsilon"'),
        ({"images": (0, 1)}, r"images=\(-1, 1\)"),
    ):
        with pytest.raises(FarfieldError, match=rf"far better with .*: wrap it with {remedy}, or with check=False"):
            front.wrap(network, (1, 8, 8), **{**right, **wrong})
        front.wrap(network, (1, 8, 8), **{**right, **wrong}, check=False)
    with pytest.warns(FarfieldNote, match="DDPM: denoises .* as it is read"):
        front.wrap(network, (1, 8, 8), **right)
    fresh = recipe["DDPM"]()
    with pytest.warns(FarfieldWarning, match="not trained, or"):
        front.wrap(fresh, (1, 8, 8), **right)
    told = own_remedy({"prediction": "flow", "direction": "data", "time_scale": "1000"})
    assert told == 'prediction="flow", direction="data", time_scale=1000'
    assert own_remedy({"schedule": "cosine", "prediction": "v"}) == 'betas="cosine", prediction="v"'
    told = own_remedy({"prediction": "edm", "sigma_data": "0.5", "time_scale": "1000"})
    assert told == 'prediction="edm", sigma_data=0.5, time_scale=1000'


MINE = """
import torch
import farfield

class Half(torch.nn.Module):
    def forward(self, x, t):
        return 0.5 * x

def model():
    return farfield.wrap(Half(), (1, 4, 4), betas="linear", check=False)

def nothing():
    return Half()

def broken():
    raise KeyError("a\\nb")
"""


def test_a_factory_is_a_model_of_every_command(tmp_path, monkeypatch):
    """It runs the user's code, and says so; a file that is not known shows the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    Path("mine_own.py").write_text(MINE)
    done = farfield("generate", "py:mine_own:model", "--seeds", "0-1", "--steps", 2, "-o", "run")
    assert done.code == 0 and Path("run/samples/000001.png").exists()
    same = front.generate(front.wrap(given_model("py:mine_own:model").network.module, (1, 4, 4), betas="linear", check=False),
                          seeds=range(2), steps=2, quiet=True)  # fmt: skip
    assert same.samples.shape == (1, 4, 4)
    with pytest.warns(FarfieldNote, match="your own code is run"):
        from farfield.checkpoints.given import _made

        _made.__wrapped__("py:mine_own:model")
    shown = farfield("inspect", "py:mine_own:model")
    assert shown.code == 0 and "your own network" in shown.out and "1000 time steps" in shown.out
    for name, said in (
        ("py:mine_own", "expected py:package.module:function"),
        ("py:mine_own:other", "mine_own has no function other"),
        ("py:mine_own:nothing", "it returned Half; expected what farfield.wrap"),
        ("py:mine_own:broken", "KeyError: 'a"),
        ("py:no_such_module:model", "ModuleNotFoundError"),
    ):
        refused = farfield("generate", name, "-o", "other")
        assert refused.code == 2 and said in refused.err and refused.err.count("\n") == 1, refused.err
    torch.save({"layer.weight": torch.ones(3)}, "strange.pt")
    for name in ("strange.pt", "no-such-model"):
        refused = farfield("generate", name, "-o", "other")
        assert (
            refused.code == 2
            and "farfield.wrap(module, shape" in refused.err
            and "py:package.module:function" in refused.err
        )
