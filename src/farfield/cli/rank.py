"""``farfield rank``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Device, Dtype, Label, Model, Out, Quiet, app, finish, numbers

Sigmas = Annotated[
    str | None, typer.Option(help="Noise levels, with commas between \\[default: 8 between the model's ends].")
]
Copies = Annotated[
    int, typer.Option("--batch-size", min=1, help="Copies of a point at a time; more need more memory, not less time.")
]


@app.command()
def rank(
    model: Model,
    images: Annotated[
        str | None, typer.Option(help="Where the points come from: any source of images \\[default: hubble].")
    ] = None,
    points: Annotated[int, typer.Option(help="How many.")] = 16,
    sigmas: Sigmas = None,
    along: Annotated[
        str,
        typer.Option(help="noised images, the model's own trajectory from seeds, or clean: the images as they are."),
    ] = "noised",
    method: Annotated[
        str,
        typer.Option(help="exact, matrix-free, or auto: matrix-free until its pace shows that exact is cheaper."),
    ] = "auto",
    share: Annotated[float, typer.Option(help="Of the Frobenius norm that the rank holds.")] = 0.99,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and the probes; of a trajectory the first.")] = 0,
    out: Out = Path("runs/rank"),
    batch_size: Copies = 32,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """How many directions does a denoiser keep? Spectrum and rank of its Jacobian over noise levels."""
    from farfield.present.report import write_report
    from farfield.study.bench.loading import Loading
    from farfield.study.manifold.rank import Points
    from farfield.study.manifold.rank import rank as measure

    measure(
        model,
        out,
        Points(along, images, points, parse_levels(sigmas), seed),
        Loading(batch_size, device, dtype, label),
        method=method,
        share=share,
        quiet=quiet,
    )
    finish(out, as_json, write_report)


def parse_levels(sigmas: str | None) -> tuple[float, ...] | None:
    if sigmas is None:
        return None
    return tuple(numbers(sigmas, "sigmas", "noise levels with commas between, such as 0.1,1,10", most=64))
