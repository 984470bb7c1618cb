"""Score networks of galaxies in equinox's files (``.eqx``): the package galaxygrad's, and what is trained with its code.

A file is NumPy arrays one after another, without names, so it is their order and shapes that say which network it is
(`networks.mixer`). Of images of C channels, patches of k pixels a side, w channels and P patches:

==================  =====================================================================================
convolution in      weight ``[w, C + 1, k, k]``, bias ``[w, 1, 1]``
convolution out     weight ``[C, w, k, k]``, bias ``[C, 1, 1]``
of each block       mixers of patches (P → p → P) and channels (w → q → w): weight, bias, weight, bias each;
                    norms ``[w, P]`` and ``[P, w]``: weight, bias each
norm                weight, bias ``[w, P]``
time                the end of the SDE, one number
==================  =====================================================================================

The convolution out is JAX's transposed one, a correlation with the spread-out patches; PyTorch's is the same with the kernel
turned by 180° and its channels exchanged. The SDE is the variance-preserving one of constant rate, and what the network
answers is the score (family ``score`` of `diffusion.precondition`). What a picture's black and white are is no part of a file:
known of published ones (`mixer_published`), or asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from torch import Tensor

from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.file.stored import Stored, Tree
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.mixer_published import GET, PUBLISHED, published
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.place import GALAXYGRAD
from farfield.core.download import file_sha256
from farfield.core.error import FarfieldError
from farfield.diffusion.units import Units

_OUTSIDE, _BLOCK = 7, 12
"""Arrays of a file, and of each block in it."""
_LONGEST: Final = 50.0
"""Time at which no signal is left in any float."""
_USUAL: Final = 10.0


def recognises(tree: Tree) -> bool:
    """Whether the file is arrays without names; those of another network are refused by `read`."""
    return tree.kind == "arrays"


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """The network in a file of arrays.

    Args:
        answers: ``units`` (LOW,HIGH: the network's numbers that are black and white), and ``scale``, which is never asked for
            (they are ``ln(1 + flux) / scale``).
        part: None; such a file holds one network.

    Raises:
        FarfieldError: arrays of another network, or an answer that cannot be.
    """
    if part is not None:
        raise FarfieldError(f"{tree.path}: it holds no parts to choose from; leave @{part} out")
    arrays: list[Stored] = tree.root
    config = _configuration(arrays, tree)
    names = [name for name, _ in layout(config)]
    until = _time(arrays[-1], tree)
    inquiry = _inquiry(tree, answers)
    units = _units(inquiry)

    def weights() -> dict[str, Tensor]:
        state = {name: array.load() for name, array in zip(names, arrays, strict=False)}
        for end in ("in", "out"):
            state[f"conv_{end}.bias"] = state[f"conv_{end}.bias"].flatten()
        state["conv_out.weight"] = state["conv_out.weight"].flip(-1, -2).transpose(0, 1).contiguous()
        return state

    return Checkpoint(
        tree.path,
        "galaxygrad",
        Blueprint(
            config,
            (config["out_channels"], *config["img_size"]),
            "score",
            levels={} if until == _USUAL else {"t_max": until},
            units=units,
        ),
        weights,
        sum(math.prod(array.shape) for array in arrays[:-1]),
        Counter(array.dtype for array in arrays[:-1]).most_common(1)[0][0],
        (
            Finding("network", "MLP-Mixer", f"number and shapes of its {len(arrays)} arrays, which have no names"),
            Finding("size", config["img_size"][0], "side in patches is the root of their number; square images"),
            Finding("time", until, "the last number in the file"),
            Finding("prediction", "score", "what such networks are trained for; not said in the file"),
            *inquiry.findings,
        ),
        tuple(inquiry.questions),
    )


def layout(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The weights of a mixer by their names in `networks.mixer`, in a file's order and with their shapes there."""
    channels, patch, width = config["out_channels"], config["patch"], config["width"]
    patches = math.prod(config["img_size"]) // patch**2
    yield from (("conv_in.weight", (width, channels + 1, patch, patch)), ("conv_in.bias", (width, 1, 1)))
    yield from (("conv_out.weight", (channels, width, patch, patch)), ("conv_out.bias", (channels, 1, 1)))
    for i in range(config["num_blocks"]):
        for mixer, size in (("patch", patches), ("channel", width)):
            hidden = config[f"{mixer}_hidden"]
            for layer, shape in ((0, (hidden, size)), (2, (size, hidden))):
                yield f"blocks.{i}.{mixer}_mixer.{layer}.weight", shape
                yield f"blocks.{i}.{mixer}_mixer.{layer}.bias", shape[:1]
        for norm, both in (("patch", (width, patches)), ("channel", (patches, width))):
            yield from ((f"blocks.{i}.{norm}_norm.{part}", both) for part in ("weight", "bias"))
    yield from ((f"norm.{part}", (width, patches)) for part in ("weight", "bias"))


def _configuration(arrays: list[Stored], tree: Tree) -> dict[str, Any]:
    """The network whose arrays these are, each of its shape; none is read."""
    blocks, rest = divmod(len(arrays) - _OUTSIDE, _BLOCK)
    shapes = [array.shape for array in arrays]
    if blocks < 1 or rest or [len(shapes[i]) for i in (0, 4, 8, -1)] != [4, 2, 2, 0]:
        raise _other(tree, f"{len(arrays)} arrays, the first of shape {shapes[0]}")
    if not all(map(all, shapes)):
        raise _other(tree, "some of its arrays are empty")
    (width, channels, patch, _), (hidden, patches), (channel_hidden, _) = shapes[0], shapes[4], shapes[8]
    side = math.isqrt(patches)
    if channels < 2 or side**2 != patches:
        raise _other(tree, f"{channels} channels, the level among them, and {patches} patches, of no square")
    config = {
        "kind": "mixer",
        "img_size": [side * patch, side * patch],
        "in_channels": channels - 1,
        "out_channels": channels - 1,
        "patch": patch,
        "width": width,
        "num_blocks": blocks,
        "patch_hidden": hidden,
        "channel_hidden": channel_hidden,
    }
    for i, (array, (name, shape)) in enumerate(zip(arrays, layout(config), strict=False)):
        if array.shape != shape or not array.dtype.is_floating_point:
            raise _other(tree, f"array {i + 1} is {array.shape} of {array.dtype}, where {name} would be {shape}")
    return config


def _time(array: Stored, tree: Tree) -> float:
    until = float(array.load())
    if not 0.01 <= until <= _LONGEST:
        raise _other(tree, f"an SDE that ends at time {until:g}, expected 0.01 to {_LONGEST:g}")
    return until


def _other(tree: Tree, found: str) -> FarfieldError:
    return FarfieldError(
        f"{tree.path}: NumPy arrays one after another, but of no network that is known here ({found}); expected a score network "
        f"as the package galaxygrad has them (`{GET}`)"
    )


def _inquiry(tree: Tree, answers: Answers) -> Inquiry:
    card = published(file_sha256(tree.path, quiet=True))
    known: dict[str, Any] = {}
    if card is not None:
        scale = card.units.scale
        known = {"units": f"{card.units.low:g},{card.units.high:g}", **({"scale": scale} if scale else {})}
    source = f"of this published file{f', {GALAXYGRAD}{card.name}' if card and card.name else ''}, known by its sha256"
    inquiry = Inquiry(tree.path, answers, known, source)
    inquiry.refuse_others(("units", "scale"))
    return inquiry


def _units(inquiry: Inquiry) -> Units:
    """The network's numbers that are black and white, and where they come from."""
    named = PUBLISHED.get(inquiry.path.name)
    likely, why = "0,10", "published models of galaxies draw about this"
    if named is not None:
        likely = f"{named.units.low:g},{named.units.high:g}"
        why = "as of the published file of this name, which has other content"
    given = inquiry.settle(
        Question("units", "the network's numbers that are a picture's black and white", likely, why=why)
    )
    bounds = _numbers(given)
    if len(bounds) != 2:
        raise FarfieldError(f"{inquiry.path}: units={given}; expected two numbers as LOW,HIGH, such as {likely}")
    scale = None
    if "scale" in inquiry.answers or "scale" in inquiry.known:
        told = inquiry.settle(Question("scale", "of ln(1 + flux) / scale, which its numbers are", "0.1"))
        scale = next(iter(_numbers(told)), math.nan)
    try:
        return Units(bounds[0], bounds[1], scale)
    except FarfieldError as error:
        raise FarfieldError(f"{inquiry.path}: {error}") from error


def _numbers(text: Any) -> list[float]:
    """Numbers as an answer gives them, with commas between; none where one is no number."""
    try:
        return [float(part) for part in str(text).strip("[]()").split(",")]
    except ValueError:
        return []
