"""Class-conditional models: among themselves, and beside the unconditional one (arXiv 2310.05264, on conditional models)."""

from __future__ import annotations

from farfield.command.reproduce import Compared, Outcome
from farfield.command.transition import TransitionResult
from farfield.study.reproduce.grids import outcome, step
from farfield.study.reproduce.plan import Findings, Plan, Step
from farfield.study.reproduce.regimes import ends_apart, kind

SMALL = ("--sizes", "1024", "--seeds", "0,1", "--labels")
FULL = ("--sizes", "40000", "--seeds", "0,1", "--labels")
PAPER = "conditional models of CIFAR-10, SSCD with a threshold of 0.6 (its values are not among those that were read)"


def steps(plan: Plan) -> list[Step]:
    return [step(plan, "conditional", SMALL, FULL)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    which, told = kind(found), {cell.name: cell.labels for cell in found.cells}
    seeds = [pair for pair in found.between if pair.differ == "seed"]
    pairs = {
        "two conditional models": next(pair for pair in seeds if told[pair.first]),
        "a conditional model's best class and an unconditional one": next(
            p for p in found.between if p.differ == "labels"
        ),
        "two unconditional models": next(pair for pair in seeds if not told[pair.first]),
    }
    findings = Findings()
    for name, pair in list(pairs.items())[:2]:
        rp = pair.rp[which]
        findings.say(
            ends_apart(rp.chance, rp.score),
            f"{name[:1].upper()}{name[1:]} agree on {rp.score.value:.2f} of the seeds, by chance on {rp.chance.value:.2f} "
            "(published: more than by chance).",
        )
    rows = [
        Compared(name=f"{name}: {title}, {part}", published=None, ours=getattr(scores, part))
        for name, pair in pairs.items()
        for title, scores in (("RP", pair.rp[which]), ("MAE-RP", pair.mae))
        for part in ("score", "chance")
    ]
    return outcome(found, PAPER, findings, [], rows)
