"""`farfield inspect`: what is known of a model, kept of it, and found by running it; and how a terminal shows it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farfield.checkpoints.checkpoint import Question
from farfield.command.inspect import Inspect
from farfield.command.text import as_pairs
from farfield.core.terminal import table
from farfield.diffusion.sanity import Tried
from farfield.study.model.answers import keep
from farfield.study.model.check import Checked, check
from farfield.study.model.description import Description, describe

SHOWN: Final = 8
"""Other readings in the table; --json has all."""


@dataclass(frozen=True)
class Inspected:
    """A model, what was found by running it, and where answers are kept."""

    description: Description
    checked: Checked | None
    kept: Path | None

    def to_json(self) -> dict[str, Any]:
        return {**self.description.to_json(), "check": self.checked and self.checked.to_json()}

    def __str__(self) -> str:
        kept = [f"answers kept in {self.kept}"] if self.kept else []
        return "\n".join([*kept, *_described(self.description), *(_checked(self.checked) if self.checked else ())])


def inspect(settings: Inspect) -> Inspected:
    """What a model is, without running anything in its file; answers are kept first.

    Raises:
        FarfieldError: no such model, an answer that cannot be, or that cannot be kept.
    """
    answers = as_pairs(settings.answers, "--set")
    kept = keep(settings.model, answers) if answers else None
    description = describe(settings.model, hashed=settings.hashed, quiet=settings.printing.quiet)
    return Inspected(description, check(settings) if settings.checked else None, kept)


def _described(model: Description) -> Iterator[str]:
    schedule = model.schedule
    levels = schedule["levels"]
    if schedule["sigma_min"] is not None:
        levels += f"; noise levels {schedule['sigma_min']:.4g} to {schedule['sigma_max']:.4g}"
        levels += " (pure noise, which it was trained on too, is no level)" if schedule["open_end"] else ""
    rows = [
        ("model", f"{model.model} ({model.path})" if str(model.path) != model.model else model.model),
        ("family", model.family),
        ("network", model.architecture),
        ("weights", f"{model.parameters:,} of {model.dtype}, {_bytes(model.size)}"),
        ("images", _images(model) if model.image_shape else "not known here"),
        (
            "classes",
            str(model.classes) if model.classes else "none (unconditional)" if model.shape else "not known here",
        ),
        ("prediction", model.prediction),
        ("schedule", levels),
        ("sha256", model.sha256 or "not computed (--hash)"),
        ("licence", model.licence or "not known here"),
    ]
    if not model.shape:
        yield f"{model.path}: {model.family}; " + "".join(f.value for f in model.findings if f.what == "to measure it")
    yield table(["", ""], rows)
    if model.findings:
        yield table(["found", "value", "because"], [(f.what, _value(f.value), f.why) for f in model.findings])
    if model.questions:
        asked = [(q.name, _value(q.likely), "; ".join(_question(q))) for q in model.questions]
        yield table(["not in the file", "likely", "what is asked"], asked)
        likely = " ".join(f"--set {q.name}={_value(q.likely)}" for q in model.questions)
        yield f"Answer once: farfield inspect {shlex.quote(model.model)} {likely}"


def _question(question: Question) -> list[str]:
    choices = f"one of {', '.join(map(_value, question.choices))}" if question.choices else ""
    return [part for part in (question.ask, choices, question.why) if part]


def _checked(checked: Checked) -> Iterator[str]:
    sanity = checked.sanity
    heads = ["mean squared error at", *(f"σ = {s:.2g}" for s in sanity.sigmas), "of the best multiple's"]
    rows = [
        ("noisy image", *map(_number, sanity.trivial["image"]), ""),
        ("zero", *map(_number, sanity.trivial["zero"]), ""),
        ("best multiple of it", *map(_number, sanity.trivial["multiple"]), "1"),
        ("as read", *_tried(sanity.present)),
        *((t.name, *_tried(t)) for t in sanity.others[:SHOWN]),
    ]
    yield table(heads, rows)
    yield f"{sanity.n} images of {checked.source}; intervals are of 95 % over them"
    if sanity.far:
        yield f"{sanity.far} more readings were several times as far off at first look"
    for sentence in checked.sentences:
        yield f"{sanity.verdict}: {sentence}" if sentence is checked.sentences[0] else sentence


def _tried(tried: Tried) -> list[str]:
    ratio = tried.ratio
    return [*map(_number, tried.errors), f"{ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}]"]


def _number(value: float) -> str:
    return f"{value:.3g}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _images(model: Description) -> str:
    channels, height, width = model.image_shape
    inside = f", latents of {'×'.join(map(str, model.shape))}" if model.shape != model.image_shape else ""
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return f"{height}×{width}, {kind}{inside}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
