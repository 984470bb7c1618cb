"""A text-to-image folder becomes a set of images: on a tiny pipeline with random weights, made here."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import decided, differences, farfield, make_images, make_model, summary

from farfield.command.prompt import Prompt
from farfield.core.artifact import Images, Store
from farfield.core.error import FarfieldError

pytest.importorskip("transformers", reason="text encoders are in the extra `features`")

QUICK = ("--steps", 2, "--batch-size", 2, "-q")


def make_pipeline(folder: Path) -> Path:
    """A StableDiffusionPipeline that knows the letters a to z, paints 32×32, and always has the same weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = folder.with_name(f"{folder.name}-words")
    words.mkdir()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (words / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    with (
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
        )
        pipeline = StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(text),
            tokenizer=CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=16),
            unet=unet,
            scheduler=DDIMScheduler(
                beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return make_pipeline(tmp_path_factory.mktemp("pipeline") / "tiny")


@pytest.fixture(scope="module")
def painter(pipeline):
    from farfield.checkpoints.text_to_image import load_text_to_image

    return load_text_to_image(str(pipeline))


@pytest.fixture(scope="module")
def finished(pipeline, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prompt")
    make_images(root / "images", 24)
    make_model(root / "judge")
    found = farfield(*whole(pipeline, root), "-o", root / "run")
    assert found.code == 0, found.err
    return root / "run"


def whole(pipeline: Path, root: Path) -> tuple:
    return ("prompt", pipeline, "--prompt", "a galaxy", "--prompt", "dust", "-n", 5, "--size", 16, *QUICK, "--heldout",
            root / "images", "--examples", 6, "--judge", root / "judge")  # fmt: skip


def test_the_painter_is_the_pipeline_itself(painter, pipeline):
    """Against diffusers called by hand, with the initial latents drawn here."""
    from diffusers import StableDiffusionPipeline

    found = painter(["a galaxy"], [7], steps=3, guidance=4.0)
    by_hand = StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None, requires_safety_checker=False)
    by_hand.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    expected = by_hand("a galaxy", num_inference_steps=3, guidance_scale=4.0, latents=noise, output_type="np").images
    assert found.shape == (1, 3, painter.side, painter.side) and painter.side == 32
    torch.testing.assert_close(found[0].permute(1, 2, 0), torch.from_numpy(expected[0]) * 2 - 1, atol=1e-5, rtol=0)


def test_an_image_depends_on_its_seed_and_prompt_alone(painter):
    together = painter(["a galaxy", "dust", "a galaxy"], [3, 4, 5], steps=2)
    alone = painter(["dust"], [4], steps=2)
    torch.testing.assert_close(together[1:2], alone, atol=5e-5, rtol=0)
    assert (together[0] - together[2]).abs().max() > 1e-2
    assert (painter(["a galaxy"], [4], steps=2) - alone).abs().max() > 1e-4


def test_a_stochastic_scheduler_draws_from_the_image_s_own_generator(pipeline):
    from diffusers import EulerAncestralDiscreteScheduler

    from farfield.checkpoints.text_to_image import load_text_to_image

    painter = load_text_to_image(str(pipeline))
    painter.pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(painter.pipeline.scheduler.config)
    both, alone = painter(["dust"] * 2, [1, 2], steps=3), painter(["dust"], [2], steps=3)
    torch.testing.assert_close(both[1:], alone, atol=5e-5, rtol=0)


def test_a_run_leaves_images_measures_and_a_page(finished):
    found = summary(finished)
    assert found["prompts"] == ["a galaxy", "dust"] and found["size"] == 16
    assert set(found["measures"]) == {"pixels", "model"} and set(found["measures"]["pixels"]) == {"samples", "real"}
    assert found["references"]["n"] == 13
    samples = Store(finished / "samples", Images).read()
    assert samples.keys == tuple(f"{s:06d}" for s in range(5)) and samples.values.shape == (5, 3, 16, 16)
    assert Image.open(finished / "png" / "000003.png").size == (16, 16)
    page = (finished / "report.html").read_text()
    assert "“a galaxy”; “dust”" in page and "kernel distance" in page


def test_the_held_out_images_are_those_of_expand(finished, pipeline):
    config = json.loads((finished / "config.json").read_text())["request"]
    out = finished.parent / "expanded"
    farfield("expand", config["judge"], config["heldout"], "--examples", 6, "-n", 5, "--sigma", 5, "--steps", 4,
             "--candidates", 1, "-o", out, "-q")  # fmt: skip
    ours, theirs = (Store(run / "references", Images).read() for run in (finished, out))
    assert ours.digest() == theirs.digest()


def test_reducing_is_antialiased_and_exact_at_the_same_size():
    from farfield.data.picture import as_shown
    from farfield.study.unseen.prompt import reduced

    chequered = torch.ones(1, 3, 32, 32)
    chequered[..., ::2, 1::2] = chequered[..., 1::2, ::2] = -1
    assert float(reduced(chequered, 8).abs().max()) < 0.02  # grey, where dropping pixels would leave ±1
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(reduced(image, 16), as_shown(image))


def test_an_interrupted_run_ends_as_the_unbroken_one(finished, pipeline, tmp_path):
    torn = shutil.copytree(finished, tmp_path / "torn")
    (torn / "samples" / "shard-00001.safetensors").unlink()
    (torn / "summary.json").unlink()
    kept = (torn / "samples" / "shard-00000.safetensors").stat().st_mtime_ns
    again = farfield(*whole(pipeline, finished.parent), "-o", torn)
    assert again.code == 0, again.err
    assert differences(torn, finished) == [] and decided(torn)
    assert (torn / "samples" / "shard-00000.safetensors").stat().st_mtime_ns == kept


def test_without_real_images_nothing_is_measured(pipeline, tmp_path):
    found = farfield("prompt", pipeline, "--prompt", "dust", "-n", 1, "-o", tmp_path / "run", *QUICK)
    assert found.code == 0, found.err
    assert (
        "measures" not in summary(tmp_path / "run") and "nothing is measured" in summary(tmp_path / "run")["notes"][1]
    )
    assert (tmp_path / "run" / "report.html").is_file()


def test_what_is_too_long_to_be_read_is_said(painter):
    assert painter.unread("a galaxy") == ""
    letters = "abcdefghijklmnopqrst"  # a token each; 16 have room, with the two at the ends
    assert painter.unread(letters) == letters[14:]
    assert torch.equal(painter([letters], [0], 1), painter([letters[:14] + "zyx"], [0], 1))


@pytest.mark.parametrize(
    ("heldout", "words"), [("hubble", ["galaxy"]), ("clouds", ["clouds"]), (None, ["galaxy", "clouds"])]
)
def test_the_published_texts_are_asked_of_their_domain(heldout, words):
    asked = Prompt("model", heldout=heldout, published=True).asked
    assert len(asked) == len(words) and all(word in text for word, text in zip(words, asked, strict=True))
    assert asked[0].startswith("Generate a realistic image ") and Prompt("model", heldout=heldout).asked == ()
    with pytest.raises(FarfieldError, match="--published with --prompt"):
        Prompt.of(model="model", prompts=("dust",), published=True)


def test_every_bundled_domain_has_prompts():
    from farfield.data.bundled import DOMAINS, FIELD_DOMAINS
    from farfield.study.unseen.prompt import PROMPTS

    assert set(PROMPTS) == {*DOMAINS, *FIELD_DOMAINS}
    assert all(text.strip() and text == text.strip() for texts in PROMPTS.values() for text in texts)


def broken(pipeline: Path, to: Path, change: str) -> Path:
    folder = shutil.copytree(pipeline, to)
    index = json.loads((folder / "model_index.json").read_text())
    if change in ("vae", "tokenizer", "scheduler"):
        shutil.rmtree(folder / change)
    elif change == "pickled":
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.with_suffix(".bin").write_bytes(b"\x80\x02cos\nsystem\n.")
        weights.unlink()
    elif change == "truncated":
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:500])
    elif change == "foreign code":
        index["unet"] = ["my_unet", "MyUNet"]
    elif change == "foreign scheduler":
        index["scheduler"] = ["diffusers", "DiffusionPipeline"]
    elif change == "another pipeline":
        index["_class_name"] = "StableDiffusionXLPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("vae", "vae missing"),
        ("tokenizer", "tokenizer missing"),
        ("scheduler", "scheduler missing"),
        ("pickled", "diffusion_pytorch_model.bin: "),
        ("foreign scheduler", "expected one of diffusers' schedulers"),
        ("truncated", "damaged"),
        ("foreign code", "not run"),
        ("another pipeline", "StableDiffusionXLPipeline"),
    ],
)
def test_a_folder_that_is_none_says_what_is_wrong(pipeline, tmp_path, change, says):
    from farfield.checkpoints.text_to_image import load_text_to_image

    with pytest.raises(FarfieldError, match=says):
        load_text_to_image(str(broken(pipeline, tmp_path / "broken", change)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--prompt"),
        (("--prompt", " "), "empty text"),
        (("--prompt", "a", "-n", 0), "n 0"),
        (("--prompt", "a", "--steps", 0), "steps 0"),
        (("--prompt", "a", "--size", 2), "size 2"),
        (("--prompt", "a", "--guidance", -1), "guidance -1"),
        (("--prompt", "a", "--descriptor", "model"), "--judge"),
        (("--prompt", "a", "--descriptor", "nothing"), "nothing"),
        (("--prompt", "a", "--heldout", "hubbel"), "hubbel"),
    ],
)
def test_bad_input_is_one_line(pipeline, tmp_path, options, says):
    found = farfield("prompt", pipeline, "-o", tmp_path / "run", *options)
    assert found.code == 2 and says in found.err and "Traceback" not in found.err
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_pipeline_or_without_transformers(pipeline, tmp_path, monkeypatch):
    from farfield.checkpoints import stable_parts, text_to_image

    for name, says in ((tmp_path, "model_index.json"), ("nowhere", "no such folder")):
        with pytest.raises(FarfieldError, match=says):
            text_to_image.load_text_to_image(str(name))
    monkeypatch.setattr(stable_parts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FarfieldError, match="pip install transformers"):
        text_to_image.load_text_to_image(str(pipeline))
