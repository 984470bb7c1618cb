"""RP and GL over the number of training images, for several widths (arXiv 2310.05264, Fig 2)."""

from __future__ import annotations

from collections.abc import Sequence

from farfield.command.reproduce import Curve, Outcome, Panel
from farfield.command.transition import CellScores, TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step, published

SIZES = ",".join(str(2**power) for power in range(6, 16))
WIDTHS = "64,128,256"
LENGTH = "50M"
"""Images that a network of the full scale sees; the paper trains EDM's DDPM++ to convergence on each subset."""
SMALL_DIGITS = ("--sizes", "16,64,256,1024", "--widths", "12,24", "--samples", "128")
SMALL_PICTURES = (
    *("--sizes", "16,128,1024,8192", "--widths", "16,24", "--samples", "128", "--length", "50k", "--batch-size", "32"),
    *("--network", "unet2d", "--multipliers", "1,2,2", "--blocks", "1", "--attention", "none"),
    *("--learning-rate", "2e-3", "--warmup", "5k", "--decay", "cosine", "--ema", "5k"),
)
"""As light a network as that of the digits: two hours of one core for CIFAR-10."""


def steps(plan: Plan) -> list[Step]:
    """One grid: of digits, of a few CIFAR subsets with narrow networks, or the published one."""
    if plan.data is None:
        return [plan.step("grid", "transition", *SMALL_DIGITS)]
    if plan.small:
        return [plan.step("grid", "transition", "--data", plan.data, *SMALL_PICTURES)]
    how = ("--sizes", SIZES, "--widths", WIDTHS, "--samples", "10000", "--descriptor", "sscd", "--network", "ddpmpp")
    return [plan.step("grid", "transition", "--data", plan.data, *how, "--length", LENGTH)]


def grid(plan: Plan) -> TransitionResult:
    return steps(plan)[0].result(TransitionResult)


def kind(found: TransitionResult) -> str:
    """The threshold that is compared: the descriptor's published one, else the calibrated."""
    return next(iter(found.alike.thresholds))


def read(plan: Plan) -> Outcome:
    found, paper = grid(plan), published("regimes")
    which = kind(found)
    gl = [
        Curve(name=f"width {width}", x=_sizes(cells), y=[cell.gl[which].score for cell in cells])
        for width in found.grid.widths
        if (cells := [cell for cell in found.cells if cell.width == width])
    ]
    rp = between(found, which)
    rises = all(ends_apart(curve.y[0], curve.y[-1]) for curve in gl)
    findings = Findings()
    findings.say(
        rises,
        "GL rises from the smallest training set to the largest"
        + (
            " for every width, as published."
            if rises
            else f" for not every width (published: from 0 to .99); {told(gl)}."
        ),
    )
    dips = bool(rp) and all(_dips(curve) for curve in rp)
    findings.say(
        dips,
        "RP falls and rises again: models agree where both memorize and where both generalize, and least between, as published."
        if dips
        else f"RP does not fall and rise again within its intervals; {told(rp) or 'no two models were compared'}.",
    )
    return Outcome(
        scale=scale(found),
        panels=[
            Panel(title="new samples (GL)", along="training images", published=_of(paper, "GL"), ours=gl),
            Panel(title="agreement of two models (RP)", along="training images", published=_of(paper, "RP"), ours=rp),
        ],
        rows=[],
        **vars(findings),
    )


def between(found: TransitionResult, which: str) -> list[Curve]:
    """RP of every two networks of one training set, over its size."""
    widths = {cell.name: cell.width for cell in found.cells}
    lines: dict[str, list[tuple[float, Score]]] = {}
    for pair in found.between:
        name = f"widths {widths[pair.first]} and {widths[pair.second]}"
        lines.setdefault(name, []).append((pair.size, pair.rp[which].score))
    return [Curve(name=name, x=[x for x, _ in points], y=[y for _, y in points]) for name, points in lines.items()]


def scale(found: TransitionResult) -> str:
    data, cell = found.data, found.cells[0]
    side = " × ".join(map(str, data.shape))
    return (
        f"Ours: {data.source}, images of {side}, widths {', '.join(map(str, found.grid.widths))}, {cell.images:,} images seen by "
        f"each network, {cell.gl[kind(found)].score.n} samples, descriptor {found.descriptor}. Published: CIFAR-10 of "
        "3 × 32 × 32, widths 64, 128 and 256, SSCD with a threshold of 0.6."
    )


def ends_apart(low: Score, high: Score) -> bool:
    """Whether one score is above another by its whole interval."""
    return (high.value if high.low is None else high.low) > (low.value if low.high is None else low.high)


def told(curves: Sequence[Curve]) -> str:
    """The curves in numbers."""
    return "; ".join(f"{curve.name}: {', '.join(f'{y.value:.2f}' for y in curve.y)}" for curve in curves)


def _sizes(cells: Sequence[CellScores]) -> list[float]:
    return [float(cell.size) for cell in cells]


def _dips(curve: Curve) -> bool:
    lowest = min(curve.y, key=lambda score: score.value)
    return ends_apart(lowest, curve.y[0]) and ends_apart(lowest, curve.y[-1])


def _of(paper: dict[str, Curve], score: str) -> list[Curve]:
    return [curve.but(name=name.removeprefix(f"{score} ")) for name, curve in paper.items() if name.startswith(score)]
