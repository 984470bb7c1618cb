"""What a grid has beyond its cells: trainings over time, other halves, and a teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from farfield.command.transition import CellScores, Course, TransitionResult
from farfield.present.curve import Line, curves
from farfield.present.page import Section, Table, charts
from farfield.present.plot import PAINT
from farfield.present.words import count, number, score

COLOURS = (PAINT.real, PAINT.ours, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, one a width or a size."""


def label(summary: TransitionResult, cell: CellScores) -> str:
    """What a cell shares with those of other sizes, in words."""
    said = [f"width {cell.width}" if cell.width else "fine-tuned"]
    said += [f"seed {cell.seed}"] * (len(summary.grid.seeds) > 1) + ["other half"] * cell.half
    return ", ".join(said + ["told the classes"] * cell.labels)


def lines(summary: TransitionResult) -> dict[str, list[CellScores]]:
    """The cells by `label`, each by size."""
    found: dict[str, list[CellScores]] = {}
    for cell in summary.cells:
        found.setdefault(label(summary, cell), []).append(cell)
    return found


def advice(summary: TransitionResult) -> list[str]:
    """Until when to train, in sentences."""
    said = []
    for line, cells in lines(summary).items():
        known = [f"{number(c.course.stop)} images with {number(c.size)}{_why(c.course)}" for c in cells if c.course]
        if known:
            said.append(f"Stop at ({line}): {', '.join(known)}.")
    return said


def _why(course: Course) -> str:
    return "" if course.copies is None else f" (copies from {number(round(course.copies))})"


def sections(summary: TransitionResult) -> list[Section]:
    return [*_courses(summary), *_halves(summary), *_teacher(summary)]


def _courses(summary: TransitionResult) -> Iterator[Section]:
    drawn, rows = [], []
    for line, cells in lines(summary).items():
        if not all(cell.course for cell in cells):
            return
        panels = {
            "copies over images seen": _over(cells, lambda m, n: (m.images, next(iter(m.gl.values())).memorized)),
            "copies over epochs": _over(cells, lambda m, n: (m.images / n, next(iter(m.gl.values())).memorized)),
            "distance from held-out images": _over(cells, lambda m, n: (m.images, m.distance)),
            "held-out minus training loss": _over(cells, lambda m, n: (m.images, m.loss.gap)),
        }
        figure = curves(panels, columns=2, xlabel="images seen, or epochs")
        drawn += charts(figure, f"copies, distance and losses over the training, {line}")
        rows += [
            [cell.name, one.best, one.copies, one.apart, one.stop, one.moments[-1].images]
            for cell in cells
            if (one := cell.course)
        ]
    laws = [
        [line, *(None if value is None else score(value) for value in (law.best, law.copies, law.apart))]
        for line, law in (summary.laws or {}).items()
    ]
    yield Section(
        "course",
        "Over the training",
        "Every snapshot, scored as a model. Where copies are proportional to epochs, the time to memorize grows as the number of "
        "training images (exponent 1; arXiv 2505.17638), and the time to learn does not (0).",
        advice(summary),
        drawn,
        tables=[
            Table(["model", "best at", "copies from", "losses part from", "stop at", "end"], rows, "In images seen"),
            Table(["models", "of the best", "of copies", "of the losses' parting"], laws, "Exponent of the number of images"),
        ],
        details=[
            (
                "Copies begin",
                "where their share stays above a tenth of its last value, and above the interval of what held-out images reach.",
            ),
            ("The losses part", "where the intervals of training and of held-out loss no longer meet."),
        ],
    )  # fmt: skip


def _over(cells: list[CellScores], point: Callable[[Any, int], tuple[float, Any]]) -> list[Line]:
    return [
        Line(
            f"{number(cell.size)} images", [point(m, cell.size) for m in cell.course.moments], COLOURS[i % len(COLOURS)]
        )
        for i, cell in enumerate(cells)
        if cell.course
    ]


def _halves(summary: TransitionResult) -> Iterator[Section]:
    known = [(pair, pair.halves) for pair in summary.between if pair.halves]
    if not known:
        return
    names = {cell.name: label(summary, cell) for cell in summary.cells}
    drawn, rows = [], []
    for line in dict.fromkeys(names[pair.first] for pair, _ in known):
        mine = [(pair.size, halves) for pair, halves in known if names[pair.first] == line]
        parts: Mapping[str, Callable[[Any], float]] = {
            "two samples of a seed": lambda h: h.same_seed,
            "of different seeds": lambda h: h.strangers,
            "a sample and the nearest of its own images": lambda h: sum(h.nearest) / 2,
            "a held-out image and the nearest": lambda h: sum(h.held_out) / 2,
        }
        medians = [
            Line(name, [(n, part(halves)) for n, halves in mine], colour)
            for (name, part), colour in zip(parts.items(), COLOURS, strict=False)
        ]
        by_level = [
            Line(f"{number(n)} images", [(at.sigma, at.agreement) for at in halves.levels], COLOURS[i % len(COLOURS)])
            for i, (n, halves) in enumerate(mine)
        ]
        drawn += charts(
            curves({f"median cosine, {line}": medians}, columns=1, xlabel="training images of each"), "cosines"
        )
        title = f"agreement of the two denoisers, {line}"
        drawn += charts(curves({title: by_level}, columns=1, xlabel="σ"), title)
        rows += [[f"{line}, {count(n, 'image')}", h.same_seed, h.strangers, *h.nearest, *h.held_out] for n, h in mine]
    heads = ["", "two samples of a seed", "different seeds", "nearest, first", "second", "held out, first", "second"]
    yield Section(
        "halves",
        "Two halves",
        "Two models trained on disjoint sets of as many images. What both make of one seed and neither was shown is learned, not "
        "remembered (Kadkhodaie et al. 2024, arXiv 2310.02557; of galaxies, arXiv 2503.23127).",
        charts=drawn,
        tables=[Table(heads, rows, "Median cosines")],
        details=[("Agreement of denoisers", "1 − E|D₁ − D₂|² / ½(E|D₁ − x₀|² + E|D₂ − x₀|²) on held-out images.")],
    )


def _teacher(summary: TransitionResult) -> Iterator[Section]:
    if not all(cell.teacher for cell in summary.cells):
        return
    apart = [
        Line(
            f"{title}, {line}",
            [(c.size, _pfd(c, which)) for c in cells],
            COLOURS[i % len(COLOURS)],
            dashed=which == "theory",
        )
        for i, (line, cells) in enumerate(lines(summary).items())
        for title, which in (("from the teacher (E_gen)", "teacher"), ("from the optimal denoiser (E_mem)", "theory"))
    ]
    yield Section(
        "teacher",
        "Students and their teacher",
        f"The images are those of {summary.data.source}, so the law that is to be learned is known: a student that generalizes "
        "makes the teacher's image of a new seed, one that memorizes that of the optimal denoiser (arXiv 2505.20123).",
        charts=charts(
            curves({"probability-flow distance in pixels": apart}, columns=1, xlabel="training images"), "distances of flows"
        ),
        tables=[
            Table(
                ["model", "E_gen", "chance", "E_mem", "chance"],
                [[c.name, *(_pfd(c, w, p) for w in ("teacher", "theory") for p in ("score", "chance"))] for c in summary.cells],
                "Probability-flow distances",
            )
        ],
    )  # fmt: skip


def _pfd(cell: CellScores, which: str, part: str = "score") -> Any:
    found = getattr(cell, which)
    return found and found.pfd and getattr(found.pfd, part)
