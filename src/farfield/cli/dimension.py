"""``farfield dimension``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Device, Dtype, Label, Limit, Model, Out, Quiet, Source, Strict, app, finish
from farfield.cli.rank import Copies, Sigmas, parse_levels


@app.command()
def dimension(
    model: Model,
    images: Source,
    sigmas: Sigmas = None,
    probes: Annotated[
        int, typer.Option(help="Random vectors of the trace, and noises of the denoising error, per image and level.")
    ] = 32,
    copies: Annotated[
        int | None,
        typer.Option(
            help="Noisy copies of the normal bundle, at least 4 times the dimension; 0 leaves it out \\[default: that many up to "
            "1,024 dimensions, 0 above]."
        ),
    ] = None,
    limit: Limit = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the probes and the noise.")] = 0,
    out: Out = Path("runs/dimension"),
    batch_size: Copies = 32,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """How many dimensions do the data have around each image? Three estimates by one denoiser, with error bars."""
    from farfield.present.report import write_report
    from farfield.study.bench.domain import Reading
    from farfield.study.bench.loading import Loading
    from farfield.study.manifold.dimension import dimension as measure

    measure(
        model,
        images,
        out,
        Reading(strict),
        Loading(batch_size, device, dtype, label),
        sigmas=parse_levels(sigmas),
        probes=probes,
        copies=copies,
        limit=limit,
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)
