"""Files of score_sde_pytorch: NCSN++ and DDPM++ under the names of its authors, whose layers are a list without words.

Read are the networks of its residual blocks that change the size themselves (``biggan``), with every way of showing each level
the image and of collecting the answer: all of the published continuous ones. Each layer of the list (`score_sde_layers`) has its
place in the same network under EDM's names (`networks.song_unet`). The average is a list as well.

The file does not say which SDE it is. With Fourier features it is mostly the variance-exploding one, at levels that the file
keeps for images in [0, 1]; with a positional embedding the variance-preserving one, its time steps, or the sub-VP one, which
has the same network and the same time steps, and less noise at each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.assembly import first_line
from farfield.checkpoints.average import choose
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.file.stored import State, Tree
from farfield.checkpoints.fitting import counted
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.score_sde_layers import Layers, Part, made_shape
from farfield.checkpoints.wrapped import networks
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config

ANSWERS: Final = ("size", "sde", "fir")
_MARKS: Final = ("all_modules.2.weight",)
_CONSTANTS: Final = ("sigmas", "all_modules.0.W")
_LARGEST: Final = 4096
_BOX, _FIR = [1, 1], [1, 3, 3, 1]


def recognises(tree: Tree) -> bool:
    return bool(networks(tree.root, _MARKS))


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """A file of this family.

    Args:
        answers: ``size``; ``sde`` (ve; vp; subvp; ddpm, the time steps of vp); ``fir`` (whether sizes change under the filter
            1, 3, 3, 1 or the mean of 2×2 pixels).
        part: ``ema`` or ``net``, of a file that holds both.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here; an answer that cannot be.
    """
    path = tree.path
    state, chosen, place = choose(tree, _MARKS, part, _CONSTANTS)
    layers = Layers(state, path)
    config, parts = layers.network()
    inquiry = Inquiry(path, answers, {}, "")
    inquiry.refuse_others(ANSWERS)
    size = _size(layers, inquiry)
    config |= {
        "img_resolution": size,
        "attn_resolutions": [size >> i for i in sorted(layers.attended)],
        "resample_filter": _FIR if _filtered(config, inquiry) else _BOX,
    }
    _prove(config, parts, state, path)
    family, levels, scheduler = _levels(config, state, inquiry)
    parameters, dtype = counted({name: tensor for name, tensor in state.items() if name != "sigmas"})

    def weights() -> dict[str, Tensor]:
        loaded = {name: made(*(state[t].load() for t in theirs)) for name, theirs, made in parts}
        return loaded | _filters(config)

    channels = config["in_channels"]
    return Checkpoint(
        path,
        "score_sde",
        Blueprint(config, (channels, size, size), family, scheduler=scheduler, levels=levels),
        weights,
        parameters,
        dtype,
        (
            Finding("part", f"{chosen} ({place or 'the whole file'})", "its place in the file"),
            Finding("network", "NCSN++" if config["kind"] == "ncsnpp" else "DDPM++", "what is in each of its layers"),
            *inquiry.findings,
        ),
        tuple(inquiry.questions),
    )


def _renamed(name: str, size: int) -> str:
    """A name of ours, whose levels are called by their sides."""
    return re.sub(r"^(enc|dec)\.(\d+)_", lambda m: f"{m[1]}.{size >> int(m[2])}x{size >> int(m[2])}_", name)


def _prove(config: dict[str, Any], parts: list[Part], state: State, path: Path) -> None:
    """See that the weights fill the network, and rename them to it."""
    size = config["img_resolution"]
    parts[:] = [(_renamed(name, size), theirs, made) for name, theirs, made in parts]
    try:
        with torch.device("meta"):
            network = from_config(config)
        want = {n: tuple(t.shape) for n, t in network.state_dict().items() if not n.endswith("resample_filter")}
        have = {}
        for name, theirs, made in parts:
            missing = [t for t in theirs if t not in state]
            if missing:
                raise FarfieldError(f"{missing[0]} is missing")
            have[name] = made_shape(made, [state[t].shape for t in theirs])
    except (FarfieldError, RuntimeError, IndexError) as error:
        raise FarfieldError(f"{path}: its weights are those of no network that can be ({first_line(error)})") from error
    used = {t for _, theirs, _ in parts for t in theirs} | {"sigmas"}
    if strange := sorted(state.keys() - used):
        raise FarfieldError(
            f"{path}: {strange[0]}: no weight of NCSN++ or DDPM++; damaged, or a variant that is not read here"
        )
    for name in sorted(want.keys() | have.keys()):
        if want.get(name) != have.get(name):
            raise FarfieldError(
                f"{path}: its layers make {name} {have.get(name, 'of nothing')}, expected {want.get(name, 'none')} in the "
                "network that they tell; damaged, or a variant that is not read here"
            )


def _filters(config: dict[str, Any]) -> dict[str, Tensor]:
    """The constants of the network, which no file holds."""
    with torch.device("meta"):  # where these are not
        state = from_config(config).state_dict()
    return {name: held for name, held in state.items() if name.endswith("resample_filter")}


def _size(layers: Layers, inquiry: Inquiry) -> int:
    likely, why = 4 << layers.levels, "the lowest maps are mostly 8 pixels wide"
    likely = max(likely, 1 << (layers.levels - 1))
    if layers.attended:
        likely, why = 16 << min(layers.attended), "attention mostly begins at 16 pixels"
    size: int = inquiry.settle(Question("size", "the side of its images in pixels", likely, (), why))
    if size % (1 << (layers.levels - 1)) or size > _LARGEST:
        raise FarfieldError(
            f"{inquiry.path}: size {size}; expected a multiple of {1 << (layers.levels - 1)}, and at most {_LARGEST}"
        )
    return size


def _filtered(config: dict[str, Any], inquiry: Inquiry) -> bool:
    if config["encoder_type"] == "residual":
        inquiry.learn({"fir": True}, "its convolutions between levels are those with a filter")
    else:
        inquiry.learn(
            {"fir": config["encoder_type"] == "skip"}, "as in the published networks of this kind; not said in the file"
        )
    filtered: bool = inquiry.settle(
        Question("fir", "whether sizes change under the filter 1, 3, 3, 1", True, (True, False))
    )
    return filtered


def _levels(
    config: dict[str, Any], state: State, inquiry: Inquiry
) -> tuple[Any, dict[str, float], dict[str, Any] | None]:
    """Family, levels and scheduler of the SDE that was answered."""
    fourier = config["embedding_type"] == "fourier"
    ask = "its SDE: ve, vp, subvp (sub-VP), or ddpm, the time steps of vp"
    why = (
        "Fourier features are those of ve" if fourier else "positional embeddings are those of vp, and of subvp as well"
    )
    likely = "ve" if fourier else "subvp" if re.search(r"sub-?vp", inquiry.path.stem.lower()) else "vp"
    sde = inquiry.settle(Question("sde", ask, likely, ("ve", "vp", "subvp", "ddpm"), why))
    if (sde == "ve") != fourier:
        raise FarfieldError(
            f"{inquiry.path}: sde={sde} of a network with {config['embedding_type']} embedding; expected "
            f"{'ve' if fourier else 'vp, subvp or ddpm'}, for which that is read here"
        )
    if sde == "ddpm":
        betas = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
        return None, {}, {"num_train_timesteps": 1000, **betas, "prediction_type": "epsilon"}
    if sde in ("vp", "subvp"):
        return sde, {}, None
    if "sigmas" not in state or len(state["sigmas"].shape) != 1 or state["sigmas"].shape[0] < 2:
        inquiry.findings.append(
            Finding("levels", "0.02 to 100", "the file keeps none; those of the published networks")
        )
        return "ve", {}, None
    kept = state["sigmas"].load().double()
    low, high = (2 * float(v) for v in (kept.min(), kept.max()))  # of images in [-1, 1]
    if not 0 < low < high < 1e6:
        raise FarfieldError(
            f"{inquiry.path}: levels from {low:g} to {high:g}; expected positive ones that rise; damaged"
        )
    inquiry.findings.append(
        Finding("levels", f"{low:g} to {high:g}", "sigmas in the file, which are for images in [0, 1]")
    )
    return "ve", {"sigma_min": round(low, 9), "sigma_max": round(high, 9)}, None
