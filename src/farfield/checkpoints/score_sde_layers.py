"""The list of layers of score_sde_pytorch's networks: what each is, by what is in it, and its place in the same network of ours.

Their order follows from the network: the levels on the way down, each of residual blocks, with attention or not, a block that
makes it smaller and what it is shown of the image; the middle; and the levels on the way up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.file.stored import State
from farfield.core.error import FarfieldError

_MOST_MODULES: Final = 1000

Part = tuple[str, tuple[str, ...], Callable[..., Tensor]]
"""A weight of ours, those in the file that it is made of, and how."""


@dataclass
class Layer:
    """One of the list: its number, kind, and the shapes in it."""

    number: int
    kind: str
    shapes: dict[str, tuple[int, ...]]

    def name(self, own: str) -> str:
        return f"all_modules.{self.number}.{own}"


class Layers:
    """The list of layers, taken one after another, and where they go.

    Attributes:
        attended: the levels with attention.
        levels: how many there are.
    """

    def __init__(self, state: State, path: Path):
        self.path, self.attended, self.levels = path, set[int](), 0
        found: dict[int, dict[str, tuple[int, ...]]] = {}
        for name, tensor in state.items():
            if 0 in tensor.shape or not tensor.dtype.is_floating_point:
                raise self.strange(f"{name[:80]} of shape {tensor.shape} and {tensor.dtype}")
            if match := re.fullmatch(r"all_modules\.(\d{1,3})\.([\w.]{1,40})", name):
                found.setdefault(int(match[1]), {})[match[2]] = tensor.shape
            elif name != "sigmas":
                raise self.strange(f"{name[:80]} in it")
        if set(found) != set(range(len(found))) or len(found) > _MOST_MODULES:
            raise self.strange(f"{len(found)} layers up to number {max(found)}")
        self.layers = [Layer(i, _kind(found[i]), found[i]) for i in range(len(found))]
        self.at = 0

    def strange(self, found: str) -> FarfieldError:
        return FarfieldError(
            f"{self.path}: layers of score_sde_pytorch, but not those of NCSN++ or DDPM++ with residual blocks that change the "
            f"size (resblock_type biggan): {found}; damaged, or a variant that is not read here"
        )

    def coming(self, kind: str) -> bool:
        return self.at < len(self.layers) and self.layers[self.at].kind == kind

    def take(self, kind: str) -> Layer:
        if not self.coming(kind):
            there = self.layers[self.at].kind if self.at < len(self.layers) else "the end"
            raise self.strange(f"{there} at number {self.at}, expected {kind}")
        self.at += 1
        return self.layers[self.at - 1]

    def network(self) -> tuple[dict[str, Any], list[Part]]:
        """The configuration of the network, but for its size and filter, and its weights; levels are called 0, 1, …"""
        parts: list[Part] = []
        fourier = self.coming("fourier")
        if fourier:
            layer = self.take("fourier")
            parts.append(("map_noise.freqs", (layer.name("W"),), _same))
        for i in (0, 1):
            parts += _both(self.take("linear"), f"map_layer{i}")
        first = self.take("convolution")
        width, channels = first.shapes["weight"][:2]
        parts += _both(first, "enc.0_conv")
        blocks, widths, encoder = self._blocks(), list[int](), "standard"
        while True:
            level = len(widths)
            for k in range(blocks):
                layer = self.take("block")
                name = f"enc.{level}_block{k}"
                parts += _block(layer, name)
                if self.coming("attention"):
                    self.attended.add(level)
                    parts += _attention(self.take("attention"), name)
            widths.append(layer.shapes["Conv_0.weight"][0])
            if not self.coming("resampling block"):
                break
            parts += _block(self.take("resampling block"), f"enc.{level + 1}_down")
            if self.coming("combination"):
                encoder = "skip"
                parts += _both(self.take("combination"), f"enc.{level + 1}_aux_skip", "Conv_0")
            elif self.coming("filtered convolution"):
                encoder = "residual"
                parts += _both(self.take("filtered convolution"), f"enc.{level + 1}_aux_residual", "Conv2d_0")
        self.levels, last = len(widths), len(widths) - 1
        parts += _block(self.take("block"), f"dec.{last}_in0")
        parts += _attention(self.take("attention"), f"dec.{last}_in0")
        parts += _block(self.take("block"), f"dec.{last}_in1")
        decoder = "standard"
        for level in reversed(range(self.levels)):
            for k in range(blocks + 1):
                parts += _block(self.take("block"), f"dec.{level}_block{k}")
            if level in self.attended:
                parts += _attention(self.take("attention"), f"dec.{level}_block{blocks}")
            if level == 0 or self.coming("norm"):
                decoder = "skip" if level else decoder
                parts += _both(self.take("norm"), f"dec.{level}_aux_norm")
                parts += _both(self.take("convolution"), f"dec.{level}_aux_conv")
            if level:
                parts += _block(self.take("resampling block"), f"dec.{level - 1}_up")
        if self.at < len(self.layers):
            raise self.strange(f"{self.layers[self.at].kind} at number {self.at}, expected the end")
        if any(w % width for w in widths):
            raise self.strange(f"widths {widths} of levels, expected multiples of {width}")
        return {
            "kind": "ncsnpp" if fourier else "ddpmpp",
            "in_channels": channels,
            "out_channels": channels,
            "model_channels": width,
            "channel_mult": [w // width for w in widths],
            "num_blocks": blocks,
            "embedding_type": "fourier" if fourier else "positional",
            "channel_mult_noise": 2 if fourier else 1,
            "encoder_type": encoder,
            "decoder_type": decoder,
        }, parts

    def _blocks(self) -> int:
        """Residual blocks of each level on the way down."""
        kinds = [layer.kind for layer in self.layers]
        if "resampling block" in kinds:
            return max(1, kinds[: kinds.index("resampling block")].count("block"))
        return max(1, (kinds.count("block") - 3) // 2)


def _kind(shapes: dict[str, tuple[int, ...]]) -> str:
    if set(shapes) == {"W"}:
        return "fourier"
    if set(shapes) == {"weight", "bias"}:
        return {1: "norm", 2: "linear", 4: "convolution"}.get(len(shapes["weight"]), "something strange")
    if set(shapes) == {"Conv2d_0.weight", "Conv2d_0.bias"}:
        return "filtered convolution"
    if set(shapes) == {"Conv_0.weight", "Conv_0.bias"}:
        return "combination"
    if "NIN_3.W" in shapes and "Conv_0.weight" not in shapes:
        return "attention"
    if "Dense_0.weight" in shapes and "NIN_0.W" not in shapes and len(shapes.get("Conv_0.weight", ())) == 4:
        skip = shapes.get("Conv_2.weight", (1, 0))
        return "resampling block" if len(set(skip[:2])) == 1 else "block"
    return "something strange"


def made_shape(made: Callable[..., Tensor], shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """That of what is made of weights of these shapes; arithmetic without numbers would load torch's compiler."""
    first = shapes[0]
    if made is _same:
        return first
    if len(set(shapes)) > 1 or len(first) != (1 if made is _joined else 2):
        return ()
    if made is _joined:
        return (len(shapes) * first[0],)
    return (len(shapes) * first[1], first[0], 1, 1)


def _same(value: Tensor) -> Tensor:
    return value


def _both(layer: Layer, ours: str, theirs: str = "") -> Iterator[Part]:
    for own in ("weight", "bias"):
        yield f"{ours}.{own}", (layer.name(f"{theirs}.{own}" if theirs else own),), _same


def _block(layer: Layer, ours: str) -> Iterator[Part]:
    names = {"GroupNorm_0": "norm0", "Conv_0": "conv0", "Dense_0": "affine", "GroupNorm_1": "norm1", "Conv_1": "conv1"}
    if "Conv_2.weight" in layer.shapes:
        names["Conv_2"] = "skip"
    for theirs, own in names.items():
        yield from _both(layer, f"{ours}.{own}", theirs)


def _attention(layer: Layer, ours: str) -> Iterator[Part]:
    """Its matrices ``[in, out]`` are 1×1 convolutions of ours, queries, keys and values side by side for each channel."""
    yield from _both(layer, f"{ours}.norm2", "GroupNorm_0")
    three = [f"NIN_{i}" for i in range(3)]
    yield f"{ours}.qkv.weight", tuple(layer.name(f"{n}.W") for n in three), _joined_weights
    yield f"{ours}.qkv.bias", tuple(layer.name(f"{n}.b") for n in three), _joined
    yield f"{ours}.proj.weight", (layer.name("NIN_3.W"),), _turned
    yield f"{ours}.proj.bias", (layer.name("NIN_3.b"),), _same


def _turned(value: Tensor) -> Tensor:
    return value.T[..., None, None].contiguous()


def _joined(*values: Tensor) -> Tensor:
    return torch.stack(values, 1).flatten(0, 1)


def _joined_weights(*values: Tensor) -> Tensor:
    return _joined(*(_turned(value) for value in values))
