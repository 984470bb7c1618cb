"""A domain of pencil drawings made of any pictures: ``sketch:SOURCE`` is SOURCE, drawn.

Style transfer from colour to sketch (arXiv 2310.09213 shows it) needs both domains of the same things; here the second is made
of the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.collection import Collection
from farfield.data.picture import LUMINANCE
from farfield.data.place import SKETCH

WIDTH: Final = 1 / 16
"""Standard deviation of the blur, of a picture's shorter side: 2 pixels of 32."""


def drawn(collection: Collection) -> Collection:
    """The same pictures under the same keys, each by `sketch`."""

    def picture(key: str) -> np.ndarray:
        pixels = collection.picture(key)
        if pixels.shape[2] not in (1, 3):
            raise FarfieldError(
                f"{SKETCH}{collection.label(key)}: grey or colour pictures can be drawn, found {pixels.shape[2]} channels"
            )
        return sketch(pixels)

    def shape(key: str) -> tuple[int, int, int]:
        return (1, *collection.shape(key)[1:])

    return replace(collection, name=f"{SKETCH}{collection.name}", picture=picture, shape=shape)


def sketch(picture: np.ndarray) -> np.ndarray:
    r"""A grey drawing of a picture: dark where it is darker than its surroundings, else paper.

    .. math:: s = \min(1, g / G_w * g)

    with g the light in [0, 1] and :math:`G_w` a Gaussian of `WIDTH`, mirrored at the edges: the negative blurred and dodged,
    as a pencil drawing is made in a darkroom. It does not depend on how bright the picture is.

    Args:
        picture: ``[h, w, c]``, uint8 or float32 in [-1, 1], grey or RGB.

    Returns:
        ``[h, w, 1]``, float32 in [-1, 1].
    """
    from scipy.ndimage import gaussian_filter

    light = picture / 255.0 if picture.dtype == np.uint8 else (picture.astype(np.float64).clip(-1, 1) + 1) / 2
    light = light @ LUMINANCE.astype(np.float64) if light.shape[2] == 3 else light[..., 0]
    around = gaussian_filter(light, WIDTH * min(light.shape), mode="reflect")
    paper = np.divide(light, around, out=np.ones_like(light), where=around > 0).clip(0, 1)
    result: np.ndarray = (2 * paper - 1).astype(np.float32)[..., None]
    return result
