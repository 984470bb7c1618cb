"""What a frozen network makes of domains that it never saw, near and far (arXiv 2310.09213)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from statistics import fmean, mean

from farfield.command.analyse import AnalyseResult, WayKept
from farfield.command.compare import CompareResult
from farfield.command.reconstruct import ReconstructResult
from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.command.transfer import TransferResult
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step
from farfield.study.reproduce.regimes import ends_apart

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
        words = ("analyse", MODEL, source, "--brief", "--in-domain", near.folder, "--eta", ETA, *how["analyse"])
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
    domains = {name: done[f"domains/{name}"].result(AnalyseResult) for name in _sources(plan)}
    returned = {n: done[f"returned/{n}"].result(ReconstructResult) for n in ("near", *RETURNED)}
    findings, gaps = Findings(), {name: gap for name, one in domains.items() if (gap := one.interference.gap)}
    bands = {name: band(one) for name, one in domains.items()}
    order = sorted(gaps, key=lambda name: gaps[name].value)
    _bandwidth(findings, [gaps[n].value for n in order], [fmean(k.kept.value for k in bands[n].levels) for n in order])
    _latents(findings, domains)
    _returned(findings, returned)
    _sketch(findings, done["sketch"].result(TransferResult))
    _sampled(findings, done["sampled"].result(CompareResult))
    kept = [
        Curve(
            name=f"{name}, gap {gaps[name].value:.2g}",
            x=[k.sigma for k in bands[name].levels],
            y=[k.kept for k in bands[name].levels],
        )
        for name in order
    ]
    first = domains[order[0]]
    return Outcome(
        scale=f"Ours: {MODEL} on {', '.join(domains)} at 32 × 32, {first.examples.n} examples each, {first.interference.decoded} "
        f"decoded in each way, {first.steps} steps. Published: networks of 256 × 256 (dogs, faces, churches, bedrooms) on each "
        "other's domains, galaxies and radiation fields; in figures, few of them numbers.",
        panels=[
            Panel(title=f"images kept in their domain, eta {ETA}", along="σ", published=[], ours=kept),
            Panel(
                title="mean share kept over the levels", along="gap to the training domain (kernel distance)", published=[],
                ours=[
                    Curve(
                        name="domains", x=[gaps[n].value for n in order],
                        y=[Score(fmean(k.kept.value for k in bands[n].levels), len(bands[n].levels)) for n in order],
                    )
                ],
            ),
        ],
        rows=[row for name in order for row in _rows(name, domains[name], bands[name])],
        **vars(findings),
    )  # fmt: skip


def band(found: AnalyseResult) -> WayKept:
    """What stochastic decoding keeps of a domain, by level."""
    return next(way for way in found.bandwidth.ways if (way.way, way.at) == ("eta", float(ETA)))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's, ties at their mean rank, and the share of all orders of y that have as large a one.

    Both are NaN and 1 where a side does not vary.
    """
    a, b = _ranks(x), _ranks(y)
    found, size = _product(a, b), (_product(a, a) * _product(b, b)) ** 0.5
    if not size:
        return float("nan"), 1.0
    return found / size, mean(_product(a, other) >= found - 1e-9 for other in permutations(b))


def _ranks(values: Sequence[float]) -> list[float]:
    """Centred."""
    n = len(values)
    return [sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 - (n - 1) / 2 for v in values]


def _product(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _bandwidth(findings: Findings, gaps: Sequence[float], kept: Sequence[float]) -> None:
    correlation, chance = rank_correlation(gaps, kept)
    wider = chance <= 0.05
    findings.say(
        wider,
        f"A larger gap to the training domain {'has' if wider else 'is not shown to have'} a wider band: rank correlation "
        f"{correlation:.2f} over {len(gaps)} domains, of chance orders {chance:.0%} reach it (published: wider).",
    )


def _latents(findings: Findings, domains: Mapping[str, AnalyseResult]) -> None:
    last = {name: one.separability[-1] for name, one in domains.items()}
    apart = all(one.apart for one in last.values())
    right = ", ".join(f"{name} {one.accuracy.value:.2f}" for name, one in last.items())
    findings.say(
        apart,
        f"Latents of {'each domain' if apart else 'not every domain'} are told from those of the training domain at the last "
        f"level, left-out ones rightly by {right} (published: apart).",
    )
    checks = {name: one.normality[-1] for name, one in domains.items()}
    gaussian = all(not one.refused for one in checks.values())
    findings.say(
        gaussian,
        "They pass for Gaussian: tests that reject it, "
        f"{', '.join(f'{name} {len(one.refused)} of {len(one.checks)}' for name, one in checks.items())} (published: Gaussian).",
    )


def _returned(findings: Findings, returned: Mapping[str, ReconstructResult]) -> None:
    psnr = {name: one.reconstruction.psnr.median for name, one in returned.items() if one.reconstruction}
    error = {name: one.latent_certificate.error.median for name, one in returned.items() if one.latent_certificate}
    findings.say(
        min(psnr.values()) >= VISIBLE,
        "Inverted and decoded again, images of near and far domains come back with "
        f"{', '.join(f'{value:.0f} dB ({name})' for name, value in psnr.items())}; their latents carry errors of "
        f"{', '.join(f'{value:.1%} ({name})' for name, value in error.items())} (published: any image comes back).",
    )


def _sketch(findings: Findings, found: TransferResult) -> None:
    sets, chosen = next(iter(found.measures.values())), found.strengths[-1]
    before, after, plain = (sets[name].kernel_distance for name in ("before", chosen, "plain"))
    kept = found.kept[chosen]
    if before is None or after is None or plain is None:
        return
    nearer = ends_apart(after, before)
    findings.say(
        nearer,
        f"Moved to the latents of sketches, {CONTENT} comes {'' if nearer else 'no '}nearer to them: kernel distance "
        f"{before.value:.2g} to {after.value:.2g}, own source recognised {kept.recognised.value:.0%}; the same map without a "
        f"network reaches {plain.value:.2g} (published: pictures become sketches).",
    )


def _sampled(findings: Findings, found: CompareResult) -> None:
    domain = found.domains[0]
    name, base = next(iter(domain.base.items()))
    near = {method: one.measures[name].kernel_distance for method, one in domain.counts[-1].methods.items()}
    ours, own, control = near["published"], base.kernel_distance, near["augment"]
    if ours is None or own is None or control is None:
        return
    nearer = ends_apart(ours, own)
    findings.say(
        nearer,
        f"The published sampler's images are {'' if nearer else 'not '}nearer to {domain.source} than the network's own samples: "
        f"kernel distance {ours.value:.2g} against {own.value:.2g} ({name}); examples cropped and flipped, without a network, "
        f"stand at {control.value:.2g} (published: nearer).",
    )


def _rows(name: str, found: AnalyseResult, kept: WayKept) -> list[Compared]:
    rows = [Compared(name=f"{name}: gap", published=None, ours=found.interference.gap)]
    highest = None if kept.highest_kept is None else Score(kept.highest_kept, found.interference.decoded)
    rows.append(Compared(name=f"{name}: kept up to σ", published=None, ours=highest))
    half = [s for s in found.walk.stops if s.at == 0.5] if found.walk else []
    return rows + [
        Compared(name=f"{name}: drift half-way between examples, about the {s.centre}", published=None, ours=s.drift)
        for s in half
    ]
