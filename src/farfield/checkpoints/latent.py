"""Latent diffusion of diffusers folders and hub ids: Stable Diffusion under one fixed prompt, unconditional LDM, DiT.

Three pipelines are read: StableDiffusionPipeline (``unet``, ``vae``, ``text_encoder``, ``tokenizer``), LDMPipeline (``unet``,
``vqvae``) and DiTPipeline (``transformer``, ``vae``; `dit_folder`). Their ODE runs in the autoencoder's latents; a
`diffusion.codec.Codec` stands between these and pictures, and nothing else changes. The prompt's embedding is computed once, and
the text encoder let go.

Classifier-free guidance (arXiv 2207.12598) is off. A guided answer is the posterior mean of no data: its scale multiplies
what differs between a step up and the same step down, and images no longer come back (arXiv 2211.09794).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from farfield.checkpoints import dit_folder, text_to_image
from farfield.checkpoints.assembly import check_runs
from farfield.checkpoints.checkpoint import Coder, Finding, Question
from farfield.checkpoints.file.stored import State
from farfield.checkpoints.hub import download, read_config, stored_weights
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.recognised import refuse_title
from farfield.checkpoints.stable_parts import STEMS, encode_words, network_config, read_network, read_words
from farfield.core.error import FarfieldError
from farfield.diffusion.codec import Codec
from farfield.diffusion.denoiser import Denoiser
from farfield.networks.prompted import Prompted
from farfield.networks.unet2d import SampleOnly

STABLE, UNCONDITIONAL, TRANSFORMER = "StableDiffusionPipeline", "LDMPipeline", "DiTPipeline"

_PARTS = {
    STABLE: {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    },
    UNCONDITIONAL: {"unet": ("UNet2DModel",), "vqvae": ("VQModel", "AutoencoderKL")},
    TRANSFORMER: {dit_folder.PART: dit_folder.CLASSES, "vae": ("AutoencoderKL",)},
}
"""What each pipeline is made of, and the classes that may be."""

_CODER = {STABLE: "vae", UNCONDITIONAL: "vqvae", TRANSFORMER: "vae"}

_MARKS = ("vae", "vqvae", "movq", "vqgan")
"""Whatever pipelines call the part that makes a model a latent one."""


def is_latent(folder: Path) -> bool:
    """Whether a pipeline folder has an autoencoder."""
    index = folder / "model_index.json"
    return index.is_file() and any(part in read_config(index) for part in _MARKS)


def wanted(folder: Path) -> tuple[str, ...]:
    """The files of a latent model's hub id that are read, as its ``model_index.json`` says which model it is."""
    kind, classes = _classes(folder)
    if kind == STABLE:
        return text_to_image.WANTED
    # The published LDM and DiT have no safetensors; torch's files are read as data alone.
    files = ("config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
    return "model_index.json", *(f"{part}/{f}" for part in classes for f in files), "scheduler/*.json"


def fetch(name: str, folder: Path) -> Path:
    """The folder of a latent model's hub id with all that is read of it.

    Args:
        folder: the same with its ``model_index.json`` at least.
    """
    files = wanted(folder)
    return text_to_image.download_whole(name, files) if files == text_to_image.WANTED else download(name, files)


def check_parts(folder: Path) -> None:
    """That each part's weights are there, in a file that is read; their numbers are not looked at.

    Raises:
        FarfieldError: they are not, or a file is damaged.
    """
    for part in _classes(folder)[1]:
        if part != "tokenizer":
            stored_weights(folder / part, *STEMS.get(part, ()))


def stored_network(folder: Path) -> tuple[State, tuple[Finding, ...]]:
    """The weights of a latent pipeline's network, still on disk, and what was concluded of it."""
    if _classes(folder)[0] == TRANSFORMER:
        return dit_folder.stored(folder), dit_folder.said(folder)
    return stored_weights(folder / "unet"), ()


def read_plan(folder: Path) -> tuple[Blueprint, tuple[int, ...]]:
    """All of a latent pipeline but its weights, and the shape (C, H, W) of its pictures.

    Raises:
        FarfieldError: another pipeline, or a part missing or unfit.
    """
    kind, classes = _classes(folder)
    coder = network_config(folder, _CODER[kind])
    if kind == TRANSFORMER:
        given = dit_folder.read(folder)
        network = {**given, "sample_size": given["img_size"], "num_class_embeds": given["classes"]}
    else:
        network = given = network_config(folder, "unet")
    size, channels = network.get("sample_size"), network["in_channels"]
    if size is None:
        raise FarfieldError(f"{folder}: unet/config.json has no sample_size; write the latents' size in training there")
    latents = coder.get("vq_embed_dim") or coder.get("latent_channels")
    if latents != channels:
        raise FarfieldError(
            f"{folder}: its network takes {channels} channels, but the autoencoder's latents have {latents}; networks that "
            "are told more than the noisy latent (inpainting, depth) are not read"
        )
    height, width = (size, size) if isinstance(size, int) else size
    plan = Blueprint(
        network={"kind": classes.get("unet"), **{k: v for k, v in given.items() if not k.startswith("_")}},
        shape=(channels, height, width),
        family=None,
        classes=network.get("num_class_embeds") or 0,
        scheduler=read_config(folder / "scheduler" / "scheduler_config.json"),
    )
    return plan, (coder["in_channels"], _factor(coder) * height, _factor(coder) * width)


def load_latent(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    label: int | None = None,
    prompt: str | None = None,
    guidance: float = 1.0,
) -> Denoiser:
    """A latent pipeline folder as a denoiser with a codec, frozen, on the CPU.

    Args:
        dtype: precision of the network; the autoencoder and the text encoder run in float32 at least.
        label: class index, required by class-conditional networks.
        prompt: of Stable Diffusion; if not given the empty one, which stands for all of its training data.
        guidance: scale of classifier-free guidance away from the empty prompt; 1 is none.

    Raises:
        FarfieldError: another pipeline, a part missing, damaged or unfit, a prompt for a model that reads none, or a label
            that does not fit.
    """
    (kind, classes), (plan, _) = _classes(folder), read_plan(folder)
    plan.check_label(label, str(folder))
    if kind != STABLE and (prompt is not None or guidance != 1):
        raise FarfieldError(f"{folder}: a {kind}, which reads no prompt; leave prompt and guidance out")
    network: nn.Module
    if kind == TRANSFORMER:
        network = dit_folder.network(folder, dtype)
    elif kind == STABLE:
        prompts = [prompt or ""] if guidance == 1 else ["", prompt or ""]
        unet = read_network(folder, "unet", classes["unet"], dtype)
        network = Prompted(unet, embed(folder, prompts).to(dtype), guidance)
    else:
        network = SampleOnly(read_network(folder, "unet", classes["unet"], dtype))
    check_runs(network, plan.shape, plan.classes, str(folder / next(iter(classes)) / "config.json"))
    denoiser = plan.denoiser(network, label)
    denoiser.codec = _codec(folder, _CODER[kind], classes[_CODER[kind]], dtype)
    return denoiser.eval().requires_grad_(False)


def _codec(folder: Path, part: str, title: str, dtype: torch.dtype) -> Codec:
    return codec_of(read_network(folder, part, title, torch.promote_types(dtype, torch.float32)))


def codec_of(coder: Any) -> Codec:
    """The codec of an autoencoder of diffusers, at the scale and shift that its configuration says."""
    return Codec(
        coder,
        channels=coder.config.in_channels,
        factor=_factor(coder.config),
        scale=coder.config.scaling_factor,
        shift=coder.config.get("shift_factor") or 0.0,
    )


@dataclass(frozen=True)
class Units:
    r"""How an autoencoder's latents E became the network's, :math:`x_0 = s\,(E - b)`, where its folder does not say it.

    Attributes:
        scale, shift: s and b, a number for each channel.
        black: the number that is a black pixel to the autoencoder; white is 1.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]
    black: float = -1.0


def folder_coder(folder: Path, shape: tuple[int, ...], units: Units | None = None) -> Coder:
    """The autoencoder of a folder of its own, for a network that was trained in its latents and is kept elsewhere.

    Args:
        shape: of the latents.
        units: of the latents; those of the folder's configuration, if not given.

    Raises:
        FarfieldError: the folder is of another network, or its latents have another number of channels.
    """
    named, folder = folder, folder.resolve()
    config = network_config(folder.parent, folder.name)
    if config.get("_class_name") != "AutoencoderKL" or config.get("latent_channels") != shape[0]:
        raise FarfieldError(
            f"{folder}: a {config.get('_class_name')} whose latents have {config.get('latent_channels')} channels; expected an "
            f"AutoencoderKL with {shape[0]}, in whose latents the network was trained"
        )
    stored_weights(folder)
    pictures = (config["in_channels"], *(_factor(config) * side for side in shape[1:]))

    def read(dtype: torch.dtype) -> Codec:
        own = _codec(folder.parent, folder.name, "AutoencoderKL", dtype)
        if units is None:
            return own
        return Codec(own.autoencoder, own.channels, own.factor, units.scale, units.shift, units.black)

    return Coder(str(named), pictures, read)


def asked_coder(shape: tuple[int, ...], inquiry: Inquiry, why: str, units: Units | None = None) -> Coder | None:
    """That of the folder which an answer names; None where it says that there is none.

    Args:
        why: where the folder is to be had.
        units: see `folder_coder`.
    """
    ask = f"the autoencoder in whose latents of {shape[0]} channels it was trained: a folder of diffusers, or none"
    if inquiry.settle(Question("codec", ask, "none", (), why)) == "none":
        return None
    given = str(inquiry.answers["codec"])  # an answer is taken in small letters otherwise
    folder = Path(given).expanduser()
    folder = folder / "vae" if (folder / "vae" / "config.json").is_file() else folder
    if not (folder / "config.json").is_file():
        raise FarfieldError(f"{inquiry.path}: codec={given}: no folder with a config.json; {why}")
    inquiry.findings[-1] = Finding("codec", str(folder), "as answered")
    return folder_coder(folder, shape, units)


def embed(folder: Path, prompts: Sequence[str]) -> Tensor:
    """The last hidden states of a pipeline's text encoder for some prompts, ``[n, L, D]`` float32.

    Raises:
        FarfieldError: transformers is not installed, or the text encoder cannot be read.
    """
    return encode_words(*read_words(folder), prompts)


def _classes(folder: Path) -> tuple[str, dict[str, str]]:
    """Which pipeline a folder is, and the classes of its parts."""
    index = read_config(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind not in _PARTS:
        refuse_title(kind, folder)
        raise FarfieldError(f"{folder}: its pipeline is {kind}; of latent diffusion {' and '.join(_PARTS)} are read")
    classes = {}
    for part, expected in _PARTS[kind].items():
        named = index.get(part)
        if not isinstance(named, list) or named[-1] not in expected or named[0] not in ("diffusers", "transformers"):
            raise FarfieldError(
                f"{folder / 'model_index.json'}: {part} is {named}; expected {' or '.join(expected)} in a {kind}; code that "
                "comes with a model is not run"
            )
        classes[part] = named[-1]
    return kind, classes


def _factor(coder: Mapping[str, Any]) -> int:
    """Every level of an autoencoder but the last halves the sides."""
    return 2 ** (len(coder["block_out_channels"]) - 1)
