"""Files of the original DDPM: read as what they are, and denoised as an independent evaluation does."""

import math
from dataclasses import replace

import pytest
import torch
from ddpm_files import Flags, answer, random_state, shapes

from farfield.checkpoints import ddpm
from farfield.checkpoints.file.stored import Stored, Tree
from farfield.checkpoints.foreign import keep_answers, open_checkpoint
from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config

CIFAR10 = Flags(128, (1, 2, 2, 2), 2, (16,), 32)
LSUN = Flags(128, (1, 1, 2, 2, 4, 4), 2, (16,), 256)
CELEBA = Flags(128, (1, 2, 2, 2, 4), 2, (16,), 64)

ROUNDING = 5e-5
"""Of float32: 5e-6 at most on the three capabilities of a CPU, with and without vector instructions."""


def written(path, content):
    torch.save(content, path)
    return path


def signal(steps=1000, start=1e-4, end=0.02):
    return torch.cumprod(1 - torch.linspace(start, end, steps, dtype=torch.float64), 0)


def expected(flags, state, x, t, abar=None):
    """The posterior mean from the network's noise, ``x0 = x - sigma * eps``, at time steps ``t``."""
    abar = (signal() if abar is None else abar)[t][:, None, None, None]
    noise = answer(flags, state, x * abar.sqrt(), t)[:, : flags.channels]
    return x - ((1 - abar) / abar).sqrt() * noise


def noisy(flags, abar, n=3):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(n, flags.channels, flags.size, flags.size, generator=g, dtype=torch.float64)
    sigma = ((1 - abar) / abar).sqrt()
    return x * (1 + sigma)[:, None, None, None], sigma


@pytest.mark.parametrize(
    "flags",
    [
        Flags(),
        Flags(multipliers=(1, 2, 2, 2), blocks=2, attention=(16,), size=32),
        Flags(multipliers=(1, 1, 3), blocks=3, attention=(8, 4), size=8, channels=1),
        Flags(width=64, multipliers=(1, 2), attention=(), channels=4),
        Flags(multipliers=(1, 3, 2), attention=(4, 8, 16), size=16, answers=6),
        Flags(multipliers=(1, 2, 1), blocks=2, attention=(4,), size=8, convolved=False),
        Flags(width=96, multipliers=(1,), blocks=1, attention=(), size=6),
    ],
    ids=str,
)
def test_the_denoiser_is_the_published_network(tmp_path, flags):
    state = random_state(flags)
    checkpoint = open_checkpoint(written(tmp_path / "model.ckpt", state), {"size": flags.size})
    assert (checkpoint.family, checkpoint.questions, checkpoint.dtype) == ("ddpm", (), torch.float32)
    assert checkpoint.parameters == sum(v.numel() for v in state.values())
    assert checkpoint.plan.shape == (flags.channels, flags.size, flags.size)
    t = torch.tensor([0, 500, 999])
    x, sigma = noisy(flags, signal()[t])
    want = expected(flags, state, x, t)
    scale = (1 + sigma)[:, None, None, None]
    assert float(((checkpoint.denoiser()(x, sigma) - want) / scale).abs().max()) < ROUNDING
    exact = (checkpoint.denoiser(dtype=torch.float64)(x, sigma) - want).abs() / scale
    assert float(exact.max()) < 1e-5 and float(exact[0].max()) < 1e-10  # the embedding is float32, and exact at 0


@pytest.mark.parametrize(
    ("flags", "count"),
    [(CIFAR10, 35_746_307), (CELEBA, 78_700_803), (LSUN, 113_673_219)],
    ids=["cifar", "celeba", "lsun"],
)
def test_published_networks_are_known_by_their_shapes(tmp_path, flags, count):
    """No number is read: the tensors are shapes alone."""

    def unread():
        raise AssertionError

    state = {}
    for name, shape in shapes(flags).items():
        state[f"{name}.weight"] = Stored(shape, torch.float32, unread)
        state[f"{name}.bias"] = Stored(shape[:1], torch.float32, unread)
    checkpoint = ddpm.read(Tree(tmp_path / "model.ckpt", "torch", state), {}, None)
    assert checkpoint.questions == ()
    assert checkpoint.plan.shape == (3, flags.size, flags.size) and checkpoint.plan.family == "ddpm"
    with torch.device("meta"):
        network = from_config(checkpoint.plan.network)
    assert checkpoint.parameters == sum(p.numel() for p in network.parameters()) == count


def test_a_file_that_leaves_its_size_open_asks_for_it_once(tmp_path):
    flags = Flags(multipliers=(1, 2, 4), attention=(16,), size=64)
    path = written(tmp_path / "model.pt", random_state(flags))
    checkpoint = open_checkpoint(path)
    assert [(q.name, q.likely) for q in checkpoint.questions] == [("size", 64)]
    with pytest.raises(FarfieldError, match=r"--set size=64"):
        load_denoiser(str(path))
    keep_answers(path, {"size": 32})
    assert load_denoiser(str(path)).shape == (3, 32, 32)
    assert open_checkpoint(path, {"size": "64"}).plan.shape == (3, 64, 64)
    without = written(tmp_path / "other.pt", random_state(replace(flags, attention=())))
    assert [q.likely for q in open_checkpoint(without).questions] == [16]


A, B = random_state(Flags(), 1), random_state(Flags(), 2)


def behind(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


OPTIMIZER = {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (A, {None: A, "net": A}),
        (behind("module.", A), {None: A, "net": A}),
        (behind("module._orig_mod.", A), {None: A, "net": A}),
        ({"state_dict": {**behind("model._orig_mod.", A), "betas": torch.zeros(9)}}, {None: A, "net": A}),
        ([behind("module.", A), OPTIMIZER, 7, 100, B], {None: B, "ema": B, "net": A}),
        ([behind("module.", A), OPTIMIZER, 7, 100], {None: A, "net": A}),
        ({"model": A, "ema": B, "step": 10}, {None: B, "ema": B, "net": A}),
        ({"ema_model": behind("module.", B), "state_dict": A}, {None: B, "ema": B, "net": A}),
        ({"state_dict": behind("denoise_fn.", A)}, {None: A, "net": A}),
        ({"state_dict": {**behind("model.", A), **behind("ema.", B)}, "epoch": 3}, {None: B, "ema": B, "net": A}),
        ({"ema": {"shadow": B}}, {None: B, "ema": B}),
        ({**A, "logvar": torch.zeros(1000)}, {None: A}),
    ],
    ids=[
        "plain",
        "parallel",
        "compiled",
        "lightning",
        "ddim",
        "ddim without ema",
        "dict",
        "words",
        "prefix",
        "both prefixes",
        "ema alone",
        "logvar",
    ],
)
def test_containers(tmp_path, content, parts):
    path = written(tmp_path / "model.pth", content)
    for part, state in parts.items():
        checkpoint = open_checkpoint(path, {"size": 8}, part)
        assert torch.equal(checkpoint.weights()["unet.conv_in.weight"], state["conv_in.weight"])
        mixed = checkpoint.weights()["unet.mid_block.attentions.0.to_q.weight"]
        assert torch.equal(mixed, state["mid.attn_1.q.weight"][:, :, 0, 0])
    keep_answers(path, {"size": 8})
    assert load_denoiser(f"{path}@{next(reversed(parts)) or 'net'}").shape == (3, 8, 8)
    with pytest.raises(FarfieldError, match="no network 'other'"):
        open_checkpoint(path, {"size": 8}, "other")


def test_several_networks_of_which_none_is_the_average_are_asked_for(tmp_path):
    path = written(tmp_path / "model.pt", {"old": A, "new": B})
    with pytest.raises(FarfieldError, match="several networks; it holds old, new"):
        open_checkpoint(path, {"size": 8})
    assert torch.equal(open_checkpoint(path, {"size": 8}, "new").weights()["unet.conv_in.weight"], B["conv_in.weight"])


def test_half_precision_files_are_widened(tmp_path):
    flags = Flags()
    state = {k: v.half() for k, v in A.items()}
    checkpoint = open_checkpoint(written(tmp_path / "model.pt", state), {"size": 8})
    assert checkpoint.dtype == torch.float16
    t = torch.tensor([10, 600])
    x, sigma = noisy(flags, signal()[t], 2)
    want = expected(flags, state, x, t)
    assert float(((checkpoint.denoiser()(x, sigma) - want) / (1 + sigma)[:, None, None, None]).abs().max()) < ROUNDING


def test_other_levels_and_answers(tmp_path):
    flags, path = Flags(), written(tmp_path / "model.pt", A)
    told = {"size": 8, "steps": 100, "beta_start": 0.001, "beta_end": 0.2, "prediction": "v"}
    checkpoint = open_checkpoint(path, told)
    assert checkpoint.plan.pipeline()["prediction_type"] == "v_prediction"
    abar = signal(100, 0.001, 0.2)
    t = torch.tensor([5, 99])
    x, sigma = noisy(flags, abar[t], 2)
    a, s = abar[t].sqrt()[:, None, None, None], sigma[:, None, None, None]
    want = a**2 * x - s * a * answer(flags, A, a * x, t)
    assert float(((checkpoint.denoiser()(x, sigma) - want) / (1 + s)).abs().max()) < ROUNDING
    cosine = open_checkpoint(path, {"size": 8, "schedule": "cosine"}).denoiser().schedule
    root = [math.cos((u + 0.008) / 1.008 * math.pi / 2) for u in (0, 0.5)]
    assert 1 / (1 + float(cosine.levels[499]) ** 2) == pytest.approx((root[1] / root[0]) ** 2, rel=1e-9)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"size": 7}, "multiple of 2"),
        ({"size": 10**6}, "at most"),
        ({"size": "big"}, "size='big'"),
        ({"size": 8, "steps": 1}, "1 steps"),
        ({"size": 8, "schedule": "steep"}, "linear, quad, cosine, sigmoid"),
        ({"size": 8, "prediction": "wave"}, "epsilon, sample, v, flow"),
        ({"size": 8, "beta_end": "nan"}, "beta_end < 1"),
        ({"size": 8, "beta_end": [0.02]}, "beta_end="),
        ({"size": 8, "heads": 4}, "an answer to heads"),
    ],
)
def test_answers_that_cannot_be(tmp_path, answers, said):
    path = written(tmp_path / "model.pt", A)
    with pytest.raises(FarfieldError, match=said):
        open_checkpoint(path, answers)


def without(name):
    return {k: v for k, v in A.items() if k != name}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (without("up.1.block.0.conv2.bias"), "up.1.block.0.conv2.bias missing"),
        (without("down.0.attn.0.q.weight"), "down.0.attn.0.norm.weight unknown"),
        (without("down.0.block.0.conv1.weight"), "expected down.0.block.0.conv1.weight"),
        (A | {"class_emb.weight": torch.zeros(10, 128)}, "class_emb.weight unknown"),
        (A | {"conv_in.weight": torch.zeros(32, 3)}, "expected conv_in.weight to be a convolution"),
        (A | {"conv_in.weight": torch.zeros(32, 6, 3, 3)}, "6 channels in and 3 out"),
        (A | {"conv_in.weight": torch.zeros(0, 3, 3, 3)}, "0 channels at first"),
        (A | {"conv_in.weight": torch.zeros(24, 3, 3, 3)}, "24 channels at first"),
        (A | {"temb.dense.1.weight": torch.zeros(128, 64)}, r"temb.dense.1.weight of shape \(128, 64\)"),
        (behind("down.9.block.0.x", {"": torch.zeros(1)}) | A, "expected down.2.block.0.conv1.weight"),
        ({k.replace("nin_shortcut", "conv_shortcut"): v for k, v in A.items()}, "nin_shortcut.weight missing"),
        (
            random_state(Flags(width=64)) | {"conv_in.weight": torch.zeros(32, 3, 3, 3)},
            "2 times as wide as its first convolution",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_networks_of_these_names_are_refused(tmp_path, state, said):
    path = written(tmp_path / "model.pt", state)
    with pytest.raises(FarfieldError, match=said):
        open_checkpoint(path, {"size": 8})


def test_a_converted_file_is_a_pipeline_of_diffusers(tmp_path):
    """Its plan can be written as a folder, which answers as the file does."""
    from farfield.checkpoints.native import save_model

    checkpoint = open_checkpoint(written(tmp_path / "model.pt", A), {"size": 8})
    save_model(tmp_path / "folder", checkpoint.network(), checkpoint.plan)
    assert (tmp_path / "folder/model_index.json").is_file()
    x, sigma = noisy(Flags(), signal()[[400]], 1)
    assert torch.equal(load_denoiser(str(tmp_path / "folder"))(x, sigma), checkpoint.denoiser()(x, sigma))
