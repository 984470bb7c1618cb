"""``farfield inspect``."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farfield.cli.options import Device, Label, Quiet, app
from farfield.core.error import FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.terminal import echo

if TYPE_CHECKING:
    from farfield.diffusion.sanity import Tried
    from farfield.study.model.check import Checked
    from farfield.study.model.inspect import Description

SHOWN = 8
"""Other readings in the table; --json has all."""

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Answer what the file does not say; as often as needed."),
]


@app.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A file (EDM's .pkl, guided-diffusion's .pt, DDPM's .ckpt, …; FILE@net for what is not averaged), a diffusers "
            "folder, a farfield model or training, a bundled model, or a hub id."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known as JSON.")] = False,
    answers: Set = None,
    hashed: Annotated[
        bool | None, typer.Option("--hash/--no-hash", help="Compute the sha256 \\[default: up to 256 MiB].")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Run the network: does it denoise as it is read, and would it in another way?"),
    ] = False,
    data: Annotated[str | None, typer.Option(help="Of --check: images \\[default: bundled pictures].")] = None,
    images: Annotated[int | None, typer.Option(min=4, help="Of --check: how many.")] = None,
    label: Label = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Say what a model is, without running anything in its file; keep answers to what the file does not say."""
    from farfield.study.model.inspect import describe, keep

    kept = keep(model, given) if (given := pairs(answers)) else None
    found = describe(model, hashed=hashed, quiet=quiet)
    checked = None
    if check:
        from farfield.study.model.check import check as check_model

        checked = check_model(model, data=data, label=label, images=images, device=device, quiet=quiet)
    elif data or images:
        raise FarfieldError("--data and --images are for --check; add it, or leave them out")
    if as_json:
        told = {**found.to_json(), "check": checked and checked.to_json()}
        echo(json.dumps(told, indent=1, default=str))
        return
    if kept:
        echo(f"answers kept in {kept}")
    _show(found)
    if checked:
        _show_check(checked)


def pairs(given: list[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` … as a dictionary; numbers, true and false become what they are."""
    found: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise FarfieldError(f"--set {text!r}: expected NAME=VALUE, such as schedule=linear")
        try:
            found[name.strip()] = parse_json(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found


def _show(found: Description) -> None:
    from farfield.cli.table import show_table

    schedule = found.schedule
    levels = schedule["levels"]
    if schedule["sigma_min"] is not None:
        levels += f"; noise levels {schedule['sigma_min']:.4g} to {schedule['sigma_max']:.4g}"
    rows = [
        ("model", f"{found.model} ({found.path})" if str(found.path) != found.model else found.model),
        ("family", found.family),
        ("network", found.architecture),
        ("weights", f"{found.parameters:,} of {found.dtype}, {_bytes(found.size)}"),
        ("images", _images(found) if found.image_shape else "not known here"),
        (
            "classes",
            str(found.classes) if found.classes else "none (unconditional)" if found.shape else "not known here",
        ),
        ("prediction", found.prediction),
        ("schedule", levels),
        ("sha256", found.sha256 or "not computed (--hash)"),
        ("licence", found.licence or "not known here"),
    ]
    show_table(["", ""], rows)
    if found.findings:
        show_table(["found", "value", "because"], [(f.what, _value(f.value), f.why) for f in found.findings])
    if found.questions:
        asked = [(q.name, _value(q.likely), "; ".join(_question(q))) for q in found.questions]
        show_table(["not in the file", "likely", "what is asked"], asked)
        likely = " ".join(f"--set {q.name}={_value(q.likely)}" for q in found.questions)
        echo(f"Answer once: farfield inspect {shlex.quote(found.model)} {likely}")


def _question(question: Any) -> list[str]:
    choices = f"one of {', '.join(map(_value, question.choices))}" if question.choices else ""
    return [part for part in (question.ask, choices, question.why) if part]


def _show_check(checked: Checked) -> None:
    from farfield.cli.table import show_table

    sanity = checked.sanity
    heads = ["mean squared error at", *(f"σ = {s:.2g}" for s in sanity.sigmas), "of the best multiple's"]
    rows = [
        ("noisy image", *map(_number, sanity.trivial["image"]), ""),
        ("zero", *map(_number, sanity.trivial["zero"]), ""),
        ("best multiple of it", *map(_number, sanity.trivial["multiple"]), "1"),
        ("as read", *_tried(sanity.present)),
        *((t.name, *_tried(t)) for t in sanity.others[:SHOWN]),
    ]
    show_table(heads, rows)
    echo(f"{sanity.n} images of {checked.source}; intervals are of 95 % over them")
    if sanity.far:
        echo(f"{sanity.far} more readings were several times as far off at first look")
    for sentence in checked.sentences:
        echo(f"{sanity.verdict}: {sentence}" if sentence is checked.sentences[0] else sentence)


def _tried(tried: Tried) -> list[str]:
    ratio = tried.ratio
    return [*map(_number, tried.errors), f"{ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}]"]


def _number(value: float) -> str:
    return f"{value:.3g}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _images(found: Description) -> str:
    channels, height, width = found.image_shape
    inside = f", latents of {'×'.join(map(str, found.shape))}" if found.shape != found.image_shape else ""
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return f"{height}×{width}, {kind}{inside}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
