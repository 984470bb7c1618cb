"""Data sets to disk: a folder or zip in EDM's layout, or an npz; the same images give the same bytes.

EDM's layout (https://github.com/NVlabs/edm, dataset_tool) numbers the images in their order, ``00000/img00000000.png``,
1,000 a folder, and holds their classes in ``dataset.json``, ``{"labels": [["00000/img00000000.png", 3], …]}`` or null.
An npz holds ``images`` ``[n, H, W, C]``, uint8 or float32 with their ``range`` [0, 1], ``keys``, and ``labels`` with
``class_names`` where there are any.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from farfield.core.disk import beside, put, sweep, writing
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data.labels import FILE
from farfield.data.picture import from_uint8, png, to_uint8

FORMATS = ("folder", "zip", "npz")

Rows = Iterable[tuple[str, Tensor]]
"""Keys with their images ``[C, H, W]``, uint8 or float32 in [-1, 1], all of one size."""


def format_of(out: Path) -> str:
    """By the ending: .zip, .npz, or none for a folder."""
    ending = out.suffix.lower()
    if ending in (".zip", ".npz"):
        return ending[1:]
    if re.fullmatch(r"\.[a-z]\w*", ending):
        raise FarfieldError(f"{out}: expected a folder's name, .zip or .npz, found {ending}; or say --format")
    return "folder"


def write_dataset(
    out: Path, rows: Rows, labels: Mapping[str, int], format: str, class_names: Sequence[str] = ()
) -> int:
    """Write images and their classes, all or nothing; how many there were.

    It is written beside and renamed. What is there already stays, and is an error unless it is the same to the byte.
    """
    if format not in FORMATS:
        raise FarfieldError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    with _put_in_place(out, format == "folder") as temporary:
        if format == "npz":
            return _write_npz(temporary, rows, labels, class_names)
        members = _members(rows, labels, class_names)
        return _write_zip(temporary, members) if format == "zip" else _write_folder(temporary, members)


def _write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> int:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        n = 0
        for name, content in members:
            member = zipfile.ZipInfo(name)  # dated 1980, so that the same images give the same bytes
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
            n += 1
    return n - 1  # dataset.json is no image


def _write_folder(folder: Path, members: Iterable[tuple[str, bytes]]) -> int:
    n = 0
    for name, content in members:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        n += 1
    return n - 1  # dataset.json is no image


def _members(rows: Rows, labels: Mapping[str, int], class_names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files of EDM's layout, the last of them its dataset.json."""
    classes: list[list[str | int]] = []
    rounded = False
    for i, (key, image) in enumerate(rows):
        name = f"{i // 1000:05d}/img{i:08d}.png"
        rounded = rounded or image.dtype != torch.uint8
        yield name, _png(image, key)
        if labels:
            classes.append([name, labels[key]])
    if rounded:
        lost = "the source has more than 8 bits a value, a PNG has 8: rounded; an npz keeps them"
        warnings.warn(FarfieldWarning(lost), stacklevel=2)
    names = {"class_names": list(class_names)} if classes and class_names else {}
    yield FILE, json.dumps({"labels": classes or None, **names}).encode()


def _png(image: Tensor, key: str) -> bytes:
    from PIL import Image

    if image.shape[0] not in (1, 3):
        raise FarfieldError(f"{key}: a PNG has 1 or 3 channels, found {image.shape[0]}; write an npz")
    pixels = (image if image.dtype == torch.uint8 else to_uint8(image)).permute(1, 2, 0).contiguous().numpy()
    return png(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def _write_npz(path: Path, rows: Rows, labels: Mapping[str, int], class_names: Sequence[str]) -> int:
    keys, images = zip(*rows, strict=True)
    if any(image.dtype != torch.uint8 for image in images):
        # between 0 and 1, and said to be: other readers tell [0, 1] from [-1, 1] by a value below 0
        images = tuple(((from_uint8(image) + 1) / 2).clamp(0, 1) for image in images)
    arrays = {"images": torch.stack(images).permute(0, 2, 3, 1).contiguous().numpy(), "keys": np.array(keys, dtype=str)}
    if images[0].dtype != torch.uint8:
        arrays["range"] = np.array([0.0, 1.0])
    if labels:
        arrays["labels"] = np.array([labels[key] for key in keys], dtype=np.int64)
        if class_names:
            arrays["class_names"] = np.array(list(class_names), dtype=str)
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return len(keys)


@contextlib.contextmanager
def _put_in_place(out: Path, folder: bool) -> Iterator[Path]:
    """A temporary file or folder beside ``out``, which is renamed to it at the end."""
    with writing(out):
        if out.exists() and out.is_dir() != folder:
            raise FarfieldError(
                f"{out}: expected {'a folder' if folder else 'a file'}, found the other; choose another name"
            )
        sweep(out.parent)
    with beside(out, folder=folder) as temporary:
        yield temporary
        if folder and out.exists() and not any(out.iterdir()):
            out.rmdir()
        if not out.exists():
            put(temporary, out)
        elif not _same(temporary, out):
            raise FarfieldError(
                f"{out}: holds something else, which was left as it is; choose another name or delete it"
            )


def _same(a: Path, b: Path) -> bool:
    """Whether two files, or all files of two folders, are the same to the byte."""
    if a.is_file():
        return filecmp.cmp(a, b, shallow=False)
    names = [sorted(p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file()) for top in (a, b)]
    return names[0] == names[1] and not any(filecmp.cmpfiles(a, b, names[0], shallow=False)[1:])
