"""Images by key, read one at a time, with their classes: what conversion, training and scans stand on."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np

from farfield.core.artifact import chunks
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.runtime import Advance
from farfield.data.header import Shape
from farfield.data.labels import Classes, check_array
from farfield.data.picture import some
from farfield.data.subset import choose_keys

T = TypeVar("T")

AHEAD = 128
"""Pictures that `Collection.each` holds at once."""
TASK = 16
"""Pictures that a thread is given at once: small ones are read faster than threads are started."""


@dataclass(frozen=True)
class Collection:
    """Pictures that are not read yet.

    ``picture(key)`` is ``[h, w, c]``, uint8 or float32 in [-1, 1]; ``shape(key)`` its (C, H, W), without decoding
    where that can be. Both raise whatever a decoder raises where a file is damaged, and may be called from several
    threads. ``labels`` has the class of every key, or is empty; ``class_names`` has the names of classes 0, 1, 2 …, where
    they have any. ``files`` are the names of files, for messages.
    """

    name: str
    keys: tuple[str, ...]
    picture: Callable[[str], np.ndarray]
    shape: Callable[[str], Shape]
    labels: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_array(cls, name: str, pictures: np.ndarray, labels: np.ndarray | None, where: str = "") -> Self:
        """Pictures ``[n, h, w, c]`` under their zero-padded positions (``000123``), with classes ``[n]`` of ``where``."""
        rows = {key: i for i, key in enumerate(positions(len(pictures)))}
        _, height, width, channels = pictures.shape
        classes = Classes() if labels is None else check_array(labels, list(rows), where or name)
        keys = tuple(classes.kept(rows))
        return cls(name, keys, lambda key: pictures[rows[key]], lambda _: (channels, height, width), classes.of)

    def label(self, key: str) -> str:
        """What to call an image in messages."""
        return f"{self.name}: {self.files.get(key, key)}"

    def common_shape(self, keys: Sequence[str] | None = None) -> Shape:
        """The shape of all images, or of these; an error names two that differ."""
        first: tuple[str, Shape] | None = None
        for key, shape in self.shapes(choose_keys(self.name, self.keys, keys, None)):
            first = first or (key, shape)
            if shape != first[1]:
                one, other = (f"{'×'.join(map(str, sides))} ({k})" for k, sides in (first, (key, shape)))
                raise FarfieldError(
                    f"{self.name}: expected images of one size (C×H×W), found {one} and {other}; bring them to one with "
                    "`farfield dataset convert --resize`"
                )
        assert first is not None  # `shapes` gives one or raises
        return first[1]

    def shapes(self, keys: Sequence[str]) -> Iterator[tuple[str, Shape]]:
        """The shape of each of these images; damaged ones are passed over, as long as one is good."""
        reason, good = "no images", False
        for key in keys:
            try:
                yield key, self.shape(key)
            except FarfieldError:
                raise
            except Exception as error:  # decoders of damaged files raise almost anything
                reason = f"{key}: {_words(error)}"
            else:
                good = True
        if not good:
            raise FarfieldError(f"{self.name}: expected readable images, found none ({reason}); check the path")

    def each(
        self,
        work: Callable[[str, np.ndarray], T],
        keys: Sequence[str],
        *,
        strict: bool = False,
        report: Advance | None = None,
    ) -> Iterator[tuple[str, T]]:
        """``(key, work(key, picture))`` for each key, in order, a few at a time on several threads.

        Damaged images are left out and named in one FarfieldWarning at the end; with ``strict``, or when none is left,
        they are a FarfieldError. ``report`` is called with 1 after each image.
        """

        def one(key: str) -> tuple[str, T | None]:
            try:
                picture = self.picture(key)
            except FarfieldError:
                raise
            except Exception as error:  # decoders of damaged files raise almost anything
                return _words(error), None
            return "", work(key, picture)

        broken: list[str] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for part in chunks(keys, AHEAD):
                outcomes = itertools.chain(*pool.map(lambda some: [one(key) for key in some], chunks(part, TASK)))
                for key, (reason, result) in zip(part, outcomes, strict=True):
                    if result is None:
                        broken.append(f"{self.files.get(key, key)} ({reason})")
                    else:
                        yield key, result
                    if report:
                        report(1)
        unreadable = f"found {len(broken)} of {len(keys)} unreadable: {some(broken)}"
        if broken and (strict or len(broken) == len(keys)):
            raise FarfieldError(f"{self.name}: expected readable images, {unreadable}; replace or remove them")
        if broken:
            warnings.warn(FarfieldWarning(f"{self.name}: {unreadable}; left out"), stacklevel=2)


def positions(n: int) -> list[str]:
    """Keys of rows that have no names."""
    return [f"{i:06d}" for i in range(n)]


def _words(error: Exception) -> str:
    return str(error).split("<_io")[0].strip(" '") or type(error).__name__
