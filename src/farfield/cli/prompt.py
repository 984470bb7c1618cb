"""``farfield prompt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Batch, Device, Dtype, Out, Quiet, Strict, Trust, app, finish, trusted


@app.command()
def prompt(
    model: Annotated[str, typer.Argument(help="A Stable Diffusion folder in diffusers' layout, or a hub id.")],
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt", help="What to paint; may be repeated, images take turns \\[default: a bundled domain's own]."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many images.")] = 64,
    out: Out = Path("runs/prompt"),
    steps: Annotated[int, typer.Option(help="Steps of the folder's own scheduler.")] = 50,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 leaves it out.")] = 7.5,
    size: Annotated[
        int | None, typer.Option(help="Reduce to so many pixels a side, antialiased \\[default: as they are made].")
    ] = None,
    heldout: Annotated[
        str | None, typer.Option(help="Real images to measure against: a path or a bundled domain.")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(help="Of these leave out as many as `expand` draws as examples \\[default: up to 100]."),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="A diffusion model in whose features to measure as well.")] = None,
    descriptor: Annotated[
        list[str] | None,
        typer.Option(
            help="pixels, model (with --judge), or a file; may be repeated \\[default: pixels, and the judge's]."
        ),
    ] = None,
    trust: Trust = None,
    seed: Annotated[int, typer.Option(help="First seed; image k depends on seed k only.")] = 0,
    batch_size: Batch = 8,
    device: Device = "auto",
    dtype: Dtype = "float32",
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Let a text-to-image model paint a domain from words, the baseline that needs no example."""
    from farfield.command.shared import Loading, Reading
    from farfield.present.report import write_report
    from farfield.study.unseen.prompt import prompt

    prompt(
        model,
        out,
        prompts or (),
        Reading(strict),
        Loading(batch_size, device, dtype),
        n=n,
        steps=steps,
        guidance=guidance,
        size=size,
        heldout=heldout,
        examples=examples,
        judge=judge,
        descriptors=trusted(descriptor or [], trust),
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)
