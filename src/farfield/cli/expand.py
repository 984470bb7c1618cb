"""``farfield expand``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
def expand(
    model: Model,
    examples_source: Annotated[
        str,
        typer.Argument(
            metavar="EXAMPLES",
            help="Images of the new domain: a folder, zip, npz, or a bundled domain (see `farfield domains`); or physical "
            "fields: FITS (also file.fits[1]), npy, npz, HDF5, TIFF.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", help="How many new images.")] = 64,
    out: Out = Path("runs/expand"),
    examples: Annotated[
        int | None, typer.Option(help="Use so many of them and hold the rest out \\[default: all, up to 100].")
    ] = None,
    heldout: Annotated[str | None, typer.Option(help="Held-out images from elsewhere: a path or a domain.")] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Correct the frozen denoiser on the examples, in closed form."),
    ] = True,
    sampler: Annotated[
        str, typer.Option(help="patchwork, interpolation, gaussian, perturbation or geometric.")
    ] = "patchwork",
    reach: Annotated[
        float, typer.Option(help="A place of a patchwork keeps to one example over this part of the image's side.")
    ] = 1 / 16,
    parents: Annotated[
        int,
        typer.Option(
            help="A patchwork mixes so many examples: more where the page finds copies, as of textures and fields."
        ),
    ] = 2,
    prior: Annotated[str, typer.Option(help="isotropic, diagonal or lowrank.")] = "isotropic",
    t: Annotated[
        str, typer.Option(help="Place between the two ends of an interpolation: 0.5, or a range 0.25,0.5.")
    ] = "0.25,0.5",
    centre: Annotated[
        bool,
        typer.Option(
            "--centre/--no-centre", help="Interpolate around the examples' mean; --no-centre is the published form."
        ),
    ] = True,
    partner: Annotated[str, typer.Option(help="The other end of an interpolation: example or prior.")] = "example",
    candidates: Annotated[
        int,
        typer.Option(help="Decode so many per image and keep the new one most like the examples; 1 keeps what comes."),
    ] = 3,
    sigma: Annotated[
        str,
        typer.Option(
            help="Noise level of the latents: a number, last, auto (searched on the examples), or usual (20, or the "
            "last if that is lower)."
        ),
    ] = "usual",
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
    """Make new images of a domain the model never saw, from a few examples and without training."""
    from farfield.command.shared import Loading, Numerics, Reading
    from farfield.present.report import write_report
    from farfield.study.unseen.expand import expand
    from farfield.study.unseen.proposal import SamplerSettings

    level: Any = sigma if sigma in ("usual", "last", "auto") else "usual"
    chosen = None if level == sigma else numbers(sigma, "sigma", "a number, last, auto or usual", most=1)[0]
    numerics = Numerics(steps, solver, Loading(batch_size, device, dtype, label), chosen)
    ends = numbers(t, "t", "a number such as 0.5, or a range such as 0.25,0.5")
    settings = SamplerSettings(
        sampler, prior, (ends[0], ends[-1]), centre, partner, candidates, reach, calibrate, parents
    )
    descriptors = trusted(descriptor or ["pixels", "model"], trust)
    expand(
        model,
        examples_source,
        out,
        numerics,
        settings,
        Reading(strict, stretch, patch, hdu, mask),
        n=n,
        level=level,
        examples=examples,
        heldout=heldout,
        descriptors=descriptors,
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, write_report)
