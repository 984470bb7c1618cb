"""Image → feature vector.

A descriptor's ``name`` says everything that its numbers depend on, the content of a file or of a fit by its hash, so
that features of two descriptors never meet. Images are ``[n, C, H, W]`` in [-1, 1]; row i of the features depends on
image i alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.core.artifact import Blocks, Features
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.memory import Rows

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class Descriptor(ABC):
    """Abstract: ``descriptor(images)`` with ``[n, C, H, W]`` in [-1, 1] gives features ``[n, d]``, compared by cosine."""

    name: str
    default_threshold: float | None = None

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Features ``[n, d]``, float32 or float64."""


def describe(descriptor: Descriptor, images: Blocks, batch_size: int = 256) -> Features:
    """Features of all images, read batch by batch, in their order and under their keys, on the CPU.

    Raises:
        FarfieldError: no images, or a batch size below 1.
        NonFiniteError: the descriptor answers NaN or infinity.
    """
    if batch_size < 1 or len(images) == 0:
        raise FarfieldError(f"{len(images)} images in batches of {batch_size}: expected at least one of each")
    rows, answers = Rows(), []
    for part in images.parts(batch_size):
        answers += rows.parts(len(part), lambda some, x=part.values: descriptor(x[some]).cpu())  # type: ignore[misc]
    values = torch.cat(answers)
    if not bool(values.isfinite().all()):
        bad = next(k for k, row in zip(images.keys, values, strict=True) if not bool(row.isfinite().all()))
        raise NonFiniteError(f"{descriptor.name}: expected finite features, found none of image {bad!r}; look at it")
    return Features(images.keys, values, descriptor.name)


def check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise FarfieldError(
            f"images: expected floats [n, C, H, W] in [-1, 1], found {images.dtype} {list(images.shape)}; convert them"
        )


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    if list(images.shape[2:]) == list(size):
        return images
    return functional.interpolate(images, tuple(size), mode="bilinear", antialias=True, align_corners=False)


def with_channels(images: Tensor, channels: int, name: str) -> Tensor:
    if images.shape[1] == channels:
        return images
    if images.shape[1] != 1:
        raise FarfieldError(f"{name}: expected images of {channels} channels or grey ones, found {images.shape[1]}")
    return images.expand(-1, channels, -1, -1)


def normalised(images: Tensor, size: Sequence[int], mean: Sequence[float], std: Sequence[float], name: str) -> Tensor:
    """RGB in [-1, 1] as ``(v - mean) / std`` with v in [0, 1], resized."""
    check_images(images)
    x = (resized(with_channels(images.float(), 3, name), size) + 1) / 2
    return (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]
