"""`farfield analyse`: what a frozen model makes of a domain it never saw, before anything is sampled.

Examples and images of the training domain climb through the noise levels. Their latents are tested, measured and told
apart at each; the examples' come down again by noise and disturbed, and are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import farfield
from farfield.audit.named import identity
from farfield.checkpoints.load import model_digest
from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.shared import Numerics, Reading
from farfield.core import note
from farfield.core.artifact import Images, Latents, Score, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.data.apart import apart
from farfield.data.image import list_keys, load_images
from farfield.data.picture import as_shown
from farfield.data.subset import choose
from farfield.data.symmetry import apply, group, parse
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.domain import Domain, open_source
from farfield.study.bench.measure import descriptions, spread
from farfield.study.bench.numerics import open_model
from farfield.study.bench.physical import describe_fields
from farfield.study.bench.run import Run
from farfield.study.unseen.bandwidth import search_level
from farfield.study.unseen.interference import Judge, bandwidth, descend
from farfield.study.unseen.ladder import Ladder, find_levels
from farfield.study.unseen.symmetry import symmetry as symmetry_of
from farfield.unseen.geometry import expectation, norms, pair_angles, pair_distances, triangle_angles
from farfield.unseen.interference import LEAST
from farfield.unseen.inversion import convergence
from farfield.unseen.normality import normality
from farfield.unseen.prior import IsotropicPrior
from farfield.unseen.separability import separability

MOST = 48
"""Examples that are looked at, unless more are asked for."""

JUDGED_AT = 0.5
"""The eta whose loss of the domain bounds the level to sample at: on hubble and SDSS galaxies (cifar10-32, 40 examples) the
kernel distance of `expand`'s samples rises beyond σ 20 and 40, eta ½ keeps the domain up to 10 and 40, eta 1 up to 2 and 5."""

CERTIFIED = 8
"""Examples that climb once more with twice the steps."""


@dataclass(frozen=True)
class Analysis:
    """What is looked at.

    ``levels``: noise levels, or None for the standard ones and the model's last; ``etas``: strengths of stochastic
    decoding; ``shares``: how far latents are turned towards N(0, I); ``symmetry``: names, empty for none;
    ``decoded``: how many examples come down again; ``down_steps``: steps of a descent from the last level;
    ``descriptor``: in which domains are told apart.
    """

    levels: tuple[float, ...] | None = None
    etas: tuple[float, ...] = (0.0, 0.2, 0.5, 1.0)
    shares: tuple[float, ...] = (0.1, 0.3, 1.0)
    symmetry: tuple[str, ...] = ()
    decoded: int = 24
    down_steps: int = 14
    descriptor: str = "model"

    def __post_init__(self) -> None:
        for name, values in (("eta", self.etas), ("noise", self.shares)):
            if not values or any(not 0 <= v <= 1 for v in values):
                raise FarfieldError(f"{name} {', '.join(f'{v:g}' for v in values)}: expected numbers from 0 to 1")
        if self.symmetry:
            parse(",".join(self.symmetry))
        if self.levels is not None and not self.levels:
            raise FarfieldError("levels: expected at least one noise level")
        if self.decoded < 1 or self.down_steps < 4:
            raise FarfieldError(
                f"{self.decoded} images in {self.down_steps} steps: expected at least 1 to decode, in 4 steps or more"
            )

    def request(self) -> dict[str, Any]:
        """As JSON keeps it, by the names of the command's options."""
        return {
            "levels": list(self.levels) if self.levels else None,
            "eta": list(self.etas),
            "noise": list(self.shares),
            "symmetry": ",".join(self.symmetry) or None,
            "decoded": self.decoded,
            "down_steps": self.down_steps,
            "descriptor": identity(self.descriptor),
        }


@note.kept()
def analyse(
    model: str,
    source: str,
    out: Path,
    numerics: Numerics,
    analysis: Analysis,
    reading: Reading = Reading(),
    *,
    examples: int | None = None,
    in_domain: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Look at a domain's latents; the summary, as written to ``summary.json``.

    Args:
        source: a path or a bundled domain; ``examples`` of its images (all up to 48, if not given) are drawn with
            ``seed``.
        in_domain: a source of images of the training domain, up to ``limit`` of them (as many as there are examples, if
            not given); without it the model's own samples stand for them.
        reading: of physical examples the stretch is fitted on those drawn and written to ``stretch.json``. Images of the
            training domain are pictures.
    """
    denoiser = open_model(model, numerics)
    levels = find_levels(denoiser.schedule, analysis.levels)
    ladder = Ladder(denoiser, levels, numerics, analysis.down_steps)
    ladder.check()
    domain = _examples(source, denoiser, examples, seed, reading)
    given, physical = domain.examples, domain.physical
    for name in group(analysis.symmetry) if analysis.symmetry else ():
        apply(given.values[:1], name)  # refuse a quarter turn of what is not square before the folder is begun
    training = _in_domain(in_domain, denoiser, limit or len(given), seed, reading.strict) if in_domain else None
    if in_domain and training is not None:
        why = "images of the training domain"
        rows = apart(training.keys, training.values, [given.values], in_domain, f"the examples of {source}", why)
        training = training.select([training.keys[i] for i in rows])
    request = {
        "model": model,
        "examples": source,
        "count": len(given),
        "in_domain": in_domain,
        "limit": limit,
        "seed": seed,
        **(reading.request() if physical else {}),
        **analysis.request(),
        **{k: v for k, v in numerics.request().items() if k != "sigma"},
    }
    inputs = {"model": model_digest(model), **domain.inputs("examples"), "in_domain": training}
    run = Run(out, "analyse", request, inputs, quiet)
    if training is None:
        keys = [f"{k:06d}" for k in range(max(LEAST, limit or len(given)))]
        own = Carrier.of(numerics, denoiser, denoiser.schedule.sigmas(analysis.down_steps))
        training = own.samples(run, "in_domain", keys, "the model's own samples", as_shown)
    mine = ladder.climb(run, "latents/examples", given)
    theirs = ladder.climb(run, "latents/in_domain", training)
    fine = ladder.climb(run, "latents/certificate", given.select(given.keys[:CERTIFIED]), finer=2)

    label, describe = next(descriptions([analysis.descriptor], training, numerics.loading.batch_size, denoiser))
    # what comes down is judged as a picture, so fields are too: a stretch may reach beyond [-1, 1]
    seen = Images(given.keys, as_shown(given.values)) if physical else given
    judge = Judge.fit(run, describe, label, seen, training, seed)
    keys, _ = choose(given.keys, min(analysis.decoded, len(given)), seed)
    curves: list[dict[str, Any]] = []
    for level in levels:
        decoded = descend(run, ladder, mine[level].select(keys), analysis.etas, analysis.shares)
        curves += judge.rows(level, decoded)
    searched = search_level(run, denoiser, given, numerics, Sampler())
    with run.stage("symmetry"):
        turned = symmetry_of(run, ladder, given, mine, analysis.symmetry, seed) if analysis.symmetry else None
    with run.stage("statistics"):
        folds = min(5, len(given) // 2, len(training) // 2)
        summary = {
            "command": "analyse",
            "farfield": farfield.__version__,
            "model": {"name": model, "digest": run.request["model_digest"], "shape": list(denoiser.image_shape)},
            "examples": {"source": source, "n": len(given), "available": domain.available, "digest": domain.digest()},
            **({"physical": describe_fields(physical, reading)} if physical else {}),
            "in_domain": {
                "source": in_domain,
                "n": len(training),
                "kind": "images" if in_domain else "the model's own samples, inverted again",
            },
            "levels": levels,
            "steps": numerics.steps,
            "down_steps": analysis.down_steps,
            "solver": numerics.solver,
            "latent_certificate": [certified(z, fine[s], numerics.solver) for s, z in mine.items()],
            "normality": [{"sigma": s, "checks": normality(z.values, seed=seed)} for s, z in mine.items()],
            "geometry": [
                {"sigma": s, "examples": geometry(mine[s].values), "in_domain": geometry(theirs[s].values)}
                for s in levels
            ],
            "separability": [
                {"sigma": s, **asdict(separability(mine[s].values, theirs[s].values, folds=folds, seed=seed))}
                for s in levels
            ],
            "interference": {**judge.report(), "decoded": len(keys), "keys": keys, "curves": curves},
            "bandwidth": {"ways": bandwidth(curves, judge.floor), **_recommended(curves, judge.floor, searched)},
            "symmetry": turned,
        }
    if run.ranks.main:
        save(given, out / "examples")
        if in_domain:
            save(training, out / "in_domain")
        if physical:
            write_json(out / "stretch.json", physical.stretch.to_json())
    return run.conclude(summary)


def geometry(z: Tensor, most: int = 2000) -> dict[str, Any]:
    """Mean and spread of lengths, distances and angles of latents ``[n, ...]``, beside those of N(m, s² I).

    ``mean_norm`` is \\|m\\| without what n examples add to it by chance, s² d / n of its square. ``directions`` is the
    number of equally strong directions that would spread the pair distances as much, d (s / sd)².
    """
    prior = IsotropicPrior.fit(z)
    d = prior.mean.numel()
    power = float(prior.mean.square().sum()) - prior.scale**2 * d / len(z)
    mean_norm = max(power, 0.0) ** 0.5
    found = {
        "norm": norms(z),
        "distance": pair_distances(z),
        "angle": pair_angles(z),
        "triangle": triangle_angles(z, generator(0, "figures"), most),
    }
    sd = float(found["distance"].std())
    return {
        "n": len(z),
        "dimension": d,
        "mean_norm": mean_norm,
        "scale": prior.scale,
        "directions": d * min(1.0, (prior.scale / max(sd, 1e-12)) ** 2),
        **{name: {"mean": float(v.mean()), "sd": float(v.std())} for name, v in found.items()},
        "expected": expectation(mean_norm, prior.scale, d),
    }


def certified(coarse: Latents, fine: Latents, solver: str) -> dict[str, Any]:
    """k against 2k steps at one level."""
    found = convergence(coarse.select(fine.keys).values, fine.values, solver)
    return {"sigma": coarse.sigma, "error": spread(found.error), "n": len(fine)}


def _recommended(curves: Sequence[dict[str, Any]], floor: Score, searched: Sequence[SearchedLevel]) -> dict[str, Any]:
    """The level that decoding with half the noise still keeps, and the one that `expand` finds by its search."""
    eta = min((row["at"] for row in curves if row["way"] == "eta"), key=lambda at: (abs(at - JUDGED_AT), -at))
    way = next(w for w in bandwidth(curves, floor) if (w["way"], w["at"]) == ("eta", eta))
    return {
        "recommended": way["highest_kept"],
        "eta": eta,
        "search": list(searched),
        "searched": next(row.sigma for row in searched if row.chosen),
    }


def _examples(source: str, denoiser: Denoiser, count: int | None, seed: int, reading: Reading) -> Domain:
    def draw(keys: list[str]) -> list[str]:
        wanted = min(len(keys), MOST) if count is None else count
        if wanted > len(keys):
            raise FarfieldError(f"{source}: {wanted} examples asked for, but it holds {len(keys)} images")
        if wanted < LEAST:
            raise FarfieldError(
                f"{source}: expected at least {LEAST} examples to analyse, found {wanted}; fewer have no distribution "
                "to test"
            )
        return choose(keys, wanted, seed)[0]

    domain = open_source(source, denoiser.image_shape, reading, draw=draw)
    given = domain.examples
    if len(given) < LEAST:
        wanted = min(domain.available, count or MOST)
        raise FarfieldError(f"{source}: only {len(given)} of the {wanted} examples can be read; expected {LEAST}")
    if bool((given.values == given.values[0]).all()):
        raise FarfieldError(f"{source}: all {len(given)} examples are the same image; there is no spread to study")
    return domain


def _in_domain(source: str, denoiser: Denoiser, count: int, seed: int, strict: bool) -> Images:
    keys = list_keys(source, strict=strict)
    if len(keys) < LEAST:
        raise FarfieldError(
            f"in-domain {source}: expected at least {LEAST} images of the training domain, found {len(keys)}; leave "
            "--in-domain out to compare with the model's own samples"
        )
    found = load_images(
        source, denoiser.image_shape, keys=choose(keys, min(max(count, LEAST), len(keys)), seed)[0], strict=strict
    )
    if len(found) < LEAST:
        raise FarfieldError(f"in-domain {source}: only {len(found)} images can be read; expected at least {LEAST}")
    return found
