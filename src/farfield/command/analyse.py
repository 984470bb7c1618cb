"""`farfield analyse`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.contribution import ModelGain
from farfield.command.facts import ModelFacts, SourceFacts, Spread
from farfield.command.likeness import trusted
from farfield.command.measures import PhysicalFacts, SearchedLevel
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Examples, FieldFill, Model, Reading, Seed, Solving, Trust
from farfield.core.error import FarfieldError
from farfield.core.score import Score

Way = Literal["eta", "noise"]


@dataclass(frozen=True)
class Analyse(Settings):
    """What does a model make of a domain it never saw? Study its latents, and where decoding leaves the domain."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield analyse cifar10-32 hubble",
        "farfield analyse cifar10-32 cutouts/ --symmetry rot90,flip",
    )

    model: Model
    examples: Examples
    count: Annotated[int | None, Option("How many examples to use.", "--examples", default="all, up to 48")] = None
    in_domain: Annotated[
        str | None,
        Option(
            "Take these as images of the model's own domain.",
            default="the model's own samples, inverted again",
            names="source",
        ),
    ] = None
    limit: Annotated[
        int | None, Option("Use at most this many in-domain images.", least=1, default="as many as examples")
    ] = None
    seed: Seed = 0
    levels: Annotated[
        tuple[float, ...] | None, Option("The noise levels to look at.", default="2,5,10,20,40 and the last")
    ] = None
    eta: Annotated[
        tuple[float, ...],
        Option("The strengths of stochastic decoding: 0 is DDIM, 1 ancestral sampling.", least=0, most=1),
    ] = (0.0, 0.2, 0.5, 1.0)
    noise: Annotated[
        tuple[float, ...],
        Option("How far to turn latents towards N(0, I): 0 keeps the example's, 1 is a fresh draw.", least=0, most=1),
    ] = (0.1, 0.3, 1.0)
    symmetry: Annotated[
        str | None, Option("Measure these symmetries of the domain: rot90,flip (or rot180, flipud, transpose).")
    ] = None
    decoded: Annotated[int, Option("How many examples to decode again in every way.", least=1)] = 24
    down_steps: Annotated[
        int, Option("Decode from the last level in this many steps; lower levels take fewer.", least=4)
    ] = 14
    descriptor: Annotated[
        str,
        Option(
            "Compare images by pixels, model, copy, sscd, sscd-large, inception, dinov2, clip, or a network's file.",
            names="descriptor",
        ),
    ] = "model"
    trust: Trust = ()
    brief: Annotated[
        bool,
        Option(
            "Leave out what the network adds, and the level that `expand` would choose: they take most of the time."
        ),
    ] = False
    reading: Reading = Reading()
    fill: FieldFill = "median"
    numerics: Solving = Solving()

    def check(self) -> None:
        for name in ("levels", "eta", "noise"):
            if getattr(self, name) == ():
                raise FarfieldError(f"--{name} none: expected at least one number")
        trusted([self.descriptor], self.trust)


class AtLevel(Result):
    sigma: Annotated[float, "the noise level"]


class InDomain(Result):
    """The training domain."""

    source: Annotated[str | None, "as it was given; null for the model's own samples"]
    n: int
    kind: Annotated[str, "in words"]


class LevelCertificate(AtLevel):
    """What latents of k steps are worth, by those of 2k."""

    error: Annotated[Spread, "relative; `unseen.inversion.convergence`"]
    n: Annotated[int, "latents that were made again"]


class Check(Result):
    """One statistic of latents against its null; `unseen.normality.normality`."""

    name: str
    statistic: float
    expected: Annotated[float, "the null's mean"]
    low: Annotated[float, "the lower end of 95 % of the null"]
    high: Annotated[float, "the upper end"]
    p_value: Annotated[float, "of as extreme draws of the null"]
    says: str

    @property
    def refused(self) -> bool:
        """There are several, and a simulated p-value goes little lower than 0.01."""
        return self.p_value <= 0.01


class LevelChecks(AtLevel):
    checks: list[Check]

    @property
    def refused(self) -> list[Check]:
        return [check for check in self.checks if check.refused]


class Moments(Result):
    mean: float
    sd: float


class ExpectedGeometry(Result):
    """The same of N(m, s² I), in closed form; `unseen.geometry.expectation`."""

    norm: float
    distance: float
    distance_sd: float
    angle: float
    angle_sd: float
    triangle: float


class LatentGeometry(Result):
    """How latents lie; `study.unseen.analyse.geometry`."""

    n: int
    dimension: int
    mean_norm: Annotated[float, "|m|, without what so few examples add to it by chance"]
    scale: Annotated[float, "s"]
    directions: Annotated[float, "equally strong directions that would spread the pair distances as much, d (s / sd)²"]
    norm: Annotated[Moments, "`unseen.geometry.norms`"]
    distance: Annotated[Moments, "`unseen.geometry.pair_distances`"]
    angle: Annotated[Moments, "degrees; `unseen.geometry.pair_angles`"]
    triangle: Annotated[Moments, "degrees; `unseen.geometry.triangle_angles`"]
    expected: ExpectedGeometry


class LevelGeometry(AtLevel):
    examples: LatentGeometry
    in_domain: LatentGeometry


class Separated(Result):
    """How well a linear classifier tells two sets of latents apart; `unseen.separability.separability`."""

    accuracy: Annotated[Score, "balanced, on latents that it was not fitted to"]
    train_accuracy: Annotated[float, "on those that it was fitted to"]
    null: Annotated[float, "mean accuracy of relabelled data"]
    null_high: Annotated[float, "its 95 % quantile"]
    p_value: Annotated[float, "share of relabellings at least as accurate"]
    bayes: Annotated[float | None, "the best possible, where it is known"]

    @property
    def apart(self) -> bool:
        return self.p_value <= 0.05


class LevelSeparated(Separated, AtLevel):
    pass


class Descended(Result):
    """What became of the images that came down from a level in one way."""

    way: Annotated[Way, "by stochastic decoding, or from latents turned towards noise"]
    at: Annotated[float, "its strength"]
    sigma: Annotated[float, "the noise level"]
    captured: Annotated[Score, "share that is taken for the training domain; `unseen.interference.Border.judge`"]
    probability: Annotated[float, "of the training domain, the mean; `unseen.interference.Border.judge`"]
    drift: Annotated[Score, "place between the domains' means, 0 to 1; `unseen.interference.Border.judge`"]
    distance: Annotated[Score, "from its example, in units of that between two; `study.unseen.interference.Judge`"]


class Interference(Result):
    """Mode interference: examples that came down again, as a classifier between the domains takes them."""

    descriptor: Annotated[str, "in whose features it works"]
    floor: Annotated[Score, "share of real examples that it takes for the training domain"]
    recognised: Annotated[Score, "share of the training domain that it recognises"]
    decoded: Annotated[int, "examples"]
    keys: list[str]
    curves: list[Descended]
    gap: Annotated[
        Score | None,
        "squared kernel distance of the examples from the training domain; `audit.distribution.kernel_distance`",
    ] = None


Centre = Literal["mean", "origin"]


class Stop(Result):
    """The images of one place on the way from one example to another."""

    centre: Annotated[Centre, "what the latents turn about: their mean, or the origin; `unseen.geometry.walk`"]
    at: Annotated[float, "the share of the way"]
    drift: Annotated[Score, "place between the domains' means, 0 to 1; `unseen.interference.Border.judge`"]


class Walk(AtLevel):
    """From example to example by their latents, decoded without noise."""

    pairs: Annotated[list[list[str]], "of keys"]
    stops: list[Stop]


class KeptShare(AtLevel):
    kept: Annotated[Score, "share of images that are not captured"]


class WayKept(Result):
    """What one way keeps of the domain."""

    way: Way
    at: float
    levels: list[KeptShare]
    highest_kept: Annotated[
        float | None, "the highest level that keeps the domain; `unseen.bandwidth.recommended_level`"
    ]


class Bandwidth(Result):
    """Up to which level the domain is kept."""

    ways: list[WayKept]
    recommended: Annotated[float | None, "the level that stochastic decoding of ``eta`` keeps"]
    eta: float
    search: Annotated[list[SearchedLevel], "what `expand --sigma auto` would find; none with --brief"]
    searched: Annotated[float | None, "the level that it takes"]


class LevelSymmetry(AtLevel):
    """Examples turned and then inverted, beside inverted and then turned; `study.unseen.symmetry.symmetry`."""

    equivariance: Annotated[Score, "distance of the two, in units of that between two examples"]
    elements: Annotated[dict[str, float], "the same of each symmetry"]
    separable: Annotated[Separated | None, "originals of one half against turned ones of the other"]
    normality: Annotated[list[Check], "of the turned ones"]
    gain: Annotated[Score, "what turned latents add to the log density of others, nats per dimension"]

    @property
    def refused(self) -> list[Check]:
        return [check for check in self.normality if check.refused]


class Symmetries(Result):
    group: list[str]
    n: Annotated[int, "examples"]
    levels: list[LevelSymmetry]


class AnalyseResult(Result):
    model: ModelFacts
    examples: SourceFacts
    physical: PhysicalFacts | None = None
    in_domain: InDomain
    gain: Annotated[
        ModelGain | None,
        "what the network knows of the examples; null with --brief, or where too few of its levels leave something to find",
    ] = None
    levels: Annotated[list[float], "that were looked at, ascending"]
    steps: Annotated[int, "of the climb to the last level"]
    down_steps: Annotated[int, "of a descent from it"]
    solver: str
    latent_certificate: list[LevelCertificate]
    normality: list[LevelChecks]
    geometry: list[LevelGeometry]
    separability: list[LevelSeparated]
    interference: Interference
    bandwidth: Bandwidth
    symmetry: Symmetries | None
    walk: Walk | None = None
