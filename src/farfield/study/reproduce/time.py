"""When samples are best and when copies begin, over the training (arXiv 2505.17638)."""

from __future__ import annotations

from farfield.command.reproduce import Compared, Outcome
from farfield.command.transition import TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.grids import outcome, panel, step
from farfield.study.reproduce.plan import Findings, Plan, Step, published_values

SMALL = ("--sizes", "16,32,64,128", "--times", "8", "--decay", "constant")
FULL = ("--sizes", "128,256,512,1024,2048,4096", "--times", "24", "--decay", "constant")
PAPER = "grey images of 32 × 32, 128 to 32,768 of them, U-Nets of base width 8 to 64 (exponents as it says in words)"


def steps(plan: Plan) -> list[Step]:
    return [step(plan, "time", SMALL, FULL)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    paper, law = published_values("time"), next(iter((found.laws or {}).values()))
    known = {cell.size: cell.course for cell in found.cells if cell.course}
    began = {n: one.copies for n, one in known.items() if one.copies is not None}
    findings = Findings()
    findings.say(
        len(began) > 1 and list(began.values()) == sorted(began.values()),
        "Copies begin the later, the more training images there are (published): after "
        f"{', '.join(f'{time:,.0f} images seen with {n}' for n, time in began.items()) or 'none'}.",
    )
    findings.say(
        _holds(law.copies, 1),
        "The time until copies begin grows as the number of images to the power "
        f"{law.copies or 'unknown'} (published: 1).",
    )
    before = [n for n, one in known.items() if one.copies is None or one.best < one.copies]
    findings.say(
        len(before) == len(known),
        f"Samples are best before copies begin (published: always): with {', '.join(map(str, before)) or 'no number of'} images.",
    )
    findings.say(
        _holds(law.best, 0),
        f"The time of the best grows as the number of images to the power {law.best or 'unknown'} (published: 0).",
    )
    lines: dict[str, list[tuple[float, float | None]]] = {
        "copies begin (τ_mem)": [(n, one.copies) for n, one in known.items()],
        "losses part": [(n, one.apart) for n, one in known.items()],
        "best (τ_gen)": [(n, float(one.best)) for n, one in known.items()],
    }
    rows = {
        "exponent of τ_mem": law.copies,
        "exponent of τ_gen": law.best,
        "exponent of the losses' parting": law.apart,
    }
    return outcome(
        found,
        PAPER,
        findings,
        [panel("images seen by then", "training images", lines)],
        [Compared(name=name, published=paper.get(name), ours=score) for name, score in rows.items()],
    )


def _holds(exponent: Score | None, value: float) -> bool:
    """Whether an interval has the value in it."""
    return (
        exponent is not None
        and exponent.low is not None
        and exponent.high is not None
        and exponent.low <= value <= exponent.high
    )
