"""``farfield analyse``."""

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
    numbers,
    trusted,
)


@app.command()
def analyse(
    model: Model,
    examples_source: Annotated[
        str,
        typer.Argument(
            metavar="EXAMPLES",
            help="Images of the new domain: a folder, zip, npz, or a bundled domain (see `farfield domains`); or physical "
            "fields: FITS (also file.fits[1]), npy, npz, HDF5, TIFF.",
        ),
    ],
    in_domain: Annotated[
        str | None,
        typer.Option(help="Images of the model's own domain \\[default: the model's own samples, inverted again]."),
    ] = None,
    out: Out = Path("runs/analyse"),
    examples: Annotated[int | None, typer.Option(help="Use so many of them \\[default: all, up to 48].")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many in-domain images \\[default: as many as examples].")
    ] = None,
    levels: Annotated[
        str | None, typer.Option(help="Noise levels, with commas between \\[default: 2,5,10,20,40 and the last].")
    ] = None,
    eta: Annotated[
        str, typer.Option(help="Strengths of stochastic decoding, 0 to 1: 0 is DDIM, 1 ancestral sampling.")
    ] = "0,0.2,0.5,1",
    noise: Annotated[
        str, typer.Option(help="How far latents are turned towards N(0, I): 0 the example's, 1 a fresh draw.")
    ] = "0.1,0.3,1",
    symmetry: Annotated[
        str | None,
        typer.Option(help="The domain's own symmetries, measured: rot90,flip (or rot180, flipud, transpose)."),
    ] = None,
    decoded: Annotated[int, typer.Option(help="How many examples are decoded again in every way.")] = 24,
    down_steps: Annotated[
        int, typer.Option(help="Steps of a decoding from the last level; fewer from lower ones.")
    ] = 14,
    descriptor: Annotated[
        str, typer.Option(help="pixels, model, copy, sscd, inception, dinov2, clip, or a network's file.")
    ] = "model",
    trust: Trust = None,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    seed: Annotated[int, typer.Option(help="Of the choice of examples, the folds and the nulls.")] = 0,
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
    """What a model makes of a domain it never saw: laws of latents, borders between domains, mode interference."""
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.data.symmetry import parse
    from farfield.present.report import write_report
    from farfield.study.unseen.analyse import Analysis, analyse

    many = "numbers with commas between"
    analysis = Analysis(
        levels=tuple(numbers(levels, "levels", many, most=32)) if levels is not None else None,
        etas=tuple(dict.fromkeys(numbers(eta, "eta", many, most=32))),
        shares=tuple(dict.fromkeys(numbers(noise, "noise", many, most=32))),
        symmetry=parse(symmetry) if symmetry is not None else (),
        decoded=decoded,
        down_steps=down_steps,
        descriptor=trusted([descriptor], trust)[0],
    )
    analyse(
        model,
        examples_source,
        out,
        Numerics(steps, solver, Loading(batch_size, device, dtype, label)),
        analysis,
        Reading(strict, stretch, patch, hdu, mask),
        examples=examples,
        in_domain=in_domain,
        limit=limit,
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)
