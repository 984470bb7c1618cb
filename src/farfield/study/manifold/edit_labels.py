"""An attribute by labelled images: half of them find boundaries between its classes, the other half teach a judge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from farfield.audit.copy_descriptor import CopyDescriptor
from farfield.audit.labelled import Classifier
from farfield.command.edit import LABELLED, AttributeFacts, BoundaryFacts, Edit, Space
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion
from farfield.core.runtime import exact_matmul
from farfield.data.image import list_classes
from farfield.data.picture import as_shown, some
from farfield.data.subset import choose
from farfield.diffusion.activation import middle
from farfield.diffusion.denoiser import Denoiser
from farfield.manifold.boundary import Boundary
from farfield.study.bench.carrier import Carrier, place
from farfield.study.bench.domain import open_source
from farfield.study.bench.run import Run
from farfield.unseen.inversion import from_latent
from farfield.unseen.separability import separability

MOST = 200
"""Labelled images of each side."""
LEAST = 20
"""Of each side: ten in a half, which five folds need."""


@dataclass(frozen=True)
class Labelled:
    """Images of two sides in turn, ``positive [n]``; every other of each side, ``first``, is for boundaries, the rest judge."""

    images: Images
    positive: Tensor
    toward: str
    other: str | None

    @property
    def first(self) -> Tensor:
        """``[n]`` bool."""
        place = torch.where(self.positive, self.positive.cumsum(0), (~self.positive).cumsum(0))
        return place % 2 == 1

    @staticmethod
    def open(settings: Edit, denoiser: Denoiser, edited: Images) -> Labelled | None:
        """Those of ``--labels``; None without. Images that are edited themselves are left out: the judge must not know them.

        Raises:
            FarfieldError: no classes, not the one asked for, or too few images.
        """
        if settings.labels is None:
            return None
        where = f"--labels {settings.labels}"
        if denoiser.image_shape[0] not in (1, 3):
            raise FarfieldError(
                f"{where}: the judge sees grey or colour pictures, not {denoiser.image_shape[0]} channels"
            )
        classes = list_classes(settings.labels)
        used = sorted(set(classes.of.values()))
        if len(used) < 2:
            raise FarfieldError(f"{where}: expected images of at least two classes, found {len(used)}")
        known = {classes.names[i] if classes.names else str(i): i for i in used}
        asked = settings.attribute or (list(known)[1] if len(known) == 2 else "")
        word, _, against = asked.partition(":")
        if not {word, against or word} <= set(known):
            raise FarfieldError(
                f"--attribute {asked or '(none)'}: expected a class of {settings.labels}, of {some(list(known))}; give one"
            )
        sides = {
            True: [key for key, c in classes.of.items() if c == known[word]],
            False: [k for k, c in classes.of.items() if (c == known[against] if against else c != known[word])],
        }
        drawn = {side: choose(keys, min(MOST, len(keys)), settings.seed)[0] for side, keys in sides.items()}
        opened = open_source(settings.labels, denoiser.image_shape, draw=lambda _: drawn[True] + drawn[False]).examples
        edit = {x.numpy().tobytes() for x in edited.values}
        fresh = [k for k, x in zip(opened.keys, opened.values, strict=True) if x.numpy().tobytes() not in edit]
        positive = torch.tensor([key in set(drawn[True]) for key in fresh], dtype=torch.bool)
        counts = int(positive.sum()), int((~positive).sum())
        if min(counts) < LEAST:
            found = f"{counts[0]} images of {word} and {counts[1]} of {against or 'the others'}"
            raise FarfieldError(f"{where}: {found} that are not edited; expected at least {LEAST} of each")
        return Labelled(opened.select(fresh), positive, word, against or None)

    def digest(self) -> str:
        """Of the images and their sides."""
        sides = [key for key, side in zip(self.images.keys, self.positive.tolist(), strict=True) if side]
        return hashlib.sha256(f"{self.images.digest()} {sides}".encode()).hexdigest()

    def half(self, first: bool) -> Labelled:
        rows = self.first == first
        keys = [key for key, row in zip(self.images.keys, rows.tolist(), strict=True) if row]
        return Labelled(self.images.select(keys), self.positive[rows], self.toward, self.other)


def taught(labelled: Labelled) -> tuple[Classifier, AttributeFacts]:
    """A judge of copy features, taught by the second half of the labels and tried on the first: 1 is the attribute."""
    first, second = labelled.half(True), labelled.half(False)
    judge = Classifier.fit(perceive(second.images.values), second.positive.long())
    right = judge.probabilities(perceive(first.images.values)).argmax(1) == first.positive.long()
    share = float(first.positive.double().mean())
    return judge, AttributeFacts(
        toward=labelled.toward,
        other=labelled.other,
        n=len(right),
        accuracy=proportion(int(right.sum()), len(right)),
        commonest=max(share, 1 - share),
    )


def perceive(images: Tensor) -> Tensor:
    """Copy features ``[n, d]``, unit vectors, of images as a viewer sees them."""
    return _copy()(as_shown(images)).double()


@cache
def _copy() -> CopyDescriptor:
    return CopyDescriptor()


def boundaries(
    run: Run, carrier: Carrier, labelled: Labelled, wanted: set[str]
) -> dict[str, tuple[Boundary, BoundaryFacts]]:
    """The boundaries that rivals need, of the first half of the labels at the level of the edits, beside their accuracy."""
    if not wanted & set(LABELLED):
        return {}
    half = labelled.half(True)
    z = carrier.up(run, "labelled", half.images, "inverting labels").values
    spaces: dict[Space, Tensor] = {"boundary": z}
    if "mid-boundary" in wanted:
        x = from_latent(place(carrier.denoiser, z), torch.tensor(carrier.sigma, dtype=torch.float64))
        h, level = middle(carrier.denoiser), x.new_tensor(carrier.sigma)
        with torch.no_grad(), exact_matmul():
            spaces["mid-boundary"] = torch.cat([h(part, level).cpu() for part in x.split(carrier.batch_size)])
    found: dict[str, tuple[Boundary, BoundaryFacts]] = {}
    for name, points in spaces.items():
        if name in wanted:
            told = separability(points[half.positive], points[~half.positive])
            figures = {part: getattr(told, part) for part in ("accuracy", "null", "null_high", "p_value")}
            facts = BoundaryFacts(space=name, **figures)
            found[name] = Boundary.fit(points, half.positive), facts
    return found
