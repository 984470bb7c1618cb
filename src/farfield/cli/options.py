"""What the commands share: the application, the options that mean the same everywhere, and how a command ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from farfield.command.likeness import trusted as trusted
from farfield.core.error import FarfieldError
from farfield.core.terminal import echo, plain, tell

F = TypeVar("F", bound=Callable[..., Any])

LARGEST, LARGEST_SEED = 100_000_000, 2**62
"""Of whole numbers: what counts something, of which none here has more, and the first of as many seeds."""


class Commands(TyperGroup):
    """All commands: how they end at Ctrl-C, and how a command line that cannot be parsed is quoted."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _quoted():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _quoted():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # which typer passes over in silence; a run can be continued, so say it
            tell("farfield: interrupted; give the same command again to continue")
            raise typer.Exit(130) from None


class Command(TyperCommand):
    """A command whose numbers are such that can be computed with."""

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            given = ctx.params.get(parameter.name)
            most = LARGEST_SEED if parameter.name == "seed" else LARGEST
            if isinstance(given, float) and math.isnan(given):
                raise FarfieldError(f"{parameter.opts[-1]} {given}: expected a number")
            if isinstance(given, int) and abs(given) > most:
                raise FarfieldError(
                    f"{parameter.opts[-1]} {str(given)[:40]}: expected a whole number of at most {most:,}"
                )
        return super().invoke(ctx)


class Application(typer.Typer):
    """Commands of ours."""

    def command(self, name: str | None = None, *, cls: Any = None, **options: Any) -> Callable[[F], F]:
        return super().command(name, cls=cls or Command, **options)


@contextlib.contextmanager
def _quoted() -> Iterator[None]:
    """Usage errors quote arguments, which a shell may have made from the names of files."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):
            error.message = plain(str(error.message))  # type: ignore[attr-defined]
        raise


app = Application(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How far a diffusion model reaches beyond its training data, and how to put that reach to use.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    str,
    typer.Argument(
        help="cifar10-32 (bundled), a checkpoint file of any family, a folder, a hub id, a name of `farfield fetch`, "
        "empirical:DATA; with @PROMPT, latent diffusion under that prompt."
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        help="A folder, zip, npz or file of images, a bundled domain (see `farfield domains`), or physical fields: FITS, npy, "
        "npz, HDF5, TIFF."
    ),
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
Stretch = Annotated[
    str | None,
    typer.Option(
        help="Physical fields: auto, linear, log, asinh or percentile; forces them \\[default: auto where found]."
    ),
]
Patch = Annotated[int | None, typer.Option(help="Physical fields: cut maps into squares of so many pixels.")]
Hdu = Annotated[
    str | None,
    typer.Option(help="Physical fields: the FITS HDU, or the array of an npz or HDF5 \\[default: first]."),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Run the TorchScript program in this file of --descriptor, which can do whatever you can; may be repeated.",
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        "--field-mask",
        help="Physical fields: none, or the array that masks them: NAME (where it is not 0), NAME:valid (where it is 0), "
        "NAME:SAT,CR or NAME:1,3 (bits) \\[default: only masks whose meaning a standard fixes].",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bars.")]


def numbers(text: str, name: str, expected: str, most: int = 2) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not 1 <= len(found) <= most or not all(map(math.isfinite, found)):
        raise FarfieldError(f"{name} {text!r}: expected {expected}")
    return found


def whole_numbers(
    text: str, name: str, expected: str = "whole numbers with commas between", most: int = 64
) -> tuple[int, ...]:
    found = numbers(text, name, expected, most)
    if any(v != int(v) or abs(v) > LARGEST for v in found):
        raise FarfieldError(f"{name} {text!r}: expected {expected}, each of at most {LARGEST:,}")
    return tuple(map(int, found))


def finish(out: Path, as_json: bool, write_report: Any = None) -> None:
    """Say where the result is, from the main process only."""
    from farfield.core.runtime import Ranks

    if not Ranks.current().main:
        return
    shown = write_report(out) if write_report else out
    echo((out / "summary.json").read_text() if as_json else str(shown))
