"""``farfield generate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Batch, Device, Dtype, Model, Out, Quiet, app, finish

Seeds = Annotated[str, typer.Option(help="Which images: 0-63 or 1,5,9-12. Image k depends on seed k alone.")]
StepCount = Annotated[int, typer.Option("--steps", help="Steps of the solver.")]
SolverChoice = Annotated[
    str | None,
    typer.Option(
        "--solver",
        help="euler (or ddim), heun, midpoint or multistep \\[default: multistep; euler with --eta, heun with --churn].",
    ),
]
SigmaMax = Annotated[float | None, typer.Option(help="Noise level to begin at; the model's last if not given.")]
SigmaMin = Annotated[float | None, typer.Option(help="Noise level to end at; the model's first if not given.")]
Eta = Annotated[float, typer.Option(help="DDIM's eta: 0 is deterministic, 1 ancestral sampling.")]
Amount = Annotated[float, typer.Option("--churn", help="EDM's S_churn: noise put in before each step; 0 is none.")]
Low = Annotated[float, typer.Option("--churn-min", help="Lowest level with churn (S_min).")]
High = Annotated[float, typer.Option("--churn-max", help="Highest level with churn (S_max).")]
Noise = Annotated[float, typer.Option("--churn-noise", help="Scale of churn's noise (S_noise).")]
Labels = Annotated[
    str | None,
    typer.Option("--label", "--labels", help="Class of all images; of several (0-9), seed k gets that at k modulo n."),
]
Form = Annotated[
    str, typer.Option("--format", help="png: a file a seed; shards: float32; npz: shards, and 8 bits in one file.")
]


@app.command()
def generate(
    model: Model,
    seeds: Seeds = "0-63",
    out: Out = Path("runs/generate"),
    solver: SolverChoice = None,
    steps: StepCount = 24,
    sigma_max: SigmaMax = None,
    sigma_min: SigmaMin = None,
    eta: Eta = 0.0,
    churn: Amount = 0.0,
    churn_min: Low = 0.0,
    churn_max: High = math.inf,
    churn_noise: Noise = 1.0,
    label: Labels = None,
    form: Form = "png",
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """A model's own images: the same noise for every model, whatever its family."""
    from farfield.command.shared import Loading
    from farfield.core.seeds import parse_numbers
    from farfield.diffusion.solver import Churn
    from farfield.study.model.generate import Sampling, make_samples

    sampling = Sampling(
        solver=solver,
        steps=steps,
        sigma_max=sigma_max,
        sigma_min=sigma_min,
        eta=eta,
        churn=Churn(churn, churn_min, churn_max, churn_noise),
        labels=tuple(parse_numbers(label, "labels")) if label is not None else (),
        form=form,
        loading=Loading(batch_size, device, dtype),
    )
    make_samples(model, parse_numbers(seeds), out, sampling, quiet=quiet)
    finish(out, as_json)
