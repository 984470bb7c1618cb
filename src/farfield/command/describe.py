"""`farfield describe` and `farfield train-descriptor`: what they take and what they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from farfield.command.likeness import FeatureBatch, trusted
from farfield.command.option import LARGEST_SEED, Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import DeviceName, Limit, Trust, amount


@dataclass(frozen=True)
class Describe(Settings):
    """Turn images into features, which `farfield score` takes in place of images."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield describe photos/ --descriptor copy -o runs/features",
        "farfield describe photos/ --descriptor dinov2 --limit 1000",
    )

    source: Annotated[
        str, Argument("A folder, zip or npz of images, a run folder, or a bundled domain.", names="source")
    ]
    descriptor: Annotated[
        str,
        Option(
            "Describe images by copy, pixels, model, sscd, sscd-large, inception, dinov2, clip (each of the last "
            "five also with :PATH), copy:FOLDER, or a network's file.",
            names="descriptor",
        ),
    ] = "copy"
    trust: Trust = ()
    references: Annotated[
        str | None, Option("For pixels: whiten on these images.", key=None, default="the source", names="source")
    ] = None
    model: Annotated[str | None, Option("For model: take the features of this model.", key=None, names="model")] = None
    limit: Limit = None
    batch_size: FeatureBatch = 256
    device: DeviceName = "auto"

    def check(self) -> None:
        trusted([self.descriptor], self.trust)


class DescribeResult(Result):
    source: Annotated[str, "as it was given"]
    n: Annotated[int, "images"]
    length: Annotated[int, "of a feature vector"]
    descriptor: Annotated[str, "its name, which says all that its numbers depend on; `audit.named.open_descriptor`"]


@dataclass(frozen=True)
class TrainDescriptor(Settings):
    """Train a copy detector on images of your own, to be used as copy:OUT/model."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield train-descriptor photos/ --length 320k",
        "farfield train-descriptor photos/ --length 5M --width 64",
    )

    data: Annotated[str, Argument("The training images, brought to 32×32 RGB; classes are not used.", names="source")]
    images: Annotated[
        int, amount("How long to train, in images with repetition: 320k, 5M.", "--length", old=("--images",))
    ]
    max_images: Annotated[
        int | None, Option("Train on this many images, the first.", "--limit", least=1, key=None, old=("--max-images",))
    ] = None
    batch_size: Annotated[int, Option("How many images a step takes, each copied twice.", least=8, key=None)] = 256
    width: Annotated[int, Option("How many channels the network has at 16×16.", least=1, key=None)] = 48
    features: Annotated[int, Option("The length of the feature vectors.", least=1, key=None)] = 128
    learning_rate: Annotated[float, Option("The highest learning rate (AdamW).", key=None)] = 2e-3
    entropy: Annotated[float, Option("The weight of the entropy loss.", least=0, key=None)] = 5.0
    mixed: Annotated[
        float, Option("The share of copies that are mixed with another image.", least=0, most=1, key=None)
    ] = 0.4
    half: Annotated[bool, Option("Compute the network in bfloat16.", "--bfloat16", key=None, old=("--half",))] = False
    minutes: Annotated[float, Option("Save the state after this many minutes.", least=0, key=None)] = 2.0
    seed: Annotated[int, Option("The seed of weights, order and copies.", least=0, most=LARGEST_SEED, key=None)] = 0
    device: DeviceName = "auto"

    @classmethod
    def command(cls) -> str:
        return "train-descriptor"


class TrainDescriptorResult(Result):
    data: Annotated[str, "as it was given"]
    n: Annotated[int, "images of it"]
    images: Annotated[int, "trained on, with repetition"]
    parameters: Annotated[int, "of the network"]
    model: Annotated[str, "the folder that it lies in"]
    contrastive: Annotated[float, "the last row of the log; `audit.copy_loss.contrastive`"]
    spread: Annotated[float, "the last row of the log; `audit.copy_loss.spread`"]
