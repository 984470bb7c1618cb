"""What was measured of images and their latents: parts that several results hold."""

from __future__ import annotations

from typing import Annotated, Literal

from farfield.command.facts import Spread as Spread
from farfield.command.result import Result
from farfield.command.settings import LEFT_OUT
from farfield.command.shared import SamplerName
from farfield.core.score import Relation, Score


class RoundTrip(Result):
    """Images that were inverted and decoded again; `unseen.inversion.round_trip`."""

    psnr: Annotated[Spread, "dB, of a range of 2"]
    ssim: Spread
    max_error: Annotated[Spread, "the largest of an image's pixels, on the scale from −1 to 1"]
    n: int
    max_error_physical: Annotated[Spread | None, "the same in the unit of physical fields"] = None


class Codec(Result):
    """A latent model's autoencoder; `study.bench.carrier.Carrier.codec_limit`."""

    psnr: Annotated[Spread, "dB of what it returns of the images, without any noise"]
    inversion_psnr: Annotated[Spread, "dB of the round trip, held against what it returns"]


class Certificate(Result):
    """What latents of k steps are worth, by those of 2k; `unseen.inversion.convergence`."""

    steps: Annotated[list[int], "[k, 2k]"]
    difference: Annotated[Spread, "of the two latents, relative"]
    error: Annotated[Spread, "of those of k steps, as the difference implies it"]
    n: Annotated[int, "latents that were made again"]


class SearchedLevel(Result):
    """A noise level, and what starts there, that was tried; `study.unseen.bandwidth`, `study.unseen.start`."""

    sigma: float
    sampler: Annotated[SamplerName | None, "of `auto` and sdedit: how an image starts"] = None
    parents: Annotated[int | None, "of sdedit and patchworks: how many examples an image is made from"] = None
    discrepancy: Annotated[
        float | None,
        "squared MMD in the model's features: of candidates from one half of the examples to the other half; of starts "
        "that are new, to the examples",
    ] = None
    error: Annotated[float | None, "a standard error of it; of starts"] = None
    copies: Annotated[float | None, "share of copies among the candidates; of starts the largest of the scales'"] = None
    new: Annotated[bool | None, "of starts: whether they copy no more than examples copy one another"] = None
    calls: Annotated[
        int, "images through the network in trying it; a calibration of the search's own counts with the last"
    ] = 0
    chosen: bool


class Acceptance(Result):
    """Latents that a sampler drew."""

    proposed: int
    accepted: int
    rate: Annotated[float, "1 except for sampler `geometric`"]


class Selection(Result):
    """The choice among candidates; `unseen.selection`."""

    candidates: Annotated[int, "for each image"]
    pilot_copies: Annotated[float, "share of copies among those that the choice was fitted to"]


class Measures(Result):
    """A set of images beside the references, in one descriptor; a set too small for a measure goes without it."""

    kernel_distance: Annotated[Score | None, "squared, under a cubic kernel; `audit.distribution.kernel_distance`"] = (
        None
    )
    frechet_distance: Annotated[Score | None, "of the Gaussians; `audit.distribution.frechet_distance`"] = None
    frechet_infinity: Annotated[
        Score | None,
        "with infinitely many images; null unless half of them outnumber the features; `audit.distribution.frechet_distances`",
    ] = None
    precision: Annotated[Score | None, "`audit.coverage.prdc`"] = None
    recall: Annotated[Score | None, "`audit.coverage.prdc`"] = None
    density: Annotated[Score | None, "`audit.coverage.prdc`"] = None
    coverage: Annotated[Score | None, "`audit.coverage.prdc`"] = None
    c2st: Annotated[
        Score | None, "how often a classifier tells the two apart on images it has not seen; `audit.c2st.c2st`"
    ] = None
    c2st_null: Annotated[Score | None, "the same of relabelled images: the mean, and between what 95 % lie"] = None
    vendi: Annotated[Score | None, "how many different images the set amounts to; `audit.diversity.vendi_score`"] = None
    clusters: Annotated[
        Score | None,
        "mean distance of images nearest to one example (without examples, reference); n: such clusters; "
        "`audit.diversity.cluster_distance`",
    ] = None


BySet = dict[str, Measures]
"""Of each set; ``samples``, ``real`` (held-out images: the floor), ``base`` (the model's own samples: the ceiling)."""


class Novelty(Result):
    """How many samples repeat an example or another sample, in one descriptor; empty of fewer than 3 examples."""

    threshold: Annotated[
        float, "5 % quantile of the examples' leave-one-out nearest distances; `audit.memorization.copy_threshold`"
    ] = LEFT_OUT
    copies: Annotated[Score, "share of samples nearer to an example; `audit.memorization.novelty`"] = LEFT_OUT
    copies_floor: Annotated[Score | None, "the same of held-out images"] = LEFT_OUT
    duplicates: Annotated[Score, "share of samples nearer to another one; `audit.memorization.duplicates`"] = LEFT_OUT
    duplicates_floor: Annotated[Score | None, "the same of held-out images"] = LEFT_OUT


class Nearest(Result):
    """The example that is nearest to a sample; `audit.memorization.novelty`."""

    example: str
    distance: float
    copy: Annotated[bool, "whether it is within the threshold"]


Scale = Literal["whole", "quarters", "cells"]
Space = Literal["pixels", "physical units", "whitened units"]


class CopiedParts(Result):
    """The share of parts of images that are copies of the same part of an example; `audit.local.Parts.shares`."""

    scale: Annotated[Scale, "cells: sixteenths"]
    space: Annotated[
        Space,
        "in which distances are taken: pixels as the model has them; of fields also the other two; `audit.local.whitened`",
    ]
    samples: Score
    floor: Annotated[Score | None, "of held-out images"] = None


class LocalCopies(Result):
    """Images of which a quarter is a copy of the same quarter of an example; `audit.local.Parts.copies`."""

    samples: Score
    floor: Annotated[Score | None, "of held-out images"] = None
    parts: Annotated[list[CopiedParts] | None, "by scale"] = None


class Labelled(Result):
    """How sure a classifier of the examples' classes is of new images; `audit.labelled.sureness`."""

    classes: int
    accuracy: Annotated[Score, "on held-out real images"]
    commonest: Annotated[float, "share of the commonest class among these: the accuracy of guessing"]
    samples: Annotated[Score, "share of samples of which one class has a probability above 0.9"]
    real: Annotated[Score, "the same of held-out real images"]
    taught: Annotated[
        Score | None,
        "accuracy on held-out real images of a classifier that is taught by the samples alone, each in the class of the example "
        "that it was made from; null where samples are of several examples",
    ] = None


class StandingRow(Result):
    """One measure of samples beside the same of held-out images; `core.score.relation`."""

    measure: str
    space: Annotated[str, "the descriptor, the part with its space, or `fields`"]
    stands: Annotated[Relation, "where the samples stand"]


class Passed(Result):
    """Over measures, in how many images are told from held-out ones."""

    compared: Annotated[int, "measures"]
    apart: Annotated[int, "of them that tell the two apart"]


class Standing(Result):
    """Whether samples can be told from held-out images, over every measure; `audit.standing.standing`."""

    compared: Annotated[int, "measures"]
    apart: Annotated[int, "of them that tell the two apart: intervals that do not meet, fields beyond chance"]
    rows: list[StandingRow]
    control: Annotated[Passed | None, "the same seeds without the network, by the measures of features"] = None


class StretchChannel(Result):
    """The numbers of a stretch for one channel."""

    low: float
    high: float
    centre: Annotated[float, "of asinh, in physical units"]
    softening: Annotated[float, "of asinh, in physical units"]


class FittedStretch(Result):
    """From physical values to the model's and back, as in ``stretch.json``; `data.stretch`."""

    kind: str
    channels: list[StretchChannel]
    unit: str


class NoiseFacts(Result):
    """The noise of fields as their flat parts or their variance tell it, in their unit; `data.noise`. A number a channel."""

    sigma: Annotated[list[float], "its standard deviation: the median over the examples that tell of it"]
    least: Annotated[list[float], "the same of the example with the least"]
    most: list[float]
    length: Annotated[list[float], "pixels over which its correlation falls to 1/e"]
    flat: Annotated[float, "share of the pixels of these examples that are flat"]
    fields: Annotated[int, "examples that tell of it"]
    photons: Annotated[
        list[float] | None,
        "variance that a unit of signal adds, where the variance is known; `data.variance.known_noise`",
    ] = None


class PhysicalFacts(Result):
    """Physical fields that were read; `study.bench.physical.describe_fields`."""

    source: Annotated[str, "fits, hdf5, tiff or numpy"]
    unit: Annotated[str, "as the files state it"]
    channels: int
    scale: Annotated[float, "pixels of the file per pixel of a field"]
    masked: Annotated[float, "share of the examples' pixels"]
    range: Annotated[tuple[float, float], "of the examples' values"]
    stretch_asked: str
    stretch: FittedStretch
    patch: int | None
    hdu: str | None
    mask: str | None
    noise: Annotated[
        NoiseFacts | None, "what samples were given anew; null where no law was found, or none asked for"
    ] = None


class Worst(Result):
    """The largest |ratio − 1| of two power spectra, as a score, and where it lies."""

    k: float
    value: float
    n: int
    low: float | None
    high: float | None
    chance: Annotated[float, "what sets of one law and these sizes stay below in 95 %"]

    @property
    def score(self) -> Score:
        return Score(self.value, self.n, self.low, self.high)


class Spectrum(Result):
    """Two sets' mean power in shells of the wavenumber."""

    k: Annotated[list[float], "waves per side"]
    generated: list[Score]
    real: list[Score]
    ratio: list[Score | None]
    worst: Annotated[Worst, "over the resolved scales"]
    resolved: Annotated[tuple[int, int], "the first and the last wavenumber"]


class Quantiles(Result):
    levels: list[float]
    generated: list[Score]
    real: list[Score]


class PixelChance(Result):
    """What two sets of one law and these sizes stay below in 95 %."""

    wasserstein: float
    ks: float


class PixelLaws(Result):
    """Two sets' laws of the pixels."""

    quantiles: Quantiles
    wasserstein: Annotated[Score, "in standard deviations of the real pixels; `audit.field.pixel_distances`"]
    ks: Annotated[Score, "Kolmogorov–Smirnov; `audit.field.pixel_distances`"]
    chance: PixelChance


class Profile(Result):
    """Two sets' means over rings around the centre."""

    r: Annotated[list[float], "pixels"]
    generated: list[Score]
    real: list[Score]
    ratio: list[Score | None]


class MeanSpread(Result):
    mean: float
    sd: float


class PerField(Result):
    generated: MeanSpread
    real: MeanSpread


class Moment(Result):
    """One moment of the pixels of two sets; `audit.field.moments`."""

    per_field: Annotated[PerField, "over the fields"]
    generated: Annotated[Score, "of all pixels together"]
    real: Score


class FieldChannel(Result):
    """One channel of two sets of fields."""

    spectrum: Spectrum | None = None
    log_spectrum: Annotated[Spectrum | None, "of the logarithm, where all pixels are positive"] = None
    pixels: PixelLaws | None = None
    profile: Profile | None = None
    moments: Annotated[dict[str, Moment] | None, "mean, variance, skewness, kurtosis"] = None


class FieldCounts(Result):
    generated: int
    real: int


class _FieldSets(Result):
    n: FieldCounts
    shape: Annotated[list[int], "[C, H, W]"]
    window: Literal["hann"] | None


class FieldMeasures(FieldChannel, _FieldSets):
    """A set of physical fields beside held-out ones; `audit.field.compare_fields`. Of several channels each by itself."""

    channels: list[FieldChannel] | None = None


class FieldSets(Result):
    """Samples, and other held-out fields as the floor, each beside the held-out references, in physical units."""

    unit: str
    samples: FieldMeasures | None = None
    real: FieldMeasures | None = None
    left_out: Annotated[dict[str, str] | None, "why, by the set, where there were too few fields"] = None
    pixel: Annotated[float | None, "the side of a pixel, where the first example's header states it"] = None
    pixel_unit: Annotated[str, "of ``pixel``; degrees are given in seconds of arc"] = ""
