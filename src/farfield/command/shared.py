"""Options that mean the same in every command, and the groups of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from farfield.command.option import LARGEST_SEED, Argument, Option
from farfield.command.settings import LEFT_OUT, Settings
from farfield.command.text import MOST_IMAGES, as_count, as_device

Model = Annotated[
    str,
    Argument(
        "A model: cifar10-32, galaxies-64, digits-generalizing or digits-memorizing (bundled), a checkpoint file of any family, "
        "a folder, a hub id, a name of `farfield fetch`, empirical:DATA; "
        "with @PROMPT, latent diffusion under that prompt; py:package.module:function, your own code, which is run.",
        metavar="MODEL",
        names="model",
    ),
]
Source = Annotated[
    str,
    Argument(
        "A folder, zip, npz or file of images, a bundled domain (see `farfield domains`), or physical fields: FITS (also "
        "file.fits[1]), npy, npz, HDF5, TIFF.",
        names="source",
    ),
]
Examples = Annotated[
    str,
    Argument(
        "Images of the new domain: a folder, zip, npz, or a bundled domain (see `farfield domains`); or physical fields: "
        "FITS (also file.fits[1]), npy, npz, HDF5, TIFF.",
        names="source",
    ),
]
FirstSeed = Annotated[int, Option("The first seed; image k depends on seed k alone.", least=0, most=LARGEST_SEED)]
Seed = Annotated[int, Option("The seed of everything drawn at random.", least=0, most=LARGEST_SEED)]
BatchSize = Annotated[
    int, Option("How many images to process at a time; an interruption loses at most this many.", least=1)
]
DeviceName = Annotated[str, Option("Where to compute: auto, cpu, cuda, cuda:N or mps.", key=None, read=as_device)]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16", "float64", "auto"],
    Option(
        "The precision of the network's weights and activations. auto is float32; but where generate or expand make images and "
        "a probe finds bfloat16 quicker on this machine by a fifth, with images less than 2 % off, it is that."
    ),
]
Label = Annotated[
    int | None,
    Option("The class, for a class-conditional model; -1 is no class, if it was trained with label dropout."),
]
Sigma = Annotated[float | None, Option("The noise level of the latents.", default="the model's last level")]
Steps = Annotated[int, Option("How many steps the solver takes each way.", least=1)]
SamplerName = Literal["auto", "sdedit", "noise", "patchwork", "interpolation", "gaussian", "perturbation", "geometric"]
SolverKind = Literal["euler", "ddim", "heun", "midpoint", "multistep"]
SolverName = Annotated[SolverKind, Option("Solve with euler (DDIM), heun, midpoint or multistep.")]
Levels = Annotated[
    tuple[float, ...] | None, Option("The noise levels, with commas between.", default="8 between the model's ends")
]
Limit = Annotated[int | None, Option("Take only this many images, the first.", least=1)]
Strict = Annotated[bool, Option("Stop at a broken image instead of leaving it out.", key=None)]
StretchName = Annotated[
    str | None,
    Option(
        "Read the images as physical fields, stretched this way: auto, linear, log, asinh, percentile, or "
        "model (the model's own, which auto takes where it suits).",
        default="auto where found",
    ),
]
Patch = Annotated[int | None, Option("For physical fields: cut maps into squares of this many pixels.", least=1)]
Hdu = Annotated[
    str | None,
    Option("For physical fields: read this FITS HDU, or this array of an npz or HDF5 file.", default="first"),
]
FieldMask = Annotated[
    str | None,
    Option(
        "For physical fields: none, or the array that masks them: NAME (where it is not 0), NAME:valid (where"
        " it is 0), NAME:SAT,CR or NAME:1,3 (bits).",
        "--field-mask",
        default="only masks whose meaning a standard fixes",
    ),
]
FieldFill = Annotated[
    Literal["median", "drawn"],
    Option(
        "For physical fields: where pixels of examples are masked, show the network their field's median, or what it draws there "
        "itself, given the others.",
        "--field-fill",
        key=None,
    ),
]
Trust = Annotated[
    tuple[str, ...],
    Option(
        "Run the TorchScript program in this file of --descriptor, which can do whatever you can; may be repeated.",
        key=None,
        metavar="FILE",
    ),
]


@dataclass(frozen=True)
class Compute(Settings):
    """How a model is called: rows at a time, where, in which precision."""

    panel: ClassVar[str] = "How the model is run"

    batch_size: BatchSize = 64
    device: DeviceName = "auto"
    dtype: Dtype = "float32"


@dataclass(frozen=True)
class Loading(Compute):
    """How a model is loaded and called: for which class too."""

    label: Label = None


@dataclass(frozen=True)
class Copying(Loading):
    """How a model is called at copies of one point."""

    batch_size: Annotated[
        int, Option("How many copies of a point to process at a time; more take more memory, not less time.", least=1)
    ] = 32


@dataclass(frozen=True)
class Solving(Settings):
    """How the ODE of a model is solved, where the command knows the levels."""

    panel: ClassVar[str] = "How the model is run"

    steps: Steps = 24
    solver: SolverName = "multistep"
    loading: Loading = Loading()

    @property
    def sigma(self) -> float | None:
        """The level of the latents; None is the model's last."""
        return None


@dataclass(frozen=True)
class Numerics(Solving):
    """How the ODE of a model is solved, and up to which level."""

    sigma: Sigma = None


@dataclass(frozen=True)
class Reading(Settings):
    """How a source is read; pictures need none of it but ``strict``.

    A ``stretch`` reads the source as fields whatever its kind; without one fields are recognised, and it is ``auto``.
    """

    panel: ClassVar[str] = "How images and physical fields are read"

    strict: Strict = False
    stretch: StretchName = None
    patch: Patch = None
    hdu: Hdu = None
    mask: FieldMask = None

    def asked(self, physical: bool) -> dict[str, Any]:
        """What a request says of it: nothing, where pictures were read."""
        return {key: value if physical else LEFT_OUT for key, value in self.request().items()}


def amount(help: str, *flags: str, **more: Any) -> Option:
    """An amount of training, counted in images."""
    return Option(help, *flags, least=1, most=MOST_IMAGES, read=as_count, metavar="IMAGES", **more)


Answers = Annotated[
    tuple[str, ...],
    Option("Answer a question that the file leaves open; may be repeated.", "--set", metavar="NAME=VALUE"),
]


Show = Annotated[bool, Option("Open the page when it is done.", "--open", key=None)]


@dataclass(frozen=True)
class Printing(Settings):
    """How a command without a run folder says what it found."""

    as_json: Annotated[bool, Option("Print everything as JSON.", "--json")] = False
    quiet: Annotated[bool, Option("Show no progress bars.", "-q", "--quiet")] = False
