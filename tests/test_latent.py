"""Latent diffusion: on tiny pipelines with random weights, made here, held against diffusers' own evaluation of them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import farfield, make_images, make_model, summary
from transformer_files import Flags, dit_layout, weights

from farfield.checkpoints import latent
from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.latent import is_latent, load_latent
from farfield.checkpoints.load import load_denoiser, model_digest, open_network
from farfield.command.shared import Numerics
from farfield.core.artifact import Images, Latents, Store
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.runtime import seeded_noise
from farfield.diffusion import codec as codecs
from farfield.diffusion.codec import Codec
from farfield.diffusion.generation import generate
from farfield.diffusion.solver import integrate
from farfield.study.bench.run import Run
from farfield.study.unseen import method as study
from farfield.study.unseen.ladder import Ladder
from farfield.unseen.inversion import to_latent
from farfield.unseen.method import Method, decode_by, invert_by
from farfield.unseen.tuning import Recipe, tune

pytest.importorskip("transformers", reason="text encoders are in the extra `features`")
from test_prompt import make_pipeline

pytestmark = pytest.mark.usefixtures("few_views")

F64 = torch.float64

ROUNDING = 5e-5
"""Of float32: 5e-6 at most on the three capabilities of a CPU, with and without vector instructions."""


def gentle(folder: Path) -> Path:
    """The same with a flow that can be inverted: a random network's is chaotic."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.weight"] *= 0.02
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def make_ldm(folder: Path, channels: int = 3, side: int = 8) -> Path:
    """An LDMPipeline: a VQModel that halves the sides, and a network of so many channels."""
    from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel

    with (
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        torch.manual_seed(0)
        coder = VQModel(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            num_vq_embeddings=32,
            scaling_factor=4.0,
        )
        coder.quantize.embedding.weight.data.normal_(std=0.25)
        unet = UNet2DModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=8,
        )
        scheduler = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
        LDMPipeline(vqvae=coder, unet=unet, scheduler=scheduler).save_pretrained(folder)
    return gentle(folder)


def changed(folder: Path, to: Path, file: str, **values: object) -> Path:
    """A copy in which one JSON file says something else."""
    shutil.copytree(folder, to)
    path = to / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return to


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("latent")
    scheduler = "scheduler/scheduler_config.json"
    # a random autoencoder's latents are small; scaled to about unit variance, as a trained one's are
    stable = changed(gentle(make_pipeline(root / "made")), root / "stable", "vae/config.json", scaling_factor=3.0)
    return {
        "stable": stable,
        "v": changed(stable, root / "v", scheduler, prediction_type="v_prediction", set_alpha_to_one=True),
        "ldm": make_ldm(root / "ldm"),
    }


def pipeline_of(folder: Path):
    """diffusers' own, with nothing of ours."""
    from diffusers import DiffusionPipeline

    with contextlib.redirect_stderr(io.StringIO()):
        found = DiffusionPipeline.from_pretrained(folder)
    found.set_progress_bar_config(disable=True)
    return found


def words_of(pipeline, prompt: str) -> torch.Tensor:
    """The text encoder's last hidden state, by hand."""
    tokens = pipeline.tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return pipeline.text_encoder(tokens).last_hidden_state


@pytest.mark.parametrize(("name", "prompt"), [("stable", None), ("stable", "a galaxy"), ("v", "dust"), ("ldm", None)])
@torch.no_grad()
def test_the_denoiser_is_what_diffusers_predicts(models, name, prompt):
    pipeline, denoiser = pipeline_of(models[name]), load_latent(models[name], prompt=prompt)
    x0 = torch.randn(3, *denoiser.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    told = {} if name == "ldm" else {"encoder_hidden_states": words_of(pipeline, prompt or "").expand(3, -1, -1)}
    pipeline.scheduler.set_timesteps(1000)
    for t in (0, 300, 800, 999):
        signal = float(pipeline.scheduler.alphas_cumprod[t])
        sigma = ((1 - signal) / signal) ** 0.5
        x_t = (signal**0.5 * (x0 + sigma * x0.flip(0))).float()
        expected = pipeline.scheduler.step(pipeline.unet(x_t, t, **told).sample, t, x_t).pred_original_sample
        found = denoiser(x_t.double() / signal**0.5, torch.tensor(sigma, dtype=F64))
        torch.testing.assert_close(found.float(), expected, atol=ROUNDING, rtol=ROUNDING)


def test_the_prompt_matters_and_the_text_encoder_is_let_go(models):
    pipeline = pipeline_of(models["stable"])
    plain, asked = load_latent(models["stable"]), load_denoiser(f"{models['stable']}@a galaxy")
    x, sigma = torch.randn(1, *plain.shape), torch.tensor(3.0)
    assert (plain(x, sigma) - asked(x, sigma)).abs().max() > 1e-3
    kept = sum(p.numel() for part in (pipeline.unet, pipeline.vae) for p in part.parameters())
    assert sum(p.numel() for p in plain.parameters()) == kept
    assert not any(p.requires_grad for p in plain.parameters()) and not plain.training
    assert plain.shape == (4, 16, 16) and plain.image_shape == (3, 32, 32)


def by_diffusers(name: str, pipeline, seeds, steps: int, prompt: str, guidance: float) -> torch.Tensor:
    """Its pictures of these seeds by DDIM, in [-1, 1] and cut there."""
    if name == "ldm":
        drawn = [torch.Generator().manual_seed(s) for s in seeds]
        found = pipeline(len(seeds), drawn, num_inference_steps=steps, output_type="np").images
    else:
        noise = seeded_noise(seeds, (4, 16, 16))
        told = {"num_inference_steps": steps, "guidance_scale": guidance, "latents": noise, "output_type": "np"}
        found = pipeline([prompt] * len(seeds), **told).images
    return torch.from_numpy(found).permute(0, 3, 1, 2) * 2 - 1


@pytest.mark.parametrize(
    ("name", "prompt", "guidance"), [("v", "", 1.0), ("v", "a galaxy", 1.0), ("v", "a galaxy", 5.0), ("ldm", None, 1.0)]
)
def test_generation_is_diffusers_own_ddim(models, name, prompt, guidance):
    """DDIM with a last step to no noise at all is Euler down the same levels, and then the denoised state."""
    steps, seeds, pipeline = 6, [7, 2], pipeline_of(models[name])
    expected = by_diffusers(name, pipeline, seeds, steps, prompt, guidance)
    denoiser = load_latent(models[name], prompt=prompt, guidance=guidance)
    sigmas = denoiser.schedule.levels[pipeline.scheduler.timesteps]
    images = generate(denoiser, seeds, sigmas, "euler")
    assert images.shape == expected.shape == (2, *denoiser.image_shape) and float(expected.std()) > 0.02
    torch.testing.assert_close(images.clamp(-1, 1).float(), expected, atol=1e-4, rtol=0)


def test_an_image_depends_on_its_seed_alone(models):
    denoiser = load_latent(models["stable"])
    sigmas = denoiser.schedule.sigmas(4)
    together, alone = generate(denoiser, [3, 4, 5], sigmas), generate(denoiser, [4], sigmas)
    torch.testing.assert_close(together[1:2], alone, atol=ROUNDING, rtol=0)
    assert (together[0] - together[2]).abs().max() > 1e-2


def pictures(n: int, height: int, width: int) -> torch.Tensor:
    coarse = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").clamp(-1, 1)


@pytest.mark.parametrize(
    ("method", "steps", "within"),
    [
        (Method("explicit", "midpoint"), 24, 0.01),
        (Method("fixed-point", "heun", tolerance=1e-8), 6, 1e-6),
        (Method("belm"), 6, 1e-6),
        (Method("edit-friendly"), 6, 1e-6),
    ],
    ids=["explicit", "fixed-point", "belm", "edit-friendly"],
)
def test_a_round_trip_ends_at_what_the_codec_returns(models, method, steps, within):
    """At the trained size, and at another of the autoencoder's multiples."""
    denoiser = load_latent(models["stable"], dtype=F64)
    sigmas = denoiser.schedule.sigmas(steps)
    for images in (pictures(2, 16, 16), pictures(1, 8, 20)):
        alone = denoiser.decode(denoiser.encode(images))
        assert float((alone - images).abs().max()) > 0.1  # a random autoencoder: nothing else returns the picture
        found = invert_by(method, denoiser, images, sigmas, range(len(images)))
        assert found.latents.shape[1:] == (4, images.shape[2] // 2, images.shape[3] // 2)
        back = decode_by(method, denoiser, found.latents, found.beside, sigmas)
        assert float((back - alone).abs().max()) < within


def test_a_reverse_derivative_is_a_difference_quotient(models):
    """Through the network's attention to the words, and through the decoder."""
    denoiser = load_latent(models["stable"], dtype=F64, prompt="dust")
    x, u = torch.randn(2, 1, *denoiser.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    sigma = torch.tensor(1.0, dtype=F64)

    def painted(x):
        return denoiser.decode(denoiser(x, sigma))

    y, pull = torch.func.vjp(painted, x)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    quotient = (painted(x + 1e-5 * u) - painted(x - 1e-5 * u)) / 2e-5
    assert float((pull(v)[0] * u).sum()) == pytest.approx(float((v * quotient).sum()), rel=1e-6)


@torch.no_grad()
def test_a_gaussian_autoencoder_gives_its_mean(models):
    from diffusers import AutoencoderKL

    coder = AutoencoderKL.from_pretrained(models["stable"] / "vae")
    images = pictures(3, 12, 20).float()
    codec = Codec(coder, channels=3, factor=2, scale=0.3, shift=0.05)
    mean = coder.quant_conv(coder.encoder(images))[:, :4]
    torch.testing.assert_close(codec.encode(images), 0.3 * (mean - 0.05), atol=1e-6, rtol=0)
    painted = coder.decoder(coder.post_quant_conv(mean))
    torch.testing.assert_close(codec.decode(0.3 * (mean - 0.05)), painted, atol=ROUNDING, rtol=0)
    assert codec.encode(images.double()).dtype == F64 and codec.image_shape((4, 6, 10)) == (3, 12, 20)


@torch.no_grad()
def test_a_quantising_autoencoder_quantises_on_the_way_back_alone(models):
    from diffusers import VQModel

    coder, denoiser = VQModel.from_pretrained(models["ldm"] / "vqvae"), load_latent(models["ldm"])
    images = pictures(2, 16, 16).float()
    said = coder.quant_conv(coder.encoder(images))
    torch.testing.assert_close(denoiser.encode(images), 4 * said, atol=1e-6, rtol=0)
    book = coder.quantize.embedding.weight
    near = torch.cdist(said.permute(0, 2, 3, 1).reshape(-1, 3), book).argmin(1)
    quantised = book[near].reshape(2, 8, 8, 3).permute(0, 3, 1, 2)
    assert float((quantised - said).abs().max()) > 0.1
    painted = coder.decoder(coder.post_quant_conv(quantised))
    torch.testing.assert_close(denoiser.decode(4 * said), painted, atol=ROUNDING, rtol=0)


def test_a_few_pictures_at_a_time_are_as_all_at_once(models, monkeypatch):
    denoiser, images = load_latent(models["stable"]), pictures(5, 16, 16)
    x0 = denoiser.encode(images)
    painted = denoiser.decode(x0)
    sizes = []
    monkeypatch.setattr(codecs, "PIXELS", 2 * 16 * 16)
    denoiser.codec.autoencoder.encoder.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    torch.testing.assert_close(denoiser.encode(images), x0, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(denoiser.decode(x0), painted, atol=ROUNDING, rtol=0)
    assert sizes == [2, 2, 1]


def test_a_lower_precision_is_the_network_s_alone(models):
    denoiser = load_latent(models["stable"], dtype=torch.bfloat16)
    assert {p.dtype for p in denoiser.network.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in denoiser.codec.parameters()} == {torch.float32}
    x = torch.randn(1, *denoiser.shape, dtype=F64)
    exact = load_latent(models["stable"])(x, torch.tensor(1.0))
    torch.testing.assert_close(denoiser(x, torch.tensor(1.0)), exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("shape", [(3, 15, 16), (3, 16, 18 + 1), (4, 16, 16), (1, 16, 16)])
def test_what_the_autoencoder_cannot_take_is_refused(models, shape):
    denoiser = load_latent(models["stable"])
    with pytest.raises(FarfieldError, match=r"3 channels and sides that are multiples of 2"):
        denoiser.encode(torch.zeros(1, *shape))


def test_reconstruct_says_what_the_autoencoder_costs(models, tmp_path):
    images = make_images(tmp_path / "images", 4, 32, 32)
    out = tmp_path / "run"
    found = farfield("reconstruct", f"{models['stable']}@dust", images, "--steps", 32, "-o", out, "-q")
    assert found.code == 0, found.err
    told = summary(out)
    assert Store(out / "latents", Latents).read().values.shape == (4, 4, 16, 16)
    assert Store(out / "reconstructions", Images).read().values.shape == (4, 3, 32, 32)
    assert len(list((out / "png").glob("*.png"))) == 4
    alone, trip = told["codec"]["psnr"]["median"], told["reconstruction"]["psnr"]["median"]
    assert alone < 25 and trip == pytest.approx(alone, abs=0.1)
    assert told["codec"]["inversion_psnr"]["min"] > 45
    assert "autoencoder alone" in (out / "report.html").read_text()


def test_auto_asks_the_inversion_for_what_the_inversion_can_give(models, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "REFERENCE", 16)
    monkeypatch.setattr(study, "LADDER", (6, 8))
    images = make_images(tmp_path / "images", 2, 16, 16)
    found = farfield(
        "reconstruct", models["stable"], images, "--method", "auto", "--round-trip", "35dB", "--latent", "0.2",
        "-o", tmp_path / "run", "-q",
    )  # fmt: skip
    assert found.code == 0, found.err
    told = summary(tmp_path / "run")
    assert told["reconstruction"]["psnr"]["max"] < 30 and told["codec"]["inversion_psnr"]["min"] > 30


def test_generate_by_name_and_prompt(models, tmp_path):
    for prompt in ("", "@a galaxy"):
        run = tmp_path / f"run{len(prompt)}"
        found = farfield("generate", f"{models['stable']}{prompt}", "--seeds", "0-1", "--steps", 3, "-o", run, "-q")
        assert found.code == 0, found.err
        assert summary(run)["model"]["shape"] == [3, 32, 32] and summary(run)["model"]["latent_shape"] == [4, 16, 16]
    first, second = ((tmp_path / run / "samples" / "000000.png").read_bytes() for run in ("run0", "run9"))
    assert first != second


def test_expand_runs_on_a_latent_model(models, tmp_path):
    images = make_images(tmp_path / "images", 20, 16, 16)
    out, options = tmp_path / "run", ("--examples", 6, "-n", 4, "--steps", 4, "--sigma", 5, "--no-control", "-q")
    found = farfield("expand", models["ldm"], images, "--sampler", "patchwork", "-o", out, *options)
    assert found.code == 0, found.err
    assert Store(out / "samples", Images).read().values.shape == (4, 3, 16, 16)
    assert Store(out / "sampled", Latents).read().values.shape == (4, 3, 8, 8)
    assert set(summary(out)["measures"]) == {"pixels", "copy"} and "psnr" in summary(out)["codec"]


def test_a_ladder_climbs_from_the_latents_and_comes_down_to_pictures(models, tmp_path):
    denoiser = load_latent(models["stable"], dtype=F64)
    ladder = Ladder(denoiser, [2.0, 5.0], Numerics(steps=8), 8)
    images = Images(("a", "b"), pictures(2, 16, 16).float())
    climbed = ladder.climb(Run(tmp_path / "run", "climb", {}, {}, True), "latents", images)
    x = denoiser.encode(images.values.double())
    for level, grid in zip((2.0, 5.0), ladder.grids(), strict=True):
        x = integrate(denoiser, x, grid.flip(0))
        torch.testing.assert_close(climbed[level].values, to_latent(x, grid[0]), atol=1e-9, rtol=0)
    for descent in (ladder.disturbed, ladder.stochastic):
        back = descent(climbed[2.0], 0.0).values
        assert float((back - denoiser.decode(denoiser.encode(images.values))).abs().max()) < 0.02


def test_a_latent_model_is_neither_tuned_nor_trained(models, tmp_path):
    images = make_images(tmp_path / "images", 20, 16, 16)
    found = farfield("compare", models["ldm"], images, "--methods", "gaussian,lora", "-o", tmp_path / "a", "-q")
    assert found.code == 2 and "leave lora out, such as --methods gaussian" in found.err
    found = farfield("train", "--data", images, "--length", 8, "--from", models["ldm"], "-o", tmp_path / "b", "-q")
    assert found.code == 2 and "LDMPipeline" in found.err and not (tmp_path / "b").exists()
    with pytest.raises(FarfieldError, match="LDMPipeline"):
        open_network(str(models["ldm"]))
    with pytest.raises(FarfieldError, match="not tuned here"):
        tune(load_latent(models["ldm"]), torch.zeros(2, 3, 16, 16), Recipe())


@pytest.mark.parametrize(
    ("name", "file", "values", "says"),
    [
        (
            "stable",
            "model_index.json",
            {"_class_name": "StableDiffusionXLPipeline"},
            "Stable Diffusion XL .StableDiffusionXLPip",
        ),
        (
            "ldm",
            "model_index.json",
            {"_class_name": "DiTPipeline"},
            "expected DiTTransformer2DModel .* in a DiTPipeline",
        ),
        (
            "ldm",
            "model_index.json",
            {"vqvae": ["diffusers", "AutoencoderTiny"]},
            "expected VQModel or AutoencoderKL in",
        ),
        ("ldm", "model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"]}, "expected UNet2DModel in a LDM"),
        ("ldm", "unet/config.json", {"sample_size": None}, "no sample_size"),
        ("stable", "scheduler/scheduler_config.json", {"prediction_type": "flow"}, "prediction_type 'flow'"),
        ("stable", "model_index.json", {"unet": ["my_unet", "UNet2DConditionModel"]}, "not run"),
        ("stable", "model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}, "expected CLIPTextModel"),
        ("stable", "text_encoder/config.json", {"num_hidden_layers": 2}, "text_encoder cannot be read .no weights of"),
        ("stable", "vae/config.json", {"block_out_channels": [8, 16]}, "not those of a AutoencoderKL"),
    ],
)
def test_another_pipeline_is_refused_by_name(models, tmp_path, name, file, values, says):
    folder = changed(models[name], tmp_path / "m", file, **values)
    assert is_latent(folder)
    with pytest.raises(FarfieldError, match=says):
        load_denoiser(str(folder))


def test_damage_is_named(models, tmp_path):
    torn = shutil.copytree(models["ldm"], tmp_path / "torn")
    weights = torn / "vqvae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(FarfieldError, match=r"vqvae/diffusion_pytorch_model.safetensors: damaged or cut short"):
        load_latent(torn)
    others = {f"{k}.other": v for k, v in load_file(models["ldm"] / "vqvae" / weights.name).items()}
    save_file(others, weights, metadata={"format": "pt"})
    with pytest.raises(FarfieldError, match=r"not those of a VQModel .*Missing key"):
        load_latent(torn)
    shutil.rmtree(torn / "vqvae")
    with pytest.raises(FarfieldError, match=r"vqvae/config.json: missing"):
        load_latent(torn)
    with pytest.raises(FarfieldError, match="takes 4 channels, but the autoencoder's latents have 3"):
        load_latent(make_ldm(tmp_path / "told", channels=4))


def test_weights_of_torch_are_read_as_data_alone(models, tmp_path):
    """The published LDM has no others."""
    folder = shutil.copytree(models["ldm"], tmp_path / "m")
    safe = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights, bare = load_file(safe), safe.with_suffix(".bin")
    safe.unlink()
    torch.save(weights, bare)
    x, sigma = torch.randn(1, 3, 8, 8), torch.tensor(2.0)
    assert torch.equal(load_latent(folder)(x, sigma), load_latent(models["ldm"])(x, sigma))

    class Bad:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({**weights, "conv_out.bias": Bad()}, bare)
    with pytest.raises(FarfieldError, match=r"diffusion_pytorch_model.bin"):
        load_latent(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("form", ["bin", "fp16.safetensors", "fp16.bin", "shards", "old names"])
def test_a_text_encoder_is_read_from_any_file_that_is_written(models, form, tmp_path):
    """The published ones are torch's files or in half precision as often as not; they are data either way."""
    from farfield.checkpoints.text_to_image import digest, load_text_to_image

    folder = shutil.copytree(models["stable"], tmp_path / "m")
    safe = folder / "text_encoder" / "model.safetensors"
    weights = load_file(safe)
    safe.unlink()
    if form.startswith("fp16"):
        weights = {k: v.half() for k, v in weights.items()}
    if form == "old names":
        weights["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    if form.endswith("bin"):
        torch.save(weights, safe.with_name(f"pytorch_model.{form}"))
    elif form == "shards":
        halves = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(weights))}
        for file in set(halves.values()):
            save_file({k: v for k, v in weights.items() if halves[k] == file}, safe.with_name(file))
        safe.with_name("model.safetensors.index.json").write_text(json.dumps({"weight_map": halves}))
    else:
        save_file(weights, safe.with_name("model.fp16.safetensors" if form[:4] == "fp16" else safe.name))
    if form == "bin":

        class Bad:
            def __reduce__(self):
                return Path.touch, (tmp_path / "executed",)

        bad = shutil.copytree(folder, tmp_path / "bad")
        torch.save({**weights, "text_model.final_layer_norm.bias": Bad()}, bad / "text_encoder" / "pytorch_model.bin")
        with pytest.raises(FarfieldError, match=r"pytorch_model\.bin"):
            latent.embed(bad, ["dust"])
        assert not (tmp_path / "executed").exists()
    close = {"rtol": 2e-3, "atol": 2e-3} if form.startswith("fp16") else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(latent.embed(folder, ["dust"]), latent.embed(models["stable"], ["dust"]), **close)
    assert farfield("inspect", folder).code == 0
    if form in ("bin", "shards"):
        images = [load_text_to_image(str(f))(["dust"], [0], 1) for f in (folder, models["stable"])]
        assert torch.equal(*images)
        assert digest(str(folder)) != digest(str(models["stable"]))


def test_what_inspect_calls_fine_has_all_its_weights(models, tmp_path):
    folder = shutil.copytree(models["stable"], tmp_path / "m")
    (folder / "text_encoder" / "model.safetensors").unlink()
    told = farfield("inspect", folder)
    assert told.code == 2 and "expected model.safetensors, or pytorch_model.bin" in told.err
    with pytest.raises(FarfieldError, match=r"expected model.safetensors, or pytorch_model.bin"):
        load_latent(folder)


def test_what_a_model_does_not_read_is_refused(models, tmp_path):
    pixels = make_model(tmp_path / "pixels")
    for name, says in ((models["ldm"], "reads no prompt"), (pixels, "reads no prompt")):
        with pytest.raises(FarfieldError, match=says):
            load_denoiser(f"{name}@a galaxy")
    with pytest.raises(FarfieldError, match="a label was given"):
        load_denoiser(str(models["stable"]), label=1)
    with pytest.warns(FarfieldWarning, match="too long, 'opqrst' is not read"):
        load_latent(models["stable"], prompt="abcdefghijklmnopqrst")


def test_only_what_is_read_is_downloaded(models, tmp_path):
    """The files of published models' repositories, as far as they differ in kind."""
    from huggingface_hub.utils import filter_repo_objects

    stable = ["model_index.json", "v2-1.safetensors", "v2-1.ckpt", "README.md", "safety_checker/model.safetensors"]
    parts = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    stable += [f"{p}/{f}" for p, s in parts.items() for f in ("config.json", f"{s}.bin", f"{s}.fp16.safetensors")]
    read = [f"{p}/{s}.safetensors" for p, s in parts.items()]
    found = set(filter_repo_objects([*stable, *read], allow_patterns=list(latent.wanted(models["stable"]))))
    assert found == {"model_index.json", *read, *(f"{p}/config.json" for p in parts)}
    ldm = ["model_index.json", "run.py", "images/a.png", "scheduler/scheduler_config.json"]
    ldm += [f"{p}/{f}" for p in ("unet", "vqvae") for f in ("config.json", "diffusion_pytorch_model.bin")]
    found = set(filter_repo_objects(ldm, allow_patterns=list(latent.wanted(models["ldm"]))))
    assert found == set(ldm) - {"run.py", "images/a.png"}


@torch.no_grad()
def test_a_transformer_in_a_file_is_seen_through_the_autoencoder_that_is_told(models, tmp_path):
    from diffusers import AutoencoderKL

    vae = Path(shutil.copytree(models["stable"] / "vae", tmp_path / "Vae"))
    path = tmp_path / "DiT.pt"
    torch.save(weights(dit_layout(Flags(channels=4))), path)
    with pytest.raises(FarfieldError, match="codec: the autoencoder"):
        load_denoiser(str(path))
    told = ("heads=3", "prediction=epsilon", f"codec={vae}")
    shown = farfield("inspect", path, *(part for answer in told for part in ("--set", answer)))
    assert shown.code == 0, shown.err
    model = load_denoiser(str(path), dtype=F64)
    assert (model.shape, model.image_shape) == ((4, 8, 8), (3, 16, 16))
    pictures = torch.rand(1, 3, 16, 16, dtype=F64) * 2 - 1
    coder = AutoencoderKL.from_pretrained(vae).double()
    mean = coder.encode(pictures).latent_dist.mean
    torch.testing.assert_close(model.encode(pictures), coder.config.scaling_factor * mean)
    before = model_digest(str(path))
    (vae / "config.json").write_text((vae / "config.json").read_text() + " ")
    assert model_digest(str(path)) != before
    with pytest.raises(FarfieldError, match="a latent model"):
        open_network(str(path))
    refused = farfield("convert", path, tmp_path / "out")
    assert refused.code != 0 and "a latent model" in refused.err
    torch.save(weights(dit_layout(Flags(channels=5))), path)
    with pytest.raises(FarfieldError, match="latents have 4 channels"):
        _ = open_checkpoint(path).image_shape
