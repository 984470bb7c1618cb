"""Contact sheets: images in, PIL pictures on transparent paper out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data.picture import to_uint8

if TYPE_CHECKING:
    from PIL import Image

Pictures: TypeAlias = Any
"""`Images`, or a tensor ``[n, C, H, W]`` in [-1, 1]. (This room does not import torch.)"""

FRAME = (204, 51, 153, 255)  # of copies: a colour that no set has
TEXT = (128, 134, 142, 255)  # readable on light and on dark paper
TILE, LARGEST = 96, 160  # pixels: small images are enlarged to about one, large ones reduced to the other


def channels_shown(channels: int) -> str:
    """What a sheet shows of images with so many channels; empty where it shows all."""
    if channels in (1, 3):
        return ""
    return (
        f"the first three of {channels} channels, as RGB"
        if channels > 3
        else f"the first of {channels} channels, as grey"
    )


def grid(images: Pictures, columns: int = 8, scale: float | None = None, gap: int = 2) -> Image.Image:
    """A contact sheet, row by row in the given order, on transparent paper.

    Args:
        images: clipped to [-1, 1] here, once; see `channels_shown` for what becomes of their channels.
        scale: enlargement of a tile; chosen by its size if not given.
        gap: pixels between tiles.
    """
    return _sheet([[tile] for tile in tiles(images, scale)], columns, gap, gap, (), ())


def pairs(
    *sets: Pictures,
    columns: int = 4,
    scale: float | None = None,
    captions: Sequence[str] = (),
    framed: Sequence[bool] = (),
) -> Image.Image:
    """A contact sheet of rows that belong together: image i of every set side by side, with its caption beneath.

    Args:
        sets: of equal length, paired by position (pair by key before).
        columns: groups in a line.
        captions, framed: one a group, or none at all.
    """
    groups = [tiles(images, scale) for images in sets]
    lengths = {len(g) for g in groups} | {len(labels) for labels in (captions, framed) if labels}
    if len(lengths) != 1:
        raise FarfieldError(
            f"pairs: expected sets, captions and frames of one length, found {sorted(lengths)}; pair them by key first"
        )
    return _sheet([list(group) for group in zip(*groups, strict=True)], columns, 2, 14, captions, framed)


def difference(first: Pictures, second: Pictures, gain: int | None = None) -> tuple[Any, int]:
    """|first − second| as images to show, black where they agree, and the gain by which it is amplified.

    The gain is a round number (1, 2, 5, 10 …) at which nearly no pixel saturates, unless it is given.
    """
    gap = (_values(first).double() - _values(second).double()).abs()
    if gain is None:
        # 99.9 % of the pixels stay below white; sampled, since quantiles of millions of pixels are slow
        flat = gap.flatten()
        top = float(flat[:: max(1, len(flat) // 100_000)].quantile(0.999)) or float(gap.max())
        room = 2 / max(top, 1e-4)
        power = 10 ** math.floor(math.log10(max(room, 1)))
        gain = next(power * m for m in (5, 2, 1) if power * m <= max(room, 1))
    return gap * gain - 1, gain


def _values(images: Pictures) -> Any:
    return images.values if isinstance(images, Images) else images


def tiles(images: Pictures, scale: float | None) -> list[Image.Image]:
    """Each image as an RGB tile of its shown size."""
    from PIL import Image

    values = _values(images)
    if values.ndim != 4 or not values.numel():
        raise FarfieldError(f"pictures: expected at least one image, [n, C, H, W], found shape {list(values.shape)}")
    channels, height, width = values.shape[1:]
    shown = values[:, :3] if channels >= 3 else values[:, :1]
    pixels = to_uint8(shown).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous().numpy()
    longest = max(height, width)
    if scale is None:
        scale = LARGEST / longest if longest > LARGEST else max(1, TILE // longest)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return [Image.fromarray(p).resize(size, way) for p in pixels]


def _sheet(
    groups: list[list[Image.Image]],
    columns: int,
    inner: int,
    outer: int,
    captions: Sequence[str],
    framed: Sequence[bool],
) -> Image.Image:
    """Groups of equal tiles on transparent paper, ``columns`` groups a line."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(columns, len(groups)))
    width, height = groups[0][0].size
    group_width = len(groups[0]) * (width + inner) - inner
    caption = 20 if captions else 0
    margin = 4 if any(framed) else 0
    lines = math.ceil(len(groups) / columns)
    size = (
        columns * (group_width + outer) - outer + 2 * margin,
        lines * (height + caption + outer) - outer + 2 * margin,
    )
    sheet = Image.new("RGBA", size)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14) if captions else None
    for i, group in enumerate(groups):
        left = margin + (i % columns) * (group_width + outer)
        top = margin + (i // columns) * (height + caption + outer)
        if framed and framed[i]:
            draw.rectangle((left - 4, top - 4, left + group_width + 3, top + height + 3), fill=FRAME)
        for j, tile in enumerate(group):
            sheet.paste(tile, (left + j * (width + inner), top))
        if captions:
            colour = FRAME if framed and framed[i] else TEXT
            draw.text((left + group_width / 2, top + height + 7), captions[i], fill=colour, font=font, anchor="mt")
    return sheet
