"""A set of images that may be larger than memory: its keys are held, its pixels lie in a temporary file.

A source is decoded once. Whoever needs pixels reads some by key, or all of them block by block, as often as needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from farfield.core.artifact import Images, check_unique, find_places
from farfield.core.error import FarfieldError, MachineError
from farfield.data.picture import from_uint8

HELD: Final = 1 << 25
"""Bytes of a set's pixels that stay in memory; those of a larger set all go to the file."""

BLOCK: Final = 1 << 20
"""Values that are read at a time where the caller does not say: 4 MB."""


@final
class ImageSet:
    """Images ``[n, C, H, W]`` under their keys.

    Pixels are kept as they were stored, 8 bits a value or else float32, and are float32 in [-1, 1] once read. `select`
    and `renamed` copy no pixels.
    """

    def __init__(self, keys: Sequence[str], pixels: _Pixels, rows: np.ndarray):
        self.keys = tuple(keys)
        self._pixels, self._rows = pixels, rows
        check_unique(self.keys, Images.kind)

    @staticmethod
    def of(images: Iterable[tuple[str, Tensor]]) -> ImageSet:
        """Take images one at a time, ``[C, H, W]`` uint8 or float32, all of one shape.

        Raises:
            FarfieldError: none, or shapes that differ.
        """
        keys: list[str] = []
        pixels: _Pixels | None = None
        for key, image in images:
            if pixels is None:
                pixels = _Pixels(image.shape, image.dtype)
            elif image.is_floating_point() and pixels.dtype == torch.uint8:  # 8 bits no longer do
                pixels = pixels.widened(len(keys))
            if image.shape != pixels.shape:
                shapes = f"{list(pixels.shape)} ({keys[0]}) and {list(image.shape)} ({key})"
                raise FarfieldError(f"images: expected one size [C, H, W], found {shapes}; make them again")
            pixels.append(image)
            keys.append(key)
        if pixels is None:
            raise FarfieldError("images: expected at least one, found none; look at the source")
        pixels.finish()
        return ImageSet(keys, pixels, np.arange(len(keys)))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self._pixels.shape

    def select(self, keys: Sequence[str]) -> ImageSet:
        """The images of these keys, in this order."""
        return ImageSet(keys, self._pixels, self._rows[find_places(self.keys, keys, Images.kind)])

    def renamed(self, keys: Sequence[str]) -> ImageSet:
        """The same images under other keys."""
        return ImageSet(keys, self._pixels, self._rows)

    def at(self, places: Sequence[int] | Tensor) -> Tensor:
        """The images at these places, float32 ``[len(places), C, H, W]``."""
        return self._pixels.read(self._rows[np.asarray(places)])

    def images(self) -> Images:
        """All of them, read."""
        return Images(self.keys, self._pixels.read(self._rows))

    def parts(self, rows: int | None = None) -> Iterator[Images]:
        """All of them in their order, so many at a time."""
        rows = rows or max(1, BLOCK // math.prod(self.shape))
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield Images(self.keys[part], self._pixels.read(self._rows[part]))

    def digest(self) -> str:
        """That of `images`."""
        h = hashlib.sha256(json.dumps([list(self.keys), [len(self), *self.shape], str(torch.float32)]).encode())
        for part in self.parts():
            h.update(part.values.numpy().data)
        return h.hexdigest()


class _Pixels:
    """Images of one shape and type, one after another in a file without a name, which is gone when nobody needs it."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype):
        self.shape, self.dtype = torch.Size(shape), torch.uint8 if dtype == torch.uint8 else torch.float32
        self.file = tempfile.SpooledTemporaryFile(HELD)  # noqa: SIM115 — lives as long as its set

    def append(self, image: Tensor) -> None:
        values = image if self.dtype == torch.uint8 else from_uint8(image)
        with _writing():
            self.file.write(values.contiguous().numpy().data)

    def finish(self) -> None:
        """Put what is buffered into the file: a full disk shows itself now or never."""
        with _writing():
            self.file.flush()

    def read(self, rows: np.ndarray) -> Tensor:
        """Float32 ``[len(rows), C, H, W]``; rows that follow one another are read at once."""
        pixels = torch.empty((len(rows), *self.shape), dtype=self.dtype)
        stride, at = self.shape.numel() * self.dtype.itemsize, 0
        into = pixels.numpy().data.cast("B") if len(rows) else memoryview(b"")
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else ():
            self.file.seek(int(run[0]) * stride)
            size = len(run) * stride
            if self.file.readinto(into[at : at + size]) != size:
                raise MachineError("a temporary file of pixels was cut short while in use; give the same command again")
            at += size
        return from_uint8(pixels)

    def widened(self, n: int) -> _Pixels:
        """The first n images in float32."""
        wide = _Pixels(self.shape, torch.float32)
        for row in range(n):
            wide.append(self.read(np.arange(row, row + 1))[0])
        self.file.seek(n * self.shape.numel())
        return wide


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"temporary files: no room for the pixels of a large set ({error.strerror or error}); make some, or set TMPDIR to "
            "a folder that has it, and give the same command again"
        ) from error
