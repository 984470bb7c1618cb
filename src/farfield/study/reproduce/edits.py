"""Local edits beside rivals: success, likeness, locality, transfer and composition (arXiv 2409.02374; boundaries: 2302.08357)."""

from __future__ import annotations

from collections.abc import Sequence

from farfield.command.edit import EditResult
from farfield.command.reproduce import Compared, Outcome
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step, published_values
from farfield.study.reproduce.regimes import ends_apart

RIVALS = ("random", "noise", "pullback", "boundary", "mid-boundary")
OURS, SENT = "direction 1", "direction 1 of the first"
SMALL = ("digits-generalizing", "digits", "--limit", "60", "--mask", "0,0,8,4", "--keep", "4", "--labels", "digits")
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
    success = {name: _best([m.flipped for m in of]) for name, of in moves.items()}
    local = {name: _best([m.ratio for m in of]) for name, of in moves.items()}
    best = next(m for m in moves[OURS] if m.flipped == success[OURS])
    ours: dict[str, Score | None] = {
        **{f"success, {name}": score for name, score in success.items()},
        **{f"inside over outside, {name}": score for name, score in local.items()},
        f"SSIM, {OURS}": best.ssim,
        f"perceived distance, {OURS}": best.perceived,
        **{f"departure of {m.name} from their sum": m.departure for m in found.moves if m.departure},
        **{f"held-out accuracy, {wall.space}": wall.accuracy for wall in found.boundaries or ()},
    }
    for rival in ("random", "noise", "pullback"):
        findings.say(*_held(success, rival, "change the class of {:.0%} of the images", paper))
        findings.say(*_held(local, rival, "change the inside {:.2g} times as much as the outside", {}))
    for wall in ("boundary", "mid-boundary"):
        more = ends_apart(success["random"], success[wall])
        said = (
            f"Across a {wall} of the labels {success[wall].value:.0%} of the images change their class, along a random "
        )
        findings.say(more, f"{said}direction {success['random'].value:.0%}{'' if more else ', which is not apart'}.")
    judge = f"right about {found.attribute.accuracy.value:.0%} of held-out images" if found.attribute else "absent"
    return Outcome(
        scale=f"Ours: {found.model.name}, {found.n} images of {found.images}, σ {found.sigma:.3g}, success by a judge ({judge}) "
        "of one class against the others, perceived distance in copy features. Published: faces of 256 × 256 pixels, success "
        "judged by people, LPIPS.",
        panels=[],
        rows=[Compared(name=n, published=paper.get(n), ours=ours.get(n)) for n in dict.fromkeys([*ours, *paper])],
        **vars(findings),
    )


def _best(scores: Sequence[Score | None]) -> Score:
    return max((score for score in scores if score), key=lambda score: score.value)


def _held(scores: dict[str, Score], name: str, does: str, paper: dict[str, float]) -> tuple[bool, str]:
    """Whether ours is above a rival by its whole interval, and that in a sentence."""
    ours, rival = scores[OURS], scores[name]
    more = ends_apart(rival, ours)
    against = f"{rival.value:.0%}" if "%" in does else f"{rival.value:.2g}"
    doubt = "" if more else ", not apart within their intervals"
    told = [paper[key] for one in (OURS, name) if (key := f"success, {one}") in paper]
    seen = f"; published: {told[0]:.0%} and {told[1]:.0%}" if len(told) == 2 else ""
    return more, f"The Jacobian's directions {does.format(ours.value)}, {name} {against} (n = {ours.n}{doubt}{seen})."
