"""Rank of the denoiser's Jacobian over the SNR 1/σ, along trajectories and at noised images (arXiv 2409.02426, Fig 3)."""

from __future__ import annotations

from farfield.command.rank import RankLevel, RankResult
from farfield.command.reproduce import Curve, Outcome, Panel
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step, published

MODEL = "cifar10-32"
SMALL, FULL = "0.0101,0.1,0.6,3.3,8.3,25,100", "0.0101,0.02,0.1,0.6,1.1,3.3,8.3,12.5,25,50,100"
"""The published levels that the model knows; the first of its own is 0.01."""


def steps(plan: Plan) -> list[Step]:
    """Points of trajectories, and noised images where there are any."""
    points, levels = ("1", SMALL) if plan.small else ("16", FULL)
    how = ("--points", points, "--sigmas", levels)
    made = [plan.step("jacobian/trajectory", "rank", MODEL, "--along", "trajectory", *how)]
    if plan.data is not None:
        made.append(plan.step("jacobian/noised", "rank", MODEL, "--images", plan.data, *how))
    return made


def read(plan: Plan) -> Outcome:
    found = [step.result(RankResult) for step in steps(plan)]
    ours = [_curve(one) for one in found]
    paper = published("jacobian")
    findings = Findings()
    for curve in ours:
        shares = [y.value for y in curve.y]
        low, at = min(shares), curve.x[shares.index(min(shares))]
        few, rises, jumps = low < 0.03 and at < 1, shares[-1] > 10 * low, shares[0] > 10 * low
        said = f"{curve.name}: the fewest directions, {low:.4f} of all, are kept at an SNR of {at:.2g} "
        findings.say(few, f"{said}(published: 0.0035 at 0.04).")
        findings.say(rises, f"{curve.name}: {shares[-1]:.2f} at an SNR of {curve.x[-1]:.3g} (published: 0.62 at 125).")
        said = f"{curve.name}: at the highest noise, an SNR of {curve.x[0]:.2g}, the rank is {shares[0]:.4f}; "
        findings.say(jumps, f"{said}published: it jumps to 0.35.")
    return Outcome(
        scale=f"Ours: {MODEL}, {', '.join(f'{one.n} points ({one.along})' for one in found)}, {found[0].dimension} dimensions, "
        f"{found[0].share:g} of the Frobenius norm. Published: EDM's networks of CIFAR-10, points of a sampling trajectory.",
        panels=[Panel(title="rank / dimension", along="SNR, 1/σ", published=list(paper.values()), ours=ours)],
        rows=[],
        **vars(findings),
    )


def _curve(found: RankResult) -> Curve:
    levels = sorted(found.levels, key=lambda one: -one.sigma)
    name = "trajectories" if found.along == "trajectory" else "noised images"
    return Curve(name=name, x=[1 / one.sigma for one in levels], y=[_share(one, found.dimension) for one in levels])


def _share(level: RankLevel, dimension: int) -> Score:
    rank = level.rank.mean
    ends = [None if end is None else end / dimension for end in (rank.low, rank.high)]
    return Score(rank.value / dimension, rank.n, *ends)
