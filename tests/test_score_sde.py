"""Files of score_sde_pytorch: NCSN++ and DDPM++ equal to the formulas, their average a list, the SDE asked for."""

import pytest
import torch
from sde_files import Flags, answer, random_state, training
from tiny import farfield

from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
VP = {"fourier": False, "shown": "none", "fir": False}
CASES = {
    "cifar's NCSN++": (Flags(), "ve", {}),
    "NCSN++ of 256 pixels": (
        Flags(multipliers=(1, 2, 3), attention=(2,), progressive="output_skip", shown="input_skip", sigma_max=348),
        "ve",
        {},
    ),
    "attention first, grey": (Flags(channels=1, blocks=2, attention=(0,), progressive="output_skip"), "ve", {}),
    "DDPM++": (Flags(multipliers=(1, 2, 2), blocks=2, **VP), "vp", {}),
    "filtered DDPM++": (Flags(multipliers=(2, 3), attention=(0, 1), **{**VP, "fir": True}), "vp", {"fir": "yes"}),
    "DDPM++, sub-VP": (Flags(multipliers=(1, 2), **VP), "subvp", {}),
    "one level, time steps": (Flags(multipliers=(1,), attention=(), **VP), "ddpm", {}),
}


def expected(flags, state, sde, x, sigma, step):
    """D by the definitions of the SDEs, from the answer of the network."""
    if sde == "ve":  # of images in [0, 1]: the answer over the level is the score
        level = sigma / 2
        score = answer(flags, state, x, level.expand(2)) / level
        return 2 * ((x + 1) / 2 + level**2 * score) - 1
    if sde == "subvp":  # x_t = a x0 + (1 - a²) n, and the score is the answer over -(1 - a²)
        t = step / 999
        a = (-(0.25 * t**2 * 19.9 + 0.5 * t * 0.1)).exp()
        score = -answer(flags, state, a * x, torch.as_tensor(step, dtype=F64).expand(2)) / (1 - a**2)
        return (a * x + (1 - a**2) ** 2 * score) / a
    seen = x / (1 + sigma**2).sqrt()
    return x - sigma * answer(flags, state, seen, torch.as_tensor(step, dtype=F64).expand(2))


def levels(flags, sde):
    """Levels, and the time steps that are told of them."""
    if sde == "ve":
        return [(torch.tensor(s, dtype=F64), None) for s in (0.02, 0.7, 1.9 * flags.sigma_max)]
    if sde == "vp":
        times = torch.tensor([0.001, 0.3, 0.95], dtype=F64)
        return [((19.9 * t**2 / 2 + 0.1 * t).expm1().sqrt(), 999 * t) for t in times]
    if sde == "subvp":
        times = torch.tensor([0.001, 0.3, 0.95], dtype=F64)
        means = [(-(0.25 * t**2 * 19.9 + 0.5 * t * 0.1)).exp() for t in times]
        return [((1 - a**2) / a, 999 * t) for a, t in zip(means, times, strict=True)]
    signal = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)
    return [(((1 - signal[k]) / signal[k]).sqrt(), k) for k in (0, 300, 980)]


@pytest.mark.parametrize("case", CASES)
def test_the_denoiser_is_that_of_the_formulas(case, tmp_path):
    flags, sde, answers = CASES[case]
    trained, averaged = random_state(flags, 1), random_state(flags, 2)
    if flags.fourier:
        averaged["all_modules.0.W"] = trained["all_modules.0.W"]
    path = tmp_path / "checkpoint_8.pth"
    torch.save(training(trained, averaged), path)
    assert {q.name for q in open_checkpoint(path).questions} == {"size", "sde"}
    answers = {"size": 8, "sde": sde, **answers}
    for part, state in (("ema", averaged), ("net", trained)):
        model = open_checkpoint(path, answers, part).denoiser(dtype=F64)
        assert model.shape == (flags.channels, 8, 8)
        for sigma, step in levels(flags, sde):
            x = torch.rand(2, *model.shape, dtype=F64) * 2 - 1 + sigma * torch.randn(2, *model.shape, dtype=F64)
            want = expected(flags, state, sde, x, sigma, step)
            assert float((model(x, sigma) - want).abs().max()) < 1e-5 * (1 + float(sigma))
    if sde == "ve":
        ends = (model.schedule.sigma_min, model.schedule.sigma_max)
        assert ends == pytest.approx((0.02, 2 * flags.sigma_max))


def changed(state, how):
    if how == "missing":
        del state["all_modules.4.Conv_1.bias"]
    elif how == "gap":
        state = {k: v for k, v in state.items() if ".7." not in k}
    elif how == "strange":
        state["all_modules.4.Extra_0.weight"] = torch.zeros(3)
    elif how == "shape":
        state["all_modules.4.Conv_1.weight"] = torch.zeros(16, 8, 3, 3)
    elif how == "ddpm":
        state["all_modules.4.NIN_0.W"] = torch.zeros(16, 16)
    elif how == "outside":
        state["other.weight"] = torch.zeros(3)
    elif how == "levels":
        state["sigmas"] = torch.zeros(20)
    return state


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "Conv_1.bias is missing"),
        ("gap", "layers up to number"),
        ("strange", "Extra_0.weight: no weight"),
        ("shape", "16, 8, 3, 3"),
        ("ddpm", "biggan"),
        ("outside", "other.weight in it"),
        ("levels", "positive ones"),
    ],
)
def test_what_is_not_such_a_network_is_refused(how, said, tmp_path):
    torch.save(changed(random_state(Flags()), how), tmp_path / "m.pth")
    with pytest.raises(FarfieldError, match=said) as refused:
        open_checkpoint(tmp_path / "m.pth", {"size": 8, "sde": "ve"})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"size": 9}, "multiple of 2"),
        ({"sde": "vp"}, "embedding"),
        ({"sde": "subvp"}, "expected ve"),
        ({"a": 1}, "no question"),
    ],
)
def test_answers_that_cannot_be_are_refused(answers, said, tmp_path):
    torch.save(random_state(Flags()), tmp_path / "m.pth")
    with pytest.raises(FarfieldError, match=said):
        open_checkpoint(tmp_path / "m.pth", {"size": 8, "sde": "ve"} | answers)


def test_an_average_of_another_network_is_not_taken(tmp_path):
    saved = training(random_state(Flags()), random_state(Flags(blocks=2)))
    torch.save(saved, tmp_path / "m.pth")
    with pytest.raises(FarfieldError, match="without names"):
        open_checkpoint(tmp_path / "m.pth", {"size": 8, "sde": "ve"})
    assert open_checkpoint(tmp_path / "m.pth", {"size": 8, "sde": "ve"}, "net").questions == ()


def test_it_is_shown_and_converted(tmp_path):
    flags = Flags()
    state = random_state(flags)
    torch.save(training(state, state), tmp_path / "m.pth")
    shown = farfield("inspect", tmp_path / "m.pth", "--set", "size=8", "--set", "sde=ve")
    assert shown.code == 0 and "NCSN++" in shown.out and "0.02 to 100" in shown.out
    assert farfield("convert", tmp_path / "m.pth", tmp_path / "folder").code == 0
    models = [load_denoiser(str(tmp_path / place), dtype=F64) for place in ("m.pth", "folder")]
    x, sigma = torch.randn(2, 3, 8, 8, dtype=F64), torch.tensor(0.7, dtype=F64)
    assert torch.equal(*(model(x, sigma) for model in models))
