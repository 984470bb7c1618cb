"""The command line: parse, call one study, show. No arithmetic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from farfield import __version__
from farfield.core.error import FarfieldError, FarfieldWarning


class Commands(TyperGroup):
    """Typer ends silently at Ctrl-C (older ones with "Aborted!" and exit code 1); a run can be continued, so say it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("farfield: interrupted; give the same command again to continue", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How far a diffusion model reaches beyond its training data, and how to put that reach to use.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Argument(help="cifar10-32 (bundled), a diffusers pipeline folder, or a hub id.")]
Source = Annotated[
    str, typer.Argument(help="A folder, zip, npz or file of images, or a bundled domain (see `farfield domains`).")
]
Out = Annotated[
    Path, typer.Option("-o", "--out", help="The run folder; the same command on it continues where it stopped.")
]
Sigma = Annotated[float | None, typer.Option(help="Noise level of the latents; the model's last level if not given.")]
Steps = Annotated[int, typer.Option(help="Steps of the solver, each way.")]
SolverName = Annotated[str, typer.Option("--solver", help="euler (DDIM), heun, midpoint or multistep.")]
Batch = Annotated[int, typer.Option("--batch-size", help="Images at a time; also the most that an interruption loses.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, typer.Option(help="Precision of the network: float32, bfloat16, float16 or float64.")]
Label = Annotated[int | None, typer.Option(help="Class, for a class-conditional model.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at a broken image instead of leaving it out.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many images.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print summary.json on standard output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bars.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def expand(
    model: Model,
    examples_source: Annotated[
        str,
        typer.Argument(
            metavar="EXAMPLES",
            help="Images of the new domain: a folder, zip, npz, or a bundled domain (see `farfield domains`).",
        ),
    ],
    n: Annotated[int, typer.Option("-n", help="How many new images.")] = 64,
    out: Out = Path("runs/expand"),
    examples: Annotated[
        int | None, typer.Option(help="Use so many of them and hold the rest out [default: all, up to 100].")
    ] = None,
    heldout: Annotated[str | None, typer.Option(help="Held-out images from elsewhere: a path or a domain.")] = None,
    sampler: Annotated[str, typer.Option(help="interpolation, gaussian, perturbation or geometric.")] = "interpolation",
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
        str, typer.Option(help="Noise level of the latents: a number, last, or auto (searched on the examples).")
    ] = "auto",
    steps: Steps = 24,
    solver: SolverName = "multistep",
    seed: Annotated[int, typer.Option(help="First seed; image k depends on seed k only.")] = 0,
    descriptor: Annotated[
        list[str] | None,
        typer.Option(
            help="pixels, model, or a TorchScript / CIFAR-ResNet file; may be repeated [default: pixels, model]."
        ),
    ] = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make new images of a domain the model never saw, from a few examples and without training."""
    from farfield.present.report import write_report
    from farfield.study.expand import expand
    from farfield.study.proposal import SamplerSettings
    from farfield.study.reconstruct import Numerics

    chosen = None if sigma in ("auto", "last") else _numbers(sigma, "sigma", "a number, last or auto", most=1)[0]
    numerics = Numerics(chosen, steps, solver, batch_size, device, dtype, label)
    ends = _numbers(t, "t", "a number such as 0.5, or a range such as 0.25,0.5")
    settings = SamplerSettings(sampler, prior, (ends[0], ends[-1]), centre, partner, candidates)
    descriptors = descriptor or ["pixels", "model"]
    expand(
        model,
        examples_source,
        out,
        numerics,
        settings,
        n=n,
        search=sigma == "auto",
        examples=examples,
        heldout=heldout,
        descriptors=descriptors,
        seed=seed,
        strict=strict,
        quiet=quiet,
    )
    _finish(out, as_json, write_report)


@app.command()
def reconstruct(
    model: Model,
    images: Source,
    out: Out = Path("runs/reconstruct"),
    sigma: Sigma = None,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    limit: Limit = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Invert images and decode them again: do they come back, and can their latents be believed?"""
    from farfield.present.report import write_report
    from farfield.study.reconstruct import Numerics, reconstruct

    numerics = Numerics(sigma, steps, solver, batch_size, device, dtype, label)
    reconstruct(model, images, out, numerics, limit=limit, strict=strict, quiet=quiet)
    _finish(out, as_json, write_report)


@app.command()
def invert(
    model: Model,
    images: Source,
    out: Out = Path("runs/invert"),
    sigma: Sigma = None,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    limit: Limit = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Images to unit-variance latents (safetensors shards), with the certificate of k against 2k steps."""
    from farfield.study.reconstruct import Numerics, reconstruct

    numerics = Numerics(sigma, steps, solver, batch_size, device, dtype, label)
    reconstruct(model, images, out, numerics, limit=limit, strict=strict, quiet=quiet, back=False)
    _finish(out, as_json)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html anew from what a run left on disk; needs neither the model nor the images."""
    from farfield.present.report import write_report

    typer.echo(write_report(run))


@app.command()
def domains() -> None:
    """List the real image domains that come with farfield's dependencies; their names work wherever a path does."""
    from farfield.data.bundled import DOMAINS

    for name, description in DOMAINS.items():
        typer.echo(f"{name:<8} {description}")


def _numbers(text: str, name: str, expected: str, most: int = 2) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not 1 <= len(found) <= most:
        raise FarfieldError(f"{name} {text!r}: expected {expected}")
    return found


def _finish(out: Path, as_json: bool, write_report: Any = None) -> None:
    """Say where the result is, from the main process only."""
    if os.environ.get("RANK", "0") != "0":
        return
    shown = write_report(out) if write_report else out
    typer.echo((out / "summary.json").read_text() if as_json else str(shown))


def main() -> None:
    """Entry point: bad input is one clear line and exit code 2."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, FarfieldWarning):
            print(f"farfield: {message}", file=sys.stderr)

    warnings.showwarning = show
    try:
        app()
    except FarfieldError as error:
        print(f"farfield: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
