"""Two networks on disjoint halves: do they make the same images? (arXiv 2310.02557; of galaxies 2503.23127)"""

from __future__ import annotations

from farfield.command.reproduce import Curve, Outcome, Panel
from farfield.command.transition import Halves, TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.grids import outcome, step
from farfield.study.reproduce.plan import Plan, Step

SMALL = ("--sizes", "16,128,512", "--halves")
FULL = ("--sizes", "10,100,1000,10000,25000", "--halves")


def steps(plan: Plan) -> list[Step]:
    return [step(plan, "halves", SMALL, FULL)]


def read(plan: Plan) -> Outcome:
    found = steps(plan)[0].result(TransitionResult)
    known = [(pair.size, pair.halves) for pair in found.between if pair.halves]
    (few, first), (many, last) = known[0], known[-1]
    lines = {
        "two samples of a seed": [(n, h.same_seed) for n, h in known],
        "the nearest of its own images": [(n, _nearest(h)) for n, h in known],
        "the nearest to a held-out image": [(n, sum(h.held_out) / 2) for n, h in known],
    }
    at = [min(h.levels, key=lambda one: abs(one.sigma - 1)) for _, h in known]
    return outcome(
        found,
        "CelebA in grey, 80 × 80, 1 to 10^5 images of each half; and galaxies of SDSS at 64 × 64, where about 10^5 are needed",
        [
            (
                first.same_seed < _nearest(first),
                f"With {few:,} images each network makes its own: the two samples of a seed have a median cosine of "
                f"{first.same_seed:.2f}, a sample and its nearest training image {_nearest(first):.2f} (published: both copy "
                "their own sets up to 100).",
            ),
            (
                last.same_seed > _nearest(last),
                f"With {many:,} images the two samples of a seed ({last.same_seed:.2f}) are "
                f"{'more' if last.same_seed > _nearest(last) else 'no more'} alike than a sample and its nearest training image "
                f"({_nearest(last):.2f}; published: nearly the same image, which is in neither set, from 10^5 on).",
            ),
            (
                at[-1].agreement.value > at[0].agreement.value,
                f"The denoisers agree at σ = {at[-1].sigma:.2g} by a = {at[0].agreement.value:.2f} with {few:,} images and by "
                f"{at[-1].agreement.value:.2f} with {many:,} (published: to 1).",
            ),
        ],
        panels=[
            Panel(
                title="median cosines",
                along="training images of each half",
                published=[],
                ours=[
                    Curve(name=name, x=[float(n) for n, _ in line], y=[Score(y, 0) for _, y in line])
                    for name, line in lines.items()
                ],
            ),
            Panel(
                title="agreement of the two denoisers",
                along="σ",
                published=[],
                ours=[
                    Curve(
                        name=f"{n:,} images", x=[one.sigma for one in h.levels], y=[one.agreement for one in h.levels]
                    )
                    for n, h in known
                ],
            ),
        ],
        rows=[],
    )


def _nearest(halves: Halves) -> float:
    return sum(halves.nearest) / 2
