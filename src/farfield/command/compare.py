"""`farfield compare`: what it takes and what it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from farfield.command.facts import ModelFacts
from farfield.command.likeness import Descriptors
from farfield.command.measures import CopiedParts, FieldMeasures, Labelled, Measures, Novelty
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import FirstSeed, Model, Reading, Solving
from farfield.core.error import FarfieldError
from farfield.core.score import Score

SAMPLED: Final = ("ours", "published", "geometric", "gaussian")
"""Methods that train nothing."""
TUNED: Final = ("full", "lora", "norm", "release")
"""Methods that train on the examples."""


class Tuning(Result):
    """How models are tuned; `unseen.tuning.tune`."""

    budget: Annotated[float, "network calls, training and sampling together, as a multiple of those of ours"]
    epochs: Annotated[int, "of release"]
    share: Annotated[float, "of the examples, split off for early stopping"]
    patience: Annotated[int, "validations that early stopping waits for"]
    batch_size: int
    learning_rate: Annotated[float | None, "null for the method's own"]
    rank: Annotated[int, "of lora's updates"]


@dataclass(frozen=True)
class Compare(Settings):
    """Should I tune? Compare the frozen model with models fine-tuned on the same examples."""

    model: Model
    examples: Annotated[
        tuple[str, ...],
        Argument(
            "Images of a new domain, or of several: folders, zips, npz, or bundled domains (see `farfield domains`).",
            metavar="EXAMPLES...",
        ),
    ]
    heldout: Annotated[
        tuple[str, ...],
        Option("Held-out images of each domain, in the same order; may be repeated.", default="the rest"),
    ] = ()
    counts: Annotated[
        tuple[int, ...] | None,
        Option("Numbers of examples.", least=2, key=None, default="10,30,100, as far as there are enough"),
    ] = None
    methods: Annotated[str, Option(f"Some of {', '.join(SAMPLED + TUNED)}, with commas between.", key=None)] = (
        "ours,published,geometric,gaussian,full,lora,release"
    )
    tuning_budget: Annotated[
        float,
        Option("Network calls that a tuned model may take, as a multiple of ours.", above=0, below=math.inf, key=None),
    ] = 10.0
    epochs: Annotated[int, Option("Epochs of the published tuning (release).", least=1, key=None)] = 20
    learning_rate: Annotated[
        float | None, Option("Of all tunings.", above=0, below=math.inf, key=None, default="each method's own")
    ] = None
    rank: Annotated[int, Option("Rank of the low-rank tuning.", least=1, key=None)] = 8
    n: Annotated[int, Option("How many images each method makes.", "-n", least=4)] = 128
    descriptors: Descriptors = Descriptors()
    seed: FirstSeed = 0
    reading: Reading = Reading()
    numerics: Solving = Solving()

    def check(self) -> None:
        if not self.examples or len(set(self.examples)) < len(self.examples):
            raise FarfieldError(f"examples {', '.join(self.examples)}: expected at least one source, each only once")
        if self.heldout and len(self.heldout) != len(self.examples):
            raise FarfieldError(
                f"--heldout: {len(self.heldout)} sources for {len(self.examples)} domains; expected one for each, in the same "
                "order, or none"
            )
        if strange := [method for method in self.chosen if method not in SAMPLED + TUNED]:
            raise FarfieldError(f"--methods {strange[0]!r}: expected some of {', '.join(SAMPLED + TUNED)}")
        if self.counts is not None and (not self.counts or len(set(self.counts)) < len(self.counts)):
            raise FarfieldError(f"--counts {','.join(map(str, self.counts)) or 'none'}: expected different numbers")

    @property
    def chosen(self) -> list[str]:
        """The methods."""
        return [method.strip() for method in self.methods.split(",")]

    @property
    def tuning(self) -> Tuning:
        return Tuning(
            budget=self.tuning_budget,
            epochs=self.epochs,
            share=0.2,
            patience=10,
            batch_size=8,
            learning_rate=self.learning_rate,
            rank=self.rank,
        )


class Tuned(Result):
    """What a tuning left."""

    history: Annotated[list[dict[str, Any]], "rows of step, train, heldout and calls; `unseen.tuning.tune`"]
    stopped: Annotated[str, "why it ended: epochs, budget, patience, or the step at which the loss was not finite"]
    best: Annotated[int, "the step whose weights were kept"]
    seconds: float


class Entry(Result):
    """What one method made of so many examples."""

    trained: bool
    sigma: Annotated[float | None, "level of its latents, of a frozen model"] = None
    tuning: Annotated[Tuned | None, "of a tuned one"] = None
    calls: Annotated[dict[str, int], "images through the network, by stage and in total"]
    seconds: float
    measures: Annotated[dict[str, Measures], "by descriptor"]
    novelty: Annotated[dict[str, Novelty], "by descriptor"]
    local_copies: Annotated[
        Score | None,
        "images of which a quarter is a copy; `audit.local.Parts.copies`; absent with fewer than 3 examples",
    ] = None
    copied_parts: Annotated[list[CopiedParts] | None, "by scale"] = None
    labels: Annotated[dict[str, Labelled] | None, "by descriptor, where images have classes"] = None
    fields: Annotated[FieldMeasures | None, "in physical units"] = None


Verdict = Literal["keep", "doubt", "even", "copies", "tune"]


class Advice(Result):
    """Should one tune? `audit.advice.advise`."""

    verdict: Annotated[
        Verdict,
        "keep: the best tuned model stands farther from held-out images than ours; tune: nearer; even: the intervals meet; "
        "doubt, copies: the nearer one repeats the examples, and the other does not",
    ]
    best: Annotated[str, "of the tuned models"]
    cost_ratio: Annotated[float, "its network calls over ours"]
    descriptor: Annotated[str, "in which they are judged"]
    sentence: str


class Count(Result):
    """All methods on one number of examples."""

    count: int
    methods: dict[str, Entry]
    local_copies_floor: Annotated[Score | None, "of held-out images; null with fewer than 3 examples"]
    advice: Annotated[Advice | None, "null without ours, a tuned model, or distances"]


class RealFields(Result):
    """Other held-out fields beside the references: the floor."""

    real: FieldMeasures


class ComparedDomain(Result):
    """One domain."""

    source: str
    heldout: str | None
    folder: Annotated[str, "of its runs"]
    available: Annotated[int, "images in the source"]
    references: Annotated[int, "held-out images that the measures compare with"]
    real: Annotated[dict[str, Measures], "other held-out images: the floor; by descriptor"]
    base: Annotated[dict[str, Measures], "the model's own samples; by descriptor"]
    fields: Annotated[RealFields | None, "of physical data"] = None
    counts: list[Count]
    notes: list[str]


class CompareResult(Result):
    model: ModelFacts
    n: Annotated[int, "images of each method"]
    steps: Annotated[int, "of the solver, each way"]
    solver: str
    methods: list[str]
    tuning: Tuning
    domains: list[ComparedDomain]
    cost_seconds: Annotated[dict[str, float], "of each method"]
