"""`farfield generate`: what it takes and what it leaves; how samples are made, for whatever else makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from farfield.command.facts import ModelFacts
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Compute, Loading, Model, SolverKind
from farfield.command.text import as_labels, as_range, show_range
from farfield.core.error import FarfieldError
from farfield.core.seeds import LARGEST

Form = Literal["png", "shards", "npz"]


@dataclass(frozen=True)
class Sampling(Settings):
    """How a model's own images are made."""

    solver: Annotated[
        SolverKind | None,
        Option(
            "Solve with euler (or ddim), heun, midpoint or multistep.",
            default="multistep; euler with --eta, heun with --churn",
        ),
    ] = None
    steps: Annotated[int, Option("How many steps the solver takes.", least=1)] = 24
    sigma_max: Annotated[float | None, Option("Begin at this noise level.", default="the model's last")] = None
    sigma_min: Annotated[float | None, Option("End at this noise level.", default="the model's first")] = None
    rho: Annotated[
        float | None,
        Option(
            "Space the levels evenly in the root of this order, as EDM does with 7.",
            above=0,
            below=math.inf,
            default="most of them where images are decided",
        ),
    ] = None
    eta: Annotated[float, Option("Set DDIM's eta: 0 is deterministic, 1 ancestral sampling.", least=0, most=1)] = 0.0
    form: Annotated[
        Form,
        Option(
            "Write png (a file for each seed), shards (float32), or npz (shards, and 8 bits in one file).", "--format"
        ),
    ] = "png"
    loading: Compute = Compute()
    churn: Annotated[
        float, Option("Add noise before each step (EDM's S_churn); 0 adds none.", least=0, below=math.inf)
    ] = 0.0
    churn_min: Annotated[float, Option("The lowest level with churn (S_min).", least=0, key=None)] = 0.0
    churn_max: Annotated[float, Option("The highest level with churn (S_max).", least=0, key=None)] = math.inf
    churn_noise: Annotated[
        float, Option("The scale of churn's noise (S_noise).", above=0, below=math.inf, key=None)
    ] = 1.0
    labels: Annotated[
        tuple[int, ...],
        Option(
            "The class of all images; of several (0-9), seed k gets the one at k modulo n; -1 is no class, if the"
            " model was trained with label dropout.",
            "--label",
            "--labels",
            least=-1,
            read=as_labels,
            show=show_range,
        ),
    ] = ()

    def check(self) -> None:
        if self.eta > 0 and self.churn > 0:
            raise FarfieldError(
                f"--eta {self.eta:g} and --churn {self.churn:g}: both put noise in; leave one of the two out"
            )
        if -1 in self.labels and len(self.labels) > 1:
            raise FarfieldError("--labels -1 with others: expected it alone; it is no class")
        if self.churn_min > self.churn_max:
            raise FarfieldError(f"--churn-min {self.churn_min:g}: expected at most --churn-max, {self.churn_max:g}")

    @property
    def rule(self) -> str:
        """The solver's name."""
        if self.solver is None:
            return "euler" if self.eta > 0 else "heun" if self.churn > 0 else "multistep"
        return "euler" if self.solver == "ddim" else self.solver

    @property
    def labelled(self) -> Loading:
        """How the model is loaded: for the class of the highest number that is asked for, if any is."""
        compute = self.loading
        return Loading(compute.batch_size, compute.device, compute.dtype, max(self.labels, default=None))

    def asked(self) -> dict[str, Any]:
        """What a request says of the solver and of churn."""
        values = {
            "amount": self.churn,
            "low": self.churn_min,
            "high": self.churn_max,
            "noise": self.churn_noise,
        }
        return {"solver": self.rule, "churn": {k: f"{v:g}" for k, v in values.items()} if self.churn > 0 else None}

    def request(self, **resolved: Any) -> dict[str, Any]:
        return super().request(**self.asked(), **resolved)


@dataclass(frozen=True)
class Generate(Settings):
    """Make a model's own images, from the same noise for every model, whatever its family."""

    wing: ClassVar[str] = "Models"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield generate cifar10-32",
        "farfield generate MODEL --seeds 0-9999 --format npz -o runs/a",
    )

    model: Model
    seeds: Annotated[
        tuple[int, ...] | None,
        Option(
            "Make the images of these seeds: 0-63 or 1,5,9-12. Image k depends on seed k alone.",
            least=0,
            most=LARGEST,
            read=as_range,
            show=show_range,
            default="0-63; with --noise all that are there",
        ),
    ] = None
    sampling: Sampling = Sampling()
    each: Annotated[
        Literal["snapshot", "label"] | None,
        Option(
            "Make the images of all seeds with each snapshot of a training (MODEL is its folder), or under each class of"
            " --labels: each/NAME/ for every one, as shards.",
            key=None,  # but where it is given: requests are as they were before there was such an option
        ),
    ] = None
    noise: Annotated[
        str | None,
        Option(
            "Begin at the noise in this npz or npy ([n, C, H, W] or [n, H, W, C], of variance 1, with keys), as samples of "
            "another code did.",
            key=None,
            default="that of the seeds",
        ),
    ] = None

    @property
    def loading(self) -> Loading:
        """How the model is loaded."""
        return self.sampling.labelled

    @property
    def only_makes(self) -> bool:
        return True

    def check(self) -> None:
        if self.each is not None and self.sampling.form != "shards":
            raise FarfieldError(f"--each {self.each}: expected --format shards with it")
        if self.each == "label" and not self.sampling.labels:
            raise FarfieldError("--each label: expected --labels, such as --labels 0-9")
        if self.seeds is None:
            return
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise FarfieldError(f"--seeds: expected different whole numbers, found {len(self.seeds)} of them")


class ChurnFacts(Result):
    """EDM's stochastic sampler; `diffusion.solver.Churn`."""

    amount: float
    low: float
    high: Annotated[float, "null for no bound"]
    noise: float


class SampleCalls(Result):
    """Images through the network."""

    per_image: int
    total: int


class GenerateResult(Result):
    model: ModelFacts
    seeds: str
    n: Annotated[int, "images"]
    each: Annotated[list[str] | None, "the folders in each/, of so many images too; null for samples/ alone"] = None
    solver: str
    steps: int
    sigma: Annotated[tuple[float, float], "the highest and the lowest level"]
    eta: float
    churn: ChurnFacts | None
    labels: list[int]
    noise: Annotated[str | None, "the file that it came from; null for that of the seeds"] = None
    format: Form
    network_calls: SampleCalls
