"""``farfield dataset convert`` and ``farfield dataset scan``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import Application, AsJson, Quiet, Strict, app
from farfield.core.error import FarfieldError
from farfield.core.terminal import echo

dataset = Application(no_args_is_help=True, help="Data sets: convert them, and find what occurs twice in them.")
app.add_typer(dataset, name="dataset")

Collection = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder (of class folders), zip or npz of images, a bundled domain, MNIST's idx files, CIFAR batches (folder or "
        "tar; PATH\\[test] for the test images), an LSUN LMDB folder, or hf:NAME\\[:SPLIT].",
    ),
]
Most = Annotated[int | None, typer.Option("--max-images", help="Only so many, drawn at random by --seed.")]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Shuffle; the first N of a seed hold its first N/2 \\[default: their own order, or 0 with --max-images]."
    ),
]


@dataset.command()
def convert(
    source: Collection,
    out: Annotated[Path, typer.Argument(help="A folder, or a file that ends in .zip (both in EDM's layout) or .npz.")],
    max_images: Most = None,
    seed: Seed = None,
    resize: Annotated[str | None, typer.Option(help="SIZE or HxW in pixels \\[default: as they are].")] = None,
    resize_mode: Annotated[
        str, typer.Option(help="center-crop (to the aspect ratio), stretch, or pad (with black).")
    ] = "center-crop",
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB) \\[default: as they are].")] = None,
    format: Annotated[str | None, typer.Option(help="folder, zip or npz \\[default: by OUT's ending].")] = None,
    labels: Annotated[bool, typer.Option(help="Carry the classes along.")] = True,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write images and their classes in another format; the same source and options give the same bytes."""
    from farfield.study.model.dataset import convert

    done = convert(
        source,
        out,
        max_images=max_images,
        seed=seed,
        size=_size(resize),
        mode=resize_mode,
        channels=channels,
        format=format,
        labels=labels,
        strict=strict,
        quiet=quiet,
    )
    classes = f"{done.classes} classes" if done.classes else "no classes"
    size = "×".join(map(str, done.shape))
    echo(json.dumps(done.to_json()) if as_json else f"{done.out}: {done.images} images of {size}, {classes}")


@dataset.command()
def scan(
    source: Collection,
    near: Annotated[
        float,
        typer.Option(help="A pair is near up to this share of the median distance to the nearest other; 0 for none."),
    ] = 0.25,
    show: Annotated[int, typer.Option(min=0, help="Show so many groups and pairs; --json has all.")] = 10,
    max_images: Most = None,
    seed: Seed = None,
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that was found as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find images that occur more than once, to the bit or nearly."""
    from farfield.study.model.duplicates import scan

    found = scan(source, near=near, max_images=max_images, seed=seed, strict=strict, quiet=quiet)
    if as_json:
        echo(json.dumps(found.to_json(), indent=1))
        return
    echo(f"{found.source}: {found.images} images, {found.copies} exact copies in {len(found.exact)} groups")
    for group in found.exact[:show]:
        echo(f"  {' = '.join(group)}")
    nearest = ", ".join(f"{float(share):.1%} up to {distance:.3g}" for share, distance in found.quantiles.items())
    echo(f"nearest other image, in 8-bit levels: {nearest or 'there is none'}")
    echo(f"{len(found.near)} near pairs in {len(found.near_groups)} groups, up to {found.threshold:.3g}")
    for pair in found.near[:show]:
        echo(f"  {pair.first} ~ {pair.second}  {pair.distance:.3g}")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})(?:[x×]([1-9]\d{0,4}))?", text)
    if not match:
        raise FarfieldError(f"resize {text!r}: expected SIZE or HxW in pixels, below 100,000, such as 32 or 48x64")
    return int(match[1]), int(match[2] or match[1])
