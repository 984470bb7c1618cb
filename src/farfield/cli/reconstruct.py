"""``farfield reconstruct`` and ``farfield invert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from farfield.cli.options import (
    AsJson,
    Batch,
    Device,
    Dtype,
    Hdu,
    Label,
    Limit,
    Mask,
    Model,
    Out,
    Patch,
    Quiet,
    Sigma,
    Source,
    Stretch,
    Strict,
    app,
    finish,
)

MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="explicit, fixed-point, reversible-heun, bdia, belm, edit-friendly, or auto: the cheapest that meets "
        "--round-trip and --latent.",
    ),
]
RoundTrip = Annotated[str, typer.Option("--round-trip", help="For auto: the PSNR that images must come back with.")]
LatentError = Annotated[str, typer.Option("--latent", help="For auto: the relative error that latents may have.")]
Eta = Annotated[float, typer.Option(help="For edit-friendly: noise of a step, above 0 and up to 1.")]
Seed = Annotated[int, typer.Option(help="For edit-friendly: which noise; an image's own depends on its name and this.")]
StepCount = Annotated[int | None, typer.Option("--steps", help="Steps, each way \\[default: 24, or found by auto].")]
SolverChoice = Annotated[
    str | None,
    typer.Option(
        "--solver",
        help="euler (DDIM), heun, midpoint or multistep; of explicit and fixed-point only "
        "\\[default: multistep, for fixed-point heun].",
    ),
]


@app.command()
def reconstruct(
    model: Model,
    images: Source,
    out: Out = Path("runs/reconstruct"),
    sigma: Sigma = None,
    steps: StepCount = None,
    solver: SolverChoice = None,
    method: MethodName = "explicit",
    round_trip: RoundTrip = "40dB",
    latent: LatentError = "1e-2",
    eta: Eta = 1.0,
    seed: Seed = 0,
    limit: Limit = None,
    stretch: Stretch = None,
    patch: Patch = None,
    hdu: Hdu = None,
    mask: Mask = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Invert images and decode them again: do they come back, and can their latents be believed?"""
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.present.report import write_report
    from farfield.study.unseen.reconstruct import reconstruct

    choice, steps, solver = _choice(method, round_trip, latent, eta, seed, steps, solver)
    numerics = Numerics(steps, solver, Loading(batch_size, device, dtype, label), sigma)
    reconstruct(
        model,
        images,
        out,
        numerics,
        Reading(strict, stretch, patch, hdu, mask),
        limit=limit,
        quiet=quiet,
        choice=choice,
    )
    finish(out, as_json, lambda folder: _told(folder, write_report(folder)))


@app.command()
def invert(
    model: Model,
    images: Source,
    out: Out = Path("runs/invert"),
    sigma: Sigma = None,
    steps: StepCount = None,
    solver: SolverChoice = None,
    method: MethodName = "explicit",
    round_trip: RoundTrip = "40dB",
    latent: LatentError = "1e-2",
    eta: Eta = 1.0,
    seed: Seed = 0,
    limit: Limit = None,
    stretch: Stretch = None,
    patch: Patch = None,
    hdu: Hdu = None,
    mask: Mask = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Images to unit-variance latents (safetensors shards), with the certificate of k against 2k steps."""
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.study.unseen.reconstruct import reconstruct

    choice, steps, solver = _choice(method, round_trip, latent, eta, seed, steps, solver)
    numerics = Numerics(steps, solver, Loading(batch_size, device, dtype, label), sigma)
    reconstruct(
        model,
        images,
        out,
        numerics,
        Reading(strict, stretch, patch, hdu, mask),
        limit=limit,
        quiet=quiet,
        back=False,
        choice=choice,
    )
    finish(out, as_json, lambda folder: _told(folder, folder))


def _told(folder: Path, shown: Path) -> str:
    """What ends the command: whether the budgets of ``--method auto`` are met, and where the result is."""
    from farfield.core.artifact import read_json
    from farfield.present.method import budget

    found = budget(read_json(folder / "summary.json").get("budget") or {})
    return f"{found}\n{shown}" if found else str(shown)


def _choice(
    method: str, round_trip: str, latent: str, eta: float, seed: int, steps: int | None, solver: str | None
) -> tuple[Any, int, str]:
    """The method asked for, with the steps and the solver where they were left open."""
    from farfield.core.error import FarfieldError
    from farfield.study.unseen.method import Choice, parse_budgets

    choice = Choice(method, eta, seed, *parse_budgets(round_trip, latent))
    if method == "auto" and steps is not None:
        raise FarfieldError(f"steps {steps}: --method auto finds the number of steps itself; leave one of the two out")
    if solver is not None and method not in ("explicit", "fixed-point"):
        raise FarfieldError(f"solver {solver!r}: --method {method} has its own; leave one of the two out")
    return choice, 24 if steps is None else steps, solver or ("heun" if method == "fixed-point" else "multistep")
