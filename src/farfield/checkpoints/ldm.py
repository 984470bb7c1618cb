"""Latent diffusion in its authors' single files, ``.ckpt`` or ``.safetensors``: LDM, and Stable Diffusion 1.x and 2.x.

One state dict holds the network (``model.diffusion_model.…``), its average (``model_ema.…``, names without their dots), the
autoencoder (``first_stage_model.…``), what the network is told by (``cond_stage_model.…``) and mostly the levels (``betas``).
Without attention to words the network is guided-diffusion's (`guided`), with it diffusers' UNet2DConditionModel. Read are
unconditional models, those that are told a class by a table, and those that are told words by CLIP.

Not in the file, and known of published networks or asked for: the size of the pictures, the heads of the attention, the
prediction, the scale of the latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from farfield.checkpoints import guided
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Coder, Finding, Question
from farfield.checkpoints.file.stored import State, Stored, Tree, states
from farfield.checkpoints.fitting import counted, shape
from farfield.checkpoints.guided_architecture import Architecture, inferred, read_architecture
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.kind import TOLD_MORE, WORDLESS
from farfield.checkpoints.latent import asked_coder
from farfield.checkpoints.ldm_coder import is_quantised, latent_channels, read_coder
from farfield.checkpoints.ldm_levels import read_levels
from farfield.checkpoints.ldm_unet import conditioned
from farfield.checkpoints.ldm_words import Words, read_words
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.recognised import UnreadError
from farfield.checkpoints.wrapped import bare
from farfield.core.error import FarfieldError

ANSWERS: Final = (
    "size", "heads", "head_channels", "heads_upsample", "order", "prediction", "beta_end", "scale", "codec", "null", "tokenizer",
)  # fmt: skip
NETWORK, AVERAGE, FIRST_STAGE, CONDITION = (
    "model.diffusion_model.",
    "model_ema.",
    "first_stage_model.",
    "cond_stage_model.",
)
_TABLE: Final = "embedding.weight"
"""Of a ClassEmbedder, after ``cond_stage_model.``."""
_PREDICTIONS: Final = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}
_KL_SCALE: Final = 0.18215
_DEFAULT: Final = "the default of the original code, not said in the file"

_PUBLISHED: Final[Mapping[tuple[int, ...], tuple[str, Mapping[str, Any]]]] = {
    (224, 448, 672, 896): ("LDM's networks of faces and bedrooms", {"size": 256, "head_channels": 32}),
    (192, 384, 384, 768, 768): ("LDM's network of churches", {"size": 256, "heads": 8}),
    (256, 512, 1024): ("LDM's network of ImageNet", {"size": 256, "head_channels": 32}),
}  # fmt: skip
"""What is known of published networks by their widths."""
_TOLD_WORDS: Final[Mapping[int, tuple[str, Mapping[str, Any]]]] = {
    768: ("Stable Diffusion 1", {"size": 512, "heads": 8, "prediction": "epsilon"}),
    1024: ("Stable Diffusion 2", {"head_channels": 64}),
}
"""The same by the width of the words."""


@dataclass(frozen=True)
class _Parts:
    """What is in a file, each under its own names."""

    path: Path
    network: State
    chosen: str
    first_stage: State
    condition: State
    rest: State

    @property
    def told_words(self) -> int:
        """The width of what the network is told, 0 if it is told nothing."""
        names = (n for n in self.network if n.endswith(".transformer_blocks.0.attn2.to_k.weight"))
        return next((shape(self.network, n, 2, self.path)[1] for n in names), 0)


def recognises(tree: Tree) -> bool:
    return _state(tree) is not None


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """A file of this family.

    Args:
        answers: to some of `ANSWERS`; ``tokenizer`` and ``codec`` are folders.
        part: ``ema`` or ``net``, of a file that holds both; of one that is told words any other text is the prompt, which is the
            empty one if not given.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here; an answer that cannot be.
    """
    return read_with_words(tree, answers, part)[0]


def read_with_words(tree: Tree, answers: Answers, part: str | None) -> tuple[Checkpoint, Words | None]:
    """The same, and the text encoder of one that is told words."""
    parts, prompt = _parts(tree, part)
    path, inquiry = tree.path, Inquiry(tree.path, answers, {}, "")
    inquiry.refuse_others(ANSWERS)
    built = inferred(parts.network, path) if parts.told_words else read_architecture(parts.network, path)
    if "v_pred" in parts.rest:
        inquiry.learn({"prediction": "v"}, "v_pred in the file says so")
    title, known = _TOLD_WORDS.get(parts.told_words) or _PUBLISHED.get(built.widths) or ("", {})
    inquiry.learn(known, f"as {title} has it; not said in the file")
    _check_channels(parts, built)
    prediction = _prediction(parts, inquiry)
    levels = read_levels(parts.rest, parts.told_words in _TOLD_WORDS, inquiry) | {
        "prediction_type": _PREDICTIONS[prediction]
    }
    side = _side(parts, built, inquiry, prediction)
    latents = (built.channels, side, side)
    coder = _coder(parts, latents, inquiry)
    network, weights, classes, words, findings = _network(parts, built, side, inquiry, prompt)
    parameters, dtype = counted(parts.network)
    checkpoint = Checkpoint(
        path,
        f"latent diffusion, {title}" if title else "latent diffusion",
        Blueprint(network, latents, None, classes, scheduler=levels),
        weights,
        parameters,
        dtype,
        (
            Finding("part", parts.chosen, "its place in the file"),
            Finding(
                "autoencoder",
                coder.place if coder else "none",
                "first_stage_model" if parts.first_stage else "as answered",
            ),
            *findings,
            *inquiry.findings,
        ),
        tuple(inquiry.questions),
        coder,
    )
    return checkpoint, words


def _state(tree: Tree) -> State | None:
    for _, state in states(tree.root):
        named = bare(state)
        if f"{NETWORK}input_blocks.0.0.weight" in named and f"{NETWORK}time_embed.0.weight" in named:
            return named
    return None


def _parts(tree: Tree, part: str | None) -> tuple[_Parts, str]:
    """What is in the file, and the prompt."""
    state = _state(tree)
    assert state is not None  # else it was not recognised
    split: dict[str, dict[str, Stored]] = {NETWORK: {}, AVERAGE: {}, FIRST_STAGE: {}, CONDITION: {}, "": {}}
    for name, tensor in state.items():
        prefix = next(p for p in split if name.startswith(p))
        split[prefix][name.removeprefix(prefix)] = tensor
    network, average = split[NETWORK], _average(split[NETWORK], split[AVERAGE], tree.path)
    names = ("ema", "net") if average else ("net",)
    prompt = "" if part is None or part in names else part
    chosen = names[0] if part not in names else part
    parts = _Parts(
        tree.path,
        average if chosen == "ema" and average else network,
        f"ema ({AVERAGE.rstrip('.')})" if chosen == "ema" else f"net ({NETWORK.rstrip('.')})",
        split[FIRST_STAGE],
        split[CONDITION],
        split[""],
    )
    if prompt and (not parts.told_words or _TABLE in parts.condition):
        raise FarfieldError(
            f"{tree.path}: no network {prompt!r}; it holds {' and '.join(names)}, and reads no prompt: leave @{prompt} out"
        )
    return parts, prompt


def _average(network: State, average: State, path: Path) -> State:
    """The averages under the names of their weights; {} where there are none.

    Raises:
        FarfieldError: there are some, and they are not those of the weights one by one.
    """
    held = {name: tensor for name, tensor in average.items() if name not in ("decay", "num_updates")}
    named = {name: held.get(f"diffusion_model{name.replace('.', '')}") for name in network}
    found = {n: t for n, t in named.items() if t is not None and t.shape == network[n].shape}
    if held and (len(found) < len(network) or len({id(t) for t in found.values()}) < len(held)):
        raise FarfieldError(
            f"{path}: its average model_ema has {len(held)} tensors, {len(found)} of which are of its {len(network)} weights; "
            "expected one of each; damaged"
        )
    return found


def _check_channels(parts: _Parts, built: Architecture) -> None:
    """Refuse networks that are shown or told more than a noisy latent."""
    latents = latent_channels(parts.first_stage, parts.path) if parts.first_stage else built.channels
    told = any(name.startswith("label_emb.0.") for name in parts.network)
    if built.channels != latents or built.out_channels not in (latents, 2 * latents) or told:
        raise UnreadError(parts.path, TOLD_MORE, parts.network.values())


def _prediction(parts: _Parts, inquiry: Inquiry) -> str:
    if parts.told_words != 1024:
        inquiry.learn({"prediction": "epsilon"}, _DEFAULT)
    ask, why = "what the network answers", "v of 2.0 and 2.1 at 768 pixels; epsilon of the base models, at 512"
    likely = "epsilon" if "base" in parts.path.stem or "512" in parts.path.stem else "v"
    prediction: str = inquiry.settle(Question("prediction", ask, likely, tuple(_PREDICTIONS), why))
    return prediction


def _side(parts: _Parts, built: Architecture, inquiry: Inquiry, prediction: str) -> int:
    """Of the latents, from that of the pictures."""
    factor = 2 ** (len({n.split(".")[2] for n in parts.first_stage if n.startswith("encoder.down.")}) - 1)
    factor = factor if parts.first_stage else 1
    likely, why = (
        (768 if prediction == "v" else 512, "that of 2.x") if parts.told_words == 1024 else (256, "LDM's usual one")
    )
    what = "pictures in pixels" if parts.first_stage else "what it sees (latents, or pictures)"
    size: int = inquiry.settle(
        Question("size", f"side of its {what}", likely if parts.first_stage else likely // 8, (), why)
    )
    if size % (factor * built.factor) or size > 2**16:
        raise FarfieldError(
            f"{parts.path}: size={size}; expected a multiple of {factor * built.factor}, its autoencoder's and levels'"
        )
    return size // factor


def _coder(parts: _Parts, latents: tuple[int, ...], inquiry: Inquiry) -> Coder | None:
    """The autoencoder: the file's own, or that of a folder which an answer names."""
    if not parts.first_stage:
        return asked_coder(
            latents, inquiry, "`hf download stabilityai/sd-vae-ft-ema` brings that of Stable Diffusion 1"
        )
    kept = parts.rest.get("scale_factor")
    if kept is not None and kept.shape == ():
        inquiry.learn({"scale": round(float(kept.load()), 7)}, "scale_factor in the file")
    elif parts.told_words in _TOLD_WORDS:
        inquiry.learn({"scale": _KL_SCALE}, "as Stable Diffusion has it; not said in the file")
    elif is_quantised(parts.first_stage):
        inquiry.learn({"scale": 1.0}, _DEFAULT)
    ask = "by what the autoencoder's latents are multiplied (scale_factor)"
    scale = inquiry.settle(Question("scale", ask, _KL_SCALE, (), "as Stable Diffusion has it"))
    return read_coder(parts.first_stage, scale, latents, parts.path)


def _network(
    parts: _Parts, built: Architecture, side: int, inquiry: Inquiry, prompt: str
) -> tuple[dict[str, Any], Callable[[], dict[str, Tensor]], int, Words | None, list[Finding]]:
    """The network, what reads its weights, its classes, its text encoder, and what was found."""
    likely = {
        "heads": (8, "as in Stable Diffusion 1; or head_channels=32, as in other LDMs"),
        "order": ("legacy", _DEFAULT),
    }
    if not parts.told_words:
        inquiry.learn({"order": "legacy"}, _DEFAULT)
        network, weights, runs = guided.attended(built, parts.network, side, inquiry, likely)
        return network, weights, built.classes, None, [*guided.architecture(built), runs]
    heads, width = guided.settle_heads(built, inquiry, likely)
    unet, stored = conditioned(parts.network, built, side, heads, width, parts.path)

    def weights_with(told: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
        return lambda: {f"unet.{name}": tensor.load() for name, tensor in stored.items()} | told()

    if _TABLE in parts.condition:
        rows, columns = shape(parts.condition, _TABLE, 2, parts.path)
        if rows == 1001:
            inquiry.learn({"null": True}, "a table of 1001 rows; the last stands for none of its classes")
        ask = f"whether the last of the {rows} rows of its table of classes stands for none of them"
        null = inquiry.settle(Question("null", ask, False, (True, False), _DEFAULT))
        table = parts.condition[_TABLE]
        network = {**unet, "table": [rows, columns], **({"label_dropout": 0.1} if null else {})}
        found = Finding("classes", rows - null, f"rows of {CONDITION}{_TABLE}")
        return network, weights_with(lambda: {"table": table.load()}), rows - null, None, [found]
    if not parts.condition:
        raise UnreadError(parts.path, WORDLESS, parts.network.values())
    words = read_words(parts.condition, parts.path, _tokenizer(inquiry))
    if words.width != parts.told_words:
        raise FarfieldError(
            f"{parts.path}: words of {words.width} numbers, but its network is told {parts.told_words}; damaged"
        )
    network = {**unet, "words": [1, words.length, words.width]}
    encoder = "OpenCLIP" if words.open_clip else "CLIP"
    found = Finding(
        "text encoder",
        f"{encoder}, {words.blocks} block{'s' * (words.blocks > 1)}",
        f"{CONDITION}…; under the prompt {prompt!r}",
    )
    return network, weights_with(lambda: {"words": words.embed(prompt)}), 0, words, [found]


def _tokenizer(inquiry: Inquiry) -> Path | None:
    """The folder that an answer names; it is asked for when a prompt is."""
    if "tokenizer" not in inquiry.answers:
        return None
    folder = Path(str(inquiry.answers["tokenizer"])).expanduser()
    folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise FarfieldError(
            f"{inquiry.path}: tokenizer={folder}: no folder with a vocab.json and merges.txt; expected CLIP's"
        )
    inquiry.findings.append(Finding("tokenizer", str(folder), "as answered"))
    return folder
