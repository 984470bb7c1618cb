"""``farfield edit``."""

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
    Limit,
    Model,
    Out,
    Quiet,
    SolverName,
    Source,
    Steps,
    Strict,
    app,
    finish,
    numbers,
    whole_numbers,
)


@app.command()
def edit(
    model: Model,
    images: Source,
    mask: Annotated[
        str | None,
        typer.Option(
            help="What is to change: a box x0,y0,x1,y1 in pixels, the last two just outside it, or a picture of the model's "
            "size, bright inside \\[default: that of --load]."
        ),
    ] = None,
    direction: Annotated[str, typer.Option(help="Which directions, from 1, with commas between.")] = "1,2,3",
    strength: Annotated[
        str, typer.Option(help="How far along each, in standard deviations of the latents, with commas between.")
    ] = "-4,-2,2,4",
    compose: Annotated[
        list[str] | None,
        typer.Option(help="Several directions at once, such as 1:2,3:-1 (direction:strength); may be repeated."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Directions that move the rest of the image and are left alone, the strongest first \\[default: 16; 0 with a "
            "mask of everything].",
        ),
    ] = None,
    load: Annotated[
        Path | None, typer.Option(help="The folder of another edit of this model: its directions are used again.")
    ] = None,
    control: Annotated[bool, typer.Option(help="Move along a random direction too, for comparison.")] = True,
    out: Out = Path("runs/edit"),
    sigma: Annotated[
        float | None,
        typer.Option(help="Noise level at which images are moved \\[default: 3, or that of --load]."),
    ] = None,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    seed: Annotated[int, typer.Option(min=0, help="Of the random direction.")] = 0,
    limit: Limit = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Change one part of an image: move its latent along what the model itself would change there.

    The directions are those of the first image; further ones are moved along the same.
    """
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.present.report import write_report
    from farfield.study.manifold.edit import Moves, edit

    moves = Moves(
        whole_numbers(direction, "direction"),
        tuple(numbers(strength, "strength", "numbers with commas between", most=64)),
        tuple(_composed(text) for text in compose or ()),
        control,
    )
    numerics = Numerics(sigma, steps, solver, Loading(batch_size, device, dtype, label))
    edit(
        model,
        images,
        out,
        numerics,
        moves,
        Reading(strict),
        mask=mask,
        keep=keep,
        loaded=load,
        limit=limit,
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)


def _composed(text: str) -> tuple[tuple[int, float], ...]:
    from farfield.core.error import FarfieldError

    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((whole_numbers(i, "compose")[0], numbers(s, "compose", "a strength", 1)[0]) for i, s in pairs)
    except ValueError as error:
        raise FarfieldError(
            f"compose {text!r}: expected direction:strength with commas between, as 1:2,3:-1"
        ) from error
