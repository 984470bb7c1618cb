"""RP of networks with the optimal denoiser of their training set, over its size (arXiv 2310.05264, Fig 4)."""

from __future__ import annotations

from farfield.command.reproduce import Curve, Outcome, Panel
from farfield.study.reproduce import regimes
from farfield.study.reproduce.plan import Findings, Plan, Step, published


def steps(plan: Plan) -> list[Step]:
    """The grid of the other figure: its empirical denoisers are sampled with it."""
    return regimes.steps(plan)


def read(plan: Plan) -> Outcome:
    found = regimes.grid(plan)
    which = regimes.kind(found)
    ours = [
        Curve(
            name=f"width {width}",
            x=[float(cell.size) for cell in cells],
            y=[cell.theory.rp[which].score for cell in cells],
        )
        for width in found.grid.widths
        if (cells := [cell for cell in found.cells if cell.width == width])
    ]
    falls = all(regimes.ends_apart(curve.y[-1], curve.y[0]) for curve in ours)
    largest = found.grid.sizes[-1]
    apart = max(curve.y[-1].value for curve in ours)
    findings = Findings()
    findings.say(
        falls,
        "The agreement with the optimal denoiser falls as the training set grows"
        + (", as published." if falls else f": not within the intervals here; {regimes.told(ours)}."),
    )
    findings.say(
        apart < 0.05,
        f"With {largest:,} images {apart:.0%} of the samples are those of the optimal denoiser; published: none from 2^15 on.",
    )
    title = "agreement with the optimal denoiser (RP)"
    panel = Panel(title=title, along="training images", published=list(published("theory").values()), ours=ours)
    return Outcome(scale=regimes.scale(found), panels=[panel], rows=[], **vars(findings))
