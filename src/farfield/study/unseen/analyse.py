"""`farfield analyse`: what a frozen model makes of a domain it never saw, before anything is sampled.

Examples and images of the training domain climb through the noise levels. Their latents are tested, measured and told
apart at each; the examples' come down again by noise and disturbed, and are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from farfield.audit.named import identity
from farfield.checkpoints.load import model_digest
from farfield.command.analyse import (
    Analyse,
    AnalyseResult,
    Bandwidth,
    Descended,
    ExpectedGeometry,
    InDomain,
    LatentGeometry,
    LevelCertificate,
    LevelChecks,
    LevelGeometry,
    LevelSeparated,
    Moments,
)
from farfield.command.expand import Sampler
from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.likeness import trusted
from farfield.command.measures import SearchedLevel
from farfield.command.settings import LEFT_OUT
from farfield.core.artifact import Images, Latents, Score, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.data.apart import apart
from farfield.data.image import list_keys, load_images
from farfield.data.picture import as_shown
from farfield.data.subset import choose
from farfield.data.symmetry import apply, group, parse
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import network_calls
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.domain import Domain, open_source
from farfield.study.bench.measure import descriptions, spread
from farfield.study.bench.numerics import open_model
from farfield.study.bench.opening import Work
from farfield.study.bench.physical import describe_fields
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.unseen.bandwidth import search_level
from farfield.study.unseen.calibration import model_gain
from farfield.study.unseen.fill import fill, fill_calls
from farfield.study.unseen.foreseen import own_calls, search_plan
from farfield.study.unseen.gain import knowing, knowing_calls
from farfield.study.unseen.interference import Judge, bandwidth, descend
from farfield.study.unseen.ladder import Ladder, find_levels
from farfield.study.unseen.symmetry import checked
from farfield.study.unseen.symmetry import symmetry as symmetry_of
from farfield.study.unseen.walk import walk, walk_calls
from farfield.unseen.geometry import expectation, lengths_and_angles
from farfield.unseen.interference import LEAST
from farfield.unseen.inversion import convergence
from farfield.unseen.prior import IsotropicPrior
from farfield.unseen.separability import separability

MOST = 48
"""Examples that are looked at, unless more are asked for."""

JUDGED_AT = 0.5
"""The eta whose loss of the domain bounds the level to sample at: on hubble and SDSS galaxies (cifar10-32, 40 examples) the
kernel distance of `expand`'s samples rises beyond σ 20 and 40, eta ½ keeps the domain up to 10 and 40, eta 1 up to 2 and 5."""

CERTIFIED = 8
"""Examples that climb once more with twice the steps."""


def analyse(settings: Analyse, out: Path, *, quiet: bool = False) -> AnalyseResult:
    """Look at a domain's latents; of physical examples the stretch is written to ``stretch.json``.

    The examples, up to `MOST`, are drawn with the seed. Images of the training domain are pictures, as many as there are
    examples; without a source of them the model's own samples stand for them.
    """
    numerics, reading, seed = settings.numerics, settings.reading, settings.seed
    spec = trusted([settings.descriptor], settings.trust)[0]
    described, symmetries = identity(spec), parse(settings.symmetry) if settings.symmetry is not None else ()
    etas, shares = (tuple(dict.fromkeys(values)) for values in (settings.eta, settings.noise))
    denoiser = open_model(settings.model, numerics)
    levels = find_levels(denoiser.schedule, settings.levels)
    ladder = Ladder(denoiser, levels, numerics, settings.down_steps)
    ladder.check()
    domain = _examples(settings, denoiser)
    given, physical = domain.examples, domain.physical
    for name in group(symmetries) if symmetries else ():
        apply(given.values[:1], name)  # refuse a quarter turn of what is not square before the folder is begun
    count = settings.limit or len(given)
    training = None
    if settings.in_domain is not None:
        training = _in_domain(settings.in_domain, denoiser, count, seed, reading.strict)
        why, others = "images of the training domain", f"the examples of {settings.examples}"
        rows = apart(training.keys, training.values, [given.values], settings.in_domain, others, why)
        training = training.select([training.keys[i] for i in rows])
    run = Run.of(
        out,
        settings,
        {"model": model_digest(settings.model), **domain.inputs("examples"), "in_domain": training},
        quiet,
        _work(settings, ladder, domain, training, bool(symmetries)),
        count=len(given),
        eta=etas,
        noise=shares,
        symmetry=",".join(symmetries) or None,
        descriptor=described,
        **reading.asked(physical is not None),
        fill="drawn" if settings.fill == "drawn" and physical else LEFT_OUT,
    )
    if settings.fill == "drawn":
        given = fill(run, denoiser, domain, given, numerics)
    if training is None:
        keys = [f"{k:06d}" for k in range(max(LEAST, count))]
        own = Carrier.of(numerics, denoiser, denoiser.schedule.sigmas(settings.down_steps))
        training = own.samples(run, "in_domain", keys, "the model's own samples", as_shown)
    known = None if settings.brief else knowing(run, denoiser, given, numerics.loading.batch_size, "gain")
    mine = ladder.climb(run, "latents/examples", given)
    theirs = ladder.climb(run, "latents/in_domain", training)
    fine = ladder.climb(run, "latents/certificate", given.select(given.keys[:CERTIFIED]), finer=2)

    label, describe = next(descriptions([spec], training, numerics.loading.batch_size, denoiser))
    # what comes down is judged as a picture, so fields are too: a stretch may reach beyond [-1, 1]
    seen = Images(given.keys, as_shown(given.values)) if physical else given
    judge = Judge.fit(run, describe, label, seen, training, seed)
    keys, _ = choose(given.keys, min(settings.decoded, len(given)), seed)
    curves: list[Descended] = []
    for level in levels:
        curves += judge.rows(level, descend(run, ladder, mine[level].select(keys), etas, shares))
    walked = walk(run, ladder, judge, mine[levels[-1]].select(keys))
    searched = [] if settings.brief else search_level(run, denoiser, given, numerics, Sampler("sdedit"))
    with run.stage("symmetry"):
        turned = symmetry_of(run, ladder, given, mine, symmetries, seed) if symmetries else None
    if run.ranks.main:
        save(given, out / "examples")
        if settings.in_domain is not None:
            save(training, out / "in_domain")
        if physical:
            write_json(out / "stretch.json", physical.stretch.to_json())
    with run.stage("statistics"):
        folds = min(5, len(given) // 2, len(training) // 2)
        result = AnalyseResult(
            model=ModelFacts(name=settings.model, digest=run.request["model_digest"], shape=list(denoiser.image_shape)),
            examples=SourceFacts(
                source=settings.examples, n=len(given), available=domain.available, digest=domain.digest()
            ),
            physical=describe_fields(physical, reading) if physical else None,
            gain=model_gain(known) if known else None,
            in_domain=InDomain(
                source=settings.in_domain,
                n=len(training),
                kind="the model's own samples, inverted again" if settings.in_domain is None else "images",
            ),
            levels=levels,
            steps=numerics.steps,
            down_steps=settings.down_steps,
            solver=numerics.solver,
            latent_certificate=[_certified(z, fine[s], numerics.solver) for s, z in mine.items()],
            normality=[LevelChecks(sigma=s, checks=checked(z.values, seed)) for s, z in mine.items()],
            geometry=[
                LevelGeometry(sigma=s, examples=geometry(mine[s].values), in_domain=geometry(theirs[s].values))
                for s in levels
            ],
            separability=[
                LevelSeparated(sigma=s, **vars(separability(mine[s].values, theirs[s].values, folds=folds, seed=seed)))
                for s in levels
            ],
            interference=judge.report(keys, curves),
            bandwidth=_recommended(curves, judge.floor, searched),
            symmetry=turned,
            walk=walked,
        )
    return run.finish(result)


def _work(settings: Analyse, ladder: Ladder, domain: Domain, training: Images | None, turned: bool) -> Work:
    """By the labels of its bars."""
    given = domain.examples
    numerics, n, each, plan = settings.numerics, len(given), ladder.climb_calls(), dict[str, float]()
    etas, shares = len(set(settings.eta)), len(set(settings.noise))
    others = len(training) if training is not None else max(LEAST, settings.limit or n)
    if settings.fill == "drawn":
        plan["drawing masked pixels"] = fill_calls(ladder.denoiser, domain, numerics)
    if training is None:
        plan["the model's own samples"] = others * own_calls(numerics.solver, settings.down_steps)
    if not settings.brief:
        plan["what the network adds"] = knowing_calls(ladder.denoiser, given)
    plan |= {"latents/examples": n * each, "latents/in_domain": others * each}
    plan["latents/certificate"] = min(n, CERTIFIED) * ladder.climb_calls(2)
    down = sum(etas * k + shares * network_calls(numerics.solver, k) for k in map(ladder.calls, ladder.levels))
    plan["down from"] = min(settings.decoded, n) * down
    plan["walking between examples"] = walk_calls(ladder, min(settings.decoded, n))
    if not settings.brief:
        plan |= search_plan(ladder.denoiser, Sampler("sdedit"), n, numerics)
    if turned:
        plan["latents/turned"] = n * each
    return Work(ladder.denoiser, numerics.loading.batch_size, plan)


def geometry(z: Tensor, most: int = 2000) -> LatentGeometry:
    """Mean and spread of lengths, distances and angles of latents ``[n, ...]``, beside those of N(m, s² I).

    ``mean_norm`` is \\|m\\| without what n examples add to it by chance, s² d / n of its square. ``directions`` is the
    number of equally strong directions that would spread the pair distances as much, d (s / sd)².
    """
    prior = IsotropicPrior.fit(z)
    d = prior.mean.numel()
    power = float(prior.mean.square().sum()) - prior.scale**2 * d / len(z)
    mean_norm = max(power, 0.0) ** 0.5
    measured = lengths_and_angles(z, generator(0, "figures"), most)
    moments = {name: Moments(mean=float(v.mean()), sd=float(v.std())) for name, v in measured.items()}
    return LatentGeometry(
        n=len(z),
        dimension=d,
        mean_norm=mean_norm,
        scale=prior.scale,
        directions=d * min(1.0, (prior.scale / max(moments["distance"].sd, 1e-12)) ** 2),
        **moments,
        expected=ExpectedGeometry(**vars(expectation(mean_norm, prior.scale, d))),
    )


def _certified(coarse: Latents, fine: Latents, solver: str) -> LevelCertificate:
    """k against 2k steps at one level."""
    error = convergence(coarse.select(fine.keys).values, fine.values, solver).error
    return LevelCertificate(sigma=coarse.sigma, error=spread(error), n=len(fine))


def _recommended(curves: Sequence[Descended], floor: Score, searched: list[SearchedLevel]) -> Bandwidth:
    """The level that decoding with half the noise still keeps, and the one that `expand` finds by its search."""
    eta = min((row.at for row in curves if row.way == "eta"), key=lambda at: (abs(at - JUDGED_AT), -at))
    ways = bandwidth(curves, floor)
    return Bandwidth(
        ways=ways,
        recommended=next(way.highest_kept for way in ways if (way.way, way.at) == ("eta", eta)),
        eta=eta,
        search=searched,
        searched=next((row.sigma for row in searched if row.chosen), None),
    )


def _examples(settings: Analyse, denoiser: Denoiser) -> Domain:
    source, count = settings.examples, settings.count

    def draw(keys: list[str]) -> list[str]:
        wanted = min(len(keys), MOST) if count is None else count
        if wanted > len(keys):
            raise FarfieldError(f"{source}: {wanted} examples asked for, but it holds {len(keys)} images")
        if wanted < LEAST:
            raise FarfieldError(
                f"{source}: expected at least {LEAST} examples to analyse, found {wanted}; fewer have no distribution "
                "to test"
            )
        return choose(keys, wanted, settings.seed)[0]

    domain = open_source(source, denoiser.image_shape, settings.reading, draw=draw, units=units_of(denoiser))
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
    wanted, _ = choose(keys, min(max(count, LEAST), len(keys)), seed)
    images = load_images(source, denoiser.image_shape, keys=wanted, strict=strict)
    if len(images) < LEAST:
        raise FarfieldError(f"in-domain {source}: only {len(images)} images can be read; expected at least {LEAST}")
    return images
