"""``farfield describe`` and ``farfield train-descriptor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Batch, Device, Limit, Out, Quiet, Trust, app, finish, trusted


@app.command()
def describe(
    source: Annotated[str, typer.Argument(help="A folder, zip or npz of images, a run folder, or a bundled domain.")],
    descriptor: Annotated[
        str,
        typer.Option(
            help="copy, pixels, model, sscd, inception, dinov2, clip (each of the last four also with :PATH), copy:FOLDER, or "
            "a network's file."
        ),
    ] = "copy",
    out: Out = Path("runs/describe"),
    trust: Trust = None,
    references: Annotated[
        str | None, typer.Option(help="Of pixels: images to whiten on \\[default: the source].")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of model: whose features.")] = None,
    limit: Limit = None,
    batch_size: Batch = 256,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn images into features, which `farfield score` takes in place of images."""
    from farfield.study.bench.features import describe_source

    describe_source(
        source,
        out,
        trusted([descriptor], trust)[0],
        references=references,
        model=model,
        limit=limit,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )
    finish(out, as_json)


@app.command()
def train_descriptor(
    data: Annotated[str, typer.Argument(help="Images; they are brought to 32×32 RGB, classes are not used.")],
    images: Annotated[str, typer.Option(help="How long: images to train on, with repetition: 320k, 5M.")],
    out: Out = Path("runs/descriptor"),
    max_images: Annotated[int | None, typer.Option(help="Train on the first so many.")] = None,
    batch_size: Annotated[int, typer.Option(min=8, help="Images of a step, each copied twice.")] = 256,
    width: Annotated[int, typer.Option(min=1, help="Channels at 16×16.")] = 48,
    features: Annotated[int, typer.Option(min=1, help="Length of the vectors.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="AdamW's, at its highest.")] = 2e-3,
    entropy: Annotated[float, typer.Option(min=0, help="Weight of the entropy loss.")] = 5.0,
    mixed: Annotated[float, typer.Option(min=0, max=1, help="Share of copies mixed with another image.")] = 0.4,
    half: Annotated[bool, typer.Option("--half", help="Compute the network in bfloat16.")] = False,
    minutes: Annotated[float, typer.Option(min=0, help="Between saved states.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and copies.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a copy-detection descriptor on images of your own; use it as copy:OUT/model."""
    from farfield.diffusion.average import count
    from farfield.study.audit.copy_training import CopyRecipe, train_descriptor

    recipe = CopyRecipe(
        images=count(images, "images"),
        batch_size=batch_size,
        width=width,
        features=features,
        learning_rate=learning_rate,
        entropy=entropy,
        mixed=mixed,
        half=half,
        seed=seed,
    )
    train_descriptor(data, out, recipe, most=max_images, minutes=minutes, device=device, quiet=quiet)
    finish(out, as_json)
