"""`farfield train`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import DeviceName, Seed, amount
from farfield.command.text import MOST_IMAGES, as_counts
from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Optimization(Settings):
    """Everything that decides a training besides the data and the network."""

    panel: ClassVar[str] = "How it is trained"
    in_request: ClassVar[bool] = False  # but as the recipe that the trainer makes of it

    length: Annotated[int, amount("How long to train, in images with repetition: 20000, 500k, 50M.", old=("--images",))]
    batch_size: Annotated[int, Option("How many images a step takes, over all processes.", least=1)] = 64
    accumulate: Annotated[
        int, Option("Divide each process's share of a batch into this many parts, to save memory.", least=1)
    ] = 1
    learning_rate: Annotated[float, Option("The highest learning rate (Adam).", above=0)] = 1e-3
    warmup: Annotated[int, amount("Raise the learning rate over this many images.")] = 10_000
    decay: Annotated[
        Literal["constant", "cosine", "linear", "rsqrt"],
        Option(
            "How the learning rate falls: cosine and linear go down to 0, rsqrt as the inverse square root of the"
            " images."
        ),
    ] = "constant"
    weight_decay: Annotated[float, Option("The weight decay, decoupled (AdamW).", least=0)] = 0.0
    ema: Annotated[
        str,
        Option(
            "Average the weights: half-lives in images (500k) or power:0.1, with commas between; the first is the"
            " model."
        ),
    ] = "500k"
    clip: Annotated[float, Option("Clip gradients to this norm; 0 clips none.", least=0)] = 1.0
    flips: Annotated[bool, Option("Mirror images at random.")] = False
    turns: Annotated[bool, Option("Turn square images by quarters at random.")] = False
    level_law: Annotated[
        tuple[float, ...] | None,
        Option(
            "The mean and standard deviation of ln sigma in training: -1.2,1.2.",
            old=("--levels",),
            default="the family's",
        ),
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Option("The precision of the network's arithmetic; its weights are float32."),
    ] = "float32"
    seed: Seed = 0

    def check(self) -> None:
        if self.level_law is not None and not (len(self.level_law) == 2 and self.level_law[1] > 0):
            given = ",".join(f"{v:g}" for v in self.level_law)
            raise FarfieldError(
                f"--level-law {given}: expected a mean and a standard deviation of ln sigma, such as -1.2,1.2"
            )


@dataclass(frozen=True)
class Architecture(Settings):
    """The network that is trained from scratch, and what it is trained to say."""

    panel: ClassVar[str] = "The network"
    in_request: ClassVar[bool] = False  # but as the configuration that is built of it

    network: Annotated[
        Literal["ddpmpp", "ncsnpp", "adm", "unet2d", "mixer", "dit"],
        Option(
            "The architecture; unet2d is that of diffusers, dit a transformer, mixer quick on a CPU; the last two take images of "
            "one size."
        ),
    ] = "ddpmpp"
    precond: Annotated[
        Literal["edm", "ddpm", "v", "iddpm", "vp", "ve", "flow"] | None,
        Option("What the network predicts, and at which levels.", default="edm; --from: its own"),
    ] = None
    width: Annotated[int, Option("How many channels the network has at full resolution.", least=1)] = 128
    multipliers: Annotated[
        tuple[int, ...] | None,
        Option("The multiples of the width at each halving: 2,2,2.", default="the network's own"),
    ] = None
    blocks: Annotated[
        int | None, Option("How many residual blocks each resolution has.", least=1, default="the network's own")
    ] = None
    attention: Annotated[
        tuple[int, ...] | None, Option("The resolutions with attention: 16,8, or none.", default="the network's own")
    ] = None
    dropout: Annotated[float, Option("The share of activations dropped in training.", least=0, most=0.99)] = 0.0
    sigma_data: Annotated[float | None, Option("For edm: the data's standard deviation.", default="0.5")] = None
    labels: Annotated[bool, Option("Condition on the classes of the data.")] = False
    augment: Annotated[
        float, Option("The probability of each non-leaking augmentation; EDM's is 0.12.", least=0, most=1)
    ] = 0.0


@dataclass(frozen=True)
class Watch(Settings):
    """What is looked at while a training runs."""

    panel: ClassVar[str] = "What is looked at"

    every: Annotated[
        int | None,
        amount(
            "Write a row of the log after this many images, with its held-out loss and samples.",
            default="a fiftieth, at least 50 steps",
        ),
    ] = None
    snapshots: Annotated[
        int | None, amount("Save a snapshot of the model after this many images.", default="a quarter")
    ] = None
    at: Annotated[
        tuple[int, ...],
        Option(
            "Save a snapshot after so many images too: 1k,2k,5k.",
            least=1,
            most=MOST_IMAGES,
            read=as_counts,
            metavar="IMAGES",
            key=None,  # but where it is given: requests are as they were before there was such an option
        ),
    ] = ()
    samples: Annotated[int, Option("How many samples to draw for each row of the log.", least=0)] = 16
    log: Annotated[
        Literal["tensorboard"] | None,
        Option(
            "Write the log for TensorBoard as well: tensorboard/ in the run folder (the extra tensorboard).", key=None
        ),
    ] = None
    minutes: Annotated[
        float, Option("Save the state after this many minutes, the most that an interruption loses.", least=0, key=None)
    ] = 5.0


@dataclass(frozen=True)
class Train(Settings):
    """Train a model, from scratch or from another one; the same command continues it."""

    wing: ClassVar[str] = "Models"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield train --data photos/ --length 2M -o runs/model",
        "farfield train --data photos/ --from cifar10-32 --layers '*mid_block*' --length 200k",
    )

    data: Annotated[
        str,
        Option("Training images: a folder, zip, npz, or a bundled domain (see `farfield domains`).", names="source"),
    ]
    recipe: Optimization
    start: Annotated[
        str | None,
        Option("Train this model further (fine-tuning) instead of a new network.", "--from", key="from", names="model"),
    ] = None
    layers: Annotated[
        tuple[str, ...],
        Option(
            "With --from: train these layers alone, by their names or patterns such as '*mid_block*', and leave the others as"
            " they are; may be repeated.",
            metavar="PATTERN",
            key=None,  # but where it is given
        ),
    ] = ()
    max_images: Annotated[
        int | None, Option("Train on this many images, drawn at random; the subset of N holds that of N/2.", key=None)
    ] = None
    heldout: Annotated[
        str | None, Option("Measure the held-out loss on these images, which are never trained on.", names="source")
    ] = None
    heldout_images: Annotated[int, Option("Use at most this many held-out images.", least=1, key=None)] = 128
    architecture: Architecture = Architecture()
    watch: Watch = Watch()
    float16: Annotated[bool, Option("Keep snapshots in float16.", old=("--half",), key="half")] = False
    compiled: Annotated[bool, Option("Compile the network (torch.compile).", "--compile", key=None)] = False
    device: DeviceName = "auto"

    def check(self) -> None:
        if self.start is not None and (self.architecture.labels or self.architecture.augment):
            raise FarfieldError("--labels and --augment decide the network; --from has its own: leave them out")
        if self.layers and self.start is None:
            raise FarfieldError(
                "--layers without --from: the others would stay at random; give the model to begin with"
            )


class LogRow(Result):
    """A row of ``log.json``."""

    images: Annotated[int, "seen so far"]
    loss: Annotated[float | None, "mean over the steps since the row before; `diffusion.training.Training.step`"]
    heldout: Annotated[float | None, "loss of held-out images; `diffusion.objective.heldout_loss`"]
    rate: Annotated[float, "the learning rate"]
    seconds: Annotated[float | None, "since the row before"]


class TrainedModel(Result):
    """The last snapshot."""

    name: Annotated[str, "its folder"]
    shape: Annotated[list[int], "of its images, [C, H, W]"]
    parameters: Annotated[int, "of the network"]
    trained: Annotated[int | None, "of these, weights that were trained; null for all"] = None


class TrainResult(Result):
    data: Annotated[str, "the training set, as it was given"]
    n: Annotated[int, "training images"]
    model: TrainedModel
    images: Annotated[int, "seen in training, with repetition"]
    epochs: Annotated[float, "images seen over training images"]
    loss: Annotated[float | None, "mean over the last stretch; `diffusion.training.Training.step`"]
    heldout: Annotated[
        float | None, "loss of held-out images by the averaged weights; `diffusion.objective.heldout_loss`"
    ]
