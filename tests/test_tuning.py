"""Fine-tuning: it learns, touches only what it says, stops at the best, and continues where it was broken off."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import make_images, make_model
from torch import nn

from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.state import StateFile
from farfield.data.image import load_images
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.objective import heldout_loss
from farfield.diffusion.schedule import DiscreteSchedule, linear_betas
from farfield.study.unseen.tuned import save_tuned
from farfield.unseen.tuning import DRAWS, METHODS, Recipe, tune


@pytest.fixture(autouse=True, scope="module")
def one_thread_only():
    """Networks this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_denoiser(str(make_model(tmp_path_factory.mktemp("model"), channels=(8, 16))))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return load_images(make_images(tmp_path_factory.mktemp("images"), 12), (3, 16, 16)).values


def weights(denoiser) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in denoiser.state_dict().items()}


def changes(before, after) -> dict[str, torch.Tensor]:
    return {k: after[k] - before[k] for k in before if not torch.equal(after[k], before[k])}


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_and_the_original_is_untouched(model, images, method):
    before = weights(model)
    tuned = tune(model, images[:4], Recipe(method=method, epochs=15, learning_rate=1e-2))
    assert not changes(before, weights(model)) and not any(p.requires_grad for p in model.parameters())
    assert weights(tuned.denoiser).keys() == before.keys()  # LoRA's updates are merged
    assert not any(p.requires_grad for p in tuned.denoiser.parameters())
    ratio = heldout_loss(tuned.denoiser, images[:4]).mean() / heldout_loss(model, images[:4]).mean()
    assert ratio < (0.97 if method != "norm" else 0.999)  # there are few such weights
    assert tuned.stopped == "epochs" and tuned.best == 15 and tuned.calls == 3 * 4 * 15


def test_lora_changes_convolutions_by_its_rank_only(model, images):
    tuned = tune(model, images, Recipe(method="lora", epochs=5, rank=2))
    found = changes(weights(model), weights(tuned.denoiser))
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert found.keys() == {f"{name}.weight" for name in layers}
    for difference in found.values():
        s = torch.linalg.svdvals(difference.flatten(1).double())
        assert float(s[1]) > 1e-4 * float(s[0])
        assert len(s) <= 2 or float(s[2]) < 2e-3 * float(s[0])  # what rounding to float32 leaves


def test_norm_changes_normalisation_and_biases_only(model, images):
    found = changes(weights(model), weights(tune(model, images, Recipe(method="norm", epochs=2)).denoiser))
    norms = {n for n, m in model.named_modules() if isinstance(m, nn.GroupNorm)}
    assert found and all(k.endswith(".bias") or k.removesuffix(".weight") in norms for k in found)


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_broken_tuning_continues_to_the_same_bits(model, images, tmp_path, method):
    recipe = Recipe(method, epochs=3, batch_size=2, every=2, ema=0.9, flips=True)
    held, images = 0.4, images[:6]
    whole = tune(model, images, recipe, heldout=held)
    path = tmp_path / "tuning.safetensors"
    file = StateFile(path, "tuning")
    told: list[int] = []

    def broken_at(step: int):
        def stop(k: int, loss: float) -> None:
            told.append(k)
            if k == step:
                raise Broken

        return stop

    for step in (3, 5):
        with pytest.raises(Broken):
            tune(model, images, recipe, heldout=held, checkpoint=file, save_seconds=0, callback=broken_at(step))
    again = tune(model, images, recipe, heldout=held, checkpoint=file, save_seconds=0, callback=broken_at(0))
    assert told == [1, 2, 3, 3, 4, 5, 5, 6]  # from the last validation on
    assert not changes(weights(whole.denoiser), weights(again.denoiser))
    assert again.history == whole.history and (again.calls, again.best) == (whole.calls, whole.best)
    # Finished: loaded, not trained again.
    last = tune(model, images, recipe, heldout=held, checkpoint=file, callback=broken_at(0))
    assert told[-1] == 6 and len(told) == 8
    assert not changes(weights(whole.denoiser), weights(last.denoiser))
    assert (last.seconds, last.stopped, last.history) == (again.seconds, "epochs", again.history)
    with pytest.raises(FarfieldError, match="seed was 0, now 4"):
        tune(model, images, replace(recipe, seed=4), heldout=held, checkpoint=file)
    with pytest.raises(FarfieldError, match="data was"):
        tune(model, images + 0.01, recipe, heldout=held, checkpoint=file)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(FarfieldWarning, match="damaged; made again"):
        anew = tune(model, images, recipe, heldout=held, checkpoint=file)
    assert not changes(weights(whole.denoiser), weights(anew.denoiser))


def test_early_stopping_keeps_the_weights_of_the_lowest_heldout_loss(model, images):
    # Two images are learned by heart at a high rate: others soon do worse.
    held = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    tuned = tune(model, images[:2], Recipe(epochs=100, learning_rate=1e-2, every=5, patience=2), heldout=held)
    losses = {row["step"]: row["heldout"] for row in tuned.history}
    assert tuned.stopped == "patience" and tuned.best == min(losses, key=losses.__getitem__) < max(losses)
    assert float(heldout_loss(tuned.denoiser, held, draws=DRAWS).mean()) == pytest.approx(losses[tuned.best], rel=1e-5)
    assert losses[max(losses)] > losses[tuned.best]
    assert tuned.calls == 3 * 2 * max(losses) + len(losses) * DRAWS


def test_a_tuning_that_only_harms_returns_the_model_itself(model, images):
    tuned = tune(model, images[:2], Recipe(epochs=3, learning_rate=5.0), heldout=images[6:])
    assert tuned.best == 0 and not changes(weights(model), weights(tuned.denoiser))


def test_the_budget_is_kept(model, images):
    tuned = tune(model, images, Recipe(epochs=None, most_calls=200, batch_size=4), heldout=0.1)
    assert tuned.stopped == "budget" and 180 < tuned.calls <= 200 and tuned.history[-1]["calls"] == tuned.calls


class Fragile(nn.Module):
    """A network whose answer overflows once its one weight has grown beyond a bound."""

    def __init__(self, bound: float):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))
        self.bound = bound

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return self.gain * x * (math.nan if float(self.gain.detach().abs()) > self.bound else 1.0)


def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_good_weights(images):
    model = NetworkDenoiser(Fragile(0.045), DiscreteSchedule(linear_betas()), (3, 16, 16))
    tuned = tune(model, images, Recipe(epochs=10, batch_size=6, learning_rate=1e-2, every=2))
    assert tuned.stopped.startswith("step 6: the loss") and tuned.best == 4
    gain = float(tuned.denoiser.network.gain)
    assert 0 < gain <= 0.045 and math.isfinite(gain) and tuned.history[-1]["step"] == 4


def test_half_precision_is_trained_in_single(tmp_path, images):
    model = load_denoiser(str(make_model(tmp_path / "model")), dtype=torch.bfloat16)
    tuned = tune(model, images, Recipe(epochs=2, learning_rate=1e-3))
    assert {p.dtype for p in tuned.denoiser.parameters()} == {torch.bfloat16}
    assert all(math.isfinite(row["train"]) for row in tuned.history[1:])


def test_a_tuned_model_is_a_folder_like_any_other(tmp_path, images):
    origin = str(make_model(tmp_path / "model"))
    tuned = tune(load_denoiser(origin), images, Recipe(method="lora", epochs=1)).denoiser
    save_tuned(tuned, tmp_path / "tuned", origin)
    again = load_denoiser(str(tmp_path / "tuned"))
    assert not changes(weights(tuned), weights(again)) and torch.equal(again.schedule.levels, tuned.schedule.levels)


def test_bad_input_is_named(model, images, gaussian):
    for settings, message in [
        ({"method": "half"}, "full, lora, norm"),
        ({"epochs": None}, "would not end"),
        ({"epochs": 0}, "epochs 0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"rank": 0}, "rank 0"),
        ({"learning_rate": -1.0}, "learning rate"),
        ({"ema": 1.0}, "ema 1.0"),
    ]:
        with pytest.raises(FarfieldError, match=message):
            Recipe(**settings)
    for heldout, message in ((1.5, "leaves some to train on"), (images[:, :, :8], "held-out images")):
        with pytest.raises(FarfieldError, match=message):
            tune(model, images, Recipe(), heldout=heldout)
    with pytest.raises(FarfieldError, match="expected at least one of the model's shape"):
        tune(model, images[:, :1], Recipe())
    with pytest.raises(FarfieldError, match="finite"):
        tune(model, images * math.nan, Recipe())
    with pytest.raises(FarfieldError, match="no weights to tune"):
        tune(gaussian, torch.zeros(3, 6), Recipe())
