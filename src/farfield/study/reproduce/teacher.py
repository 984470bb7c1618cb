"""Students of a teacher whose law is known: how far from it, and from memorizing (arXiv 2505.20123)."""

from __future__ import annotations

from farfield.command.reproduce import Outcome
from farfield.command.transition import TransitionResult
from farfield.study.reproduce.grids import DIGITS, FULL, outcome, panel
from farfield.study.reproduce.plan import Findings, Plan, Step
from farfield.study.reproduce.regimes import ends_apart

SMALL = ("--teacher", "digits-generalizing", "--sizes", "16,128,1024", *DIGITS)
PAPER = "larger teachers, and students of several widths"


def steps(plan: Plan) -> list[Step]:
    """The teacher makes the images: none that are given are taken."""
    full = ("--teacher", "cifar10-32", "--sizes", "64,256,1024,4096,16384,65536", *FULL)
    return [plan.step("teacher/grid", "transition", *(SMALL if plan.small else full))]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    learned = {c.size: c.teacher.pfd.score for c in found.cells if c.teacher and c.teacher.pfd}
    copied = {c.size: c.theory.pfd.score for c in found.cells if c.theory.pfd}
    few, many = min(learned), max(learned)
    findings = Findings()
    findings.say(
        ends_apart(learned[many], learned[few]),
        f"E_gen falls with the number of images (published): {learned[few]} with {few:,}, {learned[many]} with {many:,}.",
    )
    findings.say(ends_apart(copied[few], copied[many]), f"E_mem rises (published): {copied[few]} and {copied[many]}.")
    findings.say(
        copied[few].value < learned[few].value and learned[many].value < copied[many].value,
        "Students are nearer to the optimal denoiser of their images than to the teacher with the fewest of them, and nearer to "
        "the teacher with the most (published).",
    )
    lines = {"E_gen, to the teacher": learned.items(), "E_mem, to the optimal denoiser": copied.items()}
    return outcome(found, PAPER, findings, [panel("probability-flow distance in pixels", "training images", lines)])
