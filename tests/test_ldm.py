"""Latent diffusion in single files: tiny networks with random weights under the original names, held against their folders."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import torch
from guided_files import Flags, answer
from guided_files import weights as guided_weights
from ldm_files import averaged, clip_names, coder_names, open_clip_names, single, unet_names, words_folder
from safetensors.torch import save_file
from tiny import farfield

from farfield.checkpoints.foreign import keep_answers, open_checkpoint
from farfield.checkpoints.latent import load_latent
from farfield.checkpoints.load import load_denoiser, model_digest
from farfield.core.error import FarfieldError
from farfield.diffusion.schedule import scaled_linear_betas

pytestmark = pytest.mark.usefixtures("without_the_page")

pytest.importorskip("transformers", reason="text encoders are in the extra `features`")

F64 = torch.float64
ROUNDING = {"atol": 5e-5, "rtol": 5e-5}
SPACED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FLAGS = Flags(learned=False, scale_shift=False, resample="conv", head_channels=32)


def made(build):
    """Networks that always have the same weights, without the libraries' messages."""
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with torch.random.fork_rng(devices=[]), quiet[0], quiet[1]:
        torch.manual_seed(0)
        return build()


def unet(width: int, heads: int | tuple[int, ...] = 8, linear: bool = False, depth: int = 1, channels: int = 4):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=heads,
        use_linear_projection=linear,
        transformer_layers_per_block=depth,
    )


def coder(kind: str = "AutoencoderKL", attended: bool = False, channels: int = 4, scale: float = 0.18215):
    import diffusers

    ends = (
        ("AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D") if attended else ("DownEncoderBlock2D", "UpDecoderBlock2D")
    )
    codes = {"num_vq_embeddings": 40, "vq_embed_dim": channels} if kind == "VQModel" else {}
    return getattr(diffusers, kind)(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", ends[0]),
        up_block_types=(ends[1], "UpDecoderBlock2D"),
        latent_channels=channels,
        layers_per_block=2,
        scaling_factor=scale,
        **codes,
    )


def text(width: int, rows: int, act: str, pad: int):
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=rows, hidden_size=width, intermediate_size=64, num_hidden_layers=1, num_attention_heads=width // 64,
            max_position_embeddings=16, hidden_act=act, bos_token_id=rows - 2, eos_token_id=rows - 1, pad_token_id=pad,
        )
    )  # fmt: skip


def pipeline(folder: Path, network, encoder, pad: str, **levels):
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    words = folder.with_name(f"{folder.name}-words")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=16, pad_token=pad)
    whole = StableDiffusionPipeline(
        vae=coder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=network,
        scheduler=DDIMScheduler(**SPACED, clip_sample=False, set_alpha_to_one=False, steps_offset=1, **levels),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    whole.save_pretrained(folder, safe_serialization=True)
    return whole


@pytest.fixture(scope="module")
def stable(tmp_path_factory) -> dict[str, tuple[Path, Path, dict]]:
    """Stable Diffusion 1 and 2 in small: their folder, their file, and what is asked of it."""
    root = tmp_path_factory.mktemp("single")
    found = {}
    for name, width, act, pad in (("one", 768, "quick_gelu", "<|endoftext|>"), ("two", 128, "gelu", "!")):
        words, rows = words_folder(root / f"{name}-words")
        two = name == "two"
        # heads 64 wide would be one: what the file says of them is asked for
        network = made(lambda width=width, two=two: unet(width, (1, 2) if two else 8, two, 2 if two else 1))
        encoder = made(lambda w=width, r=rows, a=act, two=two: text(w, r, a, 0 if two else r - 1))
        levels = {"prediction_type": "v_prediction"} if two else {}
        whole = made(lambda n=name, net=network, e=encoder, p=pad, le=levels: pipeline(root / n, net, e, p, **le))
        names = open_clip_names(encoder) if two else clip_names(encoder)
        state = single(unet_names(network), coder_names(whole.vae), names, betas=scaled_linear_betas().float())
        answers = {"size": 32} | ({"prediction": "v", "head_channels": 32, "scale": 0.18215} if two else {})
        file = root / f"{name}.safetensors"
        if two:
            file = file.with_suffix(".ckpt")  # as Lightning writes it
            torch.save({"epoch": 3, "global_step": 9, "state_dict": state, "callbacks": {}}, file)
        else:
            save_file(state, file)
        found[name] = root / name, file, answers
        keep_answers(file, {**answers, "tokenizer": str(words)})
    return found


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("prompt", ["", "a galaxy"])
@torch.no_grad()
def test_a_single_file_is_its_folder(stable, name, prompt):
    folder, file, _ = stable[name]
    expected = load_latent(folder, prompt=prompt or None)
    found = load_denoiser(f"{file}@{prompt}" if prompt else str(file))
    assert found.shape == expected.shape == (4, 16, 16) and found.image_shape == (3, 32, 32)
    assert found.prediction == expected.prediction == ("v" if name == "two" else "epsilon")
    torch.testing.assert_close(found.schedule.levels, expected.schedule.levels, atol=0, rtol=1e-5)
    x = torch.randn(2, *found.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    for sigma in (0.1, 1.0, 10.0):
        level = torch.tensor(sigma, dtype=F64)
        torch.testing.assert_close(found(sigma * x, level), expected(sigma * x, level), **ROUNDING)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    latents = expected.encode(images)
    torch.testing.assert_close(found.encode(images), latents, **ROUNDING)
    torch.testing.assert_close(found.decode(latents), expected.decode(latents), **ROUNDING)


@torch.no_grad()
def test_prompts_matter_and_the_empty_one_needs_no_tokenizer(stable, tmp_path):
    _, file, answers = stable["one"]
    bare = tmp_path / file.name
    bare.symlink_to(file)
    keep_answers(bare, answers)
    x, sigma = torch.randn(1, 4, 16, 16, dtype=F64), torch.tensor(2.0, dtype=F64)
    plain, asked = load_denoiser(str(bare)), load_denoiser(f"{file}@a galaxy")
    assert (plain(x, sigma) - asked(x, sigma)).abs().max() > 1e-4
    with pytest.raises(
        FarfieldError, match=r"needs the words of its text encoder .*hf download .*--set tokenizer=FOLDER"
    ):
        load_denoiser(f"{bare}@a galaxy")
    assert model_digest(str(file)) != model_digest(f"{file}@a galaxy") != model_digest(str(bare))
    words, _ = words_folder(tmp_path / "other", begin_last=False)
    with pytest.raises(FarfieldError, match="knows 55 words; expected CLIP's"):
        open_checkpoint(bare, {"tokenizer": str(words)}, "dust").denoiser()
    with pytest.raises(FarfieldError, match=r"no folder with a vocab\.json"):
        open_checkpoint(bare, {"tokenizer": str(tmp_path)})


@torch.no_grad()
def test_the_painter_takes_a_file(stable):
    from farfield.checkpoints.text_to_image import load_text_to_image

    folder, file, _ = stable["two"]
    painted = [load_text_to_image(str(model))(["a galaxy"], [7], steps=3, guidance=4.0) for model in (folder, file)]
    torch.testing.assert_close(painted[0], painted[1], **ROUNDING)


def test_diffusers_own_converters_find_the_folder_in_it(stable):
    """The files are what they should be: an independent reading of the names."""
    converters = pytest.importorskip("diffusers.loaders.single_file_utils")
    from safetensors.torch import load_file

    folder, file, _ = stable["one"]
    state, network, encoder = load_file(file), made(lambda: unet(768)), made(coder)
    convert = {
        "unet": (converters.convert_ldm_unet_checkpoint, network),
        "vae": (converters.convert_ldm_vae_checkpoint, encoder),
    }
    for part, (converted, there) in convert.items():
        found = converted(dict(state), there.config)
        expected = load_file(folder / part / "diffusion_pytorch_model.safetensors")
        assert found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)


def ldm_state(kind: str = "VQModel", attended: bool = False, **rest):
    """An unconditional LDM: guided-diffusion's network in the latents of an autoencoder."""
    network = guided_weights(Flags(**{**FLAGS.__dict__, "channels": 4}))
    first = made(lambda: coder(kind, attended, scale=1.0))
    return (
        network,
        first,
        single(network, coder_names(first), betas=scaled_linear_betas(1000, 0.0015, 0.0195).float(), **rest),
    )


@pytest.mark.parametrize(("kind", "attended"), [("VQModel", True), ("AutoencoderKL", False)])
@torch.no_grad()
def test_unconditional_latent_diffusion(kind, attended, tmp_path):
    network, first, state = ldm_state(kind, attended)
    if kind == "AutoencoderKL":
        state["scale_factor"] = torch.tensor(0.22765929)  # scale_by_std
    torch.save({"state_dict": state, "hyper_parameters": {}}, tmp_path / "model.ckpt")
    asked = {q.name for q in open_checkpoint(tmp_path / "model.ckpt").questions}
    assert asked == {"size", "heads"}
    checkpoint = open_checkpoint(tmp_path / "model.ckpt", {"size": 16, "head_channels": 32})
    assert checkpoint.questions == () and checkpoint.image_shape == (3, 16, 16)
    denoiser = checkpoint.denoiser()
    assert denoiser.shape == (4, 8, 8) and denoiser.codec.scale == pytest.approx(1 if kind == "VQModel" else 0.22765929)
    levels = ((1 - (a := (1 - scaled_linear_betas(1000, 0.0015, 0.0195)).cumprod(0))) / a).sqrt()
    torch.testing.assert_close(denoiser.schedule.levels, levels, atol=0, rtol=1e-5)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for t in (0, 500, 999):
        sigma = levels[t]
        noise = answer(Flags(**{**FLAGS.__dict__, "channels": 4}), network, x, torch.full((2,), float(t)))
        expected = (1 + sigma**2).sqrt() * x.double() - sigma * noise.double()
        found = denoiser((1 + sigma**2).sqrt() * x.double(), sigma)
        torch.testing.assert_close(found, expected, atol=1e-4 * float(1 + sigma), rtol=1e-4)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    encoded = first.encode(images)
    latents = encoded.latents if kind == "VQModel" else encoded.latent_dist.mean
    torch.testing.assert_close(denoiser.encode(images), denoiser.codec.scale * latents, **ROUNDING)
    torch.testing.assert_close(
        denoiser.decode(denoiser.codec.scale * latents), first.decode(latents).sample, **ROUNDING
    )


@torch.no_grad()
def test_the_average_is_taken_and_its_names_are_found(tmp_path):
    _, _, state = ldm_state()
    answers = {"size": 16, "head_channels": 32}
    torch.save({"state_dict": averaged(state)}, tmp_path / "model.ckpt")
    halved = {k: 0.5 * v if k.startswith("model.diffusion_model.") else v for k, v in state.items()}
    torch.save(halved, tmp_path / "halved.pt")
    torch.save(state, tmp_path / "plain.pt")
    x, sigma = torch.randn(1, 4, 8, 8, dtype=F64), torch.tensor(1.0, dtype=F64)

    def answered(file: str, part: str | None = None):
        return open_checkpoint(tmp_path / file, answers, part).denoiser()(x, sigma)

    assert torch.equal(answered("model.ckpt"), answered("halved.pt"))
    assert torch.equal(answered("model.ckpt", "net"), answered("plain.pt"))
    assert (answered("model.ckpt") - answered("plain.pt")).abs().max() > 1e-3
    short = averaged(state)
    short.pop(next(k for k in short if k.startswith("model_ema.diffusion_model")))
    torch.save(short, tmp_path / "short.pt")
    with pytest.raises(FarfieldError, match=r"model_ema has .* expected one of each"):
        open_checkpoint(tmp_path / "short.pt", answers)
    with pytest.raises(FarfieldError, match="reads no prompt: leave @dust out"):
        open_checkpoint(tmp_path / "model.ckpt", answers, "dust")


@torch.no_grad()
def test_classes_that_are_told_as_words(tmp_path):
    network, table = made(lambda: unet(16, 4)), torch.randn(11, 16, generator=torch.Generator().manual_seed(3))
    state = single(unet_names(network), coder_names(made(coder)), {"embedding.weight": table})
    torch.save(state, tmp_path / "model.ckpt")
    asked = {q.name: q.likely for q in open_checkpoint(tmp_path / "model.ckpt").questions}
    assert asked.keys() == {"size", "heads", "scale", "beta_end", "null"}
    answers = {"size": 32, "heads": 4, "scale": 1.0, "beta_end": 0.0195, "null": "yes"}
    checkpoint = open_checkpoint(tmp_path / "model.ckpt", answers)
    assert checkpoint.plan.classes == 10 and checkpoint.questions == ()
    x, sigma = (
        torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1), dtype=F64),
        torch.tensor(1.0, dtype=F64),
    )
    for label in (0, 7, -1):
        denoiser = checkpoint.denoiser(label=label)
        time = denoiser.schedule.time(sigma)
        told = table[label].expand(2, 1, -1)
        noise = network((x / 2**0.5).float(), time.float(), encoder_hidden_states=told).sample
        torch.testing.assert_close(denoiser(x, sigma), x - noise.double(), **ROUNDING)
    with pytest.raises(FarfieldError, match="expected a label from 0 to 9, or -1"):
        checkpoint.denoiser()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "inpainting"),
        (lambda s: s | {"model.diffusion_model.label_emb.0.0.weight": torch.zeros(128, 8)}, "unCLIP"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("cond_stage_model")}, "without its text encoder"),
        (lambda s: s | {"conditioner.embedders.0.x": torch.zeros(2)}, "Stable Diffusion XL"),
    ],
)
def test_variants_are_named_in_one_line(stable, tmp_path, change, said):
    from safetensors.torch import load_file

    save_file(change(load_file(stable["one"][1])), tmp_path / "m.safetensors")
    shown = farfield("inspect", tmp_path / "m.safetensors")
    assert shown.code == 0 and said in shown.out.splitlines()[0], shown.err
    with pytest.raises(FarfieldError, match=said):
        load_denoiser(str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("first_stage_model.decoder.conv_in.weight"), "decoder.conv_in.weight"),
        (lambda s: s.update({"first_stage_model.encoder.conv_in.weight": torch.zeros(31, 3, 3, 3)}), "encoder"),
        (lambda s: s.pop("model.diffusion_model.output_blocks.0.0.in_layers.2.weight"), "is missing"),
        (lambda s: s.update({"model.diffusion_model.more.weight": torch.zeros(3)}), "no such weight"),
        (lambda s: s.update(betas=torch.full((1000,), 2.0)), "between 0 and 1"),
        (
            lambda s: s.update({"first_stage_model.encoder.mid_block.resnets.0.conv1.weight": torch.zeros(3)}),
            "the same weight",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_line(stable, tmp_path, change, said):
    from safetensors.torch import load_file

    state = load_file(stable["one"][1])
    change(state)
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(FarfieldError, match=said) as refused:
        open_checkpoint(tmp_path / "m.safetensors")
    assert "\n" not in str(refused.value)


def test_a_file_without_autoencoder_takes_one_of_a_folder(stable, tmp_path):
    from safetensors.torch import load_file

    folder, file, _ = stable["one"]
    state = {k: v for k, v in load_file(file).items() if not k.startswith("first_stage_model")}
    save_file(state, tmp_path / "m.safetensors")
    assert {q.name for q in open_checkpoint(tmp_path / "m.safetensors").questions} == {"codec"}
    found = open_checkpoint(tmp_path / "m.safetensors", {"size": 16, "codec": str(folder)}).denoiser()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(found.encode(images), load_latent(folder).encode(images), **ROUNDING)


def test_levels_in_half_precision_are_not_believed(stable, tmp_path):
    from safetensors.torch import load_file

    state = load_file(stable["one"][1])
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "m.safetensors")
    plan = open_checkpoint(tmp_path / "m.safetensors", {"size": 32}).plan
    assert (plan.scheduler["beta_start"], plan.scheduler["beta_end"]) == (0.00085, 0.012)
    told = {"alphas_cumprod": (1 - scaled_linear_betas(1000, 0.0015, 0.0155)).cumprod(0).float()}
    save_file({k: v for k, v in state.items() if k != "betas"} | told, tmp_path / "n.safetensors")
    plan = open_checkpoint(tmp_path / "n.safetensors", {"size": 32}).plan
    assert plan.scheduler["beta_end"] == pytest.approx(0.0155, rel=1e-3)


def test_inspect_and_check_take_such_a_file(stable):
    _, file, _ = stable["one"]
    shown = farfield("inspect", file)
    assert shown.code == 0, shown.err
    assert "latent diffusion, Stable Diffusion 1" in shown.out and "32×32, RGB, latents of 4×16×16" in shown.out
