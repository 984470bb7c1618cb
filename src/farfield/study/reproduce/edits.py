"""Local edits beside rivals: success, likeness, locality, transfer and composition (arXiv 2409.02374; boundaries: 2302.08357)."""

from __future__ import annotations

from collections.abc import Iterable

from farfield.command.edit import EditResult, Move
from farfield.command.reproduce import Compared, Outcome
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step, published_values

RIVALS = ("random", "noise", "pullback", "boundary", "mid-boundary")
OURS = "direction"
SMALL = ("digits-generalizing", "digits", "--limit", "24", "--mask", "0,0,8,4", "--keep", "4", "--labels", "digits")
DIGIT = ("--attribute", "8", "--strength=-3,3")


def steps(plan: Plan) -> list[Step]:
    """Digits, or pictures of CIFAR: towards eights, and towards frogs."""
    rivals = [word for name in RIVALS for word in ("--rival", name)]
    how = ("--each", "--direction", "1,2", "--compose", "1:3,2:3", *rivals)
    if plan.small or plan.data is None:
        return [plan.step("edits", "edit", *SMALL, *DIGIT, *how)]
    model = ("cifar10-32", plan.data, "--limit", "100", "--mask", "8,8,24,24", "--labels", plan.data)
    return [plan.step("edits", "edit", *model, "--attribute", "6", "--strength=-6,6", *how)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(EditResult)
    paper, findings = published_values("edits"), Findings()
    by_name: dict[str, list[Move]] = {}
    for move in found.moves[1:]:
        by_name.setdefault(move.name, []).append(move)
    best = {name: max(moves, key=_flips) for name, moves in by_name.items()}
    ours = max((best[name] for name in (f"{OURS} 1", f"{OURS} 2")), key=_flips)
    sent = max((best[name] for name in (f"{OURS} 1 of the first", f"{OURS} 2 of the first")), key=_flips)
    local = _most_local(move for name in (f"{OURS} 1", f"{OURS} 2") for move in by_name[name])
    rows = [
        Compared(
            name="success, the Jacobian's directions",
            published=paper["success, the Jacobian's directions"],
            ours=ours.flipped,
        ),
        *(Compared(name=f"success, {r}", published=paper.get(f"success, {r}"), ours=best[r].flipped) for r in RIVALS),
        *(Compared(name=n, published=paper[n], ours=None) for n in ("success, Blended", "success, Asyrp")),
        Compared(name="success of the first image's directions on the others", published=None, ours=sent.flipped),
        Compared(name="transfer", published=paper["transfer"], ours=_share(sent.flipped, ours.flipped)),
        Compared(
            name="SSIM, the Jacobian's directions", published=paper["SSIM, the Jacobian's directions"], ours=ours.ssim
        ),
        Compared(
            name="perceived distance, the Jacobian's directions",
            published=paper["perceived distance, the Jacobian's directions"],
            ours=ours.perceived,
        ),
        Compared(name="change inside over outside, the Jacobian's directions", published=None, ours=local.ratio),
        *(
            Compared(name=f"change inside over outside, {r}", published=None, ours=_most_local(by_name[r]).ratio)
            for r in RIVALS
        ),
        *(
            Compared(name=f"departure of {name} from their sum", published=None, ours=move.departure)
            for name, move in best.items()
            if move.departure
        ),
        *(
            Compared(name=f"held-out accuracy of {wall.space}", published=None, ours=wall.accuracy)
            for wall in found.boundaries or ()
        ),
    ]
    for name in ("random", "noise", "pullback"):
        more = _flips(ours) > _flips(best[name])
        findings.say(
            more,
            f"The Jacobian's directions change the class of {_flips(ours):.0%} of the images, {name} of {_flips(best[name]):.0%}"
            f"{_of(paper.get(f'success, {name}'))}.",
        )
        inside, rival = local.ratio, _most_local(by_name[name]).ratio
        if inside and rival:
            findings.say(
                inside.value > rival.value,
                f"They change a pixel inside the mask {inside.value:.2g} times as much as one outside, {name} "
                f"{rival.value:.2g} times.",
            )
    walls = max(_flips(best[name]) for name in ("boundary", "mid-boundary"))
    findings.say(
        walls >= _flips(ours),
        f"Labels' boundaries, which know the class, change it in {walls:.0%} of the images at best, the Jacobian, which does "
        f"not, in {_flips(ours):.0%}.",
    )
    judge = (
        f"a judge that is right about {found.attribute.accuracy.value:.0%} of held-out images"
        if found.attribute
        else "no judge"
    )
    return Outcome(
        scale=f"Ours: {found.model.name}, {found.n} images of {found.images}, σ {found.sigma:.3g}, success by {judge}, perceived "
        "distance in copy features. Published: faces of 256 × 256 pixels, success judged by people, LPIPS.",
        panels=[],
        rows=rows,
        **vars(findings),
    )


def _flips(move: Move) -> float:
    return move.flipped.value if move.flipped else 0.0


def _most_local(moves: Iterable[Move]) -> Move:
    return max(moves, key=lambda move: move.ratio.value if move.ratio else 0.0)


def _share(part: Score | None, of: Score | None) -> Score | None:
    """One share as a share of another, without an interval; None of nothing."""
    return Score(part.value / of.value, part.n) if part and of and of.value else None


def _of(value: float | None) -> str:
    return "" if value is None else f" (published: 80% and {value:.0%})"
