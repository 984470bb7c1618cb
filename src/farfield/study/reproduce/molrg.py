"""Rank of a U-Net trained on a mixture of low-rank Gaussians, and the transition at N = d (arXiv 2409.02426, Fig 3 and 4)."""

from __future__ import annotations

from farfield.command.molrg import MolrgResult
from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.study.reproduce.plan import Findings, Plan, Step, published_values

DIMENSIONS = (6, 7)
"""The published figure has the ranks of the first, the published command the second."""
SIGMAS = "0.002,0.01,0.05,0.1,0.2,0.5,1,2,3,5,10,30,80"
FEW = ("--seeds", "4", "--starts", "0", "--points", "4", "--network-counts", "none", "--ratios", "0.5,0.85,1,1.2,2")
SMALL, FULL = (*FEW, "--length", "100k"), ("--length", "20M")


def steps(plan: Plan) -> list[Step]:
    how = ("--network", "unet", "--precond", "edm", "--sigmas", SIGMAS, *(SMALL if plan.small else FULL))
    return [plan.step(f"molrg/d{d}", "molrg", "--dimension", str(d), *how) for d in DIMENSIONS]


def read(plan: Plan) -> Outcome:
    """Ends of the network's curve are read where its training went, at SNRs of 0.3 and 20; the exact denoiser's at its own."""
    found, paper = [step.result(MolrgResult) for step in steps(plan)], published_values("molrg")
    panels, rows, findings = [], [], Findings()
    for d, one in zip(DIMENSIONS, found, strict=True):
        snr = [1 / sigma for sigma in one.setting.sigmas]
        lines = {name: sorted(zip(snr, ranks, strict=True)) for name, ranks in one.ranks.items()}
        curves = [Curve(name=name, x=[x for x, _ in line], y=[y for _, y in line]) for name, line in lines.items()]
        panels.append(Panel(title=f"rank of 48, d = {d}", along="SNR, 1/σ", published=[], ours=curves))
        far, near = (round(lines["exact"][end][1].value) for end in (0, -1))
        seen = [rank for x, rank in lines["network"] if 0.3 <= x <= 20]
        transition = one.recovery.methods["labels"].transition
        if d == DIMENSIONS[0]:
            rows = [
                Compared(name=n, published=paper[n], ours=s)
                for n, s in zip(paper, (seen[-1], seen[0], transition), strict=True)
            ]
        findings.say(
            (far, near) == (2 * d, d),
            f"d = {d}: the exact denoiser's rank is {far} far from the data and {near} near it; published: 2d and d (12 and 6).",
        )
        close = abs(seen[-1].value - d) < 1.5 and abs(seen[0].value - 2 * d) < 3
        findings.say(
            close,
            f"d = {d}: that of the U-Net under EDM's scaling {seen[0].value:.1f} and {seen[-1].value:.1f}"
            + ("." if close else f"; it has not learnt in {_seen(one):,} samples to leave out what it does not need."),
        )
        findings.say(
            abs(transition.value - 1) < 0.2,
            f"d = {d}: subspaces are found from N = {transition.value:.2g} d samples on (published: N = d).",
        )
    return Outcome(
        scale=f"Ours: two subspaces of {' and of '.join(map(str, DIMENSIONS))} dimensions in 48, 350 samples a class, a U-Net "
        f"that saw {_seen(found[0]):,} samples, {found[0].setting.points} points a level. Published: the same law, a U-Net "
        "trained to convergence.",
        panels=panels,
        rows=rows,
        **vars(findings),
    )


def _seen(found: MolrgResult) -> int:
    """Samples in the network's training."""
    return found.network.images if found.network else 0
