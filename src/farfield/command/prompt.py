"""`farfield prompt`: what it takes and what it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.likeness import trusted
from farfield.command.measures import BySet, Standing
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import LEFT_OUT, Settings
from farfield.command.shared import Compute, FirstSeed, Strict, Trust
from farfield.core.error import FarfieldError

PUBLISHED: Final = {
    "hubble": "Generate a realistic image of galaxy.",
    "clouds": "Generate a realistic image about the radiation field of molecular clouds in astronomy.",
}
"""What was asked of Stable Diffusion 2.1 and GPT-4 in arXiv 2310.09213, as its authors' code gives it, by the domain it is of."""


@dataclass(frozen=True)
class Prompt(Settings):
    """Let a text-to-image model paint a domain from words: the baseline that needs no example."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield prompt stable-diffusion/ --heldout hubble --size 32",
        "farfield prompt stable-diffusion/ --heldout hubble --size 32 --published",
    )

    model: Annotated[
        str,
        Argument("Stable Diffusion: a folder in the layout of diffusers, a single file, or a hub id.", names="model"),
    ]
    prompts: Annotated[
        tuple[str, ...],
        Option("What to paint; may be repeated, and images take turns.", "--prompt", default="a bundled domain's own"),
    ] = ()
    published: Annotated[
        bool,
        Option(
            "Ask what was asked in arXiv 2310.09213: for a galaxy (of hubble), or for the radiation field of molecular clouds "
            "(of clouds); without either in turns.",
            key=None,
        ),
    ] = False
    n: Annotated[int, Option("How many images to make.", "-n", least=1)] = 64
    steps: Annotated[int, Option("How many steps the model's own scheduler takes; DDIM of a single file.", least=1)] = (
        50
    )
    guidance: Annotated[
        float, Option("The strength of classifier-free guidance; 1 leaves it out.", least=0, below=math.inf)
    ] = 7.5
    size: Annotated[
        int | None,
        Option("Reduce images to this many pixels a side, antialiased.", least=8, default="as they are made"),
    ] = None
    heldout: Annotated[
        str | None, Option("Measure against these real images: a path or a bundled domain.", names="source")
    ] = None
    count: Annotated[
        int | None,
        Option("Leave out as many of these as `farfield expand` draws as examples.", "--examples", default="up to 100"),
    ] = None
    judge: Annotated[str | None, Option("Measure in the features of this diffusion model as well.", names="model")] = (
        None
    )
    descriptors: Annotated[
        tuple[str, ...],
        Option(
            "Measure by pixels, model (with --judge), or a network's file; may be repeated.",
            "--descriptor",
            default="pixels, and the judge's",
            names="descriptor",
        ),
    ] = ()
    trust: Trust = ()
    seed: FirstSeed = 0
    loading: Compute = Compute(batch_size=8)
    strict: Strict = False

    def check(self) -> None:
        if not all(prompt.strip() for prompt in self.prompts):
            raise FarfieldError("--prompt: expected words, found an empty text")
        if self.prompts and self.published:
            raise FarfieldError("--published with --prompt: expected one of the two; the published texts are fixed")
        if "model" in self.descriptors and not self.judge:
            raise FarfieldError("--descriptor model: expected a model whose features to take; name one with --judge")
        trusted(self.descriptors, self.trust)

    @property
    def asked(self) -> tuple[str, ...]:
        """The texts that were given or chosen; none for a domain's own."""
        if not self.published:
            return self.prompts
        named = self.heldout in PUBLISHED
        return tuple(text for domain, text in PUBLISHED.items() if domain == self.heldout or not named)

    @property
    def specs(self) -> list[str]:
        """The descriptors as `audit.named.open_descriptor` takes them."""
        return trusted(self.descriptors, self.trust) or ["pixels", *(["model"] if self.judge else [])]


class PaintedDomain(Result):
    """What was to be painted."""

    source: Annotated[str, "of held-out images"]


class PromptResult(Result):
    model: ModelFacts
    prompts: Annotated[list[str], "in turns"]
    n: Annotated[int, "images"]
    guidance: float
    scheduler_steps: int
    size: Annotated[int, "pixels of a side"]
    examples: PaintedDomain | None = None
    references: Annotated[SourceFacts | None, "held-out images that the measures compare with"] = LEFT_OUT
    measures: Annotated[dict[str, BySet] | None, "descriptor → set"] = None
    standing: Standing | None = None
    notes: list[str]
