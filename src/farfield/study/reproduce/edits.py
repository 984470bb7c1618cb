"""Local edits beside rivals: success, likeness, locality, transfer and composition (arXiv 2409.02374; boundaries: 2302.08357)."""

from __future__ import annotations

from collections.abc import Sequence

from farfield.command.edit import EditResult, Move
from farfield.command.reproduce import Compared, Outcome
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step, published_values
from farfield.study.reproduce.regimes import ends_apart

RIVALS = ("random", "noise", "pullback", "boundary", "mid-boundary")
OURS, SENT = "direction 1", "direction 1 of the first"
SMALL = ("digits-generalizing", "digits", "--limit", "60", "--mask", "0,0,8,4", "--keep", "4", "--labels", "digits")
JACOBIAN = "success, the Jacobian's directions"
HOW = ("--each", "--direction", "1,2", "--compose", "1:3,2:3", *(word for name in RIVALS for word in ("--rival", name)))


def steps(plan: Plan) -> list[Step]:
    """Digits, towards eights; at the full scale pictures of CIFAR, towards frogs."""
    if plan.small or plan.data is None:
        return [plan.step("edits", "edit", *SMALL, "--attribute", "8", "--strength=-3,3", *HOW)]
    full = ("cifar10-32", plan.data, "--limit", "100", "--mask", "8,8,24,24", "--labels", plan.data, "--attribute", "6")
    return [plan.step("edits", "edit", *full, "--strength=-6,6", *HOW)]


def read(plan: Plan) -> Outcome:
    """Every method by its first direction, and by that of its two signs which does better; so it is for all alike."""
    found, paper, findings = steps(plan)[0].result(EditResult), published_values("edits"), Findings()
    moves = {name: [m for m in found.moves if m.name == name] for name in (OURS, SENT, *RIVALS)}
    success = {name: _success(of) for name, of in moves.items()}
    local = {name: _locality(of) for name, of in moves.items()}
    for rival in ("random", "noise", "pullback"):
        findings.say(*_held(success[OURS], success[rival], rival, "change the class of {:.0%} of the images", paper))
        findings.say(
            *_held(local[OURS], local[rival], rival, "change the inside {:.2g} times as much as the outside", {})
        )
    walls = max((success[name] for name in ("boundary", "mid-boundary")), key=lambda score: score.value)
    crossed = ends_apart(success["random"], walls)
    findings.say(
        crossed,
        f"Across a boundary of the labels {walls.value:.0%} of the images change their class"
        + (
            f", along a random direction {success['random'].value:.0%}."
            if crossed
            else ": no more than along a random direction."
        ),
    )
    named = {"random": "random", "noise": "noise", "pullback": "pullback", OURS: "the Jacobian's directions"}
    best = max(moves[OURS], key=lambda move: move.flipped.value if move.flipped else 0.0)
    rows = [
        *(
            Compared(
                name=f"success, {named.get(n, n)}", published=paper.get(f"success, {named.get(n, n)}"), ours=success[n]
            )
            for n in (OURS, *RIVALS)
        ),
        *(
            Compared(name=name, published=paper[name], ours=None)
            for name in ("success, Blended", "success, Asyrp", "transfer")
        ),
        Compared(name="success, the first image's direction on all", published=None, ours=success[SENT]),
        *(
            Compared(
                name=f"{what}, the Jacobian's directions",
                published=paper[f"{what}, the Jacobian's directions"],
                ours=score,
            )
            for what, score in (("SSIM", best.ssim), ("perceived distance", best.perceived))
        ),
        *(Compared(name=f"inside over outside, {named.get(n, n)}", published=None, ours=local[n]) for n in moves),
        *(
            Compared(name=f"{move.name}: departure from their sum, relative", published=None, ours=move.departure)
            for move in found.moves
            if move.departure
        ),
        *(
            Compared(name=f"held-out accuracy, {w.space}", published=None, ours=w.accuracy)
            for w in found.boundaries or ()
        ),
    ]
    judge = f"right about {found.attribute.accuracy.value:.0%} of held-out images" if found.attribute else "absent"
    return Outcome(
        scale=f"Ours: {found.model.name}, {found.n} images of {found.images}, σ {found.sigma:.3g}, success by a judge ({judge}) of one "
        "class against the others, perceived distance in copy features. Published: faces of 256 × 256 pixels, success judged by "
        "people, LPIPS.",
        panels=[],
        rows=rows,
        **vars(findings),
    )


def _success(moves: Sequence[Move]) -> Score:
    return max((m.flipped for m in moves if m.flipped), key=lambda score: score.value)


def _locality(moves: Sequence[Move]) -> Score:
    return max((m.ratio for m in moves if m.ratio), key=lambda score: score.value)


def _held(ours: Score, rival: Score, name: str, does: str, paper: dict[str, float]) -> tuple[bool, str]:
    """Whether ours is above a rival by its whole interval, and that in a sentence."""
    more, told = ends_apart(rival, ours), paper.get(f"success, {name}")
    against = f"{rival.value:.0%}" if "%" in does else f"{rival.value:.2g}"
    doubt = "" if more else ", not apart within their intervals"
    seen = "" if told is None else f"; published: {paper[JACOBIAN]:.0%} and {told:.0%}"
    return more, f"The Jacobian's directions {does.format(ours.value)}, {name} {against} (n = {ours.n}{doubt}{seen})."
