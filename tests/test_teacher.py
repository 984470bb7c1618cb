"""Files in the format of the consistency release: its EDM teachers equal to the formulas, its consistency models never read."""

from dataclasses import replace

import pytest
import torch
from guided_files import Flags, answer, layout, squared, weights
from test_guided import tree_of
from tiny import farfield

from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.guided import read
from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
PLAIN = Flags(learned=False, order="new", head_channels=32)
CASES = {
    "classes, scale and shift": replace(PLAIN, attention=(1, 2), head_channels=16, classes=5),
    "added, two blocks": replace(PLAIN, multipliers=(1, 1, 2), blocks=2, scale_shift=False),
    "in our own network": replace(PLAIN, width=64, multipliers=(0.5, 1), channels=1),
}
TEACHERS = {
    "edm_imagenet64_ema.pt": (
        Flags(192, (1, 2, 3, 4), 3, (2, 4, 8), classes=1000, head_channels=64, learned=False),
        (295_899_267, 64),
    ),
    **{
        f"edm_{name}256_ema.pt": (
            Flags(256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), head_channels=64, learned=False, scale_shift=False),
            (526_304_771, 256),
        )
        for name in ("bedroom", "cat")
    },
}


def expected(flags, state, x, sigma, label, scale=1000, data=0.5):
    """Table 1 of arXiv 2206.00364 around the formulas of the network, told ln(sigma)/4 in float32 as the release tells it."""
    v = sigma**2 + data**2
    time = (scale * sigma.log() / 4).float().expand(len(x))
    said = answer(flags, state, x / v.sqrt(), time, label)
    return data**2 / v * x + sigma * data / v.sqrt() * said


def compared(model, flags, state, label=None, **how):
    g = torch.Generator().manual_seed(3)
    rows = None if label is None else torch.tensor([label, label])
    for s in (0.002, 0.4, 3.0, 79.0):
        sigma = torch.tensor(s, dtype=F64)
        x = torch.rand(2, *model.shape, generator=g, dtype=F64) * 2 - 1
        x = x + sigma * torch.randn(2, *model.shape, generator=g, dtype=F64)
        away = (model(x, sigma) - expected(flags, state, x, sigma, rows, **how)).abs().max()
        assert float(away) < 1e-5 * (1 + s)


@pytest.mark.parametrize("case", CASES)
def test_a_teacher_is_the_formulas(case, tmp_path):
    flags, path = CASES[case], tmp_path / "m.pt"
    state = weights(flags)
    torch.save(squared(state), path)
    asked = {q.name: q.likely for q in open_checkpoint(path).questions}
    assert asked.keys() - {"heads", "head_channels"} == {"kind", "size"} and asked["kind"] == "denoiser"
    told = {"size": 2 * flags.factor, "head_channels": flags.head_channels, "kind": "denoiser"}
    found = open_checkpoint(path, told)
    assert found.questions == () and found.plan.network["kind"] == ("guided" if "own" in case else "unet2d")
    label = 3 if flags.classes else None
    model = found.denoiser(dtype=F64, label=label)
    assert (model.schedule.sigma_min, model.schedule.sigma_max) == (0.002, 80)
    compared(model, flags, state, label)


def test_what_it_is_told_and_the_deviation_can_be_answered_otherwise(tmp_path):
    flags, path = PLAIN, tmp_path / "m.pt"
    state = weights(flags)
    torch.save(squared(state), path)
    told = {"size": 4, "head_channels": 32, "kind": "denoiser", "time_scale": 1, "sigma_data": "0.7"}
    compared(open_checkpoint(path, told).denoiser(dtype=F64), flags, state, scale=1, data=0.7)
    for wrong in ("no", "0", "-1", "inf"):
        with pytest.raises(FarfieldError, match=r"sigma_data=.*a number above 0"):
            open_checkpoint(path, {**told, "sigma_data": wrong})


def test_guided_diffusions_own_format_can_be_preconditioned_so_too(tmp_path):
    flags, path = replace(PLAIN, order="legacy"), tmp_path / "m.pt"
    state = weights(flags)
    torch.save(state, path)
    assert "edm" in next(q.choices for q in open_checkpoint(path).questions if q.name == "prediction")
    told = {"size": 4, "head_channels": 32, "order": "legacy", "prediction": "edm"}
    (question,) = open_checkpoint(path, told).questions
    assert (question.name, question.likely) == ("time_scale", 1000)
    compared(open_checkpoint(path, {**told, "time_scale": 1000}).denoiser(dtype=F64), flags, state)


@pytest.mark.parametrize("name", TEACHERS)
def test_published_teachers_are_known(name):
    flags, (count, size) = TEACHERS[name]
    found = read(tree_of(squared(layout(flags)), name), {}, None)
    assert found.questions == () and found.parameters == count
    assert (found.plan.shape, found.plan.classes) == ((3, size, size), flags.classes)
    assert found.plan.scheduler["timestep_scale"] == 1000 and found.plan.network["kind"] == "unet2d"
    other = read(tree_of(squared(layout(flags)), "ema_0.9999.pt"), {}, None)
    assert [q.name for q in other.questions] == ["kind"] and other.plan == found.plan


@pytest.mark.parametrize("name", ["cd_imagenet64_l2.pt", "cd_cat256_lpips.pt", "ct_bedroom256.pt"])
def test_published_consistency_models_are_refused(name):
    flags, _ = TEACHERS["edm_imagenet64_ema.pt"]
    with pytest.raises(FarfieldError, match=r"consistency model, .* not with the mean") as refused:
        read(tree_of(squared(layout(flags)), name), {}, None)
    assert "it was distilled from" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["ct_mine.pt", "target_model060000.pt", "my-consistency-net.pt"])
def test_a_name_makes_a_consistency_model_likely_and_an_answer_sure(name, tmp_path):
    torch.save(squared(weights(PLAIN)), tmp_path / name)
    assert next(q.likely for q in open_checkpoint(tmp_path / name).questions if q.name == "kind") == "consistency"
    with pytest.raises(FarfieldError, match="kind=consistency"):
        load_denoiser(str(tmp_path / name))
    with pytest.raises(FarfieldError, match=r"a consistency model, which answers with the end of a path"):
        open_checkpoint(tmp_path / name, {"kind": "consistency"})
    told = {"size": 4, "head_channels": 32, "kind": "denoiser"}
    assert open_checkpoint(tmp_path / name, told).denoiser().shape == (3, 4, 4)


def test_it_is_shown_and_converted(tmp_path):
    state = weights(PLAIN)
    torch.save(squared(state), tmp_path / "m.pt")
    told = ("size=4", "head_channels=32", "kind=denoiser")
    shown = farfield("inspect", tmp_path / "m.pt", *(part for one in told for part in ("--set", one)))
    assert shown.code == 0 and "ln(sigma)/4 times 1000" in shown.out, shown.err
    assert farfield("convert", tmp_path / "m.pt", tmp_path / "folder").code == 0
    models = [load_denoiser(str(tmp_path / place), dtype=F64) for place in ("m.pt", "folder")]
    x, sigma = torch.randn(2, 3, 4, 4, dtype=F64), torch.tensor(0.7, dtype=F64)
    assert torch.equal(*(model(x, sigma) for model in models))


def test_damage_is_said(tmp_path):
    state = squared(weights(PLAIN))
    state["middle_block.1.qkv.weight"] = state["middle_block.1.qkv.weight"].expand(-1, -1, -1, 3).clone()
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(FarfieldError, match=r"middle_block.1.qkv.weight is of shape \(192, 64, 1, 3\)"):
        open_checkpoint(tmp_path / "m.pt")
