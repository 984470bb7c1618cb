"""``farfield transition``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Device, Out, Quiet, Trust, app, finish, whole_numbers
from farfield.core.terminal import echo

OWN = (
    "out",
    "max_images",
    "heldout",
    "heldout_images",
    "width",
    "seed",
    "start",
    "labels",
    "device",
    "as_json",
    "quiet",
)
"""Options of `farfield train` that the grid decides; its models know no classes."""

DEFAULT = "digits"
SIZES, WIDTHS = "16,32,64,128,256,1024", "12,24"
TRAIN = shlex.split(
    "--network unet2d --multipliers 1,2 --blocks 1 --attention none --images 100k --batch-size 128 --learning-rate 4e-3 "
    "--warmup 5k --decay cosine --ema 5k --levels 0,1.3 --sigma-data 0.75 --every 20k"
)
"""What `digits` is trained with, unless other options are given."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def transition(
    context: typer.Context,
    data: Annotated[
        str, typer.Option(help="A folder, zip, npz, or a bundled domain (see `farfield domains`).")
    ] = DEFAULT,
    sizes: Annotated[
        str | None,
        typer.Option(help=f"Of the training sets, each the beginning of the next \\[default: {SIZES} for {DEFAULT}]."),
    ] = None,
    widths: Annotated[
        str | None,
        typer.Option(help=f"Channels of the networks at the full resolution \\[default: {WIDTHS} for {DEFAULT}]."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Of the trainings.")] = "0",
    heldout_images: Annotated[
        int | None, typer.Option(min=1, help="Split off first, never trained on \\[default: a quarter, at most 2,000].")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Images of each model, from seeds 0, 1, …")] = 256,
    descriptor: Annotated[
        str | None,
        typer.Option(
            help=f"copy, sscd, inception, dinov2, clip, pixels, or a network's file \\[default: copy; pixels for {DEFAULT}]."
        ),
    ] = None,
    trust: Trust = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Cosine above which two images are alike \\[default: the descriptor's published one]."),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Of held-out images, how many may exceed the calibrated threshold.")
    ] = 0.01,
    mae_limit: Annotated[
        float, typer.Option(help="Mean absolute pixel difference up to which a pair agrees, in grey levels of 255.")
    ] = 15,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells at a time \\[default: the number of cores].")] = None,
    commands: Annotated[
        bool,
        typer.Option(
            "--commands",
            help="Train nothing: print a line for each cell that is not done; afterwards collect without it.",
        ),
    ] = False,
    out: Out = Path("runs/transition"),
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """From how many training images on does a model generalize? Trains a grid, sizes × widths × seeds, and scores it.

    Every other option is one of `farfield train` (--images, --network, --learning-rate …) and holds for all cells.
    """
    from farfield.command.likeness import Likeness
    from farfield.core.error import FarfieldError
    from farfield.present.report import write_report
    from farfield.study.audit.grid import Grid
    from farfield.study.audit.transition import Design, transition

    standard = data == DEFAULT
    if not standard and (sizes is None or widths is None):
        raise FarfieldError(f"{data}: expected --sizes and --widths, such as 64,256,1024 and 32,64")
    options = (*(TRAIN if standard else ()), *context.args)
    _check(options)
    done = transition(
        data,
        out,
        Grid(_whole(sizes or SIZES, "sizes"), _whole(widths or WIDTHS, "widths"), _whole(seeds, "seeds")),
        Design(options, samples, heldout=heldout_images),
        Likeness(
            descriptor=descriptor or ("pixels" if standard else "copy"),
            trust=tuple(trust or ()),
            threshold=threshold,
            rate=rate,
        ),
        jobs=jobs,
        device=device,
        mae_limit=mae_limit / 255,
        only_commands=commands,
        quiet=quiet,
    )
    if commands:
        echo("\n".join(done))
    else:
        finish(out, as_json, write_report)


def _check(options: Sequence[str]) -> None:
    """That `farfield train` takes these options, and that they leave alone what the grid decides."""
    from farfield.command.settings import leaves
    from farfield.command.train import Train
    from farfield.core.error import FarfieldError

    given = Train.parse(options)
    Train.of(data=DEFAULT, **given)
    for leaf in leaves(Train):
        if leaf.name in given and leaf.name in OWN:
            raise FarfieldError(f"{leaf.said}: the grid decides it; leave it out")


def _whole(text: str, name: str) -> tuple[int, ...]:
    return whole_numbers(text, name)
