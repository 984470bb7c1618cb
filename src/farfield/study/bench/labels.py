"""The classes of a domain's examples and held-out images, where they have any, and how sure one is of those of new images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.audit.labelled import sureness
from farfield.command.measures import Labelled
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError
from farfield.data.image import list_classes
from farfield.data.labels import matched
from farfield.study.bench.domain import LEAST_HELD, Domain

LEAST = 3
"""Examples of a class, with fewer of which it is left out."""


@dataclass(frozen=True)
class Labels:
    """The class of each example and each held-out reference that has one, by key; ``note`` says why there are none."""

    of: Mapping[str, Mapping[str, int]]
    note: str = ""

    @staticmethod
    def read(source: str, heldout: str | None, domain: Domain) -> Labels:
        """Those of a domain of pictures; empty of fields, and where nothing was held out."""
        references = domain.held.get("references")
        if domain.physical or references is None:
            return Labels({})
        try:
            ours = list_classes(source)
            theirs = list_classes(heldout) if heldout and ours.of else ours
            if not ours.of or not theirs.of:
                return Labels({})
            keys = list(theirs.of)
            numbers = matched([theirs.of[key] for key in keys], theirs.names, ours.names, heldout or source, source)
        except FarfieldError as error:
            return Labels({}, f"Classes are left out: {error}")
        held = dict(zip(keys, numbers, strict=True))
        return Labels(
            {
                "examples": {key: ours.of[key] for key in domain.examples.keys if key in ours.of},
                "references": {key: held[key] for key in references.keys if key in held},
            }
        )

    def sure(
        self, examples: Features, references: Features, samples: Features, parents: Sequence[str] | None = None
    ) -> Labelled | None:
        """`audit.labelled.sureness` in the classes of at least `LEAST` of these examples.

        ``parents`` are the keys of the examples that samples were made from, one each, where that is so.

        None of fewer than two such classes, and where they leave out more than half of the examples, as where names begin
        otherwise each: those are no classes.
        """
        given = {key: self.of["examples"][key] for key in examples.keys if key in self.of.get("examples", {})}
        kept = sorted(c for c, n in Counter(given.values()).items() if n >= LEAST)
        place = {c: i for i, c in enumerate(kept)}

        def chosen(of: Mapping[str, int]) -> tuple[list[str], Tensor]:
            keys = [key for key, c in of.items() if c in place]
            return keys, torch.tensor([place[of[key]] for key in keys])

        ours, labels = chosen(given)
        theirs, real_labels = chosen(self.of.get("references", {}))
        if len(kept) < 2 or 2 * len(ours) < len(examples) or len(theirs) < LEAST_HELD:
            return None
        made = None
        if parents is not None:
            made = torch.tensor([place.get(given.get(key, -1), -1) for key in parents])
        return sureness(
            examples=examples.select(ours),
            labels=labels,
            real=references.select(theirs),
            real_labels=real_labels,
            samples=samples,
            sample_labels=made,
        )
