"""The descriptor that needs nothing: small pixels, whitened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

from farfield.audit.descriptor import Descriptor, check_images, resized
from farfield.audit.vectors import at_once
from farfield.core.artifact import Blocks
from farfield.core.error import FarfieldError


@final
class Pixels(Descriptor):
    """Small pixels in the whitened principal axes of reference images: ``(pixels - mean) @ basis``.

    It sees brightness, colour and coarse shape only, but needs no weights and is defined for any image.
    """

    def __init__(self, mean: Tensor, basis: Tensor, shape: tuple[int, ...], fitted_on: str):
        self.mean, self.basis, self.shape = mean, basis, shape
        self.name = f"pixels-{'x'.join(map(str, shape))}-{basis.shape[1]}-{fitted_on[:12]}"

    @staticmethod
    def fit(
        references: Blocks | Tensor, side: int = 16, explained: float = 0.99, most: int = 64, ridge: float = 0.1
    ) -> Pixels:
        """Find the axes on references, float64; they are read twice, block by block.

        Images are shrunk (antialiased) to at most ``side`` pixels along the longer edge. Kept are the leading axes that
        explain the share ``explained`` of the variance, at most ``most`` and a third of the number of references; each
        is divided by ``sqrt(variance + ridge * largest variance)``, so that an axis of little variance, known badly
        from few references, counts for less than a leading one. Neighbours share the class most often with a ridge of
        0.1 and more on MNIST and CIFAR-10 (5 nearest, 200 references: 0.79 and 0.23; without a ridge 0.71 and 0.20).

        Args:
            references: images ``[n, C, H, W]``, at least 4.

        Raises:
            FarfieldError: too few references, or all of them alike.
        """
        if len(references) < 4:
            raise FarfieldError(f"pixels: expected at least 4 reference images, found {len(references)}; give more")
        n = len(references)
        channels, *size = references.shape[-3:]
        height, width = (max(1, round(s * min(1.0, side / max(size)))) for s in size)
        shape = (channels, height, width)

        def shrunk(images: Tensor) -> Tensor:
            return resized(images.cpu().double(), shape[1:]).flatten(1)

        mean = torch.stack([shrunk(part).sum(0) for part in _parts(references)]).sum(0) / n
        triangle = torch.empty(0, len(mean), dtype=torch.float64)
        each: list[bytes] = []
        for part in _parts(references):
            triangle = _triangle(torch.cat([triangle, (shrunk(part) - mean) / (n - 1) ** 0.5]), 2 * len(mean))
            each += [hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).digest() for image in part]
        triangle = _triangle(triangle, len(mean))
        _, values, vectors = torch.linalg.svd(triangle, full_matrices=False)
        variances = values.square()
        if float(variances[0]) <= 1e-12:
            raise FarfieldError(f"pixels: the {n} reference images are all alike; give images that differ")
        wanted = int((variances.cumsum(0) < explained * variances.sum()).sum()) + 1
        count = max(1, min(wanted, most, n // 3))
        axes = vectors[:count]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))  # an axis has no sign of its own
        axes = axes * largest.sign()
        scale = (variances[:count] + ridge * variances[0]).rsqrt()
        content = hashlib.sha256(f"{explained} {ridge}".encode())
        content.update(f" {[n, *references.shape[-3:]]} {part.dtype}".encode())
        # of the images as they came, not of what arithmetic made of them, which another processor rounds otherwise
        for one in sorted(each):
            content.update(one)
        return Pixels(mean, axes.T * scale, shape, content.hexdigest())

    def __call__(self, images: Tensor) -> Tensor:
        check_images(images)
        if images.shape[1] != self.shape[0]:
            raise FarfieldError(
                f"pixels: expected {self.shape[0]} channels as in the references, found {images.shape[1]}; "
                "give both sets the same channels"
            )
        x = resized(images.double(), self.shape[1:]).flatten(1)
        return (x - self.mean.to(x.device)) @ self.basis.to(x.device)


def _parts(references: Blocks | Tensor) -> Iterator[Tensor]:
    rows = at_once(references.shape[-3:])
    for part in references.split(rows) if isinstance(references, Tensor) else references.parts(rows):
        images = part if isinstance(part, Tensor) else part.values
        check_images(images)
        yield images


def _triangle(rows: Tensor, most: int) -> Tensor:
    """R with ``R^T R = rows^T rows`` where there are more rows than these."""
    return torch.linalg.qr(rows, mode="r").R if len(rows) > most else rows
