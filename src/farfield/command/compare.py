"""`farfield compare`: what it takes and what it leaves."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from farfield.command.expand import Sampler
from farfield.command.facts import ModelFacts
from farfield.command.likeness import Descriptors
from farfield.command.measures import CopiedParts, FieldMeasures, Labelled, Measures, Novelty
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import FirstSeed, Model, Reading, Solving
from farfield.core.error import FarfieldError
from farfield.core.score import Score

FROZEN: Final = ("ours", "patchwork", "published", "described", "geometric", "gaussian")
"""Methods that ask the frozen model and train nothing."""
CONTROLS: Final = ("wiener", "patches", "pixels", "augment")
"""Methods that ask no network: what they reach, no model is needed for."""
SAMPLED: Final = (*FROZEN, *CONTROLS, "examples")
"""Methods that train nothing."""
TUNED: Final = ("full", "lora", "norm", "release")
"""Methods that train on the examples."""
RESERVED: Final = ("real", "base", "model")
"""Names of other sets on the page."""


class Tuning(Result):
    """How models are tuned; `unseen.tuning.tune`."""

    budget: Annotated[
        float,
        "network calls, training and sampling together, as a multiple of what ours takes at most, its search aside",
    ]
    epochs: Annotated[int, "of release"]
    share: Annotated[float, "of the examples, split off for early stopping"]
    patience: Annotated[int, "validations that early stopping waits for"]
    batch_size: int
    learning_rate: Annotated[float | None, "null for the method's own"]
    rank: Annotated[int, "of lora's updates"]


@dataclass(frozen=True)
class Compare(Settings):
    """Should I tune? Compare the frozen model with models fine-tuned on the same examples."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield compare cifar10-32 hubble --counts 10,30,100",
        "farfield compare cifar10-32 hubble --methods ours,wiener,pixels --samples gan=my-samples/",
    )

    model: Model
    examples: Annotated[
        tuple[str, ...],
        Argument(
            "Images of a new domain, or of several: folders, zips, npz, or bundled domains (see `farfield domains`).",
            metavar="EXAMPLES...",
            names="source",
        ),
    ]
    heldout: Annotated[
        tuple[str, ...],
        Option(
            "Take these as held-out images of each domain, in the same order; may be repeated.",
            default="the rest",
            names="source",
        ),
    ] = ()
    counts: Annotated[
        tuple[int, ...] | None,
        Option(
            "The numbers of examples to compare at, with commas between.",
            least=2,
            key=None,
            default="10,30,100, as far as there are enough",
        ),
    ] = None
    methods: Annotated[
        str,
        Option(
            f"Some of {', '.join(SAMPLED + TUNED)}, with commas between. wiener and patches are ours without the network; "
            "patchwork, inverted examples mixed place by place, the best of 3; "
            "pixels, patchworks of the pictures themselves; augment, the examples cropped, flipped and brightened; published, "
            "the interpolation as its authors' code has it (towards a draw of the domain's Gaussian, lengths linearly between); "
            "described, as their paper says it (between two examples).",
            key=None,
        ),
    ] = "ours,wiener,patches,pixels,augment,examples,published,geometric,full,lora,release"
    samples: Annotated[
        tuple[str, ...],
        Option(
            "Measure images of this domain that were made elsewhere as a method of this name: a folder, zip or "
            "npz, or physical fields, the first -n of them by key; may be repeated.",
            key=None,
            metavar="NAME=PATH",
        ),
    ] = ()
    tuning_budget: Annotated[
        float,
        Option(
            "How many network calls a tuned model may take, as a multiple of the most that ours takes, its search"
            " for a level aside.",
            above=0,
            below=math.inf,
            key=None,
        ),
    ] = 10.0
    epochs: Annotated[int, Option("How many epochs the published tuning (release) takes.", least=1, key=None)] = 20
    learning_rate: Annotated[
        float | None,
        Option("The learning rate of all tunings.", above=0, below=math.inf, key=None, default="each method's own"),
    ] = None
    rank: Annotated[int, Option("The rank of the low-rank tuning.", least=1, key=None)] = 8
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
        self._check_samples()
        if self.counts is not None and (not self.counts or len(set(self.counts)) < len(self.counts)):
            raise FarfieldError(f"--counts {','.join(map(str, self.counts)) or 'none'}: expected different numbers")

    def _check_samples(self) -> None:
        names = [given.partition("=")[0] for given in self.samples]
        for given, name in zip(self.samples, names, strict=True):
            if not re.fullmatch(r"[A-Za-z][\w.-]{0,39}", name, re.ASCII) or not given.partition("=")[2]:
                raise FarfieldError(f"--samples {given}: expected NAME=PATH, a name of letters, digits, _, . and -")
            if name in SAMPLED + TUNED + RESERVED:
                raise FarfieldError(f"--samples {given}: {name} means something else here; give another name")
            if names.count(name) > 1:
                raise FarfieldError(f"--samples {given}: two are named {name}; give each a name of its own")
        if names and len(self.examples) > 1:
            raise FarfieldError(
                f"--samples {self.samples[0]}: belongs to one domain, found {len(self.examples)}; compare each by itself"
            )

    @property
    def chosen(self) -> list[str]:
        """The methods that are carried out."""
        return [method.strip() for method in self.methods.split(",")]

    @property
    def foreign(self) -> dict[str, str]:
        """Where the samples lie that were made elsewhere, by name."""
        return {name: path for name, _, path in (given.partition("=") for given in self.samples)}

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
    sampler: Annotated[Sampler | None, "how latents are drawn, of ours and its like; absent in older runs"] = None
    source: Annotated[str | None, "where samples were found that were made elsewhere"] = None
    tuning: Annotated[Tuned | None, "of a tuned one"] = None
    calls: Annotated[dict[str, int], "images through the network, by stage and in total"]
    seconds: float
    measures: Annotated[dict[str, Measures], "by descriptor"]
    paired: Annotated[
        dict[str, Score] | None,
        "its kernel distance less that of ours, of the same seeds and references; by descriptor",
    ] = None
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


Gain = Literal["adds", "doubt", "even", "copies", "less"]


class Added(Result):
    """Does the frozen model add to what its examples give without it? `audit.advice.added`."""

    verdict: Annotated[
        Gain,
        "adds: every control that asks no network stands farther from held-out images than ours, in every descriptor; less: "
        "one stands nearer in some; even: none does, but intervals meet; doubt, copies: what is nearer repeats the examples, "
        "and the other does not",
    ]
    farther: Annotated[list[str], "controls that stand farther than ours in every descriptor"]
    even: Annotated[dict[str, list[str]], "control → descriptors in which the intervals meet"]
    nearer: Annotated[dict[str, list[str]], "control → descriptors in which it stands nearer"]
    sentence: str


class Count(Result):
    """All methods on one number of examples."""

    count: int
    methods: dict[str, Entry]
    local_copies_floor: Annotated[Score | None, "of held-out images; null with fewer than 3 examples"]
    advice: Annotated[Advice | None, "null without ours, a tuned model, or distances"]
    added: Annotated[Added | None, "null without ours, a control, or distances"] = None


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
    methods: Annotated[list[str], "and names of samples made elsewhere"]
    tuning: Tuning
    domains: list[ComparedDomain]
    cost_seconds: Annotated[dict[str, float], "of each method"]
