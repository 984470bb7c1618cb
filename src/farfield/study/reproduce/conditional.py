"""Class-conditional models: among themselves, and beside the unconditional one (arXiv 2310.05264, on conditional models)."""

from __future__ import annotations

from farfield.command.reproduce import Compared, Outcome
from farfield.command.transition import Between, TransitionResult
from farfield.study.reproduce.grids import outcome, step
from farfield.study.reproduce.plan import Plan, Step
from farfield.study.reproduce.regimes import ends_apart, kind

SMALL = ("--sizes", "1024", "--seeds", "0,1", "--labels")
FULL = ("--sizes", "50000", "--seeds", "0,1", "--labels")


def steps(plan: Plan) -> list[Step]:
    return [step(plan, "conditional", SMALL, FULL)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    which, told = kind(found), {cell.name: cell.labels for cell in found.cells}
    alike = [pair for pair in found.between if pair.differ == "seed"]
    two = next(pair for pair in alike if told[pair.first])
    plain = next(pair for pair in alike if not told[pair.first])
    best = next(pair for pair in found.between if pair.differ == "labels")
    rows = {"two conditional models": two, "two unconditional models": plain, "unconditional and the best class": best}
    return outcome(
        found,
        "CIFAR-10, EDM's and other conditional models, SSCD with a threshold of 0.6 (the values are not among those read)",
        [
            (_above(two, which), f"Two class-conditional models agree on {_said(two, which)} of the seeds under one class."),
            (
                _above(best, which),
                f"A conditional model has, under the best class, the unconditional model's image of {_said(best, which)} of the "
                "seeds.",
            ),
        ],
        panels=[],
        rows=[
            Compared(name=f"{name}: {title}, {part}", published=None, ours=getattr(scores, part))
            for name, pair in rows.items()
            for title, scores in (("RP", pair.rp[which]), ("MAE-RP", pair.mae))
            for part in ("score", "chance")
        ],
    )  # fmt: skip


def _above(pair: Between, which: str) -> bool:
    """Whether they agree more than chance, by whole intervals."""
    return ends_apart(pair.rp[which].chance, pair.rp[which].score)


def _said(pair: Between, which: str) -> str:
    return f"{pair.rp[which].score.value:.2f} (chance {pair.rp[which].chance.value:.2f})"
