"""``farfield compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import (
    AsJson,
    Batch,
    Device,
    Dtype,
    Hdu,
    Label,
    Mask,
    Model,
    Out,
    Patch,
    Quiet,
    SolverName,
    Steps,
    Stretch,
    Strict,
    Trust,
    app,
    finish,
    trusted,
    whole_numbers,
)


@app.command()
def compare(
    model: Model,
    examples_sources: Annotated[
        list[str],
        typer.Argument(
            metavar="EXAMPLES...",
            help="Images of a new domain, or of several: folders, zips, npz, or bundled domains (see `farfield domains`).",
        ),
    ],
    out: Out = Path("runs/compare"),
    heldout: Annotated[
        list[str] | None,
        typer.Option(help="Held-out images of each domain, in the same order; may be repeated \\[default: the rest]."),
    ] = None,
    counts: Annotated[
        str | None, typer.Option(help="Numbers of examples: 10,30,100 \\[default: these, as far as there are enough].")
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Some of ours, published, geometric, gaussian, full, lora, norm, release.")
    ] = "ours,published,geometric,gaussian,full,lora,release",
    tuning_budget: Annotated[
        float, typer.Option(help="Network calls that a tuned model may take, as a multiple of ours.")
    ] = 10.0,
    epochs: Annotated[int, typer.Option(help="Epochs of the published tuning (release).")] = 20,
    learning_rate: Annotated[float | None, typer.Option(help="Of all tunings \\[default: each method's own].")] = None,
    rank: Annotated[int, typer.Option(help="Rank of the low-rank tuning.")] = 8,
    n: Annotated[int, typer.Option("-n", help="How many images each method makes.")] = 128,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    seed: Annotated[int, typer.Option(help="First seed; image k depends on seed k only.")] = 0,
    descriptor: Annotated[
        list[str] | None,
        typer.Option(
            help="pixels, model, copy, sscd, inception, dinov2, clip, or a network's file; may be repeated \\[default: "
            "pixels, model]."
        ),
    ] = None,
    trust: Trust = None,
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
    """Should I tune? Compare the frozen model with models fine-tuned on the same examples."""
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.present.report import write_report
    from farfield.study.unseen.compare import compare
    from farfield.study.unseen.contest import Tuning

    compare(
        model,
        examples_sources,
        out,
        Numerics(steps, solver, Loading(batch_size, device, dtype, label)),
        Reading(strict, stretch, patch, hdu, mask),
        heldout=heldout or [],
        counts=None if counts is None else _whole(counts),
        methods=[m.strip() for m in methods.split(",")],
        tuning=Tuning(tuning_budget, epochs, learning_rate=learning_rate, rank=rank),
        n=n,
        descriptors=trusted(descriptor or ["pixels", "model"], trust),
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)


def _whole(text: str) -> list[int]:
    return list(whole_numbers(text, "counts", "whole numbers such as 10,30,100"))
