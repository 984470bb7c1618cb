"""What a frozen network makes of domains that it never saw, near and far (arXiv 2310.09213)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from math import nan
from statistics import fmean

from farfield.command.analyse import AnalyseResult, WayKept
from farfield.command.compare import CompareResult
from farfield.command.reconstruct import ReconstructResult
from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.command.transfer import TransferResult
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step
from farfield.study.reproduce.regimes import ends_apart

Domains = Mapping[str, AnalyseResult]

MODEL = "cifar10-32"
SOURCES: Sequence[str] = ("hubble", "retina", "grass", "digits")
MORE: Sequence[str] = ("ihc", "brick", "gravel", "faces")
RETURNED: Sequence[str] = ("hubble", "digits")
CONTENT, SAMPLED = "retina", "hubble"
ETA = "0.5"
VISIBLE = 30.0  # dB
SMALL: Mapping[str, tuple[str, ...]] = {
    "near": ("--seeds", "0-11", "--steps", "12"),
    "analyse": (
        "--examples", "12", "--decoded", "6", "--levels", "2,5,10,20,40", "--steps", "12", "--down-steps", "8",
        "--noise", "1",
    ),
    "reconstruct": ("--limit", "4", "--steps", "16"),
    "transfer": ("-n", "12", "--examples", "16", "--steps", "8", "--strength", "1"),
    "compare": ("--counts", "24", "-n", "24", "--steps", "8"),
}  # fmt: skip
FULL: Mapping[str, tuple[str, ...]] = {
    "near": ("--seeds", "0-127", "--steps", "48"),
    "analyse": ("--examples", "48", "--steps", "48"),
    "reconstruct": ("--limit", "48", "--steps", "100"),
    "transfer": ("-n", "100", "--strength", "0.5,1"),
    "compare": ("--counts", "30", "-n", "128"),
}


def steps(plan: Plan) -> list[Step]:
    """The network's own samples, the analysis of each domain beside them, round trips, a transfer and the published sampler."""
    how = SMALL if plan.small else FULL
    near = plan.step("unseen/near", "generate", MODEL, *how["near"])
    made = [near]
    for source in _sources(plan):
        words = ("analyse", MODEL, source, "--brief", "--in-domain", str(near.folder), "--eta", ETA, *how["analyse"])
        made.append(plan.step(f"unseen/domains/{source}", *words))
    for name, source in {"near": str(near.folder), **{s: s for s in RETURNED}}.items():
        made.append(plan.step(f"unseen/returned/{name}", "reconstruct", MODEL, source, *how["reconstruct"]))
    made.append(plan.step("unseen/sketch", "transfer", MODEL, CONTENT, f"sketch:{CONTENT}", *how["transfer"]))
    methods = ("--methods", "published,augment,examples")
    made.append(plan.step("unseen/sampled", "compare", MODEL, SAMPLED, *methods, *how["compare"]))
    return made


def _sources(plan: Plan) -> Sequence[str]:
    return SOURCES if plan.small else (*SOURCES, *MORE)


def read(plan: Plan) -> Outcome:
    done = {step.folder.relative_to(plan.out / "unseen").as_posix(): step for step in steps(plan)}
    outcome = of_domains({name: done[f"domains/{name}"].result(AnalyseResult) for name in _sources(plan)})
    findings = Findings()
    _returned(findings, {n: done[f"returned/{n}"].result(ReconstructResult) for n in ("near", *RETURNED)})
    _sketch(findings, done["sketch"].result(TransferResult))
    _sampled(findings, done["sampled"].result(CompareResult))
    return outcome.but(agrees=outcome.agrees + findings.agrees, differs=outcome.differs + findings.differs)


def of_domains(found: Domains) -> Outcome:
    """What the analyses say together: bands over gaps, latents and walks."""
    gaps = {name: one.interference.gap or Score(nan, 0) for name, one in found.items()}
    order = sorted(gaps, key=lambda name: gaps[name].value)
    domains = {name: found[name] for name in order}
    bands = {name: band(one) for name, one in domains.items()}
    kept = [Score(fmean(k.kept.value for k in bands[name].levels), len(bands[name].levels)) for name in order]
    apart = [gaps[name].value for name in order]
    findings = Findings()
    _bandwidth(findings, apart, [score.value for score in kept])
    _latents(findings, domains)
    lines = [
        Curve(name=f"{n}, gap {gaps[n].value:.2g}", x=[k.sigma for k in one.levels], y=[k.kept for k in one.levels])
        for n, one in bands.items()
    ]
    means = Curve(name="domains", x=apart, y=kept)
    along = "gap to the training domain (kernel distance)"
    first = domains[order[0]]
    return Outcome(
        scale=f"Ours: {MODEL} on {', '.join(found)} at 32 × 32, {first.examples.n} examples each, {first.interference.decoded} "
        f"decoded in each way, {first.steps} steps. Published: networks of 256 × 256 (dogs, faces, churches, bedrooms) on each "
        "other's domains, galaxies and radiation fields; in figures, few of them numbers.",
        panels=[
            Panel(title=f"images kept in their domain, eta {ETA}", along="σ", published=[], ours=lines),
            Panel(title="mean share kept over the levels", along=along, published=[], ours=[means]),
        ],
        rows=[row for name, one in domains.items() for row in _rows(name, one)],
        **vars(findings),
    )


def band(found: AnalyseResult) -> WayKept:
    """What stochastic decoding keeps of a domain, by level."""
    return next(way for way in found.bandwidth.ways if (way.way, way.at) == ("eta", float(ETA)))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's, and the share of all orders of y that have as large a one; NaN and 1 where a side does not vary."""
    from scipy.stats import rankdata

    a, b = (rankdata(v) - (len(v) + 1) / 2 for v in (x, y))
    if not (size := float((a @ a) * (b @ b)) ** 0.5):
        return nan, 1.0
    return float(a @ b) / size, fmean(float(a @ other) >= float(a @ b) - 1e-9 for other in permutations(b))


def _bandwidth(findings: Findings, gaps: Sequence[float], kept: Sequence[float]) -> None:
    correlation, chance = rank_correlation(gaps, kept)
    findings.say(
        chance <= 0.05,
        f"A larger gap to the training domain {'has' if chance <= 0.05 else 'is not shown to have'} a wider band: rank "
        f"correlation {correlation:.2f} over {len(gaps)} domains, which {chance:.0%} of all orders reach (published: wider).",
    )


def _latents(findings: Findings, domains: Domains) -> None:
    last = {name: one.separability[-1] for name, one in domains.items()}
    right = ", ".join(f"{name} {one.accuracy.value:.2f}" for name, one in last.items())
    findings.say(
        apart := all(one.apart for one in last.values()),
        f"Latents of {'each domain' if apart else 'not every domain'} are told from those of the training domain at the last "
        f"level, left-out ones rightly by {right} (published: apart).",
    )
    checks = {name: one.normality[-1] for name, one in domains.items()}
    refused = ", ".join(f"{name} {len(one.refused)} of {len(one.checks)}" for name, one in checks.items())
    gaussian = all(not one.refused for one in checks.values())
    findings.say(gaussian, f"Tests that reject a Gaussian for them: {refused} (published: they are Gaussian).")


def _returned(findings: Findings, returned: Mapping[str, ReconstructResult]) -> None:
    said, worst = [], nan
    for name, one in returned.items():
        if one.reconstruction and one.latent_certificate:
            psnr = one.reconstruction.psnr.median
            worst = psnr if worst != worst else min(worst, psnr)
            said.append(f"{name} {psnr:.0f} dB with latents {one.latent_certificate.error.median:.1%} off")
    findings.say(
        worst >= VISIBLE,
        f"Inverted and decoded again, images come back, near ones and far: {', '.join(said)} (published: any image does).",
    )


def _sketch(findings: Findings, found: TransferResult) -> None:
    sets, chosen = next(iter(found.measures.values())), found.strengths[-1]
    before, after, plain = (sets[name].kernel_distance for name in ("before", chosen, "plain"))
    if before and after and plain:
        findings.say(
            nearer := ends_apart(after, before),
            f"Moved to the latents of sketches, {CONTENT} comes {'' if nearer else 'no '}nearer to them: kernel distance "
            f"{before.value:.2g} to {after.value:.2g}, own source recognised {found.kept[chosen].recognised.value:.0%}; the same "
            f"map without a network reaches {plain.value:.2g} (published: pictures become sketches).",
        )


def _sampled(findings: Findings, found: CompareResult) -> None:
    domain = found.domains[0]
    name, base = next(iter(domain.base.items()))
    near = {method: one.measures[name].kernel_distance for method, one in domain.counts[-1].methods.items()}
    ours, own, control = near["published"], base.kernel_distance, near["augment"]
    if ours and own and control:
        findings.say(
            nearer := ends_apart(ours, own),
            f"The published sampler's images are {'' if nearer else 'not '}nearer to {domain.source} than the network's own "
            f"samples: kernel distance {ours.value:.2g} against {own.value:.2g} ({name}); examples cropped and flipped, with no "
            f"network, stand at {control.value:.2g} (published: nearer).",
        )


def _rows(name: str, found: AnalyseResult) -> list[Compared]:
    highest, decoded = band(found).highest_kept, found.interference.decoded
    numbers = {"gap": found.interference.gap, "kept up to σ": None if highest is None else Score(highest, decoded)}
    for stop in found.walk.stops if found.walk else []:
        if stop.at == 0.5:
            numbers[f"drift half-way between examples, about the {stop.centre}"] = stop.drift
    return [Compared(name=f"{name}: {what}", published=None, ours=score) for what, score in numbers.items()]
