"""`farfield expand`: what it takes and what it leaves; the sampler, for whatever else draws new latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.contribution import ModelGain, NetworkAdds
from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.likeness import Descriptors
from farfield.command.measures import (
    Acceptance,
    BySet,
    Certificate,
    Codec,
    FieldSets,
    Labelled,
    LocalCopies,
    Nearest,
    Novelty,
    PhysicalFacts,
    RoundTrip,
    SearchedLevel,
    Selection,
    Standing,
)
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import (
    Examples,
    FieldFill,
    FirstSeed,
    Loading,
    Model,
    Numerics,
    Reading,
    SamplerName,
    SolverName,
    Steps,
)
from farfield.command.text import as_text
from farfield.core.error import FarfieldError

Level = Literal["usual", "last", "auto"]


@dataclass(frozen=True)
class Sampler(Settings):
    """How new latents are drawn."""

    panel: ClassVar[str] = "How new images are drawn"

    sampler: Annotated[
        SamplerName,
        Option(
            "How to draw new images. "
            "auto: noise or sdedit where one of them makes new images, else what copies least; sdedit: an example, or "
            "several mixed place by place, under noise, walked down with fresh noise and without their own patches; noise: the "
            "same from noise alone; patchwork: each place mostly one of several inverted examples; interpolation: between two, "
            "on their shell; gaussian: draws of the prior; perturbation: of an example towards a draw; geometric: draws "
            "accepted by distance and angles."
        ),
    ] = "auto"
    prior: Annotated[
        Literal["isotropic", "diagonal", "lowrank"], Option("Fit this law to the examples' latents and draw from it.")
    ] = "isotropic"
    t: Annotated[
        tuple[float, ...],
        Option(
            "The place between the two ends of an interpolation or perturbation: 0.5, or a range 0.25,0.5.",
            least=0,
            most=1,
        ),
    ] = (0.25, 0.5)
    centre: Annotated[
        bool,
        Option("Interpolate around the examples' mean; --no-centre is the published form.", "--centre/--no-centre"),
    ] = True
    partner: Annotated[
        Literal["example", "prior"], Option("Interpolate towards an example or a draw of the prior.")
    ] = "example"
    candidates: Annotated[
        int,
        Option(
            "Decode this many candidates per image, and keep of the new ones that most like the examples; 1 keeps"
            " what comes. Where latents are mixed and every start copies, auto takes 3 or more.",
            least=1,
        ),
    ] = 1
    reach: Annotated[
        float,
        Option(
            "Where examples are mixed, each place keeps to one of them over this part of the image's side.",
            above=0,
            most=1,
        ),
    ] = 1 / 16
    calibrate: Annotated[
        bool, Option("Correct the frozen denoiser on the examples, in closed form.", "--calibrate/--no-calibrate")
    ] = True
    network: Annotated[
        bool,
        Option("Ask the frozen network; --no-network is the control: the same without it.", "--network/--no-network"),
    ] = True
    patches: Annotated[
        bool, Option("Let the examples' patches take part in the correction.", "--patches/--no-patches")
    ] = True
    symmetry: Annotated[
        str | None,
        Option(
            "Take patches of the examples turned and mirrored too, by the domain's symmetries: rot90,flip or flip.",
            default="none",
        ),
    ] = None
    fresh_noise: Annotated[
        bool,
        Option(
            "Mix the signal of physical fields alone, and give new fields fresh noise of the law that the examples' flat "
            "parts have, where they tell one.",
            "--fresh-noise/--no-fresh-noise",
        ),
    ] = True
    ivar: Annotated[
        str | None,
        Option(
            "Take the noise of physical fields from this HDU or array beside them, which holds their inverse variance pixel by "
            "pixel, such as IVAR; where it is not positive the noise is the field's median.",
            default="as strong as in the flat parts, the same everywhere in a field",
        ),
    ] = None
    parents: Annotated[
        int | None,
        Option(
            "Mix this many examples in an image; take more where the page finds copies, as with textures and fields.",
            least=1,
            default="2; of sdedit 1, or 2 where that comes nearer to the examples, and at a --sigma of yours 1",
        ),
    ] = None

    @property
    def mixed(self) -> int:
        """How many examples make one image."""
        return self.parents or (2 if self.sampler == "patchwork" else 1)

    def check(self) -> None:
        if not 1 <= len(self.t) <= 2 or self.t[0] > self.t[-1]:
            raise FarfieldError(
                f"--t {as_text(self.t)}: expected one place between two latents, or two such places, low first"
            )
        if not (self.network or self.calibrate):
            raise FarfieldError("--no-network --no-calibrate: nothing is left to decode with; leave one of the two out")
        if self.ivar is not None and not self.fresh_noise:
            raise FarfieldError(
                f"--ivar {self.ivar} --no-fresh-noise: no noise is told apart; leave one of the two out"
            )
        object.__setattr__(self, "t", (self.t[0], self.t[-1]))


@dataclass(frozen=True)
class Expand(Settings):
    """Make new images of a domain the model never saw, from a few examples and without training."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield expand cifar10-32 hubble",
        "farfield expand cifar10-32 my-images/ --examples 100 -n 256 -o runs/mine",
    )

    model: Model
    examples: Examples
    n: Annotated[int, Option("How many new images to make.", "-n", least=1)] = 64
    count: Annotated[
        int | None,
        Option(
            "Use this many of the images as examples and hold out the rest.",
            "--examples",
            least=2,
            default="all, up to 100",
        ),
    ] = None
    heldout: Annotated[
        str | None, Option("Take held-out images from here instead: a path or a domain.", names="source")
    ] = None
    descriptors: Descriptors = Descriptors()
    seed: FirstSeed = 0
    reading: Reading = Reading()
    fill: FieldFill = "median"
    sampler: Sampler = Sampler()
    sigma: Annotated[
        float | Level,
        Option(
            "The noise level of the latents: a number, last, auto (searched for on the examples), or usual (20, "
            "or the last if that is lower; for sdedit the lowest whose samples copy no more than the examples "
            "copy one another)."
        ),
    ] = "usual"
    steps: Steps = 24
    solver: SolverName = "multistep"
    control: Annotated[
        bool,
        Option(
            "Make the same seeds without the network too, and say what the network adds to the samples.",
            "--control/--no-control",
        ),
    ] = True
    loading: Loading = Loading()

    @property
    def only_makes(self) -> bool:
        return self.sampler.sampler in ("auto", "sdedit", "noise")

    @property
    def numerics(self) -> Numerics:
        """At the level given, if it is a number."""
        level = None if isinstance(self.sigma, str) else self.sigma
        return Numerics(self.steps, self.solver, self.loading, level)


class ExpandResult(Result):
    """Beside it: `config.json` (the request, versions, start, command line), `geometry.json` (lengths and angles of
    latents), `search.json`, `examples/`, `calibration/` (a row a level: offsets, weights, errors and shares of
    `unseen.calibration.Level`), `latents/`, `reconstructions/` (of 16), `pilot/`, `sampled/` (the latents that were kept),
    `samples/`, `control/` (the same without the network), `base/`, `references/` (64 of them), `features/` as
    safetensors shards with keys, `png/` (the samples as pictures), `grids/`
    and `report.html`. Of physical data also `stretch.json`, and in `physical/` the fields in physical units, masked
    pixels as NaN: `examples.npz`, `references.npz`, `real.npz` and `samples.npz` (`images` [n, C, H, W] float64, `keys`,
    `unit`), and each sample of FITS data as a FITS file named by its seed.
    """

    model: ModelFacts
    examples: SourceFacts
    references: Annotated[SourceFacts | None, "held-out images that the measures compare with"]
    physical: Annotated[PhysicalFacts | None, "of physical data"]
    sampler: Annotated[Sampler, "its settings, by their names in Python"]
    sigma_asked: Annotated[float | Level, "what was asked"]
    sigma: Annotated[float, "of the latents: the trained level that was used"]
    steps: Annotated[int, "in one direction"]
    solver: Annotated[str, "of samplers that walk down with fresh noise euler, whatever was asked"]
    network_calls: Annotated[int, "an image on its way down"]
    sigma_search: list[SearchedLevel] | None
    reconstruction: Annotated[RoundTrip | None, "null of samplers that invert nothing"]
    codec: Annotated[Codec | None, "of latent models"] = None
    latent_certificate: Annotated[Certificate | None, "null of samplers that invert nothing"]
    acceptance: Acceptance
    started: Annotated[
        int | None,
        "examples that samples start from, alone or mixed; null of other samplers, and of several candidates",
    ] = None
    selection: Annotated[Selection | None, "null with one candidate"]
    measures: Annotated[dict[str, BySet], "descriptor → set → all against the same references"]
    fields: Annotated[FieldSets | None, "of physical data with held-out fields"]
    novelty: Annotated[dict[str, Novelty], "by descriptor"]
    nearest: Annotated[dict[str, Nearest], "of each sample, in the first descriptor"]
    local_copies: Annotated[LocalCopies | None, "null with fewer than 3 examples"]
    labels: Annotated[dict[str, Labelled] | None, "by descriptor, where examples and held-out images have classes"] = (
        None
    )
    standing: Standing
    gain: Annotated[ModelGain | None, "what the network knows of the examples; null where it is not calibrated"] = None
    adds: Annotated[NetworkAdds | None, "what it adds to the samples; null without a control"] = None
    notes: Annotated[list[str], "what was left out, capped, or has to be kept in mind"]
    evaluations: Annotated[
        dict[str, int], "images through the network, by stage; `study.unseen.proposal.sampler_calls`"
    ]
