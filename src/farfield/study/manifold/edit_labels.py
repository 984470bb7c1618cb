"""An attribute by labelled images: half of them find boundaries between its classes, the other half teach a judge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from farfield.audit.copy_descriptor import CopyDescriptor
from farfield.audit.labelled import Classifier
from farfield.command.edit import LABELLED, AttributeFacts, BoundaryFacts, Edit
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
        classes = list_classes(settings.labels)
        used = sorted(set(classes.of.values()))
        if len(used) < 2:
            raise FarfieldError(
                f"--labels {settings.labels}: expected images of at least two classes, found {len(used)}"
            )
        known = {classes.names[i] if classes.names else str(i): i for i in used}
        asked = settings.attribute if settings.attribute is not None else list(known)[1] if len(known) == 2 else None
        word, _, against = (asked or "").partition(":")
        for name in filter(None, (word, against)) if asked else ("",):
            if name not in known:
                given = f"--attribute {asked}" if asked else "--attribute"
                raise FarfieldError(
                    f"{given}: expected a class of {settings.labels}, of {some(list(known))}; give --attribute"
                )
        sides = {
            True: [key for key, c in classes.of.items() if c == known[word]],
            False: [k for k, c in classes.of.items() if (c == known[against] if against else c != known[word])],
        }
        drawn = {side: choose(keys, min(MOST, len(keys)), settings.seed)[0] for side, keys in sides.items()}
        opened = open_source(settings.labels, denoiser.image_shape, draw=lambda _: drawn[True] + drawn[False]).examples
        fresh = [
            k
            for k, x in zip(opened.keys, opened.values, strict=True)
            if not bool((edited.values == x).flatten(1).all(1).any())
        ]
        positive = torch.tensor([key in set(drawn[True]) for key in fresh], dtype=torch.bool)
        counts = int(positive.sum()), int((~positive).sum())
        if min(counts) < LEAST:
            raise FarfieldError(
                f"--labels {settings.labels}: {counts[0]} images of {word} and {counts[1]} of {against or 'the others'} that are "
                f"not edited; expected at least {LEAST} of each"
            )
        return Labelled(opened.select(fresh), positive, word, against or None)

    def digest(self) -> str:
        """Of the images and their sides."""
        sides = [key for key, side in zip(self.images.keys, self.positive.tolist(), strict=True) if side]
        return hashlib.sha256(f"{self.images.digest()} {sides}".encode()).hexdigest()

    def half(self, first: bool) -> Labelled:
        rows = self.first == first
        keys = [key for key, row in zip(self.images.keys, rows.tolist(), strict=True) if row]
        return Labelled(self.images.select(keys), self.positive[rows], self.toward, self.other)


@dataclass(frozen=True)
class Judge:
    """Says how probable it is that an image shows the attribute, and whether it does, by copy features."""

    classifier: Classifier
    facts: AttributeFacts

    @staticmethod
    def of(labelled: Labelled) -> Judge:
        """Taught by the second half of the labels, tried on the first."""
        tried, taught = labelled.half(True), labelled.half(False)
        classifier = Classifier.fit(perceive(taught.images.values), taught.positive.long())
        told = classifier.probabilities(perceive(tried.images.values)).argmax(1) == tried.positive.long()
        share = float(tried.positive.double().mean())
        return Judge(
            classifier,
            AttributeFacts(
                toward=labelled.toward,
                other=labelled.other,
                n=len(told),
                accuracy=proportion(int(told.sum()), len(told)),
                commonest=max(share, 1 - share),
            ),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """The probability ``[n]`` of the attribute."""
        return self.classifier.probabilities(perceive(images))[:, 1]


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
    spaces = {"boundary": z}
    if "mid-boundary" in wanted:
        x = from_latent(place(carrier.denoiser, z), torch.tensor(carrier.sigma, dtype=torch.float64))
        h, level = middle(carrier.denoiser), x.new_tensor(carrier.sigma)
        with torch.no_grad(), exact_matmul():
            spaces["mid-boundary"] = torch.cat([h(part, level).cpu() for part in x.split(carrier.batch_size)])
    found = {}
    for name, points in spaces.items():
        if name in wanted:
            told = separability(points[half.positive], points[~half.positive])
            facts = BoundaryFacts(
                space=name,
                accuracy=told.accuracy,
                null=told.null,
                null_high=told.null_high,
                p_value=told.p_value,
            )
            found[name] = Boundary.fit(points, half.positive), facts
    return found
