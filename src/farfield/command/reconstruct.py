"""`farfield reconstruct` and `farfield invert`: what they take and what they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from farfield.command.measures import Certificate, Codec, PhysicalFacts, RoundTrip
from farfield.command.option import LARGEST_SEED, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Loading, Model, Numerics, Reading, Sigma, SolverKind, Source
from farfield.command.text import as_decibels
from farfield.core.error import FarfieldError

MethodName = Literal["explicit", "fixed-point", "reversible-heun", "bdia", "belm", "edit-friendly", "auto"]


@dataclass(frozen=True)
class Choice(Settings):
    """The method of inversion: by name, or ``auto`` with two budgets for the worst image of a probe."""

    method: Annotated[
        MethodName, Option("How to invert; auto: the cheapest that meets --round-trip and --latent.", key=None)
    ] = "explicit"
    round_trip: Annotated[
        float,
        Option(
            "For auto: the PSNR that every image must come back with, as far as a latent model's codec lets it.",
            above=0,
            below=300,
            read=as_decibels,
            show=lambda value: f"{value:g}dB",
            key=None,
        ),
    ] = 40.0
    latent: Annotated[
        float, Option("For auto: the largest relative error that latents may have.", above=0, below=1, key=None)
    ] = 1e-2
    eta: Annotated[float, Option("For edit-friendly: how much noise a step adds.", above=0, most=1, key=None)] = 1.0
    seed: Annotated[
        int,
        Option(
            "For edit-friendly: the seed of the noise; an image's own depends on its name and this.",
            least=0,
            most=LARGEST_SEED,
            key=None,
        ),
    ] = 0


@dataclass(frozen=True)
class Invert(Settings):
    """Turn images into unit-variance latents, and certify them by k against 2k steps."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield invert cifar10-32 retina",
        "farfield invert cifar10-32 retina --method reversible-heun",
    )

    model: Model
    images: Source
    reading: Reading = Reading()
    sigma: Sigma = None
    steps: Annotated[
        int | None, Option("How many steps to take each way.", least=1, default="24, or found by auto")
    ] = None
    solver: Annotated[
        SolverKind | None,
        Option(
            "Solve with euler (DDIM), heun, midpoint or multistep; for explicit and fixed-point only.",
            default="multistep, for fixed-point heun",
        ),
    ] = None
    loading: Loading = Loading()
    choice: Choice = Choice()
    limit: Annotated[int | None, Option("Take only this many images, the first.", least=1, key=None)] = None

    def check(self) -> None:
        method = self.choice.method
        if method == "auto" and self.steps is not None:
            raise FarfieldError(
                f"--steps {self.steps}: --method auto finds the number of steps itself; leave one of the two out"
            )
        if self.solver is not None and method not in ("explicit", "fixed-point"):
            raise FarfieldError(f"--solver {self.solver}: --method {method} has its own; leave one of the two out")

    @property
    def numerics(self) -> Numerics:
        """With what stands where nothing was said."""
        solver = self.solver or ("heun" if self.choice.method == "fixed-point" else "multistep")
        return Numerics(self.steps or 24, solver, self.loading, self.sigma)

    def asked(self) -> dict[str, Any]:
        """What the request says of the method; nothing of the explicit one, whose runs are as they always were."""
        choice, solving = self.choice, {"steps": self.numerics.steps, "solver": self.numerics.solver}
        if choice.method == "explicit":
            return solving
        if choice.method == "fixed-point":
            return {"method": choice.method, **solving}
        if choice.method == "auto":
            budgets = {"round_trip": choice.round_trip, "latent": choice.latent}
            return {"method": "auto", **budgets, "steps": None, "solver": None}
        noise = {"eta": choice.eta, "seed": choice.seed} if choice.method == "edit-friendly" else {}
        return {"method": choice.method, **solving, "solver": None, **noise}


@dataclass(frozen=True)
class Reconstruct(Invert):
    """Invert images and decode them again: do they come back, and can their latents be believed?"""

    epilog: ClassVar[tuple[str, ...]] = (
        "farfield reconstruct cifar10-32 retina",
        "farfield reconstruct cifar10-32 retina --method auto --round-trip 40dB --latent 1e-2",
    )


class TriedMethod(Result):
    """What one method did to the probe images."""

    method: str
    solver: str
    steps: int
    calls: Annotated[float | None, "through the network, there and back, of the mean image"] = None
    psnr: Annotated[float | None, "dB of the worst image"] = None
    latent: Annotated[float | None, "relative error of the worst latent"] = None
    chosen: bool | None = None
    failed: Annotated[str | None, "why it could not be tried"] = None


class MethodSearch(Result):
    """How ``--method auto`` came to its method; `study.unseen.method.search_method`."""

    round_trip: Annotated[float, "dB that were asked for"]
    latent: Annotated[float, "relative error that was asked for"]
    n: Annotated[int, "images of the probe"]
    reference_steps: Annotated[int, "of the latents that the probe's were held against"]
    reference_error: Annotated[float, "of those, as half as many steps tell it"]
    tried: list[TriedMethod]


class Kept(Result):
    """One budget."""

    asked: float
    probe: Annotated[float, "of the method chosen, on the probe"]
    found: Annotated[float | None, "of the worst image of all"]
    met: Annotated[bool | None, "null for what was not measured"]


class Budget(Result):
    """Whether the run kept what its method was chosen for; `unseen.method.budgets`."""

    round_trip: Kept
    latent: Kept
    met: bool | None


class ImageTrip(Result):
    """One image that came back; `unseen.inversion.round_trip`."""

    psnr: Annotated[float, "dB"]
    ssim: float
    max_error: float


class ReconstructResult(Result):
    model: str
    images: Annotated[dict[str, ImageTrip] | str, "each; of `farfield invert`, whose they are"]
    n: int
    sigma: Annotated[float, "of the latents"]
    steps: int
    solver: str
    network_calls: Annotated[int, "an image on the way up"]
    physical: PhysicalFacts | None = None
    method: Annotated[str | None, "if not explicit"] = None
    method_search: MethodSearch | None = None
    latent_certificate: Annotated[Certificate | None, "of methods that solve the ODE"] = None
    reconstruction: RoundTrip | None = None
    codec: Annotated[Codec | None, "of latent models"] = None
    budget: Annotated[Budget | None, "of `--method auto`"] = None
