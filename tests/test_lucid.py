"""Files of denoising-diffusion-pytorch: read as they are, D equal to the formulas, what they do not say asked for."""

import math
from dataclasses import replace

import pytest
import torch
from lucid_files import Flags, answer, diffusion, levels, training, weights
from tiny import farfield

from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.load import load_denoiser
from farfield.checkpoints.lucid import predicted
from farfield.core.error import FarfieldError

pytestmark = pytest.mark.usefixtures("without_the_page")

PLAIN = Flags()
THREE = Flags(12, (1, 2, 1), 10, 1, 1, 1, (1, 4, 2), (5, 3, 8), (True, False, False))
CASES = {
    "the defaults": (PLAIN, "v", "sigmoid", {}),
    "three levels, grey": (THREE, "epsilon", "cosine", {}),
    "self-conditioned": (replace(PLAIN, seen=6), "sample", "linear", {}),
    "learned variance": (replace(PLAIN, answers=6), "epsilon", "linear", {}),
    "theta, one level": (Flags(8, (3,), heads=(2,), wide=(4,), full=(False,), theta=50), "v", "cosine", {"theta": 50}),
    "[0, 1]": (PLAIN, "v", "sigmoid", {"normalise": False}),
    "group norms": (replace(PLAIN, groups=4), "epsilon", "cosine", {"groups": 4}),
    "before its memory": (replace(PLAIN, memory=0, heads=(2, 2), groups=8), "epsilon", "linear", {"heads": 2}),
}


def expected(flags, state, prediction, schedule, x, step, normalised=True):
    """D by the definition of what the network answers, of images in [-1, 1] or [0, 1]."""
    signal = levels(schedule)[step]
    keep, share = signal.sqrt(), (1 - signal).sqrt()
    pixels = x if normalised else (x + 1) / 2
    seen = shown = keep * pixels
    if flags.seen == 2 * flags.channels:
        shown = torch.cat([torch.zeros_like(seen), seen], 1)
    said = answer(flags, state, shown, torch.full((len(x),), step))[:, : flags.channels]
    if prediction == "sample":
        mean = said
    else:
        mean = (seen - share * said) / keep if prediction == "epsilon" else keep * seen - share * said
    return mean if normalised else 2 * mean - 1


@pytest.mark.parametrize("case", CASES)
def test_the_denoiser_of_a_training_state_is_that_of_the_formulas(case, tmp_path):
    flags, prediction, schedule, answers = CASES[case]
    trained, averaged = weights(flags, 1), weights(flags, 2)
    path = tmp_path / "model-7.pt"
    torch.save(training(*(diffusion(w, prediction, schedule) for w in (trained, averaged))), path)
    asked = {q.name for q in open_checkpoint(path).questions}
    assert asked == {"size", *(["heads"] if "heads" in answers else [])}
    checkpoint = open_checkpoint(path, {"size": 16, **answers})
    assert (checkpoint.questions, checkpoint.family) == ((), "lucidrains")
    normalised = answers.get("normalise", True)
    for part, state in (("ema", averaged), ("model.model", trained)):
        model = open_checkpoint(path, {"size": 16, **answers}, part).denoiser(dtype=torch.float64)
        assert model.shape == (flags.channels, 16, 16)
        for step in (0, 400, 990):
            signal = levels(schedule)[step]
            sigma = ((1 - signal) / signal).sqrt() * (1 if normalised else 2)
            x = torch.rand(2, *model.shape, dtype=torch.float64) * 2 - 1
            x = x + sigma * torch.randn(2, *model.shape, dtype=torch.float64)
            want = expected(flags, state, prediction, schedule, x, step, normalised)
            assert float((model(x, sigma) - want).abs().max()) < 1e-5 * (1 + float(sigma))


@pytest.mark.parametrize("schedule", ["sigmoid", "cosine", "linear"])
@pytest.mark.parametrize("limit", [math.inf, 5.0])
def test_the_weights_of_the_loss_tell_the_prediction(schedule, limit):
    for prediction in ("v", "epsilon", "sample"):
        kept = diffusion({}, prediction, schedule, limit)
        assert predicted(kept["sqrt_recipm1_alphas_cumprod"].double(), kept["loss_weight"].double()) == prediction
    assert predicted(kept["sqrt_recipm1_alphas_cumprod"].double(), torch.rand(1000).double()) is None


def test_a_network_without_its_diffusion_is_asked_about(tmp_path):
    path = tmp_path / "unet.pt"
    torch.save(weights(PLAIN), path)
    asked = {q.name: q.likely for q in open_checkpoint(path).questions}
    assert asked == {"size": 128, "prediction": "v", "schedule": "sigmoid", "steps": 1000}
    for schedule in ("sigmoid", "cosine", "linear"):
        answers = {"size": 8, "prediction": "epsilon", "schedule": schedule, "steps": 1000}
        known = open_checkpoint(path, answers).denoiser().schedule.levels
        signal = levels(schedule)
        torch.testing.assert_close(known, ((1 - signal) / signal).sqrt()[: len(known)], rtol=1e-9, atol=0)
    flow = {"prediction": "flow", "direction": "data", "time_scale": 1}
    assert open_checkpoint(path, {"size": 8, **flow}).denoiser().prediction == "flow"


def broken(kept, how):
    if how == "levels":
        kept["sqrt_recipm1_alphas_cumprod"][5] = math.nan
    elif how == "missing":
        del kept["model.mid_block1.block2.proj.bias"]
    elif how == "strange":
        kept["model.extra.weight"] = torch.zeros(2)
    elif how == "channels":
        kept["model.final_conv.weight"] = torch.zeros(5, 8, 1, 1)
    else:
        kept[f"model.{how}"] = torch.zeros(4)
    return kept


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("levels", "positive levels that rise"),
        ("missing", "mid_block1.block2.proj.bias is missing"),
        ("strange", "extra.weight is of shape"),
        ("channels", "expected"),
        ("time_mlp.0.weights", "continuous-time or elucidated"),
        ("classes_emb.weight", "with classes"),
    ],
)
def test_what_is_not_such_a_network_is_refused(how, said, tmp_path):
    torch.save(broken(diffusion(weights(PLAIN), "v"), how), tmp_path / "m.pt")
    with pytest.raises(FarfieldError, match=said) as refused:
        open_checkpoint(tmp_path / "m.pt", {"size": 8})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("answers", "said"),
    [({"size": 9}, "multiple of 2"), ({"steps": "x"}, "whole number"), ({"tau": 1}, "no question here")],
)
def test_answers_that_cannot_be_are_refused(answers, said, tmp_path):
    torch.save(weights(PLAIN), tmp_path / "m.pt")
    with pytest.raises(FarfieldError, match=said):
        open_checkpoint(tmp_path / "m.pt", {"size": 8} | answers)


def test_it_is_shown_converted_and_differentiated(tmp_path):
    path = tmp_path / "model-1.pt"
    torch.save(diffusion(weights(PLAIN), "v", "sigmoid", 5.0), path)
    shown = farfield("inspect", path, "--set", "size=8")
    assert shown.code == 0 and "lucidrains" in shown.out and "the weights of its loss" in shown.out
    assert farfield("convert", path, tmp_path / "folder").code == 0
    models = [load_denoiser(str(place), dtype=torch.float64) for place in (path, tmp_path / "folder")]
    x, sigma = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    first, second = (model(x, sigma) for model in models)
    assert torch.equal(first, second)
    _, slope = torch.func.jvp(lambda x: models[0](x, sigma), (x,), (torch.ones_like(x),))
    step = 1e-6
    torch.testing.assert_close(
        slope, (models[0](x + step, sigma) - models[0](x - step, sigma)) / (2 * step), rtol=1e-4, atol=1e-6
    )
    half = load_denoiser(str(path), dtype=torch.bfloat16)(x, sigma)
    assert float((half - first).abs().max()) < 0.5
