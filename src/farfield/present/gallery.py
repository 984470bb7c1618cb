"""The images of a run folder as contact sheets, pairs and round trips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.measures import Certificate, Codec, Nearest, RoundTrip
from farfield.command.reconstruct import ImageTrip
from farfield.core.artifact import Images, Store
from farfield.present.page import Picture, Section, Table
from farfield.present.sheet import channels_shown, difference, grid, pairs
from farfield.present.words import ROUNDING, number, share

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 64  # images of a set on the page
RETURNED, ALL_RETURNED = 12, 32  # round trips among other results, and where they are the result
LISTED = 500  # rows of a per-image table
OPEN = 24  # rows that are not folded away where they are the result

SHEETS = {
    "samples": ("New images", "ours"),
    "examples": ("Examples", "real"),
    "base": ("The model's own samples", "base"),
    "references": ("Held-out real images", "real"),
    "images": ("Images", ""),
}
"""Titles and colours of sets."""
ABOUT = {"base": "from plain noise, as it was trained", "references": "not among the examples"}
"""What is said of sets that stand there for comparison."""
REAL_SETS = ("examples", "images", "references")

Sets = Mapping[str, Images]


def kept(folder: Path) -> Images | None:
    """The images of a folder, where a run has kept any."""
    store = Store(folder, Images)
    return store.read() if store.shards() else None


def read_sets(folder: Path) -> dict[str, Images]:
    """The sets that a run has kept, by name."""
    return {name: images for name in (*SHEETS, "reconstructions") if (images := kept(folder / name))}


def opened(path: Path) -> Image.Image:
    """A picture that the run itself has drawn."""
    from PIL import Image

    with Image.open(path) as image:
        return image.copy()


def sheets(sets: Sets, references: int | None = None) -> list[Section]:
    """Contact sheets of whole sets; a run keeps only some of its held-out ``references`` for show."""
    shown = [name for name in SHEETS if name in sets and (name != "images" or "reconstructions" not in sets)]
    pictures = []
    for name in shown:
        title, colour = SHEETS[name]
        images = sets[name]
        total = (references if name == "references" else None) or len(images)
        note = "; ".join(filter(None, (_shown(min(SHOWN, len(images)), total, images), ABOUT.get(name))))
        alt = f"contact sheet: {title}"
        pictures.append(Picture(name, grid(images.values[:SHOWN]), title, note, alt, name not in REAL_SETS, colour))
    if not shown:
        return []
    if {"samples", "examples"} <= set(shown):
        lead = "What the frozen model made, and what it was shown of this domain. Judge with your own eyes before reading on."
        return [Section("pictures", "New images beside the examples", lead, side=pictures)]
    return [Section("pictures", "Pictures", side=pictures)]


def nearest(sets: Sets, near: Mapping[str, Nearest]) -> list[Section]:
    """Each new image beside the example it is nearest to, nearest first."""
    samples, examples = sets.get("samples"), sets.get("examples")
    if samples is None or examples is None:
        return []
    known = set(examples.keys)
    rows = [(key, near[key]) for key in samples.keys if key in near and near[key].example in known]
    rows.sort(key=lambda row: (row[1].distance, row[0]))
    if not rows:
        return []
    shown = rows[:SHOWN]
    image = pairs(
        _rows(samples, [key for key, _ in shown]),
        _rows(examples, [row.example for _, row in shown]),
        columns=6,
        captions=[f"{'copy · ' if row.copy else ''}{number(row.distance)}" for _, row in shown],
        framed=[row.copy for _, row in shown],
    )
    copied = sum(row.copy for _, row in rows)
    counted = (
        f"Framed: {copied} of {len(rows)} that count as copies."
        if copied
        else f"None of the {len(rows)} counts as a copy."
    )
    lead = (
        "Left in each pair the new image, right the example that it is nearest to, with their distance; nearest first. "
        f"{counted}"
    )
    note = _shown(len(shown), len(rows), samples)
    alt = "each new image beside its nearest example"
    cells = [[key, row.example, number(row.distance, 4), "copy" if row.copy else ""] for key, row in rows]
    table = _listed(["New image", "Nearest example", "Distance", ""], cells, "All pairs by name", folded=True)
    picture = Picture("nearest", image, "New image, nearest example", note, alt)
    title = "Each new image beside its nearest example"
    return [Section("nearest", title, lead, pictures=[picture], tables=[table])]


def returned(
    sets: Sets,
    trip: RoundTrip | None,
    certificate: Certificate | None,
    codec: Codec | None = None,
    each: Mapping[str, ImageTrip] | None = None,
) -> list[Section]:
    """How images come back, and what their latents are worth; worst first where each image's errors are known."""
    said = []
    if trip:
        psnr, ssim = trip.psnr, trip.ssim
        said.append(
            f"Inverted to latents and decoded again, {trip.n} images return with a PSNR of {number(psnr.median)} dB "
            f"(median; {number(psnr.min)} to {number(psnr.max)}), an SSIM of {number(ssim.median, 4)} "
            f"({number(ssim.min, 4)} to {number(ssim.max, 4)}) and a largest error of {number(trip.max_error.max)} on the "
            f"scale from −1 to 1. Rounding to 8 bits alone would give {ROUNDING} dB."
        )
    if codec:
        alone, inverted = codec.psnr, codec.inversion_psnr
        said.append(
            "This model works in the latents of an autoencoder, and none of that is its inversion's doing: the autoencoder "
            f"alone, without any noise, returns the images with {number(alone.median)} dB (median; {number(alone.min)} to "
            f"{number(alone.max)}). Held against what it returns, the round trip has {number(inverted.median)} dB "
            f"({number(inverted.min)} to {number(inverted.max)})."
        )
    if certificate:
        steps, error = certificate.steps, certificate.error
        said.append(
            f"The certificate of the latents: from {steps[0]} to {steps[1]} steps they move by "
            f"{share(certificate.difference.median)} (median of {certificate.n}), which implies an error of "
            f"{share(error.median)} (worst {share(error.max)})."
        )
    pictures, tables = _trips(sets, each or {})
    if not said and not pictures:
        return []
    lead = (
        "A good round trip does not prove a good latent: errors made on the way up can cancel on the way down. Only the "
        "certificate says how near the latents are to those of an exact solver."
    )
    title = "Do the images come back, and can their latents be believed?"
    return [Section("return", title, lead, said, pictures=pictures, tables=tables)]


def _trips(sets: Sets, each: Mapping[str, ImageTrip]) -> tuple[list[Picture], list[Table]]:
    """Originals, reconstructions and their amplified differences; and every image's errors."""
    originals, back = sets.get("examples", sets.get("images")), sets.get("reconstructions")
    keys = [] if originals is None or back is None else [key for key in originals.keys if key in set(back.keys)]
    if not keys or originals is None or back is None:
        return [], []
    keys.sort(key=lambda key: each[key].psnr if key in each else 0.0)
    shown = keys[: RETURNED if "samples" in sets else ALL_RETURNED]
    first, second = _rows(originals, shown), _rows(back, shown)
    gap, gain = difference(first, second)
    captions = [f"{number(each[key].psnr)} dB" for key in shown] if each else []
    image = pairs(first, second, gap, columns=4, captions=captions)
    note = _shown(len(shown), len(keys), back) + ("; worst first" if each else "")
    alt = "original, reconstruction and amplified difference"
    title = f"Original, reconstruction, difference × {gain}"
    cells = [
        [key, number(each[key].psnr, 4), number(each[key].ssim, 4), number(each[key].max_error)]
        for key in keys
        if key in each
    ]
    columns = ["Image", "PSNR in dB ↑", "SSIM ↑", "Largest error ↓"]
    folded = "samples" in sets or len(cells) > OPEN
    tables = [_listed(columns, cells, "Every image, worst first", folded)] if cells else []
    return [Picture("reconstructions", image, title, note, alt)], tables


def _rows(images: Images, keys: list[str]) -> Any:
    """Values by key; unlike ``Images.select`` a key may come twice, as one example may be nearest to several images."""
    place = {key: i for i, key in enumerate(images.keys)}
    return images.values[[place[key] for key in keys]]


def _listed(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str, folded: bool) -> Table:
    """As many rows as a page bears, and how many were left to the JSON."""
    more = len(rows) - LISTED
    return Table(columns, rows[:LISTED], title, folded=folded, note=f"{more} more in summary.json." if more > 0 else "")


def _shown(shown: int, total: int, images: Images) -> str:
    """How many of how many, and which channels of them."""
    parts = [f"all {total}" if shown == total else f"{shown} of {total}", channels_shown(images.values.shape[1])]
    return "; ".join(part for part in parts if part)
