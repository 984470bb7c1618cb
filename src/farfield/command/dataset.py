"""`farfield dataset convert` and `farfield dataset scan`: what they take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from farfield.command.option import LARGEST_SEED, Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Strict
from farfield.core.error import FarfieldError


def _as_size(text: str, name: str) -> tuple[int, int]:
    """``32`` or ``48x64`` as (height, width)."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:[x×]([1-9]\d{0,4}))?", text)
    if not match:
        raise FarfieldError(f"{name} {text!r}: expected SIZE or HxW in pixels, below 100,000, such as 32 or 48x64")
    return int(match[1]), int(match[2] or match[1])


Collection = Annotated[
    str,
    Argument(
        "A folder (of class folders), zip or npz of images, a bundled domain, MNIST's idx files, CIFAR batches (folder or tar; "
        "PATH[test] for the test images), an LSUN LMDB folder, or hf:NAME[:SPLIT].",
        names="source",
    ),
]


@dataclass(frozen=True)
class Subset(Settings):
    """Which of a source's images, nested: image k of the fewer is image k of the more."""

    max_images: Annotated[int | None, Option("Take only this many, drawn at random by --seed.", least=1)] = None
    seed: Annotated[
        int | None,
        Option(
            "Shuffle by this seed; the first N of a seed hold its first N/2.",
            least=0,
            most=LARGEST_SEED,
            default="their own order, or 0 with --max-images",
        ),
    ] = None

    @property
    def shuffled_by(self) -> int | None:
        """The seed of the order; None for their own."""
        return 0 if self.max_images is not None and self.seed is None else self.seed


@dataclass(frozen=True)
class DatasetConvert(Settings):
    """Write images and their classes in another format; the same source and options give the same bytes."""

    wing: ClassVar[str] = "Data"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield dataset convert cifar-10-python.tar.gz cifar.zip",
        "farfield dataset convert photos/ small/ --resize 64 --max-images 1000",
    )

    source: Collection
    out: Annotated[Path, Argument("A folder, or a file that ends in .zip (both in EDM's layout) or .npz.")]
    subset: Subset = Subset()
    resize: Annotated[
        tuple[int, ...] | None,
        Option(
            "Resize to SIZE or HxW pixels.",
            default="as they are",
            least=1,
            read=_as_size,
            show=lambda size: "x".join(map(str, size)),
        ),
    ] = None
    resize_mode: Annotated[
        Literal["center-crop", "stretch", "pad"],
        Option("How to resize: center-crop (to the aspect ratio), stretch, or pad (with black)."),
    ] = "center-crop"
    channels: Annotated[int | None, Option("Convert to 1 channel (grey) or 3 (RGB).", default="as they are")] = None
    format: Annotated[
        Literal["folder", "zip", "npz"] | None, Option("Write a folder, zip or npz.", default="by OUT's ending")
    ] = None
    labels: Annotated[bool, Option("Carry the classes along.")] = True
    strict: Strict = False
    printing: Printing = Printing()

    def check(self) -> None:
        if self.channels not in (None, 1, 3):
            raise FarfieldError(f"--channels {self.channels}: expected 1 (grey) or 3 (RGB)")


@dataclass(frozen=True)
class DatasetScan(Settings):
    """Find images that occur more than once, to the bit or nearly."""

    wing: ClassVar[str] = "Data"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield dataset scan photos/",
        "farfield dataset scan photos/ --near 0.1 --json",
    )

    source: Collection
    near: Annotated[
        float,
        Option(
            "Call a pair near up to this share of the median distance to the nearest other image; 0 finds exact "
            "copies alone.",
            least=0,
            below=1,
        ),
    ] = 0.25
    search: Annotated[
        Literal["exact", "ivf", "hnsw"] | None,
        Option(
            "Look at all pairs, or at those that an index of faiss proposes, ivf or hnsw, and measure what it misses.",
            default="exact; above 50,000 images ivf, where faiss is installed",
        ),
    ] = None
    show: Annotated[int, Option("Show at most this many groups and pairs; --json has all.", least=0)] = 10
    subset: Subset = Subset()
    strict: Strict = False
    printing: Printing = Printing()
