"""diffusers folders of every layout, precision and kind: the same denoiser as diffusers' own network and scheduler."""

import json
import shlex
import shutil
import warnings

import pytest
import torch
from tiny import farfield

from farfield.checkpoints.hub import load_folder, open_folder, read_plan
from farfield.checkpoints.load import load_denoiser, model_digest, open_network
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.networks.build import from_config

pytestmark = pytest.mark.usefixtures("without_the_page")


def unet(**choices):
    """A tiny UNet2DModel with random weights, always the same."""
    from diffusers import UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet2DModel(
            **{
                "sample_size": 8,
                "layers_per_block": 1,
                "block_out_channels": (8, 16),
                "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
                "norm_num_groups": 4,
                "attention_head_dim": 4,
                **choices,
            }
        ).eval()


def pipeline(folder, network=None, **scheduler):
    """Its folder as diffusers writes it."""
    from diffusers import DDPMPipeline, DDPMScheduler

    pipe = DDPMPipeline(unet=unet() if network is None else network, scheduler=DDPMScheduler(**scheduler))
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return folder


def flat(folder):
    """As google/ddpm-cifar10-32 has it: both parts at the top."""
    pipeline(folder)
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()


def network_alone(folder):
    from diffusers import DDPMScheduler

    unet().save_pretrained(folder)
    DDPMScheduler().save_config(folder)


def torch_file(folder):
    pipeline(folder)
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(unet().state_dict(), folder / "unet/diffusion_pytorch_model.bin")


def shards(folder):
    pipeline(folder)
    shutil.rmtree(folder / "unet")
    unet().save_pretrained(folder / "unet", max_shard_size="20KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 2


def torch_shards(folder):
    pipeline(folder)
    shutil.rmtree(folder / "unet")
    unet().save_pretrained(folder / "unet", max_shard_size="20KB", safe_serialization=False)
    assert len(list((folder / "unet").glob("*.bin"))) > 2


def old_names(folder):
    """Attention's weights as diffusers named them at first, and a configuration from then."""
    from safetensors.torch import save_file

    pipeline(folder)
    state = unet().state_dict()
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        state = {name.replace(f".{new}.", f".{old}."): value.clone() for name, value in state.items()}
    assert sum(".query." in name for name in state) == 8
    save_file(state, folder / "unet/diffusion_pytorch_model.safetensors")
    config = folder / "unet/config.json"
    told = {
        k: v
        for k, v in json.loads(config.read_text()).items()
        if k not in ("dropout", "add_attention", "upsample_type")
    }
    config.write_text(json.dumps(told))


def half_beside(folder):
    """A second copy in half precision is not taken."""
    pipeline(folder)
    unet().half().save_pretrained(folder / "unet", variant="fp16")


@pytest.mark.parametrize(
    "write", [pipeline, flat, network_alone, torch_file, shards, torch_shards, old_names, half_beside],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_folders_of_every_layout_hold_the_same_model(tmp_path, write):
    write(tmp_path / "m")
    denoiser = load_denoiser(str(tmp_path / "m"))
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 700])
    with torch.no_grad():
        want = unet()(x, t).sample
    assert torch.equal(denoiser.network(x, t), want)
    plan, network = open_folder(tmp_path / "m")
    assert torch.equal(network.eval()(x, t), want)
    assert (plan.shape, plan.classes, plan.family) == ((3, 8, 8), 0, None)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_published_configuration_of_ddpm_at_256(tmp_path):
    """Of google/ddpm-cat-256 and its like, from diffusers 0.0.4: both at the top, without what came later."""
    levels = {"block_out_channels": [128, 128, 256, 256, 512, 512], "layers_per_block": 2, "sample_size": 256}
    attention = {
        "down_block_types": ["DownBlock2D"] * 6,
        "up_block_types": ["UpBlock2D"] * 6,
        "attention_head_dim": None,
    }
    attention["down_block_types"][4], attention["up_block_types"][1] = "AttnDownBlock2D", "AttnUpBlock2D"
    others = {"act_fn": "silu", "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6}
    named = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", "in_channels": 3, "out_channels": 3}
    (tmp_path / "config.json").write_text(json.dumps({**named, **levels, **attention, **others}))
    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler", **betas}))
    plan = read_plan(tmp_path)
    with torch.device("meta"):
        network = from_config(plan.network)
    assert sum(p.numel() for p in network.parameters()) == 113_673_219
    assert plan.shape == (3, 256, 256) and plan.denoiser(network).schedule.sigma_max == pytest.approx(157.4, rel=1e-3)


def test_half_precision_is_taken_where_there_is_no_other(tmp_path):
    pipeline(tmp_path / "m")
    shutil.rmtree(tmp_path / "m/unet")
    unet().half().save_pretrained(tmp_path / "m/unet", variant="fp16")
    shutil.copytree(tmp_path / "m", tmp_path / "sharded")
    (tmp_path / "sharded/unet/diffusion_pytorch_model.fp16.safetensors").unlink()
    unet().half().save_pretrained(tmp_path / "sharded/unet", variant="fp16", max_shard_size="10KB")
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    want = unet().half().float()(x, t).sample
    for name in ("m", "sharded"):
        assert torch.equal(load_folder(tmp_path / name).network(x, t), want)
        assert {p.dtype for p in load_folder(tmp_path / name, dtype=torch.float64).parameters()} == {torch.float64}


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    ("network", "label"),
    [
        ({}, None),
        ({"num_class_embeds": 5}, 3),
        ({"out_channels": 6}, None),
        ({"in_channels": 1, "out_channels": 1, "sample_size": [8, 12]}, None),
        ({"in_channels": 4, "out_channels": 8, "num_class_embeds": 2, "resnet_time_scale_shift": "scale_shift"}, 0),
    ],
    ids=str,
)
def test_a_pipeline_denoises_as_its_scheduler_says(tmp_path, network, label, prediction):
    """x0 of the scheduler's own step, without noise and clipping."""
    from diffusers import DDIMScheduler

    net = unet(**network).double()
    pipeline(tmp_path / "m", unet(**network), prediction_type=prediction, beta_schedule="scaled_linear")
    denoiser = load_folder(tmp_path / "m", dtype=torch.float64, label=label)
    scheduler = DDIMScheduler.from_pretrained(tmp_path / "m/scheduler", clip_sample=False)
    scheduler.set_timesteps(1000)
    labels = None if label is None else torch.tensor([label])
    g = torch.Generator().manual_seed(0)
    for t in (0, 400, 999):
        signal = scheduler.alphas_cumprod[t].double()
        sigma = ((1 - signal) / signal).sqrt()
        x = torch.randn(1, *denoiser.shape, generator=g, dtype=torch.float64) * (1 + sigma)
        with torch.no_grad():
            output = net(x * signal.sqrt(), t, labels).sample[:, : x.shape[1]]
        want = scheduler.step(output, t, x * signal.sqrt(), eta=0.0).pred_original_sample
        got = denoiser(x, denoiser.schedule.levels[t])
        assert float(((got - want) / (1 + sigma)).abs().max()) < 2e-5  # theirs is of float32 levels


NCSNPP = {
    "time_embedding_type": "fourier",
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "block_out_channels": (32, 32),
    "mid_block_scale_factor": 2**0.5,
    "norm_num_groups": None,
}
"""As google/ncsnpp-ffhq-256 is built, but for its size."""


def test_variance_exploding_and_edm_pipelines(tmp_path):
    """Folders whose scheduler is not discrete: loaded, and written again as ours."""
    from diffusers import EDMEulerScheduler, ScoreSdeVeScheduler

    from farfield.checkpoints.native import save_model

    for name, scheduler, network in (
        ("ve", ScoreSdeVeScheduler(sigma_max=50.0), unet(**NCSNPP)),
        ("edm", EDMEulerScheduler(sigma_data=1.0, prediction_type="v_prediction"), unet()),
    ):
        network.save_pretrained(tmp_path / name)
        scheduler.save_config(tmp_path / name)
        denoiser = load_folder(tmp_path / name)
        plan, bare = open_folder(tmp_path / name)
        save_model(tmp_path / f"{name}-again", bare, plan)
        x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 20.0])
        want = denoiser(x, sigma)
        if name == "ve":
            y, s = (x + 1) / 2, sigma / 2
            score = network(y, s).sample.detach()
            torch.testing.assert_close(want, 2 * (y + s[:, None, None, None] ** 2 * score) - 1, rtol=1e-5, atol=1e-4)
        assert torch.equal(load_denoiser(str(tmp_path / f"{name}-again"))(x, sigma), want)
        assert torch.equal(plan.denoiser(denoiser.network)(x, sigma), want)
        assert want.isfinite().all()


def damaged(folder, path, **change):
    file = folder / path
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


BREAK = {
    "no network": (lambda m: shutil.rmtree(m / "unet"), "config.json: missing"),
    "no scheduler": (lambda m: shutil.rmtree(m / "scheduler"), "scheduler_config.json: missing.*farfield inspect"),
    "no weights": (lambda m: (m / "unet/diffusion_pytorch_model.safetensors").unlink(), "no weights"),
    "no size": (lambda m: damaged(m, "unet/config.json", sample_size=None), "no sample_size"),
    "a size of nothing": (lambda m: damaged(m, "unet/config.json", sample_size=[8, 0]), r"sample_size \[8, 0\]"),
    "more channels in than out": (
        lambda m: damaged(m, "unet/config.json", in_channels=6),
        "answers 3: a super-resolution model",
    ),
    "text for a number": (lambda m: damaged(m, "unet/config.json", in_channels="3"), "3 channels in"),
    "other levels": (lambda m: damaged(m, "unet/config.json", layers_per_block=2), "its weights are not those"),
    "no network at all": (lambda m: damaged(m, "unet/config.json", norm_num_groups=5), "not the configuration"),
    "other kind": (
        lambda m: damaged(m, "unet/config.json", _class_name="UNet2DConditionModel"),
        "UNet2DConditionModel",
    ),
    "classes of another kind": (
        lambda m: damaged(m, "unet/config.json", class_embed_type="timestep"),
        "class_embed_type",
    ),
    "fourier": (
        lambda m: damaged(m, "unet/config.json", time_embedding_type="fourier"),
        "'fourier' under a DDPMScheduler",
    ),
    "learned": (lambda m: damaged(m, "unet/config.json", time_embedding_type="learned"), "'learned' under"),
    "code": (lambda m: (m / "unet/unet.py").write_text("raise SystemExit"), "unet.py: code that comes with a model"),
    "another library": (
        lambda m: damaged(m, "model_index.json", unet=["mine", "UNet2DModel"]),
        "unet is mine.UNet2DModel",
    ),
    "a latent model": (lambda m: damaged(m, "model_index.json", vae=["diffusers", "AutoencoderKL"]), "the part vae"),
    "not JSON": (lambda m: (m / "unet/config.json").write_text("{"), "expected JSON"),
    "cut off": (
        lambda m: (m / "unet/diffusion_pytorch_model.safetensors").write_bytes(
            (m / "unet/diffusion_pytorch_model.safetensors").read_bytes()[:-100]
        ),
        "diffusion_pytorch_model.safetensors",
    ),
}


@pytest.mark.parametrize("name", BREAK)
def test_folders_that_cannot_be_read_say_why(tmp_path, name):
    pipeline(tmp_path / "m")
    change, said = BREAK[name]
    change(tmp_path / "m")
    with pytest.raises(FarfieldError, match=said):
        load_folder(tmp_path / "m")


DOWN = ("DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D", "SkipDownBlock2D", "KDownBlock2D")
ODD = [
    *({"down_block_types": (d, d), "up_block_types": (d.replace("Down", "Up"),) * 2} for d in DOWN),
    {
        "down_block_types": ("AttnSkipDownBlock2D",),
        "up_block_types": ("AttnSkipUpBlock2D",),
        "block_out_channels": (32,),
    },
    {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2},
    {"down_block_types": ("AttnDownEncoderBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2},
    {"down_block_types": ("KCrossAttnDownBlock2D",) * 2, "up_block_types": ("KCrossAttnUpBlock2D",) * 2},
    {"down_block_types": ("KDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "KUpBlock2D")},
    *({"mid_block_type": m} for m in ("UNetMidBlock2DCrossAttn", "UNetMidBlock2DSimpleCrossAttn", None)),
    *({"downsample_type": t, "upsample_type": t} for t in ("resnet", "conv")),
    *({"class_embed_type": t, "num_class_embeds": 4} for t in ("timestep", "identity", "projection")),
    {"num_class_embeds": 4},
    {"resnet_time_scale_shift": "scale_shift"},
    {"attn_norm_num_groups": 4},
    {"center_input_sample": True},
    {"add_attention": False},
    {"attention_head_dim": 3},
    {"sample_size": 7},
    {"sample_size": (8, 12)},
    {"layers_per_block": 3},
]


@pytest.mark.parametrize("choices", ODD, ids=lambda c: " ".join(map(str, c.values()))[:40])
def test_every_network_that_diffusers_builds_is_read_rightly_or_refused(tmp_path, choices):
    """diffusers fills constants that stand in no file itself, such as those of K blocks."""
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet(**choices).save_pretrained(tmp_path)
    DDPMScheduler().save_config(tmp_path)
    size = choices.get("sample_size", 8)
    x = torch.randn(2, 3, *((size, size) if isinstance(size, int) else size))
    label = 1 if choices.get("num_class_embeds") else None
    try:
        denoiser = load_folder(tmp_path, label=label)
    except FarfieldError as error:
        assert str(tmp_path) in str(error) and "\n" not in str(error)
        with pytest.raises(Exception):  # noqa: B017 — diffusers cannot run it either, or it is no denoiser of images alone
            assert choices.get("class_embed_type") is None
            unet(**choices)(x, torch.ones(2))
        return
    labels = None if label is None else torch.full((2,), label)
    with torch.no_grad():
        want = UNet2DModel.from_pretrained(tmp_path).eval()(x, torch.tensor([3.0, 500.0]), class_labels=labels).sample
        assert torch.allclose(denoiser.network(x, torch.tensor([3.0, 500.0]), labels), want, atol=1e-6)


WRONG = [
    {"down_block_types": ["NoBlock2D", "DownBlock2D"]},
    {"down_block_types": ["DownBlock2D"]},
    {"down_block_types": None},
    {"down_block_types": ["__import__('os')", {}]},
    {"block_out_channels": [8, -16]},
    {"block_out_channels": [8, 10**9]},
    {"block_out_channels": []},
    {"block_out_channels": [8] * 10_000},
    {"block_out_channels": "816"},
    {"layers_per_block": 10**6},
    {"layers_per_block": 0},
    {"layers_per_block": "many"},
    {"layers_per_block": None},
    {"sample_size": 10**7},
    {"sample_size": [8, 8, 8]},
    {"in_channels": 10**9, "out_channels": 10**9},
    {"norm_num_groups": 0},
    {"norm_eps": "small"},
    {"act_fn": "evil"},
    {"act_fn": None},
    {"dropout": 5.0},
    {"resnet_time_scale_shift": "spatial"},
    {"time_embedding_type": "learned"},
    {"time_embedding_type": "x"},
    {"time_embedding_dim": -1},
    {"attention_head_dim": 0},
    {"num_class_embeds": 10**12},
    {"freq_shift": "a"},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda c: str(c)[:40])
def test_configurations_that_lie_are_one_line(tmp_path_factory, change):
    folder = tmp_path_factory.getbasetemp() / "lying"
    if not folder.exists():
        pipeline(folder)
    config = folder / "unet/config.json"
    whole = config.read_text()
    try:
        damaged(folder, "unet/config.json", **change)
        with pytest.raises(FarfieldError) as caught:
            load_folder(folder, label=1 if "num_class_embeds" in change else None)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 700
    finally:
        config.write_text(whole)


def checkpoint(folder, scheduler=True):
    """As a training script of diffusers keeps it: the network, its average with what EMAModel adds, and mostly no scheduler."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    network = unet()
    network.save_pretrained(folder / "unet")
    average = EMAModel(network.parameters(), model_cls=type(network), model_config=network.config)
    average.shadow_params = [p * 1.5 for p in average.shadow_params]
    average.save_pretrained(folder / "unet_ema")
    if scheduler:
        DDPMScheduler(num_train_timesteps=100).save_config(folder / "scheduler")
    return network


@pytest.mark.filterwarnings("error::farfield.core.error.FarfieldWarning")
def test_the_average_beside_a_network_is_taken_and_said(tmp_path):
    network = checkpoint(tmp_path / "m")
    name, first = str(tmp_path / "m"), "conv_in.weight"
    with pytest.warns(FarfieldNote, match="unet_ema.* is taken; .*@net takes unet"):
        average = load_denoiser(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, other = load_denoiser(f"{name}@ema"), load_denoiser(f"{name}@net")
    weight = network.get_parameter(first)
    assert torch.equal(again.network.unet.get_parameter(first), weight * 1.5)
    assert torch.equal(average.network.unet.get_parameter(first), weight * 1.5)
    assert torch.equal(other.network.unet.get_parameter(first), weight)
    assert torch.equal(open_network(f"{name}@net")[1].unet.get_parameter(first), weight)
    assert model_digest(name) == model_digest(f"{name}@ema") != model_digest(f"{name}@net")
    with pytest.raises(FarfieldError, match="no network 'best'; it holds ema and net"):
        load_denoiser(f"{name}@best")
    told = farfield("inspect", name, "--json")
    assert json.loads(told.out)["findings"][0]["value"] == "unet_ema"


@pytest.mark.filterwarnings("error::farfield.core.error.FarfieldWarning")
def test_an_average_that_was_registered_with_accelerate_is_taken_and_said(tmp_path):
    """As register_for_checkpointing keeps it: a list without names, in the order of the parameters."""
    from diffusers.training_utils import EMAModel

    network = checkpoint(tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "unet_ema")
    name = str(tmp_path / "m")
    torch.save({"last_epoch": 3, "base_lrs": [0.1]}, tmp_path / "m" / "custom_checkpoint_1.pkl")
    plain = model_digest(name)
    assert torch.equal(load_denoiser(name).network.unet.conv_in.weight, network.conv_in.weight)
    average = EMAModel(network.parameters())
    average.shadow_params = [p * 1.5 for p in average.shadow_params]
    file = tmp_path / "m" / "custom_checkpoint_0.pkl"
    torch.save(average.state_dict(), file)
    with pytest.warns(FarfieldNote, match=r"custom_checkpoint_0\.pkl.* is taken; .*@net takes unet"):
        found = load_denoiser(name).network.unet
    for weight, parameter in network.named_parameters():
        assert torch.equal(found.get_parameter(weight), parameter * 1.5)
    assert torch.equal(open_network(f"{name}@net")[1].unet.conv_in.weight, network.conv_in.weight)
    assert len({plain, model_digest(name), model_digest(f"{name}@net")}) == 3
    assert json.loads(farfield("inspect", name, "--json").out)["findings"][0]["value"] == "custom_checkpoint_0.pkl"
    torch.save({"shadow_params": average.shadow_params[:-1]}, file)
    with pytest.raises(FarfieldError, match=r"an average that is not of the .* weights beside it"):
        load_denoiser(name)


def test_an_average_whose_configuration_is_missing_is_not_passed_over(tmp_path):
    network = checkpoint(tmp_path)
    (tmp_path / "unet_ema" / "config.json").unlink()
    with pytest.raises(FarfieldError, match=r"unet_ema/config\.json: missing"):
        load_denoiser(str(tmp_path))
    taken = load_denoiser(f"{tmp_path}@net").network.unet
    assert torch.equal(taken.conv_in.weight, network.conv_in.weight)


def test_a_scheduler_that_is_missing_is_answered_for_once(tmp_path):
    checkpoint(tmp_path / "m y", scheduler=False)
    name = str(tmp_path / "m y")
    with pytest.raises(FarfieldError, match="answer once") as caught:
        load_denoiser(name)
    advised = shlex.split(str(caught.value).split("`")[1])
    shown = farfield("inspect", name)
    assert shown.code == 0 and "--set schedule=linear" in shown.out
    assert "beta" in farfield("inspect", name, "--set", "beta=1").err
    assert (
        "add --set prediction=epsilon" in farfield("inspect", name, "--set", "schedule=cosine", "--set", "steps=10").err
    )
    assert "steps=1" in farfield("inspect", name, *advised[3:], "--set", "steps=1").err
    assert not (tmp_path / "m y" / "scheduler_config.json").exists()
    done = farfield(*advised[1:])
    assert done.code == 0 and "answers kept" in done.out and "not in the file" not in done.out
    assert len(load_denoiser(name).schedule.levels) == 1000
    assert "says everything" in farfield(*advised[1:]).err


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "unet._orig_mod.", ""])
def test_what_wrappers_put_before_names_is_taken_off(tmp_path, prefix):
    from safetensors.torch import save_file

    pipeline(tmp_path / "m")
    state = {prefix + k: v for k, v in unet().state_dict().items()}
    if not prefix:  # blocks that were compiled each for itself
        state = {k.replace("resnets.0.", "resnets.0._orig_mod."): v for k, v in state.items()}
    save_file(state, tmp_path / "m/unet/diffusion_pytorch_model.safetensors")
    found, want = load_folder(tmp_path / "m").network.unet.state_dict(), unet().state_dict()
    assert found.keys() == want.keys() and all(torch.equal(found[name], want[name]) for name in want)


def test_shards_are_files_beside_their_index(tmp_path):
    shards(tmp_path / "m")
    index = tmp_path / "m/unet/diffusion_pytorch_model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    one = next(iter(names))
    damaged(
        tmp_path / "m", "unet/diffusion_pytorch_model.safetensors.index.json", weight_map={**names, one: "../other.bin"}
    )
    with pytest.raises(FarfieldError, match="the files beside it"):
        load_folder(tmp_path / "m")
    damaged(tmp_path / "m", "unet/diffusion_pytorch_model.safetensors.index.json", weight_map=names)
    (tmp_path / "m/unet" / names[one]).unlink()
    with pytest.raises(FarfieldError, match="safetensors missing, which"):
        load_folder(tmp_path / "m")


class Harm:
    """What a pickle calls when it is read by something that calls."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_in_a_torch_file_of_a_folder_is_executed(tmp_path):
    torch_file(tmp_path / "m")
    torch.save({**unet().state_dict(), "x": Harm(tmp_path / "harm")}, tmp_path / "m/unet/diffusion_pytorch_model.bin")
    with pytest.raises(FarfieldError):
        load_folder(tmp_path / "m")
    assert not (tmp_path / "harm").exists()


def test_what_a_configuration_says_beyond_diffusers_is_named(tmp_path):
    pipeline(tmp_path / "m")
    damaged(tmp_path / "m", "unet/config.json", extra_depth=3)
    with pytest.warns(FarfieldWarning, match="extra_depth"):
        load_folder(tmp_path / "m")
