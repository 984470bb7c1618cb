"""`farfield edit`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from farfield.command.facts import ModelFacts, Spread
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Model, Numerics, Seed, Source, Strict
from farfield.core.error import FarfieldError
from farfield.core.score import Score

ORIGIN: Final = "as it came back"
"""The image that is decoded without a move."""
RivalName = Literal["random", "noise", "pullback", "boundary", "mid-boundary"]
Space = Literal["boundary", "mid-boundary"]
RANDOM: Final = "random"
"""The direction that is drawn at random."""
LABELLED: Final = ("boundary", "mid-boundary")
"""Rivals that need labels."""


@dataclass(frozen=True)
class Moving(Numerics):
    """How images come up to where they are moved."""

    sigma: Annotated[
        float | None, Option("The noise level at which to move images.", default="3, or that of --load")
    ] = None


@dataclass(frozen=True)
class Edit(Settings):
    """Change one part of an image: move its latent along what the model itself would change there.

    The directions are those of the first image, or of each; further ones are moved along the same. With labels the attribute's
    change is measured too, and images are moved across the boundary between its classes.
    """

    wing: ClassVar[str] = "Geometry"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield edit galaxies-64 galaxy.png --mask 24,24,40,40",
        "farfield edit digits-generalizing digits --limit 20 --mask 0,0,8,4 --labels digits --attribute 8 --rival boundary",
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
    each: Annotated[
        bool,
        Option("Find the directions of each image, and move along those of the first too: do they serve other images?"),
    ] = False
    rival: Annotated[
        tuple[RivalName, ...],
        Option(
            "Move along another method's direction too: random; noise, what moves the predicted noise inside the mask; pullback, "
            "what moves the middle of the network (Park et al.); boundary, to a signed distance from the boundary of --labels, "
            "of strength; mid-boundary, across one in the middle of the network; may be repeated.",
            key="rivals",
        ),
    ] = (RANDOM,)
    labels: Annotated[
        str | None,
        Option("Images with classes: half of them find the boundary, the other half teach a judge.", names="source"),
    ] = None
    attribute: Annotated[
        str | None,
        Option(
            "The class of --labels to move towards, or CLASS:OTHER, from one other alone.", default="its second of two"
        ),
    ] = None
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
        if self.labels is None and (self.attribute is not None or set(self.rival) & set(LABELLED)):
            raise FarfieldError(
                f"--labels: expected labelled images for {self.attribute or 'a boundary'}; give --labels"
            )
        if self.each and self.load is not None:
            raise FarfieldError(f"--load {self.load}: its directions are one image's; leave out --each, or this")

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


class AttributeFacts(Result):
    """What labels say, and who judges it: a classifier of the half of them that no boundary has seen, by copy features."""

    toward: Annotated[str, "the class that is moved towards"]
    other: Annotated[str | None, "the class that it is held against; null of all others"]
    n: Annotated[int, "labelled images that the boundaries are from"]
    accuracy: Annotated[Score, "of the judge, on those; `audit.labelled.Classifier`"]
    commonest: Annotated[float, "the share of the larger class among them"]


class BoundaryFacts(Result):
    """How well a linear boundary tells the classes apart on images left out; `unseen.separability.separability`."""

    space: Annotated[Space, "latents, or the middle of the network"]
    accuracy: Annotated[Score, "balanced, by five folds"]
    null: Annotated[float, "its mean over shuffled labels"]
    null_high: Annotated[float, "the 95 % quantile of those"]
    p_value: Annotated[float, "share of shuffled labels at least as accurate"]


class Move(Result):
    """One move, and its mean absolute change over pixels and images, in units of the range; `manifold.edit.change`."""

    name: str
    strength: Annotated[float, "in standard deviations of the latents; to a boundary the distance beyond it"]
    length: Annotated[Score | None, "how far latents were moved; to a boundary each as far as it must"] = None
    index: Annotated[int, "in the keys of edits/"]
    inside: Annotated[Score, "of the mask"]
    outside: Annotated[Score | None, "absent where the mask is everything"] = None
    ratio: Annotated[Score | None, "inside over outside; absent where nothing changes outside"] = None
    ssim: Annotated[Score | None, "to the image as it came back; `unseen.inversion.round_trip`"] = None
    perceived: Annotated[Score | None, "1 − cosine in copy features; absent where they do not serve"] = None
    flipped: Annotated[Score | None, "share of images whose class the judge calls otherwise; absent without labels"] = (
        None
    )
    toward: Annotated[Score | None, "change of the judge's probability of the attribute; absent without labels"] = None
    departure: Annotated[
        Score | None, "of several directions at once from the sum of each, relative; `manifold.edit.departure`"
    ] = None


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
    agreement: Annotated[
        list[Score] | None,
        "|cosine| of each direction of other images with the first's; absent unless each has its own",
    ] = None
    attribute: Annotated[AttributeFacts | None, "absent without labels"] = None
    boundaries: Annotated[list[BoundaryFacts] | None, "of the labels, as far as rivals need them"] = None
    round_trip_psnr: Annotated[Spread, "of the images as they came back, dB; `unseen.inversion.round_trip`"]
    moves: list[Move]
