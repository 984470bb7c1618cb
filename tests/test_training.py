"""Training: continued to the bit, indifferent to how a batch is divided, and right where the answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.state import StateFile
from farfield.diffusion.average import Average, gamma_of
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.objective import levels_at
from farfield.diffusion.precondition import FAMILIES, precondition
from farfield.diffusion.schedule import ContinuousSchedule, VESchedule, VPSchedule
from farfield.diffusion.training import Recipe, Training
from farfield.networks.build import build_network


class Rows:
    """Images in memory, as a data set gives them."""

    def __init__(self, images: Tensor, labels: Tensor | None = None):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def values(self, index: Tensor) -> Tensor:
        return self.images[index]


class Net(nn.Module):
    """A small convolutional network that is told time and class."""

    def __init__(self, classes: int = 0, dropout: float = 0.0):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.time = nn.Linear(1, 8)
        self.label = nn.Embedding(classes, 8) if classes else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        told = self.time(time[:, None] / 1000)
        if self.label is not None:
            told = told + self.label(label)
        return self.last(self.dropout(torch.tanh(self.first(x) + told[:, :, None, None])))


def rows(n: int = 12, classes: int = 0) -> Rows:
    g = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 6, 6, generator=g).clamp(-1, 1)
    return Rows(images, torch.arange(n) % classes if classes else None)


def training(recipe: Recipe, family: str = "edm", classes: int = 0, dropout: float = 0.0, width: int = 6) -> Training:
    torch.manual_seed(0)
    denoiser = precondition(family, Net(classes, dropout), (1, 6, width))
    return Training(denoiser, rows(classes=classes), recipe, conditional=bool(classes))


def state(t: Training) -> list[Tensor]:
    moments = [v for p in t.weights.values() for _, v in sorted(t.engine.optimizer.state[p].items())]
    return [*t.weights.values(), *moments, *(v for a in t.averages for v in a.values.values())]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_that_is_taken_up_again_ends_to_the_bit_as_the_unbroken_one(tmp_path: Path, precision: str) -> None:
    recipe = Recipe(
        96,
        8,
        learning_rate=1e-2,
        warmup=20,
        decay="cosine",
        averages=("50", "power:0.1"),
        precision=precision,
        flips=True,
    )
    whole = training(recipe, classes=3, dropout=0.3)
    losses = [whole.step() for _ in range(12)]
    assert whole.done
    again: list[float] = []
    file = StateFile(tmp_path / "state", "training")
    for _ in range(4):  # interrupted after every third step
        part = training(recipe, classes=3, dropout=0.3)
        if again:
            assert part.load(file, {"a": 1}) == {"note": len(again)}
        again += [part.step() for _ in range(3)]
        part.save(file, {"a": 1}, {"note": len(again)})
    assert again == losses
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(part), strict=True))


def test_what_a_training_takes_is_measured_without_changing_it() -> None:
    def trained(measured: bool) -> list[Tensor]:
        made = training(Recipe(24, batch_size=4), dropout=0.2)
        if measured:
            made.tried(3)
            made.tried(5, backward=False)
            assert all(p.grad is None for p in made.weights.values())
        while not made.done:
            made.step()
        return state(made)

    assert all(map(torch.equal, trained(False), trained(True)))


@pytest.mark.parametrize("kind, trained", [("unet2d", "up_blocks"), ("ddpmpp", "dec"), ("adm", "dec")])
def test_group_norms_that_stay_as_they_are_let_gradients_through(kind: str, trained: str) -> None:
    """In the quicker layout torch ends the process there."""
    network = build_network(kind, (1, 8, 8), width=8, multipliers=(1, 2), blocks=1)
    names = [name for name, _ in network.named_parameters() if trained in name]
    given = Training(precondition("edm", network, (1, 8, 8)), Rows(torch.zeros(4, 1, 8, 8)), Recipe(4, 4), layers=names)
    assert math.isfinite(given.step()) and given.weights.keys() == {f"network.{name}" for name in names}


def test_images_are_turned_by_quarters_each_as_often() -> None:
    t, x = training(Recipe(64, 16, turns=True)), rows().values(torch.zeros(400, dtype=torch.long))
    turned = t._turned(x, range(400))
    counts = [sum(torch.equal(image, x[0].rot90(k, (-2, -1))) for image in turned) for k in range(4)]
    assert sum(counts) == 400 and min(counts) > 60
    assert torch.equal(training(Recipe(64, 16))._turned(x, range(400)), x)
    with pytest.raises(FarfieldError, match="6×8; only square ones are turned"):
        training(Recipe(64, 16, turns=True), width=8)


def test_a_batch_may_be_divided_in_parts() -> None:
    whole, parts = (training(Recipe(64, 16, accumulate=k, flips=True)) for k in (1, 4))
    for _ in range(4):
        assert whole.step() == pytest.approx(parts.step(), rel=1e-5)  # float32 sums in another order: 1e-7
    for a, b in zip(whole.weights.values(), parts.weights.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_every_image_is_seen_once_an_epoch_in_another_order_each_time() -> None:
    t = training(Recipe(64, 4))
    first, second = t._order(0).clone(), t._order(1).clone()
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(12))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_trained_on_the_plain_error_of_its_network(family: str) -> None:
    """The weighted denoising error is what the network's own target says: mean squared error of F."""
    torch.manual_seed(0)
    network = Net()
    denoiser = precondition(family, network, (1, 6, 6))
    x0, noise = torch.randn(5, 1, 6, 6), torch.randn(5, 1, 6, 6)
    sigma = levels_at(denoiser.schedule, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])).float()
    s = sigma[:, None, None, None]
    seen: list[Tensor] = []
    hook = network.register_forward_hook(lambda m, i, o: seen.append(o))
    weighted = denoiser.weight(sigma) * (denoiser(x0 + s * noise, sigma) - x0).square().flatten(1).mean(1)
    hook.remove()
    torch.testing.assert_close(denoiser.weight(sigma), denoiser.scaling(sigma)[1] ** -2)
    a, d = (1 + s**2).rsqrt(), 0.5
    targets = {
        "v": a * noise - s * a * x0,
        "ve": -noise,
        "flow": noise - x0,
        "score": -noise * (1 + s**2).sqrt() / s,
        "edm": (x0 - d**2 / (s**2 + d**2) * (x0 + s * noise)) * (s**2 + d**2).sqrt() / (s * d),
    }
    target = targets.get(family, noise)
    torch.testing.assert_close(weighted, (seen[0] - target).square().flatten(1).mean(1), rtol=2e-3, atol=1e-5)


def test_levels_follow_their_law() -> None:
    q = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    edm = levels_at(ContinuousSchedule(1e-6, 1e6), q).log()
    assert float(edm.mean()) == pytest.approx(-1.2, abs=1e-3)
    assert float(edm.std()) == pytest.approx(1.2, abs=2e-3)
    ve = VESchedule()
    assert float(levels_at(ve, q).log().mean()) == pytest.approx(math.log(0.02 * 100) / 2, abs=1e-3)
    vp = VPSchedule()
    assert float((vp.time(levels_at(vp, q)) / 999).mean()) == pytest.approx((1 + 1e-3) / 2, abs=1e-4)
    own = levels_at(ContinuousSchedule(1e-6, 1e6), q, (0.5, 0.25)).log()
    assert float(own.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(own.std()) == pytest.approx(0.25, abs=2e-3)


def test_the_levels_of_any_stretch_of_images_are_spread_over_the_law() -> None:
    t = training(Recipe(6400, 64))
    for start in (0, 64, 1000):
        q = torch.tensor([(t._shift + p * 0.6180339887498949) % 1 for p in range(start, start + 64)]).sort().values
        assert float(q.diff().max()) < 2.7 / 64  # three-gap theorem: far below the log n / n of independent draws


class Linear(nn.Module):
    """One matrix and a shift for one level: the best linear denoiser is known."""

    def __init__(self, d: int):
        super().__init__()
        self.map = nn.Linear(d, d)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.map(x.flatten(1)).reshape(x.shape)


@pytest.mark.slow
def test_a_linear_network_learns_the_closed_form_denoiser() -> None:
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64)).Q
    variances = torch.tensor([2.0, 1.0, 0.3, 0.05], dtype=torch.float64)
    data = (torch.randn(4096, 4, generator=g, dtype=torch.float64) * variances.sqrt()) @ basis.T
    torch.manual_seed(0)
    denoiser = precondition("edm", Linear(4), (4, 1, 1))
    recipe = Recipe(
        192_000, 256, learning_rate=2e-2, warmup=1, decay="linear", averages=("20k",), law=(0.0, 1e-4), clip=None
    )
    t = Training(denoiser, Rows(data.float().reshape(-1, 4, 1, 1)), recipe)
    losses = []
    while not t.done:
        losses.append(t.step())
    covariance = data.T @ data / len(data)
    values, vectors = torch.linalg.eigh(covariance)
    exact: Denoiser = GaussianDenoiser(data.mean(0), vectors, values)
    x = torch.randn(64, 4, generator=g)
    with t.averaged() as trained, torch.no_grad():
        found = trained(x.reshape(-1, 4, 1, 1), torch.tensor(1.0)).flatten(1)
    torch.testing.assert_close(found, exact(x, torch.tensor(1.0)), rtol=0, atol=0.03)
    floor = float((values / (values + 1)).sum() / 4) * float(
        denoiser.weight(torch.tensor(1.0))
    )  # the least possible loss
    assert sum(losses[-200:]) / 200 == pytest.approx(floor, rel=0.03)


def test_an_exponential_average_forgets_half_in_its_half_life() -> None:
    weights = {"w": torch.zeros(1)}
    average = Average("1000", weights)
    weights["w"] = torch.ones(1)
    for seen in range(10_000_000 + 50, 10_000_000 + 1050, 50):  # far from the ramp
        average.update(weights, seen, 50)
    assert float(average.values["w"]) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_a_power_average_weighs_the_past_as_its_profile_says(width: float) -> None:
    """Weights that are the time itself: their average is the profile's mean, of its mean square the variance."""
    clock = {"t": torch.zeros(2, dtype=torch.float64)}
    average = Average(f"power:{width}", clock)
    for seen in range(1, 20_001):
        clock["t"] = torch.tensor([seen, seen**2], dtype=torch.float64)
        average.update(clock, seen, 1)
    mean, square = (average.values["t"] / torch.tensor([2e4, 4e8])).tolist()
    gamma = gamma_of(width)
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), abs=1e-3)
    assert math.sqrt(square - mean**2) == pytest.approx(width, abs=1e-3)


def test_the_learning_rate_rises_and_falls() -> None:
    r = Recipe(1000, 10, learning_rate=0.1, warmup=100, decay="cosine")
    assert r.rate(0) == pytest.approx(0.01, rel=1e-3)
    assert r.rate(500) == pytest.approx(0.05)
    assert r.rate(990) < 1e-3 * r.learning_rate
    assert Recipe(1000, 10, learning_rate=0.1, warmup=1, decay="rsqrt", decay_start=100).rate(400) == pytest.approx(
        0.05
    )


def test_a_loss_that_is_not_finite_stops_at_its_step_and_leaves_the_weights() -> None:
    t = training(Recipe(64, 4))
    t.step()
    t.rows.images[:] = math.nan
    before = [p.clone() for p in t.weights.values()]
    with pytest.raises(FarfieldError, match=r"step 2 \(after 4 images\).*NaN"):
        t.step()
    assert all(torch.equal(a, b) for a, b in zip(before, t.weights.values(), strict=True))


def test_a_state_of_other_settings_or_none_is_refused(tmp_path: Path) -> None:
    t = training(Recipe(64, 4))
    t.step()
    file = StateFile(tmp_path / "state", "training")
    t.save(file, {"data": "a"}, {})
    with pytest.raises(FarfieldError, match=r"data was 'a', now 'b'"):
        t.load(file, {"data": "b"})
    whole = (tmp_path / "state").read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 64  # in the data of a tensor
    for damage in (whole[:100], bytes(flipped)):
        (tmp_path / "state").write_bytes(damage)
        with pytest.warns(FarfieldWarning, match="damaged; made again"):
            assert t.load(file, {"data": "a"}) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": 6, "accumulate": 4}, "multiple of 4"),
        ({"averages": ("fast",)}, "average 'fast'"),
        ({"averages": ("power:0.5",)}, "0.288"),
        ({"averages": ("power:0." + 200 * "0" + "1",)}, "from 1e-06"),
        ({"averages": ("power:0.1.1",)}, "number of images"),
        ({"averages": (400 * "9" + "k",)}, "number of images"),
        ({"learning_rate": 0.0}, "learning rate 0"),
        ({"clip": -1.0}, "clip -1"),
    ],
)
def test_bad_settings_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(FarfieldError, match=message):
        training(Recipe(**{"images": 64, "batch_size": 8, **changed}))


def test_classes_need_labels() -> None:
    with pytest.raises(FarfieldError, match="no labels"):
        Training(precondition("edm", Net(3), (1, 6, 6)), rows(), Recipe(8, 4), conditional=True)
    with pytest.raises(FarfieldError, match="at least one image"):
        Training(precondition("edm", Net(), (1, 6, 6)), Rows(torch.empty(0, 1, 6, 6)), Recipe(8, 4))
