"""Do two networks restore one measurement alike, from the same noise (arXiv 2310.05264, Section 4)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.command.restore import Agreement, RestoreResult
from farfield.study.reproduce import regimes, settings
from farfield.study.reproduce.plan import Findings, Plan, Step

SMALL: Mapping[str, tuple[str, ...]] = {
    "mask": ("--mask", "2,2,6,6"),
    "blur": ("--blur", "1"),
    "scale": ("--scale", "2"),
}
FULL: Mapping[str, tuple[str, ...]] = {
    "mask": ("--mask", "8,8,24,24"),
    "blur": ("--blur", "1.5"),
    "scale": ("--scale", "4"),
}
BUNDLED, COPIES, COPYING = "digits-generalizing", "digits-memorizing", "mask, a network that copies"
FEW = ("--limit", "16", "-n", "8", "--steps", "12", "--descriptor", "pixels")
MANY = ("--limit", "64", "-n", "16", "--steps", "50", "--descriptor", "sscd")


def steps(plan: Plan) -> list[Step]:
    """The networks, and the restorations of each kind by two of them; by one that copies as well, where there is one."""
    return [*_trained(plan), *_restored(plan).values()]


def _trained(plan: Plan) -> list[Step]:
    """Networks of `settings`: one beside a bundled one, or two."""
    names = ("ddpmpp-v",) if plan.data is None else ("unet2d-epsilon", "ddpmpp-edm")
    return [step for step in settings.steps(plan) if step.words[0] == "train" and step.folder.name in names]


def _restored(plan: Plan) -> dict[str, Step]:
    kinds, how = FULL if plan.data else SMALL, FEW if plan.small else MANY
    places = [str(step.folder) for step in _trained(plan)]
    first, second = places if plan.data else (BUNDLED, *places)

    def restored(place: str, degrade: Sequence[str], against: str) -> Step:
        words = ("restore", first, plan.data or "digits", *degrade, "--against", against, *how)
        return plan.step(f"inverse/{place}", *words)

    found = {kind: restored(kind, degrade, second) for kind, degrade in kinds.items()}
    return found if plan.data else {**found, COPYING: restored("copies", kinds["mask"], COPIES)}


def read(plan: Plan) -> Outcome:
    found = {name: step.result(RestoreResult) for name, step in _restored(plan).items()}
    pairs = {name: one.against for name, one in found.items() if one.against is not None}
    rows = [row for name, one in pairs.items() for row in _rows(name, one)]
    same = {name: one for name, one in pairs.items() if name in SMALL}
    apart = {
        name: one.pfd.high is not None and one.pfd.high < (one.pfd_chance.low or 0.0) for name, one in same.items()
    }
    findings = Findings()
    findings.say(
        all(apart.values()),
        "Two networks restore one measurement more alike from the same noise than from other noise: "
        + "; ".join(
            f"{name}, distance {one.pfd.value:.2f} against {one.pfd_chance.value:.2f}"
            + ("" if apart[name] else " (not within the intervals)")
            for name, one in same.items()
        )
        + " (published: reproducibility holds for inverse problems too).",
    )
    copying = pairs.get(COPYING)
    if copying:
        nearer = regimes.ends_apart(same["mask"].pfd, copying.pfd)
        findings.say(
            nearer,
            f"With a network that has memorized 16 images the distance is {copying.pfd.value:.2f}, with one that generalizes "
            f"{same['mask'].pfd.value:.2f}: what is shared is the law of the data"
            + (", as published of unconditional samples." if nearer else "; the intervals meet."),
        )
    first = next(iter(found.values()))
    panel = Panel(
        title="distance of two networks' restorations (PFD)",
        along=", ".join(f"{i + 1} {name}" for i, name in enumerate(pairs)),
        published=[],
        ours=[
            Curve(
                name=name, x=[float(i + 1) for i in range(len(pairs))], y=[getattr(one, key) for one in pairs.values()]
            )
            for name, key in (("the same noise", "pfd"), ("other noise", "pfd_chance"))
        ],
    )
    return Outcome(
        scale=f"Ours: {first.n} images of {first.images} (among those that the networks were trained on), {first.draws} draws of "
        f"each, {first.steps} steps, moment matching; RP by {next(iter(pairs.values())).descriptor}. Published: DPS on CIFAR-10, "
        "SSCD with a threshold of 0.6; its numbers are in a figure that was not read.",
        panels=[panel],
        rows=rows,
        **vars(findings),
    )


def _rows(name: str, found: Agreement) -> list[Compared]:
    which = next(iter(found.rp), None)
    if which is None:
        return []
    pair = found.rp[which]
    return [
        Compared(name=f"RP, {name}, the same noise", published=None, ours=pair.score),
        Compared(name=f"RP, {name}, other noise", published=None, ours=pair.chance),
    ]
