"""Files of guided-diffusion: networks read from names and shapes are the published functions; what is not there is asked."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from guided_files import Flags, answer, layout, weights
from tiny import farfield
from torch.func import jvp, vjp

from farfield.checkpoints.file.stored import Stored, Tree
from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.guided import ANSWERS, read, recognises
from farfield.checkpoints.guided_architecture import read_architecture
from farfield.checkpoints.guided_published import PUBLISHED
from farfield.checkpoints.load import model_digest
from farfield.checkpoints.wrapped import alone, bare
from farfield.core.error import FarfieldError, FarfieldNote
from farfield.networks.build import from_config
from farfield.networks.guided_unet import GuidedUNet

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64

# What is trained with these flags runs as diffusers' network, or as ours.
NETWORKS = {
    "adm": (Flags(attention=(1, 2), head_channels=32, classes=10), "unet2d"),
    "adm-new-order": (
        Flags(multipliers=(1, 2, 3), blocks=2, attention=(2, 4), head_channels=16, order="new", classes=4),
        "unet2d",
    ),
    "adm-heads": (Flags(multipliers=(1, 1, 2, 3), attention=(2, 4), heads=4, classes=3), "guided"),
    "adm-heads-new-order": (Flags(multipliers=(1, 3), attention=(1, 2), heads=4, order="new"), "guided"),
    "adm-heads-one-place": (Flags(heads=4), "unet2d"),
    "adm-heads-upsample": (Flags(multipliers=(1, 2), attention=(1, 2), heads=4, heads_upsample=2), "guided"),
    "improved-heads-upsample": (Flags(heads=1, heads_upsample=4, order="new", resample="conv"), "guided"),
    "half-the-width": (Flags(64, (0.5, 1, 1, 2), attention=(4, 8), head_channels=32), "guided"),
    "wide-first": (Flags(multipliers=(2, 1, 3), head_channels=32, order="new"), "guided"),
    "gray": (Flags(channels=1, blocks=2, head_channels=64, learned=False), "unet2d"),
    "four-channels": (Flags(channels=4, attention=(), heads=2, resample="conv"), "unet2d"),
    "conv-shift": (Flags(multipliers=(1, 2, 4), attention=(4,), scale_shift=False, resample="conv"), "unet2d"),
    "conv-shift-one-head": (Flags(attention=(1, 2), scale_shift=False, resample="conv"), "unet2d"),
    "improved": (Flags(multipliers=(1, 2, 2), blocks=3, attention=(2, 4), heads=4, resample="conv"), "unet2d"),
    "improved-classes": (Flags(multipliers=(1, 2, 3), attention=(2, 4), heads=4, resample="conv", classes=5), "guided"),
    "resnet-shift": (Flags(scale_shift=False, head_channels=16, learned=False), "unet2d"),
    "pool": (Flags(multipliers=(1, 2, 2), blocks=2, resample="pool", heads=4), "guided"),
    "pool-shift": (Flags(attention=(1, 2), resample="pool", scale_shift=False, channels=4, head_channels=32), "guided"),
    "one-level": (Flags(multipliers=(1,), blocks=2, attention=(1,), heads=4, order="new"), "unet2d"),
}

ADM = Flags(256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), head_channels=64)
IMPROVED = Flags(128, (1, 2, 3, 4), 3, (4, 8), heads=4, resample="conv")
PRESETS = {
    "64x64_diffusion.pt": (
        Flags(192, (1, 2, 3, 4), 3, (2, 4, 8), classes=1000, head_channels=64, order="new"),
        (295_904_454, 64, "unet2d"),
    ),
    "128x128_diffusion.pt": (
        Flags(256, (1, 1, 2, 3, 4), 2, (4, 8, 16), classes=1000, heads=4),
        (421_529_606, 128, "guided"),
    ),
    "256x256_diffusion.pt": (replace(ADM, classes=1000), (553_838_086, 256, "unet2d")),
    "256x256_diffusion_uncond.pt": (ADM, (552_814_086, 256, "unet2d")),
    "512x512_diffusion.pt": (
        replace(ADM, multipliers=(0.5, 1, 1, 2, 2, 4, 4), attention=(16, 32, 64), classes=1000),
        (558_997_638, 512, "guided"),
    ),
    **{
        f"lsun_{name}.pt": (ADM, (552_814_086, 256, "unet2d"))
        for name in ("bedroom", "cat", "horse", "horse_nodropout")
    },
    "imagenet64_uncond_100M_1500K.pt": (IMPROVED, (121_063_942, 64, "guided")),
    "imagenet64_cond_270M_250K.pt": (replace(IMPROVED, width=192, classes=1000), (273_049_350, 64, "guided")),
    "cifar10_uncond_50M_500K.pt": (
        replace(IMPROVED, multipliers=(1, 2, 2, 2), attention=(2, 4)),
        (52_546_438, 32, "unet2d"),
    ),
    "lsun_uncond_100M_1200K_bs128.pt": (
        Flags(128, (1, 1, 2, 2, 4, 4), 2, (16,), scale_shift=False, resample="conv"),
        (113_676_678, 256, "unet2d"),
    ),
    "otcfm_cifar10_weights_step_400000.pt": (
        Flags(128, (1, 2, 2, 2), 2, (2,), learned=False, scale_shift=False, resample="conv", head_channels=64),
        (35_746_307, 32, "unet2d"),
    ),
    "ffhq_p2.pt": (Flags(128, (1, 1, 2, 2, 4, 4), 1, (16,), head_channels=64), (93_563_910, 256, "unet2d")),
}


def tree_of(shapes, name="model.pt"):
    """A file of such shapes, whose numbers are not to be read."""

    def unread():
        raise AssertionError("a number was read")

    return Tree(Path(name), "torch", {k: Stored(tuple(s), torch.float32, unread) for k, s in shapes.items()})


def saved(folder, flags, name="model.pt", **how):
    torch.save(weights(flags), folder / name, **how)
    return folder / name


def inputs(flags, dtype=torch.float32, rows=2):
    g = torch.Generator().manual_seed(1)
    side = 2 * flags.factor
    x = torch.randn(rows, flags.channels, side, side, generator=g, dtype=torch.float64).to(dtype)
    label = torch.arange(rows) % flags.classes if flags.classes else None
    return x, torch.tensor([3.25, 987.0])[:rows], label


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_published_function(name, tmp_path):
    """Each file, in either format of torch, through its own network and through ours, beside an independent evaluation."""
    flags, kind = NETWORKS[name]
    path = saved(tmp_path, flags, _use_new_zipfile_serialization=len(name) % 2 == 0)
    checkpoint = open_checkpoint(path, flags.answers())
    assert checkpoint.questions == () and checkpoint.plan.network["kind"] == kind
    assert checkpoint.plan.classes == flags.classes
    assert checkpoint.parameters == sum(math.prod(s) for s in layout(flags).values())
    x, time, label = inputs(flags, torch.float64)
    want = answer(flags, weights(flags), x, time, label)
    found = read_architecture(tree_of(layout(flags)).root, path)
    heads = {"heads": flags.heads or 1, "head_channels": flags.head_channels, "order": flags.order}
    heads["heads_upsample"] = flags.heads_upsample
    ours = from_config(found.config(**heads))
    ours.load_state_dict(weights(flags))
    for network in (checkpoint.network(), ours):
        got = network.double().eval()(x, time, label)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["adm-new-order", "adm-heads", "pool-shift", "gray"])
def test_denoisers_are_those_of_the_noise_that_the_network_names(name, tmp_path):
    flags, _ = NETWORKS[name]
    denoiser = open_checkpoint(saved(tmp_path, flags), flags.answers()).denoiser(label=1 if flags.classes else None)
    signal = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    xt, *_ = inputs(flags, rows=1)
    for t in (0, 400, 999):
        a, s = signal[t].sqrt(), (1 - signal[t]).sqrt()
        label = torch.tensor([1]) if flags.classes else None
        noise = answer(flags, weights(flags), xt, torch.tensor([float(t)]), label)[:, : flags.channels]
        want = (xt - s * noise.double()) / a
        got = denoiser(xt.double() / a, s / a)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


@pytest.mark.parametrize(
    ("told", "steps", "step"),
    [
        ({"schedule": "cosine", "steps": 4000, "rescale": "yes"}, 4000, 0.25),
        ({"schedule": "cosine", "steps": "4000", "rescale": False}, 4000, 1),
        ({"schedule": "linear", "steps": 200, "rescale": True}, 200, 5),
        ({"schedule": "cosine", "steps": 1000}, 1000, 1),
    ],
)
def test_schedules_and_time_steps_are_the_published_ones(told, steps, step):
    flags = Flags(head_channels=64)
    schedule = (
        read(tree_of(layout(flags)), {**flags.answers(), **told}, None).plan.denoiser(torch.nn.Identity()).schedule
    )
    if told["schedule"] == "linear":
        betas = [(1e-4 + (0.02 - 1e-4) * i / (steps - 1)) * 1000 / steps for i in range(steps)]
    else:
        level = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        betas = [min(1 - after / before, 0.999) for before, after in itertools.pairwise(level)]
    signal = 1.0
    for t, beta in enumerate(betas):
        signal *= 1 - beta
        if t in (0, 1, steps // 2, steps - 1):
            sigma = math.sqrt((1 - signal) / signal)
            assert float(schedule.levels[t]) == pytest.approx(sigma, rel=1e-9)
            assert float(schedule.time(torch.tensor(sigma, dtype=torch.float64))) == pytest.approx(t * step, abs=1e-6)


@pytest.mark.parametrize("prediction", ["sample", "v"])
def test_another_prediction_is_taken_when_it_is_answered(prediction, tmp_path):
    flags = Flags(head_channels=32)
    path = saved(tmp_path, flags)
    x, _, _ = inputs(flags, torch.float64, rows=1)
    sigma = torch.tensor(0.7, dtype=torch.float64)
    a, q = 1 / math.sqrt(1.49), 0.7 / math.sqrt(1.49)
    noise = open_checkpoint(path, flags.answers()).denoiser(dtype=torch.float64)
    other = open_checkpoint(path, {**flags.answers(), "prediction": prediction}).denoiser(dtype=torch.float64)
    output = (x - noise(x, sigma)) / sigma
    want = output if prediction == "sample" else a * (a * x) - q * output
    torch.testing.assert_close(other(x, sigma), want)


@pytest.mark.parametrize("name", PRESETS)
def test_published_files_are_known_and_have_the_published_sizes(name):
    flags, (count, size, kind) = PRESETS[name]
    checkpoint = read(tree_of(layout(flags), name), {}, None)
    assert checkpoint.parameters == count
    assert checkpoint.questions == ()
    assert (checkpoint.plan.shape, checkpoint.plan.classes) == ((3, size, size), flags.classes)
    assert checkpoint.plan.network["kind"] == kind
    assert any("published" in f.why for f in checkpoint.findings if f.what in ("schedule", "direction"))
    with torch.device("meta"):
        network = from_config(checkpoint.plan.network)
    assert sum(p.numel() for p in network.parameters()) == count
    cosine = name.startswith(("64x64", "imagenet64", "cifar10"))
    scheduler = checkpoint.plan.scheduler
    if "cifar10_weights" in name:
        assert scheduler["_class_name"] == "FlowMatchEulerDiscreteScheduler" and scheduler["invert_sigmas"]
        return
    assert (scheduler["beta_schedule"] == "squaredcos_cap_v2") == cosine
    assert scheduler["num_train_timesteps"] == (4000 if name.startswith(("imagenet64", "cifar10")) else 1000)
    assert scheduler.get("timestep_scale", 1) == (0.25 if "64_uncond" in name or "cifar10" in name else 1)


def test_every_published_answer_is_one_that_can_be_given():
    assert all(set(known.answers) <= set(ANSWERS) for known in PUBLISHED.values())
    own = [known for known in PUBLISHED.values() if "kind" not in known.answers]  # the others are those of test_teacher
    assert {known.parameters for known in own} == {count for _, (count, _, _) in PRESETS.values()}


def test_a_published_name_on_another_network_is_not_believed():
    checkpoint = read(tree_of(layout(Flags()), "64x64_diffusion.pt"), {}, None)
    assert "schedule" in {q.name for q in checkpoint.questions}
    assert next(f.why for f in checkpoint.findings if f.what == "card").endswith("295,904,454 weights")


def test_what_a_file_does_not_say_is_asked_once():
    likely = {q.name: q.likely for q in read(tree_of(layout(PRESETS["128x128_diffusion.pt"][0])), {}, None).questions}
    assert likely == {"size": 128, "schedule": "linear", "steps": 1000, "heads": 4, "order": "legacy"}
    renamed = {q.name: q.likely for q in read(tree_of(layout(ADM), "my-lsun-128.pt"), {}, None).questions}
    assert renamed["size"] == 128 and renamed["head_channels"] == 64
    other = read(tree_of(layout(Flags(64, (1, 2), resample="conv", heads=4))), {"steps": 4000}, None)
    assert {q.name: q.likely for q in other.questions} == {
        "size": 32, "schedule": "linear", "rescale": True, "heads": 4, "order": "legacy"
    }  # fmt: skip
    single = {q.name for q in read(tree_of(layout(Flags())), {"heads": 1}, None).questions}
    assert single == {"size", "schedule", "steps"}  # of one head there is but one order


def test_heads_on_the_way_up_are_asked_for_with_the_others(tmp_path):
    """Names and shapes do not tell ``num_heads_upsample``, and the answers differ a lot."""
    flags = Flags(attention=(1, 2), heads=4, heads_upsample=1)
    (question,) = [q for q in read(tree_of(layout(flags)), {}, None).questions if q.name == "heads"]
    assert "num_heads_upsample" in question.ask and "heads_upsample=N" in question.ask
    told = {f.what: f for f in read(tree_of(layout(flags)), {"heads": 4}, None).findings}
    assert told["heads_upsample"].value == 4 and "not said in the file" in told["heads_upsample"].why
    path = saved(tmp_path, flags)
    x, time, _ = inputs(flags)
    same = {k: v for k, v in flags.answers().items() if k != "heads_upsample"}
    right, wrong = (open_checkpoint(path, a).network()(x, time).detach() for a in (flags.answers(), same))
    assert float((right - wrong).norm() / right.norm()) > 0.03
    for flags, answers, said in (
        (Flags(head_channels=32), {"head_channels": 32}, "heads are 32 channels wide"),
        (Flags(attention=()), {"heads": 2}, "no attention on the way up"),
        (Flags(heads=4), {"heads": 4, "heads_upsample": 3}, "expected a divisor of each"),
    ):
        with pytest.raises(FarfieldError, match=said):
            read(tree_of(layout(flags)), {"heads_upsample": 2, **answers}, None)


def test_open_questions_stop_a_model_until_they_are_answered(tmp_path):
    flags = Flags(head_channels=32)
    path = saved(tmp_path, flags)
    with pytest.raises(FarfieldError, match=r"--set size=32 --set schedule=linear --set steps=1000"):
        open_checkpoint(path).denoiser()
    open_checkpoint(path, flags.answers()).denoiser()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("256x256_mine.pt", 256),
        ("imagenet64_mine.pt", 64),
        ("ema_0.9999_200000.pt", 128),
        ("run_100M_512K_bs64.pt", 128),
        ("64_to_256.pt", 128),
        ("ffhq-24.pt", 128),
    ],
)
def test_a_size_in_the_name_is_the_likely_one(name, size):
    flags = Flags(multipliers=(1, 1, 2, 3, 4), attention=(8,))
    assert next(q.likely for q in read(tree_of(layout(flags), name), {}, None).questions if q.name == "size") == size


def test_half_precision_is_kept_on_disk_and_widened_in_use(tmp_path):
    """As the original code leaves it: convolutions in half precision, all else not."""
    flags = Flags(head_channels=32, classes=2)
    state = {
        k: v.half() if v.ndim > 2 and k.startswith(("input", "middle", "output")) else v
        for k, v in weights(flags).items()
    }
    torch.save(state, tmp_path / "half.pt")
    checkpoint = open_checkpoint(tmp_path / "half.pt", flags.answers())
    assert checkpoint.dtype == torch.float16
    assert {v.dtype for v in checkpoint.weights().values()} == {torch.float16, torch.float32}
    x, time, label = inputs(flags)
    got = checkpoint.network()(x, time, label)
    torch.testing.assert_close(got, answer(flags, state, x, time, label), rtol=1e-5, atol=1e-5)


def test_the_average_comes_first_and_the_network_on_request(tmp_path):
    flags = Flags(heads=1)
    states = {"model": weights(flags, 1), "ema": {f"module.{k}": v for k, v in weights(flags, 2).items()}, "step": 3}
    torch.save(states, tmp_path / "both.pt")
    x, time, _ = inputs(flags)
    for part, seed in ((None, 2), ("ema", 2), ("net", 1)):
        network = open_checkpoint(tmp_path / "both.pt", flags.answers(), part).network()
        torch.testing.assert_close(network(x, time), answer(flags, weights(flags, seed), x, time), rtol=1e-5, atol=1e-5)
    torch.save(weights(flags), tmp_path / "one.pt")
    with pytest.raises(FarfieldError, match="no network 'ema'; it holds net"):
        open_checkpoint(tmp_path / "one.pt", part="ema")


@pytest.mark.parametrize(
    "prefix", ["", "module._orig_mod.", "_orig_mod.", "model.", "unet.", "model._orig_mod.module.", "net.diffusion."]
)
def test_the_words_of_wrappers_are_taken_off(prefix, tmp_path):
    flags = Flags(heads=1)
    state = {f"{prefix}{k}": v for k, v in weights(flags, 1).items()}
    if prefix.startswith("model"):  # what Lightning keeps beside
        state |= {"betas": torch.zeros(10), "loss.weight": torch.ones(3)}
    torch.save({"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.0"}, tmp_path / "m.ckpt")
    found = open_checkpoint(tmp_path / "m.ckpt", flags.answers()).weights()
    torch.save(weights(flags, 1), tmp_path / "bare.pt")
    want = open_checkpoint(tmp_path / "bare.pt", flags.answers()).weights()
    assert found.keys() == want.keys() and all(torch.equal(found[name], want[name]) for name in want)


def test_two_names_that_would_become_one_stay_as_they_are():
    assert bare({"module.a": 1, "a": 2}) == {"module.a": 1, "a": 2}
    assert alone({"model.module.a": 1, "model.b": 2}) == {"a": 1, "b": 2} and alone({"model.a": 1}) == {"model.a": 1}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("model.init_conv.weight", "betas"), "lucidrains"),
        (("first_stage_model.encoder.conv_in.weight", "model.diffusion_model.time_embed.0.weight"), "latent diffusion"),
        (("x_embedder.proj.weight", "blocks.0.adaLN_modulation.1.weight"), "diffusion transformer"),
        (("module.all_modules.0.weight", "sigmas"), "score_sde_pytorch"),
        (("inner_model.mapping.0.weight",), "k-diffusion"),
        (("encoder.conv_in.weight", "decoder.conv_out.weight"), "autoencoder"),
        (("unet.down_blocks.0.attn.to_q.lora_A.weight",), "LoRA"),
    ],
)
def test_files_whose_network_is_not_rebuilt_are_named(names, said, tmp_path):
    torch.save({"step": 1, "ema": {f"ema_model.{n}": torch.zeros(2, 3) for n in names}}, tmp_path / "m.pt")
    if "lora" not in names[0]:
        torch.save({n: torch.zeros(2, 3) for n in names}, tmp_path / "m.pt")
    shown = farfield("inspect", tmp_path / "m.pt")
    assert shown.code == 0 and said in shown.out and f"{6 * len(names)} of float32" in shown.out
    done = farfield("generate", tmp_path / "m.pt", "--seeds", "0", "-o", tmp_path / "run")
    assert done.code == 2 and said in done.err and "not rebuilt here; " in done.err


def test_the_network_of_latent_diffusion_is_no_model_of_pixels(tmp_path):
    """It has the names and shapes of guided-diffusion's, but lives in another space, at other levels."""
    torch.save({f"model.diffusion_model.{k}": v for k, v in weights(Flags()).items()}, tmp_path / "m.pt")
    asked = {q.name for q in open_checkpoint(tmp_path / "m.pt").questions}
    assert {"codec", "beta_end"} <= asked
    with pytest.raises(FarfieldError, match="codec: the autoencoder in whose latents"):
        open_checkpoint(tmp_path / "m.pt").denoiser()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"size": 31}, "multiple of 2"),
        ({"size": "large"}, "such as 32"),
        ({"steps": 3}, "expected 20 to"),
        ({"steps": -1}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"schedule": "sigmoid"}, "one of linear, cosine"),
        ({"steps": 4000, "rescale": "perhaps"}, "one of True, False"),
        ({"heads": 3}, "over 64 channels"),
        ({"head_channels": 48}, "a divisor of each"),
        ({"heads": 4, "head_channels": 64}, "the one that is fixed"),
        ({"heads": 2, "order": "old"}, "one of legacy, new"),
        ({"prediction": "score"}, "epsilon, sample, v, flow"),
        ({"colour": "blue"}, "an answer to colour"),
    ],
)
def test_answers_that_cannot_be(told, said):
    with pytest.raises(FarfieldError, match=said):
        read(tree_of(layout(Flags())), told, None)


def test_what_is_no_denoiser_is_refused_by_name():
    shapes = layout(Flags())
    classifier = {k: s for k, s in shapes.items() if not k.startswith("output_blocks")}
    assert recognises(tree_of(classifier))
    with pytest.raises(FarfieldError, match="a classifier"):
        read(tree_of(classifier), {}, None)
    for channels, out in ((6, 6), (6, 3), (2, 1)):
        upsampler = {**layout(Flags(channels=channels)), "out.2.weight": (out, 32, 3, 3), "out.2.bias": (out,)}
        with pytest.raises(FarfieldError, match="super-resolution"):
            read(tree_of(upsampler), {}, None)
    with pytest.raises(FarfieldError, match="answers 5 channels to 3"):
        read(tree_of({**shapes, "out.2.weight": (5, 32, 3, 3), "out.2.bias": (5,)}), {}, None)
    assert not recognises(tree_of({"conv_in.weight": (8, 3, 3, 3)}))
    assert not recognises(Tree(Path("x"), "pickle", [1, None, "time_embed.0.weight"]))


@pytest.mark.parametrize("name", ["adm", "pool"])
def test_damaged_state_dicts_are_refused_with_a_message(name):
    """Each weight in turn left out, made empty, given a dimension more, another size, or twice under another name."""
    flags, _ = NETWORKS[name]
    shapes = layout(flags)
    for weight, shape in shapes.items():
        others = [(), (0, *shape[1:]), (*shape, 1), (*shape[:-1], shape[-1] + 32), (shape[0] * 2, *shape[1:])]
        damaged = [{**shapes, weight: other} for other in others]
        damaged.append({**shapes, f"{weight}.again": shape})
        if not weight.startswith(("time_embed.0.weight", "input_blocks.0.0.weight", "label_emb")):
            damaged.append({k: s for k, s in shapes.items() if k != weight})
        for state in damaged:
            if state.get("label_emb.weight") == (2 * flags.classes, 4 * flags.width):
                continue  # more classes are another network
            with pytest.raises(FarfieldError, match=r"model\.pt: "):
                read(tree_of(state), flags.answers(), None)


def test_weights_that_are_not_real_numbers_are_refused():
    tree = tree_of(layout(Flags()))
    for dtype in (torch.int8, torch.complex64):
        odd = replace(tree.root["out.2.weight"], dtype=dtype)
        with pytest.raises(FarfieldError, match="expected real numbers"):
            read(replace(tree, root={**tree.root, "out.2.weight": odd}), {}, None)


@pytest.mark.parametrize(
    "strange",
    [
        {"output_blocks.99999999999999999999.0.x": (1,)},
        {"output_blocks.5000.0.x": (1,)},
        {"input_blocks.77.0.in_layers.0.weight": (1,)},
        {"time_embed.0.weight": (2**62, 2**61)},
        {"time_embed.0.weight": (132, 33)},
        {"time_embed.0.weight": (4, 0)},
        {"optimizer": (3,)},
    ],
)
def test_absurd_names_and_shapes_are_refused_at_once(strange):
    with pytest.raises(FarfieldError, match=r"model\.pt: "):
        read(tree_of({**layout(Flags()), **strange}), {}, None)


@pytest.mark.parametrize("layout_in_memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("resample", ["resnet", "conv", "pool"])
def test_derivatives_forward_and_backward(resample, layout_in_memory):
    flags = Flags(resample=resample, heads=2, multipliers=(1, 1))
    network = GuidedUNet(3, 6, 32, (32, 32), 1, (2,), resample=resample, heads=2)
    network.load_state_dict(weights(flags))
    network = network.double().eval().to(memory_format=layout_in_memory)
    g = torch.Generator().manual_seed(0)
    x, u = (torch.randn(1, 3, 4, 4, generator=g, dtype=torch.float64) for _ in range(2))
    x = x.contiguous(memory_format=layout_in_memory)
    w = torch.randn(1, 6, 4, 4, generator=g, dtype=torch.float64)

    def f(x):
        return network(x, torch.tensor([0.7]))

    j = jvp(f, (x,), (u,))[1]
    slope = (f(x + 1e-6 * u) - f(x - 1e-6 * u)) / 2e-6
    torch.testing.assert_close(j, slope, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close((w * j).sum(), (u * vjp(f, x)[1](w)[0]).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_close(dtype):
    flags = Flags(heads=4, resample="pool")
    network = GuidedUNet(3, 6, 32, (32, 64), 1, (2,), resample="pool", heads=4).eval()
    network.load_state_dict(weights(flags))
    x, time, _ = inputs(flags)
    exact = network(x, time).detach()
    low = network.to(dtype)(x.to(dtype), time)
    assert low.dtype == dtype
    assert float((low.float().detach() - exact).norm() / exact.norm()) < (0.05 if dtype == torch.bfloat16 else 0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"order": "old"}, "one of legacy, new"),
        ({"resample": "fir"}, "one of resnet, conv, pool"),
        ({"widths": (48,)}, "multiples of 32"),
        ({"model_channels": 33}, "even number"),
        ({"heads": 5}, "5 heads over 64"),
        ({"head_channels": 48}, "heads of 48 channels over 64"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, said):
    config = {"kind": "guided", "in_channels": 3, "out_channels": 3, "model_channels": 32, "widths": (64,)}
    with pytest.raises(FarfieldError, match=said):
        from_config({**config, "num_res_blocks": 1, **change})


def test_labels_are_wanted_if_and_only_if_there_are_classes():
    for classes, label in ((3, None), (0, torch.tensor([0]))):
        network = GuidedUNet(3, 3, 32, (32,), 1, classes=classes)
        with pytest.raises(FarfieldError, match="if and only if"):
            network(torch.zeros(1, 3, 2, 2), torch.zeros(1), label)


def test_an_average_that_was_registered_with_accelerate_is_found_beside_the_file(tmp_path):
    """Named, as a module's; or a list, which safetensors has no order for."""
    from safetensors.torch import save_file

    flags = Flags(learned=False)
    state, other = weights(flags, 1), weights(flags, 2)
    file, custom = tmp_path / "model.safetensors", tmp_path / "custom_checkpoint_0.pkl"
    save_file(state, file)
    x, sigma = torch.randn(1, 3, 4, 4, dtype=F64), torch.tensor(1.0, dtype=F64)

    def answers(path, part=None):
        return open_checkpoint(path, flags.answers(), part).denoiser()(x, sigma)

    plain, digest = answers(file), model_digest(str(file))
    torch.save({"step": 3, **{f"ema_model.{k}": v for k, v in other.items()}}, custom)
    taken = answers(file)
    assert torch.equal(answers(file, "net"), plain) and (taken - plain).abs().max() > 1e-3
    assert model_digest(str(file)) != digest
    torch.save({"decay": 0.9, "shadow_params": list(other.values())}, custom)
    with pytest.raises(FarfieldError, match=r"safetensors keeps no order to name them by.*@net"):
        answers(file)
    assert torch.equal(answers(file, "net"), plain)
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert torch.equal(answers(tmp_path / "pytorch_model.bin"), taken)
    custom.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.warns(FarfieldNote, match="custom_checkpoint_0.pkl: beside the network, and left aside"):
        assert torch.equal(answers(file), plain)
