"""Two networks on disjoint halves: do they make the same images? (arXiv 2310.02557; of galaxies 2503.23127)"""

from __future__ import annotations

from farfield.command.reproduce import Outcome
from farfield.command.transition import TransitionResult
from farfield.study.reproduce.grids import outcome, panel, step
from farfield.study.reproduce.plan import Findings, Plan, Step

SMALL = ("--sizes", "16,128,512", "--halves")
FULL = ("--sizes", "10,100,1000,10000,20000", "--halves")
PAPER = (
    "CelebA in grey, 80 × 80, 1 to 10^5 images of each half; galaxies of SDSS at 64 × 64, where about 10^5 are needed"
)


def steps(plan: Plan) -> list[Step]:
    return [step(plan, "halves", SMALL, FULL)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    halves = {pair.size: pair.halves for pair in found.between if pair.halves}
    same = {n: one.same_seed for n, one in halves.items()}
    near = {n: sum(one.nearest) / 2 for n, one in halves.items()}
    few, many = min(halves), max(halves)
    findings = Findings()
    findings.say(
        same[few] < near[few],
        f"With {few:,} images the two samples of a seed have a median cosine of {same[few]:.2f}, a sample and its nearest "
        f"training image {near[few]:.2f} (published: both networks copy their own sets, up to 100 images).",
    )
    findings.say(
        same[many] > near[many],
        f"With {many:,} images it is {same[many]:.2f} beside {near[many]:.2f} (published: nearly one image, which is in neither "
        "set, from 10^5 on).",
    )
    middle = {n: min(one.levels, key=lambda at: abs(at.sigma - 1)) for n, one in halves.items()}
    findings.say(
        middle[few].agreement.value < middle[many].agreement.value,
        f"At σ = {middle[few].sigma:.2g} the denoisers agree by a = {middle[few].agreement.value:.2f} with {few:,} images and by "
        f"{middle[many].agreement.value:.2f} with {many:,} (published: more and more, to 1).",
    )
    cosines = {
        "two samples of a seed": same.items(),
        "a sample and the nearest of its own images": near.items(),
        "a held-out image and the nearest": [(n, sum(one.held_out) / 2) for n, one in halves.items()],
    }
    levels = {f"{n:,} images": [(at.sigma, at.agreement) for at in one.levels] for n, one in halves.items()}
    panels = [
        panel("median cosines", "training images of each half", cosines),
        panel("agreement of the two denoisers", "σ", levels),
    ]
    return outcome(found, PAPER, findings, panels)
