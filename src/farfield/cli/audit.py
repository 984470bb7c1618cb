"""``farfield audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Batch, Device, Dtype, Out, Quiet, Trust, app, finish, trusted
from farfield.core.error import FarfieldError


@app.command()
def audit(
    subject: Annotated[
        str,
        typer.Argument(
            help="What is judged: a model, or samples (a run folder, a folder of images named by seed, a zip or npz)."
        ),
    ],
    train: Annotated[str, typer.Argument(metavar="TRAIN", help="The images that it was trained on.")],
    out: Out = Path("runs/audit"),
    heldout: Annotated[
        str | None,
        typer.Option(
            help="Images of the domain that were never trained on: the null of every score. Without any, most scores have none."
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(help="Another model, or its samples under the same seeds, for RP; may be repeated."),
    ] = None,
    theory: Annotated[
        bool, typer.Option("--theory", help="RP with the empirical denoiser of TRAIN too: the model that memorizes.")
    ] = False,
    descriptor: Annotated[
        str, typer.Option(help="copy, sscd, inception, dinov2, clip, pixels, or a network's file.")
    ] = "copy",
    trust: Trust = None,
    threshold: Annotated[
        float | None, typer.Option(help="Cosine above which two images are alike, reported beside the calibrated one.")
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(help="Of new images, how many may exceed the calibrated threshold: the price of a false alarm."),
    ] = 0.01,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Samples: made from the seeds 0 to n - 1 [default: 512], or the first n given."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="The seeds of a model's samples, such as 0-511, in place of -n.")
    ] = None,
    solver: Annotated[str, typer.Option(help="euler (DDIM), heun, midpoint or multistep.")] = "multistep",
    steps: Annotated[int, typer.Option(help="Steps of the solver.")] = 24,
    labels: Annotated[
        str | None,
        typer.Option(
            "--label", "--labels", help="Class of all samples; of several (0-9), seed k gets that at k modulo n."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random besides: pairs, bootstraps.")] = 0,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Does a model memorize or generalize? Every score beside its null, the closest pairs, one verdict."""
    from farfield.command.generate import Sampling
    from farfield.command.shared import Loading
    from farfield.core.seeds import parse_numbers
    from farfield.study.audit.audit import audit
    from farfield.study.audit.audit_sets import is_model
    from farfield.study.bench.likeness import Likeness

    if n is not None and (n < 1 or seeds is not None):
        raise FarfieldError(f"n = {n}: expected at least 1 sample, and either -n or --seeds")
    wanted = parse_numbers(seeds) if seeds is not None else None
    limit = n
    if n is not None and is_model(subject):
        wanted, limit = list(range(n)), None
    sampling = Sampling(
        solver=solver,
        steps=steps,
        labels=tuple(parse_numbers(labels, "labels")) if labels is not None else (),
        loading=Loading(batch_size, device, dtype),
    )
    audit(
        subject,
        train,
        out,
        sampling,
        Likeness(trusted([descriptor], trust)[0], threshold, alpha),
        heldout=heldout,
        others=other or [],
        theory=theory,
        seeds=wanted,
        limit=limit,
        seed=seed,
        quiet=quiet,
    )
    finish(out, as_json, _report)


def _report(out: Path) -> str:
    """The verdict in words, and the page."""
    from farfield.core.artifact import read_json
    from farfield.present.audit import verdict
    from farfield.present.report import write_report

    page = write_report(out)
    return "\n".join([*verdict(read_json(out / "summary.json")), str(page)])
