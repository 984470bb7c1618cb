"""Files of DiT, SiT and U-ViT: D equal to the formulas, what is known and what is asked for, latents through an autoencoder."""

import argparse
import math
from dataclasses import replace

import pytest
import torch
from tiny import farfield
from transformer_files import Flags, dit, dit_layout, uvit, uvit_layout, weights

from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config, network_config

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
DIT = Flags(rows=5)
DITS = {
    "classes, learned variance": (DIT, {"prediction": "epsilon", "null": "yes"}),
    "grey, patches of 4": (Flags(16, 1, 4, 16, 1, 2, 40, 11, False), {"prediction": "epsilon"}),
    "without classes": (Flags(patch=1, rows=0), {"prediction": "epsilon"}),
    "SiT": (DIT, {"prediction": "flow", "null": "yes"}),
    "SiT, curved": (DIT, {"prediction": "flow", "null": "yes", "path": "curved"}),
}
UVITS = {
    "cifar's": (Flags(blocks=2), "sde"),
    "classes, all options": (Flags(16, 4, 4, 16, 1, 2, 32, 11, told=True, bias=True, conv=False), "scaled_linear"),
    "no skips": (Flags(rows=10, skips=False), "sde"),
}


def noisy(shape, sigma):
    return torch.rand(2, *shape, dtype=F64) * 2 - 1 + sigma * torch.randn(2, *shape, dtype=F64)


def linear_signal(step):
    return (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)[step]


def training(path, state, **told):
    """What train.py of DiT and SiT writes."""
    options = argparse.Namespace(model="DiT-S/2", image_size=256, num_classes=4, vae="ema", **told)
    torch.save({"model": weights(dit_layout(DIT), 9), "ema": state, "opt": {"state": {}}, "args": options}, path)
    return path


@pytest.mark.parametrize("case", DITS)
def test_dit_and_sit_are_the_formulas(case, tmp_path):
    flags, told = DITS[case]
    state = weights(dit_layout(flags))
    path = tmp_path / "0050000.pt"
    torch.save({"ema": state, "model": weights(dit_layout(flags), 9)}, path)
    assert {"heads", "prediction"} <= {q.name for q in open_checkpoint(path).questions}
    checkpoint = open_checkpoint(path, {"heads": flags.heads, **told})
    assert checkpoint.questions == () and checkpoint.family == ("SiT" if told["prediction"] == "flow" else "DiT")
    for label in (0, 2, -1) if flags.rows else (None,):
        model = checkpoint.denoiser(dtype=F64, label=label)
        row = None if label is None else torch.tensor([flags.rows - 1 if label < 0 else label] * 2)
        for t in (0.001, 0.4, 0.9):
            if told["prediction"] == "epsilon":
                step = int(1000 * t)
                signal = linear_signal(step)
                sigma = ((1 - signal) / signal).sqrt()
                x = noisy(model.shape, sigma)
                said = dit(flags, state, signal.sqrt() * x, torch.full((2,), step), row)[:, : flags.channels]
                want = x - sigma * said
            else:  # of SiT's time, which is 1 at the data
                keep, share = (1 - t, t)
                if "path" in told:
                    keep, share = math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)
                sigma = torch.tensor(share / keep, dtype=F64)
                x = noisy(model.shape, sigma)
                velocity = dit(flags, state, keep * x, torch.full((2,), 1 - t, dtype=F64), row)[:, : flags.channels]
                want = keep * x + share * velocity
                if "path" in told:  # of the noisy image and its velocity, two equations in image and noise
                    want = keep * (keep * x) + share * velocity * 2 / math.pi
            assert float((model(x, sigma) - want).abs().max()) < 1e-5 * (1 + float(sigma))


@pytest.mark.parametrize("case", UVITS)
def test_uvit_is_the_formula(case, tmp_path):
    flags, schedule = UVITS[case]
    state = weights(uvit_layout(flags))
    path = tmp_path / "nnet_ema.pth"
    torch.save(state, path)
    asked = {q.name for q in open_checkpoint(path).questions}
    assert asked == {"heads", "schedule", *(["codec"] if flags.channels == 4 else [])}
    answers = {"heads": flags.heads, "schedule": schedule, "codec": "none"}
    label, row = (None, None) if not flags.rows else (3, torch.tensor([3, 3]))
    model = open_checkpoint(path, answers).denoiser(dtype=F64, label=label)
    if flags.rows == 11:
        none = open_checkpoint(path, answers).denoiser(dtype=F64, label=-1)
    for t in (0.01, 0.5, 0.9):
        if schedule == "sde":
            sigma, told = torch.tensor(19.9 * t**2 / 2 + 0.1 * t, dtype=F64).expm1().sqrt(), 999 * t
        else:
            step = int(1000 * t)
            signal = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=F64) ** 2).cumprod(0)[step]
            sigma, told = ((1 - signal) / signal).sqrt(), step + 1
        x = noisy(model.shape, sigma)
        times = torch.full((2,), told, dtype=F64)
        seen = x / (1 + sigma**2).sqrt()
        want = x - sigma * uvit(flags, state, seen, times, row)
        assert float((model(x, sigma) - want).abs().max()) < 1e-5 * (1 + float(sigma))
        if flags.rows == 11:
            want = x - sigma * uvit(flags, state, seen, times, torch.tensor([10, 10]))
            assert float((none(x, sigma) - want).abs().max()) < 1e-5 * (1 + float(sigma))


def test_the_arguments_of_a_training_tell_dit_from_sit(tmp_path):
    state = weights(dit_layout(DIT))
    sit = {"prediction": "velocity", "sample_eps": None}
    found = {
        path_type: open_checkpoint(training(tmp_path / "m.pt", state, path_type=path_type, **sit), {"heads": 3})
        for path_type in ("Linear", "GVP")
    }
    found["DiT"] = open_checkpoint(training(tmp_path / "m.pt", state), {"heads": 3})
    assert all(c.questions == () and c.plan.classes == 4 for c in found.values())
    models = {name: c.denoiser(label=0) for name, c in found.items()}
    assert [m.prediction for m in models.values()] == ["flow", "flow", "epsilon"]
    assert [models[name].schedule.path for name in ("Linear", "GVP")] == ["straight", "curved"]
    assert models["Linear"].schedule.toward == "data" and models["Linear"].schedule.scale == 1
    for wrong in ({"path_type": "VP", **sit}, {"path_type": "Linear", "prediction": "score"}):
        with pytest.raises(FarfieldError, match="SiT trained to predict"):
            open_checkpoint(training(tmp_path / "m.pt", state, **wrong), {"heads": 3})


@pytest.mark.parametrize(("rows", "null"), [(1001, True), (1000, False), (11, True), (10, False), (1, True), (7, None)])
def test_the_last_row_of_a_table_of_classes(rows, null, tmp_path):
    flags = replace(DIT, rows=rows)
    torch.save(weights(dit_layout(flags)), tmp_path / "m.pt")
    answers = {"heads": 3, "prediction": "epsilon"}
    checkpoint = open_checkpoint(tmp_path / "m.pt", answers)
    assert [q.name for q in checkpoint.questions] == ([] if null is not None else ["null"])
    if null is None:
        checkpoint = open_checkpoint(tmp_path / "m.pt", {**answers, "null": "no"})
    assert checkpoint.plan.classes == rows - bool(null)
    if not null:
        with pytest.raises(FarfieldError, match="label dropout"):
            checkpoint.denoiser(label=-1)


@pytest.mark.parametrize(
    ("change", "answers", "said"),
    [
        ({"blocks.1.attn.q_norm.weight": (8,)}, {}, "a variant that is not read"),
        ({"final_layer.linear.weight": (5, 24)}, {}, "answers 1"),
        ({"pos_embed": (1, 15, 24)}, {}, "15 patches"),
        ({}, {"heads": 5}, "divisor of the width"),
        ({}, {"tau": 1}, "no question here"),
        ({}, {"codec": "nowhere"}, "no folder with a config.json"),
    ],
)
def test_what_cannot_be_is_refused(change, answers, said, tmp_path):
    state = weights({**dit_layout(DIT), **change})
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(FarfieldError, match=said) as refused:
        open_checkpoint(tmp_path / "m.pt", {"heads": 3, "prediction": "epsilon", "null": "yes", **answers})
    assert "\n" not in str(refused.value)


def test_it_is_shown_converted_and_differentiated(tmp_path):
    torch.save(weights(uvit_layout(Flags())), tmp_path / "u.pth")
    shown = farfield("inspect", tmp_path / "u.pth", "--set", "heads=3", "--set", "schedule=scaled_linear")
    assert shown.code == 0 and "U-ViT: patches of 2 pixels" in shown.out
    assert farfield("convert", tmp_path / "u.pth", tmp_path / "folder").code == 0
    models = [load_denoiser(str(tmp_path / place), dtype=F64) for place in ("u.pth", "folder")]
    x, sigma = torch.randn(2, 3, 8, 8, dtype=F64), torch.tensor(0.7, dtype=F64)
    assert torch.equal(*(model(x, sigma) for model in models))
    _, slope = torch.func.jvp(lambda x: models[0](x, sigma), (x,), (torch.ones_like(x),))
    secant = (models[0](x + 1e-6, sigma) - models[0](x - 1e-6, sigma)) / 2e-6
    torch.testing.assert_close(slope, secant, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "width", "patch", "heads"),
    [((1, 28, 28), 128, 2, 2), ((3, 64, 48), 192, 4, 3), ((3, 8, 8), 32, 2, 1), ((3, 40, 40), 36, 4, 1)],
)
def test_a_new_one_answers_with_zeros_and_learns(shape, width, patch, heads):
    config = network_config("dit", shape, width=width, blocks=1, classes=3)
    assert (config["patch"], config["heads"]) == (patch, heads)
    network = from_config(config)
    x, time, label = torch.randn(2, *shape), torch.tensor([0.1, 900.0]), torch.tensor([0, 2])
    answer = network(x, time, label)
    assert answer.shape == x.shape and not answer.any()
    (answer - x).square().mean().backward()
    assert network.final_layer.linear.weight.grad.any() and network.pos_embed.grad is None


@pytest.mark.parametrize("choice", [{"dropout": 0.1}, {"augment": 9}, {"multipliers": (1, 2)}, {"width": 6}])
def test_choices_that_a_transformer_has_not(choice):
    with pytest.raises(FarfieldError, match=r"^dit"):
        network_config("dit", (3, 8, 8), **choice)
