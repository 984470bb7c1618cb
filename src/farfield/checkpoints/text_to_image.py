"""Stable Diffusion folders, hub ids and single files: a prompt and seeds become images, the baseline of a model that knows words.

The folder is diffusers' layout of a StableDiffusionPipeline: ``unet``, ``vae``, ``text_encoder``, ``tokenizer``,
``scheduler``; a single file (`ldm`) says no scheduler and is sampled by DDIM. Weights are read as data (`stable_parts`), so that
nothing is executed. The safety checker is left out: it is a filter for the public, replaces what it doubts by black pictures, and
a measurement must not be filtered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from farfield.checkpoints.assembly import first_line
from farfield.checkpoints.hub import download, read_config
from farfield.checkpoints.no_code import refuse_code
from farfield.checkpoints.recognised import refuse_title
from farfield.checkpoints.stable_parts import quietly, read_network, read_words
from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
WEIGHTS = ("unet", "vae", "text_encoder")
_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}

WANTED = (
    "model_index.json",
    *(f"{part}/*.json" for part in PARTS),
    "tokenizer/*.txt",
    *(f"{part}/{stem}{end}" for part in WEIGHTS for stem in ("diffusion_pytorch_model", "model")
      for end in (".safetensors", "-?????-of-?????.safetensors")),
)  # fmt: skip
"""What is taken from the hub: no second copies in half precision, no pickles, no safety checker."""


@final
class TextToImage:
    """A frozen text-to-image pipeline: ``model(prompts, seeds)`` gives images ``[n, 3, H, W]`` float32 in [-1, 1].

    Image i depends on ``prompts[i]`` and ``seeds[i]`` alone: its noise, and that of a stochastic scheduler, comes from a
    generator of its own on the CPU.
    """

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for part in WEIGHTS for p in getattr(self.pipeline, part).parameters())

    @property
    def side(self) -> int:
        """Pixels of an image's side, as the network was trained."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)

    def unread(self, prompt: str) -> str:
        """The end of a prompt that is too long for the text encoder; empty if all of it is read."""
        tokenizer = self.pipeline.tokenizer
        with quietly():
            rest: str = tokenizer.decode(tokenizer(prompt).input_ids[tokenizer.model_max_length - 1 : -1])
        return rest.strip()

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int], steps: int = 50, guidance: float = 7.5) -> Tensor:
        """Images of these prompts, by the folder's own scheduler.

        Args:
            steps: of the scheduler.
            guidance: classifier-free guidance scale (arXiv 2207.12598); 1 leaves guidance out.
        """
        with quietly():
            images: Tensor = self.pipeline(
                list(prompts),
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[generator(s) for s in seeds],
                output_type="pt",
            ).images
        return images.float().cpu() * 2 - 1


def locate(name: str) -> Path:
    """The folder or file of a path, or the folder of a hub id; the hub's is downloaded unless the cache holds it.

    Raises:
        FarfieldError: neither of them.
    """
    path = Path(name).expanduser()
    if path.is_dir() or path.is_file():
        return path
    if not path.exists() and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        return download_whole(name, WANTED)
    raise FarfieldError(
        f"text-to-image model {name!r}: no such folder or file; expected a Stable Diffusion folder "
        f"(model_index.json, {', '.join(PARTS)}), a single file, or a hub id"
    )


def download_whole(name: str, files: Sequence[str]) -> Path:
    """The folder of a hub id; torch's files too, for those of Stable Diffusion that lack safetensors."""
    folder = download(name, files)
    bare = [part for part in WEIGHTS if (folder / part).is_dir() and not any((folder / part).glob("*.safetensors"))]
    return download(name, (*files, *(f"{part}/*.bin" for part in bare))) if bare else folder


def digest(name: str) -> str:
    """sha256 of everything that the images depend on: weights, configurations and vocabulary."""
    folder = locate(name)
    if folder.is_file():
        from farfield.checkpoints.load import model_digest

        return model_digest(str(folder))
    files = [p for part in PARTS for p in (folder / part).glob("*")]
    safe = {p.parent for p in files if p.suffix == ".safetensors"}
    kinds = (".json", ".safetensors", ".txt")
    return file_digest(p for p in files if p.suffix in kinds or (p.suffix == ".bin" and p.parent not in safe))


def load_text_to_image(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> TextToImage:
    """The pipeline of a folder, hub id or single file, frozen, on a device.

    Raises:
        FarfieldError: transformers is not installed; a part is missing, damaged, or of another kind; a question is open.
    """
    folder = locate(name)
    tokenizer, encoder, vae, unet, scheduled = (_of_file if folder.is_file() else _of_folder)(folder, dtype)
    with quietly():
        import diffusers

        try:
            scheduler = scheduled()
            pipeline: Any = diffusers.StableDiffusionPipeline(
                vae=vae,
                text_encoder=encoder.to(dtype),
                tokenizer=tokenizer,
                unet=unet,
                scheduler=scheduler,
                safety_checker=None,
                feature_extractor=None,
                image_encoder=None,
                requires_safety_checker=False,
            )
        except Exception as error:  # diffusers raises whatever its parts raise
            raise FarfieldError(
                f"{folder}: the pipeline cannot be read ({first_line(error)}); download it again"
            ) from error
    for part in WEIGHTS:
        getattr(pipeline, part).eval().requires_grad_(False)
    return TextToImage(pipeline.to(device))


_Parts = tuple[Any, Any, Any, Any, Callable[[], Any]]
"""Tokenizer, text encoder, autoencoder, network, and what makes the scheduler."""


def _of_folder(folder: Path, dtype: torch.dtype) -> _Parts:
    _check(folder)
    tokenizer, encoder = read_words(folder)
    vae, unet = (read_network(folder, part, _CLASSES[part], dtype) for part in ("vae", "unet"))

    def scheduled() -> Any:
        import diffusers

        title = read_config(folder / "model_index.json")["scheduler"][-1]
        return getattr(diffusers, str(title)).from_pretrained(folder / "scheduler", local_files_only=True)

    return tokenizer, encoder, vae, unet, scheduled


def _of_file(path: Path, dtype: torch.dtype) -> _Parts:
    from farfield.checkpoints import ldm
    from farfield.checkpoints.file.tree import open_tree
    from farfield.checkpoints.foreign import kept_answers, open_checkpoint

    tree = open_tree(path)
    if not ldm.recognises(tree):
        family = open_checkpoint(path).family  # or it says what it is
        raise FarfieldError(
            f"{path}: a model of {family}, which reads no prompt; expected a file or folder of Stable Diffusion"
        )
    checkpoint, words = ldm.read_with_words(tree, kept_answers(path), None)
    if words is None or checkpoint.codec is None:
        raise FarfieldError(f"{path}: {checkpoint.family}, which reads no prompt; expected Stable Diffusion")
    tokenizer, encoder = words.read()
    denoiser = checkpoint.denoiser(dtype=dtype)
    unet: Any = denoiser.get_submodule("network.unet")

    def scheduled() -> Any:
        from diffusers import DDIMScheduler

        said = {key: value for key, value in (checkpoint.plan.scheduler or {}).items() if not key.startswith("_")}
        return DDIMScheduler(**said, clip_sample=False, set_alpha_to_one=False, steps_offset=1)

    return tokenizer, encoder, denoiser.get_submodule("codec.autoencoder").to(dtype), unet, scheduled


def _check(folder: Path) -> None:
    """Refuse what is no complete Stable Diffusion folder, and say what is missing."""
    index = read_config(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind != "StableDiffusionPipeline":
        refuse_title(kind, folder)
        raise FarfieldError(f"{folder}: its pipeline is {kind}; expected StableDiffusionPipeline (text to image)")
    if strange := [p for p in PARTS if (index.get(p) or [None])[0] not in ("diffusers", "transformers")]:
        raise FarfieldError(
            f"{folder}: {', '.join(strange)} in model_index.json: expected a class of diffusers or transformers; code "
            "that comes with a model is not run"
        )
    if not str(index["scheduler"][-1]).endswith("Scheduler"):
        raise FarfieldError(f"{folder}: its scheduler is {index['scheduler']}; expected one of diffusers' schedulers")
    if missing := [part for part in PARTS if not (folder / part).is_dir()]:
        raise FarfieldError(f"{folder}: {', '.join(missing)} missing; expected the folders {', '.join(PARTS)}")
    for part in PARTS:  # older releases of diffusers run a part's own diffusers.py
        refuse_code(folder / part)
