"""The page of `farfield analyse`: laws of latents, borders between domains, mode interference, bandwidth."""

from __future__ import annotations

from pathlib import Path

from farfield.command.analyse import AnalyseResult, Check, Descended
from farfield.core.score import Score
from farfield.present import gain
from farfield.present.capture import advice, bandwidth, interference, walk
from farfield.present.law import gaussianity, geometry, separability, symmetry
from farfield.present.page import Content
from farfield.present.verdict import COARSE, FEW
from farfield.present.words import count, level, number, score, score_parts, share, short


def content(folder: Path, summary: AnalyseResult) -> Content:
    """The page of a run folder."""
    known = summary.gain
    said = [known.says] if known and known.says else []
    sections = [
        *gain.section(known),
        gaussianity(summary),
        geometry(summary),
        separability(summary),
        interference(folder, summary),
        bandwidth(summary.bandwidth),
        *([walk(folder, summary.walk)] if summary.walk else []),
        *([symmetry(summary.symmetry)] if summary.symmetry else []),
    ]
    return Content(
        summary.model.name,
        short(summary.examples.source),
        _facts(summary),
        [*said, *_verdict(summary)],
        _caveats(summary),
        _key_numbers(summary),
        sections,
    )


def _facts(summary: AnalyseResult) -> list[str]:
    domain = summary.in_domain
    return [
        f"{count(summary.examples.n, 'example')} of {summary.examples.available}",
        f"{count(domain.n, 'in-domain image')} ({short(domain.source) if domain.source else domain.kind})",
        f"{count(len(summary.levels), 'level')}, σ {level(summary.levels[0])} to {level(summary.levels[-1])}",
        f"{count(summary.steps, 'step')} of {summary.solver} to the last",
    ]


def _verdict(summary: AnalyseResult) -> list[str]:
    last, domain = level(summary.levels[-1]), short(summary.examples.source)
    separable = summary.separability[-1]
    apart = (
        "can be told from those of the training domain"
        if separable.apart
        else "cannot be told from those of the training domain by a linear classifier"
    )
    first = (
        f"At σ {last} the latents of {domain} {_law(summary)}, and {apart}: accuracy {score(separable.accuracy)} on "
        f"latents it was not fitted to, where relabelled ones reach {number(separable.null_high, 2)}."
    )
    strongest = _strongest(summary)
    captured = strongest.captured
    second = (
        f"Decoded from there with noise of eta {level(strongest.at)}, {share(captured.value)} "
        f"{_interval(captured)} of {captured.n} images are captured by the training domain; the classifier takes "
        f"{share(summary.interference.floor.value)} of the real images of {domain} for it too."
    )
    return [first, second, advice(summary.bandwidth)]


def _law(summary: AnalyseResult) -> str:
    last = summary.normality[-1]
    n, wrong = len(last.checks), sorted(last.refused, key=_excess, reverse=True)
    if not wrong:
        return f"pass all {n} tests for a Gaussian"
    return (
        f"are not draws of an isotropic Gaussian ({len(wrong)} of {n} tests reject it; {wrong[0].says.split(':')[0]})"
    )


def _caveats(summary: AnalyseResult) -> list[str]:
    said, judged = [], summary.interference
    n = min(summary.examples.n, summary.in_domain.n)
    if n < FEW:
        said.append(f"{n} images a domain: intervals are wide, and a test that rejects nothing proves nothing.")
    if not summary.in_domain.source:
        said.append(
            "The model's own samples stand for the training domain: what tells samples from real images tells the two "
            "domains apart as well. `--in-domain` gives real ones."
        )
    worst = max(row.error.median for row in summary.latent_certificate)
    if worst > COARSE:
        said.append(
            f"Latents carry a numerical error of {share(worst)} in the median: take more steps before believing them."
        )
    if judged.recognised.value < 0.8 or judged.floor.value > 0.2:
        said.append(
            f"The classifier knows only {share(judged.recognised.value)} of the training domain and mistakes "
            f"{share(judged.floor.value)} of the examples for it: shares of captured images are blunt here."
        )
    return [*said, "The levels share their images and the ways their latents: points of a curve are not independent."]


def _key_numbers(summary: AnalyseResult) -> list[tuple[str, str, str, str]]:
    last, separable, strongest = level(summary.levels[-1]), summary.separability[-1], _strongest(summary)
    floor, kept = summary.interference.floor, summary.bandwidth
    return [
        (
            f"Captured, eta {level(strongest.at)} from σ {last}",
            *score_parts(strongest.captured, True),
            f"real images: {score(floor, True)}",
        ),
        (
            f"Drift, eta {level(strongest.at)} from σ {last}",
            *score_parts(strongest.drift),
            "0 examples, 1 training domain",
        ),
        (
            f"Told apart at σ {last}",
            *score_parts(separable.accuracy, True),
            f"relabelled: up to {share(separable.null_high)}",
        ),
        (
            f"Domain kept up to σ, eta {level(kept.eta)}",
            "–" if kept.recommended is None else level(kept.recommended),
            "",
            "" if kept.searched is None else f"search: {level(kept.searched)}",
        ),
    ]


def _excess(check: Check) -> float:
    return abs(check.statistic - check.expected) / (check.high - check.low or 1.0)


def _strongest(summary: AnalyseResult) -> Descended:
    """What the strongest stochastic decoding made of the latents of the last level."""
    rows = [r for r in summary.interference.curves if r.way == "eta" and r.sigma == summary.levels[-1]]
    return max(rows, key=lambda r: r.at)


def _interval(captured: Score) -> str:
    return f"[{share(captured.low)}, {share(captured.high)}]"
