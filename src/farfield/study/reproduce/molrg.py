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
    found = [step.result(MolrgResult) for step in steps(plan)]
    paper = published_values("molrg")
    panels, rows, findings = [], [], Findings()
    for d, one in zip(DIMENSIONS, found, strict=True):
        ours = {
            name: sorted(zip((1 / s for s in one.setting.sigmas), ranks, strict=True))
            for name, ranks in one.ranks.items()
        }
        curves = [Curve(name=name, x=[x for x, _ in points], y=[y for _, y in points]) for name, points in ours.items()]
        panels.append(Panel(title=f"rank of 48, d = {d}", along="SNR, 1/σ", published=[], ours=curves))
        exact, network = ours["exact"], ours["network"]
        at = [i for i, (x, _) in enumerate(network) if 0.3 <= x <= 20]
        near, far = network[at[-1]][1], network[at[0]][1]
        transition = one.recovery.methods["labels"].transition
        if d == DIMENSIONS[0]:
            values = (exact[-1][1], exact[0][1], transition)
            rows += [
                Compared(name=name, published=paper[name], ours=ours) for name, ours in zip(paper, values, strict=True)
            ]
        findings.say(
            (exact[-1][1].value, exact[0][1].value) == (d, 2 * d),
            f"d = {d}: the exact denoiser's rank goes from {exact[0][1].value:.0f} far from the data to {exact[-1][1].value:.0f} "
            f"near it{', which are the figure’s' if d == 6 else '; the published figure has 12 and 6'}.",
        )
        close = abs(near.value - d) < 1.5 and abs(far.value - 2 * d) < 3
        unlearnt = f"; what it does not need it has not learnt to leave out in {_seen(one):,} samples."
        findings.say(
            close,
            f"d = {d}: the U-Net under EDM's scaling has {far.value:.1f} at an SNR of {network[at[0]][0]:.2g} and "
            f"{near.value:.1f} at {network[at[-1]][0]:.2g}{', as published.' if close else unlearnt}",
        )
        findings.say(
            abs(transition.value - 1) < 0.2,
            f"d = {d}: a subspace is found from {transition.value:.2g} samples per dimension on (published: N = d).",
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
