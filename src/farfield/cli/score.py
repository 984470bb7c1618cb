"""``farfield score rp``, ``farfield score gl`` and ``farfield score matrix``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import Application, AsJson, Batch, Device, Limit, Out, Quiet, Trust, app, finish, trusted

score = Application(
    no_args_is_help=True,
    help="Do models make the same images from the same noise (rp, matrix)? Does a model make new ones (gl)?",
)
app.add_typer(score, name="score")

SETS = "a run folder, a folder of images named by seed, a zip or npz, or a folder of features"
Descriptor = Annotated[str, typer.Option(help="copy, sscd, inception, dinov2, clip, pixels, or a network's file.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Cosine above which two images are alike \\[default: the descriptor's published one]."),
]
Rate = Annotated[
    float, typer.Option(help="Of different images, how many may exceed the calibrated threshold that is reported too.")
]
MaeLimit = Annotated[
    float, typer.Option(help="Mean absolute pixel difference up to which a pair agrees, in grey levels of 255.")
]
Common = Annotated[bool, typer.Option("--common", help="Leave seeds aside that are not in all sets.")]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random: re-paired seeds, stand-ins, bootstraps.")]


@score.command()
def rp(
    first: Annotated[str, typer.Argument(metavar="A", help=f"Samples of one model: {SETS}.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Samples of another from the same seeds.")],
    out: Out = Path("runs/score-rp"),
    descriptor: Descriptor = "copy",
    trust: Trust = None,
    threshold: Threshold = None,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Images whose pairs set the calibrated threshold \\[default: pairs of different seeds]."),
    ] = None,
    rate: Rate = 0.01,
    mae_limit: MaeLimit = 15,
    common: Common = False,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: Batch = 256,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Reproducibility: the share of seeds from which two models make the same image."""
    from farfield.study.audit.score import score_rp
    from farfield.study.bench.likeness import Likeness

    score_rp(
        first,
        second,
        out,
        Likeness(trusted([descriptor], trust)[0], threshold, rate),
        calibrate_on=calibrate,
        mae_limit=mae_limit / 255,
        common=common,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )
    _show(out, as_json)


@score.command()
def gl(
    samples: Annotated[str, typer.Argument(help=f"What a model made: {SETS}.")],
    training: Annotated[str, typer.Argument(metavar="TRAIN", help="What it was trained on.")],
    out: Out = Path("runs/score-gl"),
    heldout: Annotated[
        str | None,
        typer.Option(
            help="Images of the domain that were never trained on: the floor of every statistic, and what the threshold is "
            "calibrated on \\[default: no floor; calibrated on training images and their nearest others]."
        ),
    ] = None,
    descriptor: Descriptor = "copy",
    trust: Trust = None,
    threshold: Threshold = None,
    rate: Rate = 0.01,
    search: Annotated[
        str, typer.Option(help="exact, or for millions of training features ivf or hnsw, with their measured recall.")
    ] = "exact",
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: Batch = 256,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Generalization: the share of samples that are no training image; with the 1/3 test, AuthPct and C_T."""
    from farfield.study.audit.gl import score_gl
    from farfield.study.bench.likeness import Likeness

    score_gl(
        samples,
        training,
        out,
        Likeness(trusted([descriptor], trust)[0], threshold, rate),
        heldout=heldout,
        search=search,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )
    _show(out, as_json)


@score.command()
def matrix(
    sources: Annotated[list[str], typer.Argument(metavar="A B ...", help=f"Samples of several models: {SETS}.")],
    out: Out = Path("runs/score-matrix"),
    descriptor: Descriptor = "copy",
    trust: Trust = None,
    threshold: Threshold = None,
    rate: Rate = 0.01,
    mae_limit: MaeLimit = 15,
    common: Common = False,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: Batch = 256,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Reproducibility of every two of several models: matrices, and heat maps rp.png and mae.png."""
    from farfield.study.audit.score import score_matrix
    from farfield.study.bench.likeness import Likeness

    score_matrix(
        sources,
        out,
        Likeness(trusted([descriptor], trust)[0], threshold, rate),
        mae_limit=mae_limit / 255,
        common=common,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )
    _show(out, as_json)


def _show(out: Path, as_json: bool) -> None:
    """The scores as text, then the page; or the summary."""
    from farfield.present.report import write_report
    from farfield.present.score import lines

    def shown(folder: Path) -> str:
        page = write_report(folder)
        return "\n".join([*lines(folder), str(page)])

    finish(out, as_json, shown)
