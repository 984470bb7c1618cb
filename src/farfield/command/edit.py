"""`farfield edit`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from farfield.command.facts import ModelFacts, Spread
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Model, Numerics, Seed, Source, Strict
from farfield.core.error import FarfieldError
from farfield.core.score import Score

ORIGIN: Final = "as it came back"
"""The image that is decoded without a move."""
RANDOM: Final = "random"
"""The direction that is drawn at random."""


@dataclass(frozen=True)
class Moving(Numerics):
    """How images come up to where they are moved."""

    sigma: Annotated[
        float | None, Option("The noise level at which to move images.", default="3, or that of --load")
    ] = None


@dataclass(frozen=True)
class Edit(Settings):
    """Change one part of an image: move its latent along what the model itself would change there.

    The directions are those of the first image; further ones are moved along the same.
    """

    wing: ClassVar[str] = "Geometry"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield edit galaxies-64 galaxy.png --mask 24,24,40,40",
        "farfield edit cifar10-32 photos/ --load runs/edit --strength -4,4",
    )

    model: Model
    images: Source
    mask: Annotated[
        str | None,
        Option(
            "The part to change: a box x0,y0,x1,y1 in pixels of the model's size, to which pictures are brought first, the "
            "last two just outside it; or a picture of that size, bright inside.",
            default="that of --load",
        ),
    ] = None
    direction: Annotated[
        tuple[int, ...], Option("Move along these directions, counted from 1.", least=1, key="directions")
    ] = (1, 2, 3)
    strength: Annotated[
        tuple[float, ...], Option("How far to move along each, in standard deviations of the latents.", key="strengths")
    ] = (-4.0, -2.0, 2.0, 4.0)
    compose: Annotated[
        tuple[str, ...],
        Option(
            "Move along several directions at once, such as 1:2,3:-1 (direction:strength); may be repeated.",
            key="composed",
        ),
    ] = ()
    keep: Annotated[
        int | None,
        Option(
            "Leave alone this many of the directions that move the rest of the image, the strongest first.",
            least=0,
            default="16; 0 with a mask of everything",
        ),
    ] = None
    load: Annotated[
        str | None,
        Option("Use the directions of another edit of this model again, from its folder.", metavar="PATH"),
    ] = None
    control: Annotated[bool, Option("Move along a random direction too, for comparison.")] = True
    seed: Seed = 0
    limit: Annotated[int | None, Option("Take only this many images, the first.", least=1, key=None)] = None
    numerics: Moving = Moving()
    strict: Strict = False

    def check(self) -> None:
        if not self.direction and not self.composed:
            raise FarfieldError("--direction none: expected at least one, or --compose")
        if not self.strength:
            raise FarfieldError("--strength none: expected at least one number")
        if self.mask is None and self.load is None:
            raise FarfieldError("mask: expected a box x0,y0,x1,y1 or a picture of the model's size; give --mask")

    @property
    def composed(self) -> list[list[tuple[int, float]]]:
        """Several directions at once, as pairs (direction, strength)."""
        return [_pairs(text) for text in self.compose]

    @property
    def count(self) -> int:
        """Of the directions that are needed."""
        return max([*self.direction, *(i for one in self.composed for i, _ in one)])


def _pairs(text: str) -> list[tuple[int, float]]:
    try:
        pairs = [(int(i), float(s)) for i, s in (part.split(":") for part in text.split(","))]
    except ValueError:
        pairs = []
    if not pairs or min(i for i, _ in pairs) < 1 or not all(abs(s) < float("inf") for _, s in pairs):
        raise FarfieldError(
            f"--compose {text}: expected direction:strength with commas between, directions from 1, as 1:2,3:-1"
        )
    return pairs


class MaskFacts(Result):
    """What was to change."""

    given: Annotated[str | None, "the box or picture; null for that of --load"]
    pixels: Annotated[int, "inside"]
    of: Annotated[int, "pixels of the image"]


class Direction(Result):
    """How far the denoiser's answer moves, to first order, for a step of length 1; `manifold.edit.find_directions`."""

    name: str
    gain: Annotated[float, "inside the mask: the singular value"]
    leak: Annotated[float, "outside"]


class Move(Result):
    """One move, and its mean absolute change over pixels and images, in units of the range; `manifold.edit.change`."""

    name: str
    strength: Annotated[float, "in standard deviations of the latents"]
    index: Annotated[int, "in the keys of edits/"]
    inside: Annotated[Score, "of the mask"]
    outside: Annotated[Score | None, "absent where the mask is everything"] = None
    ratio: Annotated[Score | None, "inside over outside; absent where nothing changes outside"] = None


class EditResult(Result):
    model: ModelFacts
    images: Annotated[str, "as they were given"]
    n: Annotated[int, "images"]
    sigma: Annotated[float, "level at which they were moved"]
    steps: int
    solver: str
    network_calls: Annotated[int, "an image, each way"]
    mask: MaskFacts
    found_at: Annotated[str, "the image whose directions these are"]
    kept: Annotated[int, "directions of the outside that were left alone"]
    directions: list[Direction]
    round_trip_psnr: Annotated[Spread, "of the images as they came back, dB; `unseen.inversion.round_trip`"]
    moves: list[Move]
