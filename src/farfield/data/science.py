"""Physical fields: files, folders, cubes and maps of measured numbers to tensors, with what is masked kept as NaN.

Nothing is scaled here; ``data.stretch`` maps fields to a model's range and back.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from farfield.core.artifact import Artifact
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.note import say
from farfield.data.field_file import ENDINGS, TIFF, FieldFile, Unreadable, ending, read_field_file
from farfield.data.listing import PICTURES, existing, survey, take
from farfield.data.mask import Tally
from farfield.data.picture import checked_shape, say_fit, some

MOST_MASKED = 0.1
"""A patch with a larger share masked is left out."""


@dataclass(frozen=True)
class Fields(Artifact):
    """Physical fields ``[n, C, H, W]``, float64; NaN is masked. ``unit`` as the files state it ("" if they do not).

    ``source`` is the files' kind: fits, hdf5, tiff or numpy. ``headers`` are the FITS headers by file; `header` finds
    that of a key. ``scale`` is how many pixels of the file one pixel of a field spans.
    """

    unit: str = ""
    source: str = "numpy"
    headers: dict[str, str] = field(default_factory=dict)
    scale: float = 1.0
    kind: ClassVar[str] = "fields"

    def attributes(self) -> dict[str, Any]:
        return {"unit": self.unit, "source": self.source, "headers": self.headers, "scale": self.scale}

    def header(self, key: str) -> str:
        """The header of the file that a key comes from; "" if it had none."""
        while key not in self.headers and "/" in key:
            key = key.rpartition("/")[0]
        return self.headers.get(key, "")

    @property
    def masked(self) -> float:
        """The share of masked pixels."""
        return float(torch.isnan(self.values).double().mean())


def load_fields(
    source: str | Path,
    shape: Sequence[int],
    *,
    patch: int | None = None,
    hdu: str | int | None = None,
    mask: str | None = None,
    strict: bool = False,
    constant: bool = False,
) -> Fields:
    """Fields of a source at the model's height and width, float64 ``[n, c, H, W]``, sorted by key.

    Source: a file of FITS, npy, npz, HDF5 or TIFF, or a folder of them (its own, or else those of its subfolders).
    ``file.fits[1]`` or ``hdu`` name an HDU, or an array of HDF5 and npz; the one of the data if not given. ``mask`` says
    which array beside them masks them (`data.mask`); how much is masked and by what is said. How axes
    are read says `data.field_file.read_field_file`. c is 1 or the model's C, alike in all files.

    A key is the file's stem; ``stem/0004`` for slice 4 of a cube; ``key/0064-0128`` for the ``patch`` whose corner is
    at row 64, column 128. With ``patch``, each field is cut into squares that do not overlap, a remainder at the right
    and below left out; patches with more than MOST_MASKED masked, or constant, are left out.

    Fields are cropped about the centre to the model's aspect ratio and resampled by `resample`.

    A file that cannot be read, or is smaller than a patch, is left out with a warning (an error with ``strict``, or if
    no field is left). A file whose fields are all masked or constant is an error; single slices that are, are left out, but
    where ``constant`` ones are no fault.
    """
    channels, height, width = checked_shape(shape)
    path, inner = locate(source)
    part = hdu if inner is None else inner
    if patch is not None and patch < 2:
        raise FarfieldError(f"patch {patch}: expected a side of at least 2 pixels")
    files = field_files(path)
    rows: dict[str, np.ndarray] = {}
    headers: dict[str, str] = {}
    sizes: set[tuple[int, int]] = set()
    units: dict[str, str] = {}
    broken, left, kinds, tally = [], [], set(), Tally()
    for stem, file in files.items():
        try:
            content = read_field_file(file, channels, part, mask)
            tally.add(content.tally)
        except Unreadable as error:
            broken.append(f"{file.name} ({error})")
            continue
        prefix = "" if not path.is_dir() and file.name.lower().endswith(".npz") else stem
        taken, dropped = _usable(content, prefix, patch, constant)
        if not taken and not dropped:
            broken.append(f"{file.name} (smaller than a patch of {patch} × {patch})")
            continue
        if not taken:
            wanted = f"a patch with at most {MOST_MASKED:.0%} masked" if patch else "a field that has a spread"
            raise FarfieldError(f"{file}: expected {wanted}, found {some(dropped)}; leave this file out or mend it")
        left += [f"{file.name}: {what}" for what in dropped]
        kinds.add(content.kind)
        units[file.name] = content.unit
        if content.header:
            headers[prefix] = content.header
        for key, values in taken.items():
            if len(values) not in (1, channels):
                raise FarfieldError(
                    f"{file}: expected 1 or {channels} channels (the model's), found {len(values)}; choose another model"
                )
            sizes.add((values.shape[1], values.shape[2]))
            rows[key] = fit_field(values, height, width)
    _complain(path, broken, left, bool(rows), strict, len(files))
    for line in tally.lines():
        say(f"{path}: {line}")
    if len(counts := {len(v) for v in rows.values()}) > 1:
        raise FarfieldError(
            f"{path}: expected as many channels in every field, found {sorted(counts)}; divide the folder"
        )
    if len(found_units := set(units.values())) > 1:
        raise FarfieldError(f"{path}: expected one unit, found {sorted(found_units)}; convert or divide the files")
    if len(sizes) > 1:
        warnings.warn(
            FarfieldWarning(
                f"{path}: fields of several sizes ({some([f'{h} × {w}' for h, w in sorted(sizes)])}) are all brought to "
                f"{height} × {width}, so their pixels differ in scale; --patch keeps it"
            ),
            stacklevel=2,
        )
    say_fit(str(source), ((h, w, len(rows[next(iter(rows))])) for h, w in sizes), shape, "averaged")
    h, w = min(sizes)
    keys = sorted(rows)
    stack = torch.from_numpy(np.stack([rows[k] for k in keys]))
    kind = kinds.pop() if len(kinds) == 1 else "numpy"
    return Fields(tuple(keys), stack, next(iter(units.values())), kind, headers, min(h / height, w / width))


def locate(source: str | Path) -> tuple[Path, str | None]:
    """A path, and what ``[…]`` at its end names inside it."""
    path, inner = Path(source).expanduser(), None
    if not path.exists() and (match := re.fullmatch(r"(.+)\[([^\[\]]+)\]", str(path))):
        path, inner = Path(match[1]), match[2]
    return existing(path), inner


def field_files(path: Path) -> dict[str, Path]:
    """The files of a source that can hold fields, by key, sorted (see `data.listing`)."""
    if path.is_file():
        if not ending(path):
            raise FarfieldError(f"{path}: expected a file of fields ({' '.join(ENDINGS)}), found another; convert it")
        return {path.name[: -len(ending(path))]: path}
    with survey(path) as contents:
        if not contents.of(ENDINGS):
            raise FarfieldError(f"{path}: expected files of fields ({' '.join(ENDINGS)}), found none; check the path")
        pictures = [name for name in contents.of(PICTURES) if not name.lower().endswith(TIFF)]
        listing = take(contents, ENDINGS, pictures)
        return {key: contents.path(name) for key, name in listing.names.items()}


def resample(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fields ``[c, h, w]`` at another size, NaN kept: a pixel masked over more than half its area is masked.

    Along an axis that shrinks, the average over the pixel's area: the mean of the whole is kept exactly, for whole
    factors (where it is the mean of blocks) and others. Along one that grows, linear between pixel centres.
    """
    down, across = _weights(values.shape[1], height), _weights(values.shape[2], width)
    seen = np.isfinite(values)
    share = down @ seen @ across.T
    total = down @ np.where(seen, values, 0.0) @ across.T
    result: np.ndarray = np.full_like(total, np.nan)
    np.divide(total, share, out=result, where=share >= 0.5 - 1e-12)
    return result


def _weights(before: int, after: int) -> np.ndarray:
    """``[after, before]``, rows that sum to one."""
    if after > before:
        place = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
        return np.clip(1 - np.abs(place[:, None] - np.arange(before)), 0, None)
    edges = np.arange(after + 1) * before / after
    pixels = np.arange(before)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap, 0, None) * after / before


def fill(fields: Fields) -> Tensor:
    """Values with each masked pixel set to the median of its own field's and channel's finite ones.

    A network takes no gaps. The filled pixels are no data: `Fields` keeps NaN there, and statistics are taken on it.
    """
    flat = fields.values.flatten(2)
    gaps = torch.isnan(flat)
    if not bool(gaps.any()):
        return fields.values
    if bool((empty := gaps.all(2).any(1)).any()):
        names = some([k for k, e in zip(fields.keys, empty.tolist(), strict=True) if e])
        raise FarfieldError(
            f"{names}: every pixel of a channel is masked; there is nothing to fill it from, leave it out"
        )
    return torch.where(gaps, flat.nanmedian(2, keepdim=True).values, flat).view_as(fields.values)


def fit_field(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A field ``[c, h, w]`` cropped about the centre to the aspect ratio, and resampled."""
    h, w = values.shape[1:]
    scale = min(h / height, w / width)
    crop_h, crop_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    cut = values[:, top : top + crop_h, left : left + crop_w]
    return cut if cut.shape[1:] == (height, width) else resample(cut, height, width)


def _usable(file: FieldFile, stem: str, patch: int | None, constant: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """A file's fields, or their patches, by key, and what was left out."""
    taken, dropped = {}, []
    for name, values in file.parts.items():
        for corner, cut in _patches(values, patch).items():
            key = "/".join(p for p in (stem, name, corner) if p)
            masked = float(np.isnan(cut).mean())
            if np.isnan(cut).all((1, 2)).any() or (patch and masked > MOST_MASKED):
                dropped.append(f"{key} ({masked:.0%} masked)")
            elif not constant and np.nanmax(cut) == np.nanmin(cut):
                dropped.append(f"{key} (constant)")
            else:
                taken[key] = cut
    return taken, dropped


def _patches(values: np.ndarray, side: int | None) -> dict[str, np.ndarray]:
    if side is None:
        return {"": values}
    rows, columns = (range(0, n - side + 1, side) for n in values.shape[1:])
    return {f"{y:04d}-{x:04d}": values[:, y : y + side, x : x + side] for y in rows for x in columns}


def _complain(path: Path, broken: list[str], left: list[str], any_left: bool, strict: bool, total: int) -> None:
    unreadable = f"found {len(broken)} of {total} files unreadable: {some(broken)}"
    if broken and (strict or not any_left):
        raise FarfieldError(f"{path}: expected readable fields, {unreadable}; replace or remove them")
    if broken:
        warnings.warn(FarfieldWarning(f"{path}: {unreadable}; left out"), stacklevel=3)
    if left:
        warnings.warn(FarfieldWarning(f"{path}: {len(left)} fields left out: {some(left)}"), stacklevel=3)
