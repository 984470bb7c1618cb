"""``farfield transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import (
    AsJson,
    Batch,
    Device,
    Dtype,
    Label,
    Model,
    Out,
    Quiet,
    SolverName,
    Steps,
    Strict,
    Trust,
    app,
    finish,
    numbers,
    trusted,
)


@app.command()
def transfer(
    model: Model,
    content: Annotated[str, typer.Argument(help="The images to change: a path, or a bundled domain.")],
    style: Annotated[
        str, typer.Argument(help="Images of the domain whose style they get: a path, or a bundled domain.")
    ],
    out: Out = Path("runs/transfer"),
    kind: Annotated[
        str,
        typer.Option(
            help="Which statistics are carried over: mean, isotropic, diagonal, channels, spectrum or lowrank."
        ),
    ] = "spectrum",
    strength: Annotated[
        str, typer.Option(help="How far: 0 stays, 1 arrives; several, such as 0.5,1, are shown as a strip.")
    ] = "0.5,1",
    sigma: Annotated[
        float | None,
        typer.Option(help="Noise level of the latents; higher changes more, keeps less \\[default: 0.25]."),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", help="How many images to change \\[default: all, up to 100].")] = None,
    examples: Annotated[
        int | None, typer.Option(help="Examples of the style; the rest is held out \\[default: all, up to 100].")
    ] = None,
    heldout: Annotated[str | None, typer.Option(help="Held-out images of the style from elsewhere.")] = None,
    steps: Steps = 12,
    solver: SolverName = "multistep",
    seed: Annotated[int, typer.Option(help="Of the choice of images and examples.")] = 0,
    descriptor: Annotated[
        list[str] | None,
        typer.Option(help="pixels, model, or a file; may be repeated \\[default: pixels, model]."),
    ] = None,
    trust: Trust = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Give images of one domain the style of another, by moving their latents; no training."""
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.present.report import write_report
    from farfield.study.unseen.transfer import transfer

    transfer(
        model,
        content,
        style,
        out,
        Numerics(steps, solver, Loading(batch_size, device, dtype, label), sigma),
        Reading(strict),
        kind=kind,
        strengths=numbers(strength, "strength", "numbers such as 1 or 0.25,0.5,1", most=16),
        n=n,
        examples=examples,
        heldout=heldout,
        descriptors=trusted(descriptor or ["pixels", "model"], trust),
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)
