"""When samples are best and when copies begin, over the training (arXiv 2505.17638)."""

from __future__ import annotations

from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.command.transition import TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.grids import outcome, step
from farfield.study.reproduce.plan import Plan, Step, published_values

SMALL = ("--sizes", "16,32,64,128", "--times", "12", "--decay", "constant")
FULL = ("--sizes", "128,256,512,1024,2048,4096", "--times", "24", "--decay", "constant")


def steps(plan: Plan) -> list[Step]:
    return [step(plan, "time", SMALL, FULL)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    paper, law = published_values("time"), next(iter((found.laws or {}).values()))
    known = [(cell.size, cell.course) for cell in found.cells if cell.course]
    copies = [(float(n), one.copies) for n, one in known if one.copies is not None]
    late = all(one.copies is None or one.copies > one.best for _, one in known)
    grows = [time for _, time in copies] == sorted(time for _, time in copies) and len(copies) > 1
    return outcome(
        found,
        "grey images of 32 × 32, 128 to 32,768 of them, U-Nets of base width 8 to 64 (exponents as its abstract says in words)",
        [
            (
                grows,
                "Copies begin the later, the more training images there are: "
                f"{', '.join(f'{time:,.0f} images seen with {n:.0f}' for n, time in copies) or 'none began'}; "
                f"exponent {_said(law.copies)} (published: 1).",
            ),
            (
                late,
                "Samples are best " + ("before copies begin at every size" if late else "after copies begin at some size")
                + f"; the time of the best grows with the exponent {_said(law.best)} (published: 0).",
            ),
        ],
        panels=[
            Panel(
                title="images seen when copies begin, when losses part, and at the best",
                along="training images",
                published=[],
                ours=[
                    Curve(name="copies (τ_mem)", x=[n for n, _ in copies], y=[Score(time, 0) for _, time in copies]),
                    *(
                        Curve(name=name, x=[float(n) for n, t in line], y=[Score(t, 0) for _, t in line])
                        for name, line in (
                            ("losses part", [(n, one.apart) for n, one in known if one.apart is not None]),
                            ("best (τ_gen)", [(n, float(one.best)) for n, one in known]),
                        )
                    ),
                ],
            )
        ],
        rows=[
            Compared(name="exponent of τ_mem", published=paper["exponent of τ_mem"], ours=law.copies),
            Compared(name="exponent of τ_gen", published=paper["exponent of τ_gen"], ours=law.best),
            Compared(name="exponent of the losses' parting", published=None, ours=law.apart),
        ],
    )  # fmt: skip


def _said(score: Score | None) -> str:
    return "unknown" if score is None else str(score)
