"""Image sources to tensors: one file, a folder, a zip or an npz, at the model's size and channels."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.runtime import Advance
from farfield.data.picture import checked_shape, fit, fit_all, some

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid over: white, the page that such drawings are made for."""

KINDS = "an image file, a folder of images, a zip of images or an npz"
MEMBER_LIMIT = 1 << 29  # bytes: nothing in a zip may unpack to more than 512 MiB
PHYSICAL = "physical data need the science loader (`farfield expand --stretch auto`), or rescale them first"


def list_keys(source: str | Path, *, strict: bool = False, channels: int = 3) -> list[str]:
    """The keys of a source, sorted, without decoding an image.

    A key is the file's stem, with its subfolder where images lie in subfolders (``sub/stem``); files that share a stem
    keep their full names. Rows of an npz are named by its array ``keys`` or ``objid`` when that has a different name
    for each, else by zero-padded position (``000123``); ``channels`` are the model's. ``strict`` does decode each image:
    a broken one is an error.
    """
    path = existing(source)
    if path.suffix.lower() == ".npz":
        return sorted(npz_pictures(path, channels)[0])
    if strict:
        return list(load_images(path, (3, 8, 8), strict=True).keys)
    with image_files(path) as (names, _):
        return list(names)


def load_images(
    source: str | Path,
    shape: Sequence[int],
    *,
    keys: Sequence[str] | None = None,
    limit: int | None = None,
    strict: bool = False,
    report: Advance | None = None,
) -> Images:
    """Images of a source as float32 ``[n, C, H, W]`` in [-1, 1] at the model's ``shape`` (C, H, W).

    Source: one image file; a folder (its own images, or else those of its subfolders); a zip of images (read in
    memory, never unpacked to disk); or an npz with an array ``images`` (or a single array), ``[n, H, W]``,
    ``[n, H, W, C]`` or ``[n, C, H, W]`` (channels are the axis of length 1, 3 or C; the last axis if both are).
    Values: uint8, uint16 and bool fill their range; a float array with anything below 0 is in [-1, 1], without it in
    [0, 1]; float image files (TIFF) are in [0, 1]. Floats beyond are physical data and an error.

    Pictures are turned as EXIF says, laid over BACKGROUND where transparent (first frame of an animation), cropped
    about the centre to the model's aspect ratio and resized with antialiasing (Lanczos). Grey is repeated for a model
    of 3 channels, RGB becomes ITU-R 601 luminance for a model of 1; other channel counts must match.

    ``keys`` loads these, in this order; ``limit`` the first so many; only those are decoded. Broken files are left out
    and named in one FarfieldWarning; with ``strict``, or when no image is left, they are a FarfieldError. ``report``
    is called with 1 after each image.
    """
    path = existing(source)
    if path.suffix.lower() == ".npz":
        rows, pictures = npz_pictures(path, shape[0])
        chosen = choose_keys(path, sorted(rows), keys, limit)
        return fit_all({key: pictures[rows[key]] for key in chosen}, shape, str(path), report)

    with image_files(path) as (names, opened):
        chosen = choose_keys(path, names, keys, limit)
        values = torch.empty(len(chosen), *checked_shape(shape))

        def one(i: int) -> tuple[str, bool]:
            label = f"{path}: {names[chosen[i]]}"
            try:
                with opened(names[chosen[i]]) as file:
                    picture, coarse = decode(file.read(), label)
            except FarfieldError:
                raise
            except Exception as error:  # decoders of damaged files raise almost anything
                return str(error).split("<_io")[0].strip(" '") or type(error).__name__, False
            values[i] = fit(picture, shape, label)
            return "", coarse

        outcomes = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*decompression bomb")  # _decode makes it an error
            for outcome in pool.map(one, range(len(chosen))):
                outcomes.append(outcome)
                if report:
                    report(1)

    good = [i for i, (reason, _) in enumerate(outcomes) if not reason]
    broken = [f"{names[chosen[i]]} ({reason})" for i, (reason, _) in enumerate(outcomes) if reason]
    coarse = [names[chosen[i]] for i, (_, coarse) in enumerate(outcomes) if coarse]
    found = f"found {len(broken)} of {len(chosen)} unreadable: {some(broken)}"
    if broken and (strict or not good):
        expected = "readable images" if len(names) > 1 or path.is_dir() else KINDS
        raise FarfieldError(f"{path}: expected {expected}, {found}; replace or remove them")
    if broken:
        warnings.warn(FarfieldWarning(f"{path}: {found}; left out"), stacklevel=2)
    if coarse:
        lost = f"{path}: {len(coarse)} images of 16 bits a colour were read as 8 bits: {some(coarse)}"
        warnings.warn(FarfieldWarning(f"{lost}; an npz of uint16 or float keeps their precision"), stacklevel=2)
    return Images(tuple(chosen[i] for i in good), values[good] if broken else values)


def choose_keys(source: object, known: Collection[str], keys: Sequence[str] | None, limit: int | None) -> list[str]:
    """The keys that are asked for, in the order asked; all known ones without ``keys``; at most ``limit``."""
    if limit is not None and limit < 1:
        raise FarfieldError(f"limit {limit}: expected at least 1 image; leave it out for all")
    known_set = set(known)
    if absent := [key for key in keys or () if key not in known_set]:
        raise FarfieldError(f"{source}: expected images named {some(absent)}, found none so among its {len(known)}")
    return list(known if keys is None else keys)[:limit]


def existing(source: str | Path) -> Path:
    """The path of a source, which must be there."""
    path = Path(source).expanduser()
    if not path.exists():
        raise FarfieldError(f"{source}: expected {KINDS}, found nothing there; check the path")
    return path


@contextlib.contextmanager
def image_files(path: Path) -> Iterator[tuple[dict[str, str], Callable[[str], IO[bytes]]]]:
    """Names of a source's image files by key, in order, and what opens one; who opens it closes it."""
    if path.is_dir():
        found = [p.name for p in path.iterdir() if _is_image(p.name) and p.is_file()]
        found = found or [r for p in path.rglob("*") if _is_image(r := p.relative_to(path).as_posix()) and p.is_file()]
        yield _by_key(path, {name: name for name in found}), lambda name: open(path / name, "rb")  # noqa: SIM115
    elif path.suffix.lower() == ".zip" or (zipfile.is_zipfile(path) and not _is_image(path.name)):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise FarfieldError(f"{path}: expected a zip of images, found damage ({error}); make it again") from error

        def member(name: str) -> IO[bytes]:
            if archive.getinfo(name).file_size > MEMBER_LIMIT:
                raise OSError(f"unpacks to more than {MEMBER_LIMIT >> 20} MiB")
            return archive.open(name)

        with archive:
            shown = {name: plain for name in archive.namelist() if _is_image(plain := _plain(name))}
            top = os.path.commonpath([posixpath.dirname(name) for name in shown.values()]) if shown else ""
            # in EDM's layout 00000 is in an image's key, however few folders there are
            top = re.sub(r"(^|/)\d{5}$", "", top)
            yield _by_key(path, {n: s.removeprefix(f"{top}/") for n, s in shown.items()}), member
    else:
        yield {path.stem: path.name}, lambda _: open(path, "rb")  # noqa: SIM115


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not any(p.startswith((".", "__MACOSX")) for p in name.split("/"))


def _plain(name: str) -> str:
    """A zip member's name made into a key, neither absolute nor upwards; no file is ever written under it."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _by_key(path: Path, shown: dict[str, str]) -> dict[str, str]:
    """``{key: name}`` sorted by key: stems, and full names for those that share a stem."""
    if not shown:
        raise FarfieldError(f"{path}: expected images ({' '.join(ENDINGS)}), found none; check the path")
    names = list(shown)
    stems = [posixpath.splitext(shown[name])[0] for name in names]
    count = Counter(stems)
    keys = [stem if count[stem] == 1 else shown[name] for name, stem in zip(names, stems, strict=True)]
    if len(set(keys)) < len(keys):  # a.png, a.jpg and a.png.gif, whose stem is a.png
        keys = [shown[name] for name in names]
    if twice := [key for key, n in Counter(keys).items() if n > 1]:
        raise FarfieldError(f"{path}: expected one image a name, found several called {some(twice)}; rename them")
    return dict(sorted(zip(keys, names, strict=True)))


def decode(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """A file's picture as ``fit`` takes it, and whether Pillow cut its 16-bit colours to 8 bits."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        limit = Image.MAX_IMAGE_PIXELS
        if limit and opened.width * opened.height > limit:
            raise OSError(f"{opened.width}×{opened.height} is over the limit of {limit} pixels: shrink it")
        coarse = bool(re.search(r"(RGB[AX]?|LA|CMYK);16", str(opened.tile)))
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode[0] in "IF":  # one channel of 16 or 32 bits, integer or float
        top = 1 if picture.mode == "F" else 65535
        grey = np.asarray(picture).astype(np.float64)[..., None]
        low, high = grey.min(), grey.max()
        if not (low >= 0 and high <= top):  # true for NaN too
            raise FarfieldError(f"{name}: expected values in [0, {top}], found {low:.4g} … {high:.4g}; {PHYSICAL}")
        return (grey * (2 / top) - 1).astype(np.float32), coarse
    if "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*BACKGROUND, 255)), picture)
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return np.atleast_3d(np.asarray(picture.convert(mode))), coarse


def npz_pictures(path: Path, channels: int = 3) -> tuple[dict[str, int], np.ndarray]:
    """Row of each key, and the pictures ``[n, h, w, c]``: uint8, or float32 in [-1, 1]."""
    if not zipfile.is_zipfile(path):
        raise FarfieldError(f"{path}: expected an npz (numpy.savez), found another or a damaged file; make it again")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            label = next((name for name in ("keys", "objid") if name in arrays.files), None)
            labels = arrays[label].astype(str).ravel().tolist() if label else []
            names = [name for name in arrays.files if name != label]
            name = "images" if "images" in names else names[0] if len(names) == 1 else None
            images: np.ndarray[Any, Any] = np.asarray(arrays[name] if name else [])
    except Exception as error:  # zlib, zipfile and numpy each have their own
        found = f"found damaged or object (pickled) ones ({error})"
        raise FarfieldError(f"{path}: expected plain numeric arrays, {found}; save it again") from error
    if name is None:
        raise FarfieldError(f"{path}: expected an array 'images' or a single array, found {names}; rename one")
    shape, known = tuple(images.shape), {1, 3, channels}
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and shape[3] not in known and shape[1] in known:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in known or not images.size:
        expected = f"images [n, H, W], [n, H, W, C] or [n, C, H, W] with 1, 3 or {channels} (the model's) channels"
        raise FarfieldError(f"{path}: expected {expected}, found shape {shape}; save them so")
    keys = labels if len(labels) == len(images) == len(set(labels)) else [f"{i:06d}" for i in range(len(images))]
    return {key: i for i, key in enumerate(keys)}, _scaled(images, keys, path)


def _scaled(images: np.ndarray, keys: Sequence[str], path: Path) -> np.ndarray:
    """Pictures of any number type as uint8, or float32 in [-1, 1]."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype == np.uint16:
        return (images * (2 / 65535) - 1).astype(np.float32)
    if images.dtype.kind != "f":
        raise FarfieldError(f"{path}: expected uint8, uint16, bool or float images, found {images.dtype}; convert them")
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if bad := [key for key, good in zip(keys, finite, strict=True) if not good]:
        raise FarfieldError(f"{path}: expected finite values, found NaN or infinity in {some(bad)}; mend or drop them")
    low, high = float(images.min()), float(images.max())
    if low < -1 - 1e-6 or high > 1 + 1e-6:
        raise FarfieldError(f"{path}: expected [-1, 1] or [0, 1], found {low:.4g} … {high:.4g}; {PHYSICAL}")
    images = images.astype(np.float32)
    return images if low < 0 else images * 2 - 1
