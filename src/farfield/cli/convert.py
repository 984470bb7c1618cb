"""``farfield convert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.inspect import Set, pairs
from farfield.cli.options import Quiet, app
from farfield.core.terminal import echo


@app.command()
def convert(
    model: Annotated[str, typer.Argument(metavar="IN", help="A checkpoint file, a folder, or any other model's name.")],
    out: Annotated[Path, typer.Argument(help="A new folder, or one that was converted before.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16, whether or not that is exact.")] = False,
    answers: Set = None,
    format: Annotated[
        str,
        typer.Option(
            help="diffusers (of a UNet2DModel with time steps), farfield, or auto: diffusers where it can be."
        ),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a model as safetensors and JSON: a folder without code, which loads back equal."""
    from farfield.study.model.convert import convert

    done = convert(model, out, half=half, format=format, answers=pairs(answers), quiet=quiet)
    if as_json:
        echo(json.dumps(done.to_json(), indent=1))
        return
    kind = "a diffusers pipeline" if done.format == "diffusers" else "a farfield model"
    exact = "exactly the weights of its source" if done.exact else "weights rounded"
    echo(f"{done.out}: {kind}, {done.dtype}, {exact}")
    if done.source.licence:
        echo(f"licence: {done.source.licence}")
