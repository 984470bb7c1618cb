"""``farfield molrg``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Device, Out, Quiet, app, finish, numbers, whole_numbers

WHOLE = "whole numbers with commas between"


@app.command()
def molrg(
    n: Annotated[
        int, typer.Option("--n", "--ambient", min=1, help="Dimensions of the space (torchrun takes --n for its own).")
    ] = 48,
    classes: Annotated[int, typer.Option(min=1, help="How many subspaces.")] = 2,
    dimension: Annotated[
        str, typer.Option(help="Of each subspace: one number for all, or one a class with commas between.")
    ] = "7",
    per_class: Annotated[
        int, typer.Option(min=1, help="Training samples of each class, where ranks are measured.")
    ] = 350,
    noise: Annotated[float, typer.Option(min=0, help="Standard deviation around the subspaces.")] = 0.0,
    orthogonal: Annotated[bool, typer.Option(help="Subspaces orthogonal to each other, or independent.")] = True,
    ratios: Annotated[
        str | None,
        typer.Option(help="Samples over dimensions, of the transition \\[default: ten from 1/4 to 4, close about 1]."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of the transition, each with new subspaces and samples.")] = 10,
    starts: Annotated[
        int, typer.Option(min=0, help="Random beginnings of the low-rank model, the best of which counts; 0 for none.")
    ] = 4,
    sigmas: Annotated[str, typer.Option(help="Noise levels of the rank.")] = "0.05,0.1,0.2,0.5,1,2,3,5,10",
    points: Annotated[int, typer.Option(min=1, help="Where the rank is taken at each level.")] = 8,
    share: Annotated[float, typer.Option(help="Of the Jacobian's norm, that the rank holds.")] = 0.99,
    network: Annotated[
        str, typer.Option(help="Trained on the samples: mlp, unet (n = 48 as 3×4×4, …), or none.")
    ] = "mlp",
    network_counts: Annotated[
        str, typer.Option(help="Samples per class that networks are trained on, beside --per-class.")
    ] = "7,14,28,56,112",
    network_seeds: Annotated[int, typer.Option(min=1, help="Networks of each.")] = 1,
    images: Annotated[str, typer.Option(help="How long each network is trained: 200k, 2M.")] = "200k",
    out: Out = Path("runs/molrg"),
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """How many samples does it take to find a subspace? Mixtures of low-rank Gaussians, whose every answer is known.

    Measures the rank of the exact, a low-rank and a trained denoiser over the noise level, and from how many samples per
    dimension on the subspaces are found.
    """
    from farfield.core.error import FarfieldError
    from farfield.diffusion.average import count
    from farfield.present.report import write_report
    from farfield.study.manifold.molrg import Setting, molrg
    from farfield.study.manifold.molrg_network import Schooling

    dimensions = _whole(dimension, "dimension")
    if len(dimensions) not in (1, classes):
        raise FarfieldError(f"dimension {dimension!r}: expected one number, or {classes}, one a class")
    setting = Setting(
        n=n,
        dimensions=dimensions * classes if len(dimensions) == 1 else dimensions,
        per_class=per_class,
        noise=noise,
        orthogonal=orthogonal,
        ratios=tuple(numbers(ratios, "ratios", "numbers with commas between", most=64)) if ratios else (),
        seeds=seeds,
        starts=starts,
        sigmas=tuple(numbers(sigmas, "sigmas", "numbers with commas between", most=64)),
        points=points,
        share=share,
    )
    schooling = None if network == "none" else Schooling(network, count(images, "images"))
    molrg(
        out,
        setting,
        schooling,
        network_counts=_whole(network_counts, "network counts") if schooling else (),
        network_seeds=network_seeds,
        device=device,
        quiet=quiet,
    )
    finish(out, as_json, write_report)


def _whole(text: str, name: str) -> tuple[int, ...]:
    return whole_numbers(text, name, WHOLE)
