"""The training engine: plain Adam where it should be, no step that is not finite, and the format of what is kept."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from farfield.core.state import StateFile
from farfield.data.dataset import Dataset
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.engine import RETRIES, Engine
from farfield.diffusion.precondition import precondition
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.diffusion.training import Recipe, Training
from farfield.study.audit.copy_training import CopyRecipe, CopyTraining
from farfield.unseen import tuning


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


def loss_of(network: nn.Module, step: int) -> Tensor:
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(step))
    return (network(x) - x[:, :3]).square().sum()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_torchs_adam_and_with_weight_decay_its_adamw_to_the_bit(decay: float) -> None:
    ours, theirs = linear(), linear()
    engine = Engine(dict(ours.named_parameters()), weight_decay=decay)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    optimizer = kind(theirs.parameters(), weight_decay=decay)
    for k in range(5):

        def backward(k: int = k) -> float:
            loss = loss_of(ours, k)
            loss.backward()
            return float(loss.detach())

        step = engine.step(0.1 / (k + 1), backward)
        optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
        optimizer.zero_grad()
        loss = loss_of(theirs, k)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        assert step == (float(loss.detach()), float(norm), True) and step.norm > 1
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 0.0), (1.0, math.inf), (math.inf, 1.0)])
def test_what_is_not_finite_updates_nothing(loss: float, gradient: float) -> None:
    network = linear()
    before = [p.detach().clone() for p in network.parameters()]
    engine = Engine(dict(network.named_parameters()))

    def backward() -> float:
        for p in network.parameters():
            p.grad = torch.full_like(p, gradient)
        return loss

    assert not engine.step(0.1, backward).made
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not engine.optimizer.state


def test_a_float16_gradient_may_overflow_so_many_times_in_a_row() -> None:
    network = linear()
    engine = Engine(dict(network.named_parameters()), half=True)
    scales = []

    def backward() -> float:
        engine.scaler.scale(torch.ones(())).item()
        for p in network.parameters():
            p.grad = torch.full_like(p, math.inf)
        return 1.0

    for _ in range(RETRIES):
        assert engine.step(0.1, backward).made
        scales.append(engine.scaler.get_scale())
    assert scales[1] == scales[0] / 2 and engine.overflows == RETRIES
    assert not engine.step(0.1, backward).made


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.norm(self.body(x))


def groups(tensors: dict[str, Tensor]) -> set[str]:
    return {key.partition("/")[0] for key in tensors}


def test_what_is_kept_has_the_names_that_earlier_versions_gave_it(tmp_path) -> None:
    """Trainings that they left unfinished are continued by these."""
    data = Dataset(tuple(f"{i:02d}" for i in range(16)), torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8))
    t = Training(precondition("edm", Small(), (1, 8, 8)), data, Recipe(16, 8, averages=("50", "power:0.1")))
    t.step()
    file = StateFile(tmp_path / "training", "training")
    t.save(file, {}, {"log": []})
    plain, tensors = file.read({})
    assert plain.keys() == {"seen", "overflows", "scaler", "beside"}
    assert groups(tensors) == {"weights", "buffers", "average-0", "average-1", "adam"}
    moments = {key.split("/")[1] for key in tensors if key.startswith("adam/")}
    assert moments == {"step", "exp_avg", "exp_avg_sq"} and "adam/step/network.body.weight" in tensors

    copies = Dataset(data.keys, torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8))
    c = CopyTraining(copies, CopyRecipe(16, batch_size=8, width=4, features=8), torch.device("cpu"))
    c.step()
    file = StateFile(tmp_path / "copies", "copy training")
    c.save(file, {}, {"log": []})
    plain, tensors = file.read({})
    assert plain.keys() == {"count", "beside"} and groups(tensors) == {"network", "adam"}

    denoiser = NetworkDenoiser(Small(), ContinuousSchedule(), (1, 8, 8), "sample")

    def stop(step: int, loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    file = StateFile(tmp_path / "tuning", "tuning")
    recipe = tuning.Recipe(epochs=2, batch_size=4, every=1, ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(denoiser, data.values(), recipe, heldout=0.5, checkpoint=file, save_seconds=0, callback=stop)
    unfinished = file.path.read_bytes()
    tuning.tune(denoiser, data.values(), recipe, heldout=0.5, checkpoint=file)
    finished = file.path.read_bytes()
    for content, kept in ((unfinished, {"kept", "weights", "mean", "adam"}), (finished, {"kept"})):
        assert groups(load(content)) == kept
