"""Files and folders that are recognised and not read: each is named in one line with what would help, and nothing is run."""

import json

import pytest
import torch
from edm_files import Saved, saved_model, write_pickle, write_snapshot
from guided_files import Flags, layout
from test_edm import tiny
from tiny import farfield

from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.load import load_denoiser
from farfield.core.error import FarfieldError

IMAGES = "make images with"
MOMENTS = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}}
DIFFUSERS = ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight")

WEIGHTS = {
    "low-rank changes": (("unet.mid.attn.to_q.lora_A.weight",), "merge them into their model"),
    "LoRA, PEFT": (("base_model.model.unet.to_k.lora_B.default.weight",), "merge them"),
    "LoRA": (("lora_unet_mid_block_attn1_to_q.lora_down.weight", "lora_te_text_model.alpha"), "merge them"),
    "latent diffusion": (
        ("cond_stage_model.transformer.weight", "first_stage_model.x.weight"),
        "give the whole file",
    ),
    "Stable Diffusion XL": (("conditioner.embedders.0.weight",), IMAGES),
    "Flux": (("model.diffusion_model.double_blocks.0.img_attn.qkv.weight",), IMAGES),
    "the Flux family": (("single_transformer_blocks.0.attn.to_q.weight",), IMAGES),
    "Stable Diffusion 3": (("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",), IMAGES),
    "HunyuanVideo": (("double_blocks.0.img_attn_qkv.weight",), IMAGES),
    "LTX": (("patchify_proj.weight",), IMAGES),
    "transformer of videos": ({"patch_embedding.weight": (4, 4, 1, 2, 2), "blocks.0.x": (2,)}, IMAGES),
    "MONAI": (("conv_in.conv.weight", "time_embed.0.weight", "out.2.conv.weight"), IMAGES),
    "lucidrains": (("model.init_conv.weight", "betas"), IMAGES),
    "DiT, SiT": (("x_embedder.proj.weight", "blocks.0.adaLN_modulation.1.weight"), IMAGES),
    "PixArt": (("x_embedder.proj.weight", "blocks.0.scale_shift_table"), IMAGES),
    "U-ViT": (("in_blocks.0.attn.qkv.weight", "mid_block.attn.qkv.weight"), IMAGES),
    "score_sde_pytorch": (("module.all_modules.0.W", "sigmas"), IMAGES),
    "SR3": (("denoise_fn.noise_level_mlp.1.weight",), IMAGES),
    "ESRGAN": (("conv_first.weight", "body.0.rdb1.conv1.weight"), IMAGES),
    "latent consistency": ((*DIFFUSERS, "time_embedding.cond_proj.weight"), IMAGES),
    "without its configuration": (DIFFUSERS, "give the folder"),
    "EDM2": (("unet.emb_fourier.freqs", "unet.enc.64x64_conv.weight"), "give the pickle"),
    "one-step generators (DMD)": (("model.enc.32x32_conv.weight", "model.map_layer0.weight"), "give the pickle"),
    "autoencoder": (("encoder.conv_in.weight", "decoder.conv_out.weight"), "trained with it"),
    "GAN": (("style.1.weight", "conv1.conv.modulation.weight"), IMAGES),
    "discriminator of a GAN": ({"main.0.weight": (3, 3, 4, 4), "main.1.running_mean": (3,)}, IMAGES),
    "ControlNet": (("controlnet_cond_embedding.conv_in.weight",), "give the model"),
    "text encoder": (("text_model.embeddings.token_embedding.weight",), "give the model"),
    "describes images": (("layer1.0.conv1.weight", "fc.weight"), "--descriptor"),
    "CLIP": (("token_embedding.weight", "visual.conv1.weight"), "known by name"),
    "transformer that describes images": (("cls_token", "blocks.0.attn.qkv.weight"), "known by name"),
    "language model": (("model.layers.0.self_attn.q_proj.weight",), "give the diffusion model"),
    "IP-Adapter": (("image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"), "give the model that it belongs to"),
    "NCSNv2": (("module.begin_conv.weight", "module.res1.0.conv1.weight"), IMAGES),
    "textual inversion": (("emb_params",), "give the model that it belongs to"),
    "learned words": (("<cat>",), "give the model that it belongs to"),
    "three dimensions": ({"stem.conv.weight": (2, 2, 3, 3, 3)}, IMAGES),
}


def contents():
    """Each kind's file: what `torch.save` writes, or a pickle of EDM's and StyleGAN's objects."""
    for name, (names, advice) in WEIGHTS.items():
        shapes = names if isinstance(names, dict) else dict.fromkeys(names, (2, 3))
        yield name, {n: torch.zeros(s) for n, s in shapes.items()}, advice
    yield "state of an optimizer", {**MOMENTS, "param_groups": [{"lr": 0.1}]}, "the network beside it"
    yield "part of a training's state", {"base_lrs": [0.1], "last_epoch": 3, "_step_count": 4}, "network beside it"
    yield (
        "random numbers",
        {"random_state": (3, (1, 2), None), "torch_manual_seed": torch.zeros(4)},
        "network beside it",
    )
    yield "loss scaling", {"scale": 65536.0, "growth_factor": 2.0}, "network beside it"
    words = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": torch.zeros(2, 8)}}
    yield "textual inversion", words, "give the model that it belongs to"
    yield "moving average without the names", {"decay": 0.9, "shadow_params": [torch.zeros(2)] * 3}, "beside it"


@pytest.mark.parametrize(("name", "content", "advice"), list(contents()), ids=lambda v: v if isinstance(v, str) else "")
def test_files_that_are_not_read_are_named_in_one_line(name, content, advice, tmp_path):
    torch.save(content, tmp_path / "m.pt")
    expect(tmp_path / "m.pt", name, advice)


def expect(path, name, advice):
    shown = farfield("inspect", path)
    assert shown.code == 0, shown.err
    first = shown.out.splitlines()[0]
    assert name in first and advice in first
    with pytest.raises(FarfieldError) as refused:
        load_denoiser(str(path))
    assert name in str(refused.value) and advice in str(refused.value) and "\n" not in str(refused.value)


def pickles():
    """Persistent objects of other codes than EDM's, of its classes or their own."""
    config, network = tiny()
    edm = saved_model("EDMPrecond", network, config)
    yield "GAN", {"G": Saved("Generator", edm.state), "D": Saved("Discriminator", {"a": 1})}, IMAGES
    yield "consistency model", {"ema": Saved("ECMPrecond", edm.state), "loss_fn": Saved("ECMLoss", {"a": 1})}, IMAGES
    yield "consistency model", {"ema": edm, "loss_fn": Saved("ECMLoss", {"a": 1})}, "distilled from"
    yield "one-step generator", {"ema": edm, "loss_fn": Saved("SID_EDMLoss", {"a": 1})}, "that was distilled"
    yield "one-step generator", {"fake_score": edm, "G": edm, "optimizer_state": {}}, "that was distilled"


@pytest.mark.parametrize("which", range(5))
def test_pickles_of_other_codes_are_named(which, tmp_path):
    name, content, advice = list(pickles())[which]
    expect(write_pickle(tmp_path / "network-snapshot-1000.pkl", content), name, advice)


@pytest.mark.parametrize(
    ("file", "likely"),
    [("network-snapshot-1.200000-010240.pkl", "generator"), ("sid-cifar10.pkl", "generator"), ("mine.pkl", "denoiser")],
)
def test_a_network_without_its_training_is_never_taken_for_a_denoiser_unasked(file, likely, tmp_path):
    """SiD's generators are EDM's classes to the last argument, alone in their file; EDM's own loop leaves its loss there."""
    config, network = tiny()
    edm = saved_model("EDMPrecond", network, config)
    path = write_pickle(tmp_path / file, {"ema": edm})
    (question,) = open_checkpoint(path).questions
    assert (question.name, question.likely) == ("kind", likely)
    with pytest.raises(FarfieldError, match=f"kind=.*{likely}"):
        load_denoiser(str(path))
    with pytest.raises(FarfieldError, match=r"one-step generator .* denoises nothing"):
        open_checkpoint(path, {"kind": "generator"}).denoiser()
    assert farfield("inspect", path, "--set", "kind=denoiser").code == 0
    assert load_denoiser(str(path)).shape == (3, 8, 8)
    published = write_pickle(tmp_path / "edm-cifar10-32x32-uncond-vp.pkl", {"ema": edm})
    assert open_checkpoint(published).questions == ()
    assert open_checkpoint(write_snapshot(tmp_path / file, edm), {}, kept=False).questions == ()


def test_a_generator_in_another_container_is_no_denoiser(tmp_path):
    state = {k: torch.zeros(s) for k, s in layout(Flags(heads=1)).items()}
    torch.save({"generator": state, "step": 3}, tmp_path / "m.pt")
    expect(tmp_path / "m.pt", "one-step generator", "that was distilled")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model_index.json": {"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]}}, "Flux"),
        ({"model_index.json": {"_class_name": "StableDiffusion3Pipeline", "vae": []}}, "Stable Diffusion 3"),
        ({"model_index.json": {"_class_name": "WanPipeline", "vae": []}}, "transformer of videos"),
        ({"model_index.json": {"_class_name": "HunyuanDiTPipeline", "vae": []}}, "diffusion transformer"),
        ({"config.json": {"_class_name": "DiTTransformer2DModel"}}, "transformer, without the rest of its pipeline"),
        ({"model_index.json": {"_class_name": "ConsistencyModelPipeline", "unet": []}}, "consistency model"),
        ({"model_index.json": {"_class_name": "StableDiffusionUpscalePipeline", "vae": []}}, "super-resolution"),
        ({"model_index.json": {"_class_name": "StableDiffusionXLPipeline", "vae": []}}, "Stable Diffusion XL"),
        ({"config.json": {"_class_name": "UNet2DConditionModel"}}, "told words"),
        ({"config.json": {"_class_name": "AutoencoderKL"}}, "autoencoder"),
        ({"adapter_config.json": {"peft_type": "LORA"}}, "merge them into their model"),
        ({"random_states_0.pkl": {}, "optimizer.bin": {}}, "training state of accelerate"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_folders_that_are_not_read_are_named_in_one_line(files, said, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    for command in (("inspect", tmp_path), ("generate", tmp_path, "--seeds", "0", "-o", tmp_path / "run")):
        done = farfield(*command)
        assert done.code == 2 and said in done.err and done.err.count("\n") == 1


def zipped(path, *names):
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "content " * 40)


FILES = {
    "GGUF": (b"GGUF\x03" + bytes(60), "that it was made of"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:" + bytes(60), "that it was made of"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(60), "that it was made of"),
    "TensorRT": (b"ftrt" + bytes(60), "that it was made of"),
    "Flax": (b"\x81\xa6params\x81\xa4conv" + bytes(60), "as torch has them"),
    "TensorFlow checkpoint": (bytes(60) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "as torch has them"),
    "HDF5": (b"\x89HDF\r\n" + bytes(60), "as torch has them"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "unpack it"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "git lfs pull"),
    "web page": (b"<!DOCTYPE html><title>Virus scan warning</title>", "download the file again"),
    "text": (b'{"weight_map": {"a": "b"}}', "give the folder that it lies in"),
    "an empty file": (b"", "fetch or copy it again"),
    "holds model.ckpt": (("model.ckpt", "config.yaml"), "unpack it"),
    "Keras": (("metadata.json", "config.json", "model.weights.h5"), "as torch has them"),
    "torch.export": (("m/archive_format", "m/models/model.json"), "as torch has them"),
    "zip of images": (("a.png", "b.jpg"), "expected a model"),
    "TorchScript": (("m/data.pkl", "m/constants.pkl", "m/code/a.py"), "the weights alone"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_checkpoint_is_one_line_with_what_to_do(name, tmp_path):
    content, advice = FILES[name]
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        zipped(path, *content)
    shown = farfield("inspect", path)
    assert shown.code == 2 and shown.out == "" and shown.err.count("\n") == 1
    assert f"{path}: " in shown.err and name in shown.err and advice in shown.err
