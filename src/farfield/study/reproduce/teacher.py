"""Students of a teacher whose law is known: how far from it, and from memorizing (arXiv 2505.20123)."""

from __future__ import annotations

from farfield.command.reproduce import Outcome, Panel
from farfield.command.transition import Agreement, TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.grids import DIGITS, FULL, curve, outcome
from farfield.study.reproduce.plan import Plan, Step
from farfield.study.reproduce.regimes import ends_apart

TEACHER, SIZES = "digits-generalizing", "16,128,1024"
FULL_TEACHER, FULL_SIZES = "cifar10-32", "64,256,1024,4096,16384,65536"


def steps(plan: Plan) -> list[Step]:
    """The teacher makes the images: none that are given are taken."""
    teacher, sizes, how = (TEACHER, SIZES, DIGITS) if plan.small else (FULL_TEACHER, FULL_SIZES, FULL)
    return [plan.step("teacher/grid", "transition", "--teacher", teacher, "--sizes", sizes, *how)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    learned = curve("E_gen, to the teacher", found.cells, lambda cell: _apart(cell.teacher))
    copied = curve("E_mem, to the optimal denoiser", found.cells, lambda cell: _apart(cell.theory))
    falls, rises = ends_apart(learned.y[-1], learned.y[0]), ends_apart(copied.y[0], copied.y[-1])
    few, many = found.grid.sizes[0], found.grid.sizes[-1]
    crossed = copied.y[0].value < learned.y[0].value and learned.y[-1].value < copied.y[-1].value
    return outcome(
        found,
        "larger teachers, and students of several widths",
        [
            (falls, f"E_gen {_moves(falls, 'falls')} with the images: {learned.y[0]} of {few:,}, {learned.y[-1]} of {many:,}."),
            (rises, f"E_mem {_moves(rises, 'rises')}: {copied.y[0]} and {copied.y[-1]}."),
            (
                crossed,
                f"Students {'go over' if crossed else 'do not go over'} from the optimal denoiser of their images to the teacher "
                "between the two (published: so, the later the wider they are).",
            ),
        ],
        panels=[
            Panel(
                title="probability-flow distance in pixels", along="training images", published=[], ours=[learned, copied]
            )
        ],
        rows=[],
    )  # fmt: skip


def _moves(does: bool, how: str) -> str:
    return how if does else f"does not within its intervals ({how}, as published)"


def _apart(found: Agreement | None) -> Score:
    if found is None or found.pfd is None:
        return Score(float("nan"), 0)
    return found.pfd.score
