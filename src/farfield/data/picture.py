"""Pixels of a decoded picture to a model's tensor, and back to 8 bits.

Pixels become float32 in [-1, 1]: 8-bit ``v / 127.5 - 1``, 16-bit ``v / 32767.5 - 1``. At the model's own size nothing
is resampled, so ``to_uint8`` returns an 8-bit picture to the bit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from farfield.core.artifact import Images, write_bytes
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.note import fitted, say
from farfield.core.provenance import Provenance
from farfield.data.file_name import file_names

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow has it
MODES = ("center-crop", "stretch", "pad")
"""Cut to the aspect ratio about the centre; give it up; keep all of the picture and fill up with black."""


def fit(picture: np.ndarray, shape: Sequence[int], name: str, mode: str = "center-crop") -> Tensor:
    """A picture ``[h, w, c]``, uint8 or float32 in [-1, 1], as float32 ``[C, H, W]``, by the rules of load_images.

    ``mode`` is one of MODES: what is done about another aspect ratio.
    """
    from PIL import Image

    channels, height, width = checked_shape(shape)
    h, w, c = picture.shape
    if c != channels and {c, channels} != {1, 3}:
        raise FarfieldError(
            f"{name}: expected {channels} channels (the model's), found {c}; only grey and RGB are turned into each "
            f"other: give an npz with an array [n, {channels}, H, W], or choose another model"
        )
    crop_h, crop_w, inner_h, inner_w = _cut(h, w, height, width, mode)
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    picture = np.ascontiguousarray(picture[top : top + crop_h, left : left + crop_w])
    eight_bit = picture.dtype == np.uint8
    if c == 3 and channels == 1:
        grey = Image.fromarray(picture).convert("L") if eight_bit else picture @ LUMINANCE
        picture = np.asarray(grey)[..., None]
    if (crop_h, crop_w) != (inner_h, inner_w):
        # Pillow takes three bands of 8 bits at once, to the same bits; of others it makes something else (alpha), or none
        at_once = eight_bit and picture.shape[2] == 3
        planes = [picture] if at_once else [np.ascontiguousarray(plane) for plane in np.moveaxis(picture, 2, 0)]
        size, law = (inner_w, inner_h), Image.Resampling.LANCZOS
        picture = np.dstack([np.asarray(Image.fromarray(plane).resize(size, law)) for plane in planes])
        if not eight_bit:
            picture = picture.clip(-1, 1)  # Lanczos overshoots at edges; in 8 bits Pillow clips by itself
    values = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))
    values = (values / 127.5 - 1 if eight_bit else values).expand(channels, inner_h, inner_w)
    if (inner_h, inner_w) == (height, width):
        return values
    framed = torch.full((channels, height, width), -1.0)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    framed[:, top : top + inner_h, left : left + inner_w] = values
    return framed


def _cut(h: int, w: int, height: int, width: int, mode: str) -> tuple[int, int, int, int]:
    """Of a picture's ``h`` × ``w`` pixels what is kept, and what size it is brought to: crop_h, crop_w, inner_h, inner_w."""
    if mode == "center-crop":
        scale = min(h / height, w / width)
        return max(1, round(height * scale)), max(1, round(width * scale)), height, width
    if mode == "pad":
        scale = min(height / h, width / w)
        return h, w, max(1, round(h * scale)), max(1, round(w * scale))
    if mode == "stretch":
        return h, w, height, width
    raise FarfieldError(f"resize mode {mode!r}: expected one of {', '.join(MODES)}")


def say_fit(name: str, sizes: Iterable[Sequence[int]], shape: Sequence[int], reduced: str = "reduced") -> None:
    """Say in one line what becomes of a source's pictures ``(h, w, c)`` at ``shape`` (C, H, W); nothing where they fit.

    ``reduced`` is the word for what is done to pixels that become fewer.
    """
    channels, height, width = checked_shape(shape)
    distinct = sorted({tuple(size) for size in sizes}, key=lambda size: (size[0] * size[1], size))
    fitted(((h, w) for h, w, _ in distinct), (height, width))
    done = []
    if any((h, w) != (height, width) for h, w, _ in distinct):
        cuts = [(h, w, *_cut(h, w, height, width, "center-crop")[:2]) for h, w, _ in distinct]
        cropped = max(1 - crop_h * crop_w / (h * w) for h, w, crop_h, crop_w in cuts)
        factors = [(crop_h * crop_w / (height * width)) ** 0.5 for _, _, crop_h, crop_w in cuts]
        up_to = "" if len(cuts) == 1 else "up to "
        how = [f"cropped {up_to}{cropped:.0%}" if cropped >= 0.005 else "cropped under 1%"] if cropped else []
        how += [f"{reduced} {up_to}{max(factors):.3g} to 1"] if max(factors) > 1 else []
        how += [f"enlarged {up_to}1 to {1 / min(factors):.3g}"] if min(factors) < 1 else []
        ends = dict.fromkeys(f"{h}×{w}" for h, w, _ in (distinct[0], distinct[-1]))
        done.append(f"{' to '.join(ends)} → {height}×{width} ({', '.join(how)})")
    counts = {c for _, _, c in distinct}
    if channels > 1 and 1 in counts:
        done.append(f"one channel repeated in {channels}")
    if channels == 1 and counts - {1}:
        done.append("colours turned to grey")
    if done:
        say(f"{name}: {', '.join(done)}")


def fit_stored(picture: np.ndarray, shape: Sequence[int], name: str, mode: str = "center-crop") -> Tensor:
    """``fit``, but a picture of 8 bits stays uint8."""
    if picture.dtype != np.uint8:
        return fit(picture, shape, name, mode)
    if picture.shape == (*shape[1:], shape[0]):  # what `fit` would give back to the bit
        return torch.from_numpy(np.array(picture.transpose(2, 0, 1)))
    return to_uint8(fit(picture, shape, name, mode))


def fit_all(pictures: dict[str, np.ndarray], shape: Sequence[int], name: str) -> Images:
    """``fit`` for each key; what it does is said."""
    say_fit(name, (picture.shape for picture in pictures.values()), shape)
    values = torch.empty(len(pictures), *checked_shape(shape))
    for i, (key, picture) in enumerate(pictures.items()):
        values[i] = fit(picture, shape, f"{name}[{key}]")
    return Images(tuple(pictures), values)


def to_uint8(values: Tensor) -> Tensor:
    """[-1, 1] to 0 … 255: clipped here and nowhere before, rounded to the nearest."""
    if not torch.isfinite(values).all():
        raise NonFiniteError("image values: expected finite numbers, found NaN or infinity; nothing was written")
    return ((values.detach().cpu().double() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(values: Tensor) -> Tensor:
    """0 … 255 as float32 in [-1, 1]; floats as they are."""
    return values.float().div_(127.5).sub_(1) if values.dtype == torch.uint8 else values.float()


def as_shown(values: Tensor) -> Tensor:
    """What a viewer of the 8-bit picture sees, as float32 in [-1, 1]: measures of images are taken on this."""
    return from_uint8(to_uint8(values))


def grey(values: Tensor) -> Tensor:
    """The mean over channels in every channel: ``[n, C, H, W]`` without a tint."""
    return values.mean(1, keepdim=True).expand_as(values)


def channel_law(examples: Tensor) -> Callable[[Tensor], Tensor] | None:
    """What keeps a domain's channel law in what is made for it: `grey` if its images are, else None.

    A model of three channels serves data of one: the field is repeated into the three on the way in, and their mean is
    taken on the way out. Images ``[n, C, H, W]`` count as grey if no channel stands off by more than an 8-bit level.
    """
    apart = examples.amax(1) - examples.amin(1)
    return grey if examples.shape[1] > 1 and float(apart.max()) <= 1.01 / 127.5 else None


def png(picture: Any, made: Mapping[str, str] | None = None) -> bytes:
    """A PIL picture as a PNG; ``made``, the record of a generated one (`core.provenance`), stands in its text chunks."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for name, text in (made or {}).items():
        chunks.add_text(name, text)  # iTXt where it is not Latin-1
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def save_png(image: Tensor, path: str | Path, made: Mapping[str, str] | None = None) -> None:
    """Write one image ``[C, H, W]`` in [-1, 1], C = 1 (grey) or 3 (RGB), atomically; ``made`` as in `png`."""
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise FarfieldError(f"{path}: expected [1, H, W] or [3, H, W], found {list(image.shape)}; save others as npz")
    pixels = to_uint8(image).permute(1, 2, 0).contiguous().numpy()
    write_bytes(Path(path), png(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), made))


def decodes(path: Path) -> bool:
    """Whether a picture's file can be read to its end."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):  # what Pillow makes of damage
        return False
    return True


def save_pngs(images: Images, folder: str | Path, made: Provenance | None = None) -> list[Path]:
    """One ``<key>.png`` a row, see `data.file_name.file_names`; ``made`` marks generated images."""
    paths = [Path(folder, name + ".png") for name in file_names(images.keys, ".png")]
    for path, key, value in zip(paths, images.keys, images.values, strict=True):
        save_png(value, path, made.record(key) if made else None)
    return paths


def checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1:
        raise FarfieldError(f"shape {tuple(shape)}: expected the model's (C, H, W), three numbers of at least 1")
    return shape[0], shape[1], shape[2]


def some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
