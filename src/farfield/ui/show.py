"""What a page shows of a run: how far it is, each new image beside its nearest example, an edit, the report."""

from __future__ import annotations

import contextlib
import html
import shlex
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from farfield.api.found import Found
from farfield.command.commands import COMMANDS
from farfield.command.edit import ORIGIN, EditResult, Move
from farfield.command.expand import ExpandResult
from farfield.command.result import from_json
from farfield.core.artifact import Images, Store, read_json
from farfield.core.error import FarfieldError
from farfield.core.progress import clock_time
from farfield.present.report import finished
from farfield.present.sheet import pairs
from farfield.present.words import number, score
from farfield.ui.guard import SHOWN
from farfield.ui.job import Job

PAIRS: Final = 64
"""Pairs in a gallery."""


def found(folder: Path) -> Found[Any]:
    """A run that is finished, as Python has it.

    Raises:
        FarfieldError: it is none.
    """
    summary = read_json(finished(folder))
    command = COMMANDS[summary["command"]]
    if command.result is None:
        raise FarfieldError(f"{folder}: a run of {command.name}, which has no result")
    return Found(command, from_json(command.result, summary), folder)


def state(job: Job) -> str:
    """How far a run is, and what it ended with, as HTML."""
    where = "" if job.folder is None else f"<p><code>{html.escape(str(job.folder))}</code></p>"
    if job.running:
        left = "" if job.left is None else f", {clock_time(job.left)} left"
        bar = f'<progress max="1" value="{job.share:.4f}"></progress> {job.share:.0%}'
        return f"<p>{bar}</p><p>{html.escape(job.title)}{left}</p>{where}"
    if job.stopped:
        again = f"farfield again {shlex.quote(str(job.folder))}"
        more = f", or with <code>{html.escape(again)}</code>" if job.folder and job.folder.is_dir() else ""
        return f"<p><b>Stopped.</b> Start it again with the same settings to continue{more}.</p>{where}"
    if job.error:
        return refused(job.error)
    return "".join(f"<p>{html.escape(line)}</p>" for line in job.lines) + where


def refused(error: object) -> str:
    """A refusal, as HTML."""
    return f"<p><b>Not done.</b> {html.escape(str(error))}</p>"


def page(folder: Path, runs: Path) -> str:
    """A run's report, or the list of runs, inside a page."""
    path = urllib.parse.quote(folder.relative_to(runs).as_posix())
    return f'<iframe src="{SHOWN}{path}" title="report" style="width:100%;height:80vh;border:0"></iframe>'


def made(folder: Path, known: int) -> tuple[int, list[tuple[Any, str]] | None]:
    """What a run at work has made so far, as pictures and their seeds; None where it is no more than was known.

    Args:
        known: shards that were there before.

    Returns:
        how many shards are there now, and the pictures.
    """
    store = Store(folder / "samples", Images)
    count = len(store.shards())
    if count <= known:
        return known, None
    with contextlib.suppress(FarfieldError, LookupError):  # it is just being replaced
        parts = [store.part(place) for place in range(count)]
        keyed = [(part.select([key]), key) for part in parts for key in part.keys]
        return count, [(pairs(one), f"seed {int(key)}") for one, key in keyed[:PAIRS]]
    return known, None


def beside(run: Found[ExpandResult]) -> list[tuple[Any, str]]:
    """Each new image with the example that it is nearest to, as a picture and what is said of it; nearest first."""
    samples, examples = run.arrays["samples"], run.arrays["examples"]
    near = {key: one for key, one in run.result.nearest.items() if key in samples.keys and one.example in examples.keys}
    shown = sorted(near, key=lambda key: (near[key].distance, key))[:PAIRS]
    return [
        (
            pairs(samples.select([key]), examples.select([near[key].example])),
            f"seed {int(key)}: {number(near[key].distance)} from {near[key].example}{', a copy' if near[key].copy else ''}",
        )
        for key in shown
    ]


def directions(run: Found[EditResult]) -> dict[str, list[float]]:
    """Of each direction of an edit the strengths that were decoded, without a move among them."""
    there: dict[str, list[float]] = {}
    for move in run.result.moves:
        if move.name != ORIGIN:
            there.setdefault(move.name, [0.0]).append(move.strength)
    return {name: sorted(strengths) for name, strengths in there.items()}


def moved(run: Found[EditResult], name: str, strength: float) -> tuple[Any, str]:
    """The first image as it came back and as it was moved along a direction, and the numbers of that move.

    Args:
        strength: of a slider; the nearest that was decoded is shown.
    """
    moves = [move for move in run.result.moves if move.name in (name, ORIGIN)]
    move = min(moves, key=lambda one: (abs(_strength(one) - strength), _strength(one)))
    edits, key = run.arrays["edits"], run.arrays["images"].keys[0]
    origin = next(one for one in run.result.moves if one.name == ORIGIN)
    shown = [edits.select([f"{key}/{one.index:03d}"]) for one in (origin, move)]
    picture = pairs(*shown, scale=_scale(shown[0], 256))
    if move.name == ORIGIN:
        return picture, "Strength 0: the image as it came back."
    said = f"As it came back, and moved along {name} by {number(move.strength)}: inside the mask a pixel changes by "
    said += score(move.inside)
    if move.outside:
        said += f", outside by {score(move.outside)}"
    if move.ratio:
        said += f"; inside over outside {score(move.ratio)}"
    return picture, f"{said} (of the range from black to white; n = {move.inside.n})."


def _strength(move: Move) -> float:
    return 0.0 if move.name == ORIGIN else move.strength


def _scale(images: Any, side: int) -> int:
    """That enlarges a picture to about so many pixels; each of its own stays a square."""
    return max(1, side // max(images.values.shape[-2:]))


def painted(picture: Mapping[str, Any] | None, shape: tuple[int, ...]) -> Any:
    """What was painted on a picture as a mask of the model's size, white where most of a pixel is covered; None of nothing.

    Args:
        picture: of an editor: its ``layers``, PIL pictures whose alpha is what was painted.
        shape: (C, H, W) of the model's images.
    """
    from PIL import Image, ImageChops

    layers = [layer.getchannel("A") for layer in (picture or {}).get("layers") or []]
    if not layers:
        return None
    whole = layers[0]
    for layer in layers[1:]:
        whole = ImageChops.lighter(whole, layer)
    mask = whole.point(lambda a: 255 * (a > 0)).resize((shape[2], shape[1]), Image.Resampling.BOX)
    mask = mask.point(lambda a: 255 * (a > 127))
    return mask if mask.getbbox() else None


def canvas(images: Images) -> Any:
    """The first image, enlarged to be painted on."""
    return pairs(images.select(images.keys[:1]), scale=_scale(images, 512)).convert("RGB")
