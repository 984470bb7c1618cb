"""`farfield transfer`: images of one domain in the style of another, by a frozen model that was trained on neither.

Invert the images and the style's examples, move the latents by the difference of the two domains' statistics, decode.
Held-out images of the style are seen by the measures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.audit.content import kept
from farfield.audit.standing import standing
from farfield.checkpoints.load import model_digest
from farfield.command.facts import SourceFacts
from farfield.command.measures import Measures
from farfield.command.shared import Reading
from farfield.command.transfer import KeptContent, Transfer, TransferResult
from farfield.core.artifact import Images, Latents, save
from farfield.data.picture import as_shown, save_pngs
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.domain import Domain, Split, open_domain
from farfield.study.bench.measure import SHOWN, identities, measure, spread
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.unseen.inversion import round_trip
from farfield.unseen.transfer import Map, fit_transfer, moved

PLAIN = "plain"
"""The set that the same map makes of the pixels themselves, without a model."""


def transfer(settings: Transfer, out: Path, *, quiet: bool = False) -> TransferResult:
    """Carry images of one domain over to the style of another and measure them.

    The images that change are the examples of their own domain. The last strength is the result (``samples/``), the
    others are steps to it.
    """
    numerics, reading, specs = settings.numerics, Reading(strict=settings.strict), settings.descriptors.specs
    strengths = sorted(set(settings.strength))
    named = identities(specs)
    denoiser = open_model(settings.model, numerics)
    shape, seed = denoiser.image_shape, settings.seed
    source = open_domain(settings.content, shape, reading, Split(settings.n, 1, 1, seed), units=units_of(denoiser))
    given = source.examples
    target = open_domain(
        settings.style,
        shape,
        reading,
        Split(settings.count, len(given), seed=seed),
        heldout=settings.heldout,
        units=units_of(denoiser),
    )
    carrier = Carrier.of(numerics, denoiser)
    run = Run.of(
        out,
        settings,
        {"model": model_digest(settings.model), **source.inputs("content"), **target.inputs("style")},
        quiet,
        _work(carrier, len(given), len(target.examples), strengths),
        n=len(given),
        count=len(target.examples),
        strength=strengths,
        descriptors=named,
    )
    lifted = {
        name: carrier.up(run, f"latents/{name}", images, f"inverting {name}")
        for name, images in (("content", given), ("style", target.examples))
    }
    proof = carrier.certify(run, given, lifted["content"])
    carry = fit_transfer(settings.kind, lifted["content"].values, lifted["style"].values)
    made = {
        f"{s:g}": _decoded(run, carrier, target, lifted["content"], carry, s, last=s == strengths[-1])
        for s in strengths
    }
    plain = fit_transfer(settings.kind, given.values, target.examples.values)(given.values).float()
    sets = {
        "before": given,
        **made,
        PLAIN: target.shown(Images(given.keys, target.finish(plain) if target.finish else plain)),
    }
    chosen = list(made)[-1]
    everything = {**sets, "examples": target.examples, **target.held}
    measures, news, nearest = measure(run, denoiser, specs, everything, [*sets], carrier.batch_size)
    held = target.held.get("references")
    stands = standing(
        {d: {"samples": row[chosen], "real": row.get("real", Measures())} for d, row in measures.items()},
        {d: row[chosen] for d, row in news.items()},
        same_size=len(given) == len(target.held.get("real", ())),
    )
    if run.ranks.main:
        save(given, out / "content")
        save(target.examples, out / "examples")
        save(sets[PLAIN], out / PLAIN)
        if held is not None:
            save(held.select(held.keys[:SHOWN]), out / "references")
        if shape[0] in (1, 3):
            save_pngs(made[chosen], out / "png", run.provenance)
    calls = carrier.calls(run)
    return run.finish(
        TransferResult(
            model=model_facts(run.request, denoiser),
            content=SourceFacts(source=settings.content, n=len(given), available=source.available),
            style=SourceFacts(source=settings.style, n=len(target.examples), available=target.available),
            references=None if held is None else SourceFacts(source=settings.heldout or settings.style, n=len(held)),
            kind=settings.kind,
            strengths=list(made),
            **carrier.solved(),
            latent_certificate=proof,
            measures=measures,
            novelty=news,
            standing=stands,
            nearest=nearest.get(chosen, {}),
            kept={name: _kept(given, images) for name, images in sets.items() if name != "before"},
            notes=[
                *source.notes,
                *target.notes,
                *([] if target.held else [NO_HELDOUT]),
                *([SAME_MODEL] if "model" in specs else []),
            ],
            evaluations={
                "inversion": (len(given) + len(target.examples)) * calls,
                "decoding": len(given) * len(strengths) * calls,
            },
        )
    )


NO_HELDOUT = (
    "No held-out images of the style: the measures compare with its examples, whose statistics were used, and there is "
    "no floor."
)

SAME_MODEL = (
    "The descriptor `model` is the network that decoded the images, and may be kinder to them than to others: "
    "believe it where another descriptor agrees."
)


def _work(carrier: Carrier, n: int, count: int, strengths: Sequence[float]) -> Work:
    """By the labels of its bars."""
    up, down = carrier.method.calls(carrier.steps)
    plan: dict[str, float] = {"inverting content": n * up, "inverting style": count * up}
    plan["certifying"] = min(n, 16) * carrier.method.calls(2 * carrier.steps)[0]
    plan |= {f"decoding {strength:g}": float(n * down) for strength in strengths}
    return Work(carrier.denoiser, carrier.batch_size, plan, n)


def _decoded(
    run: Run, carrier: Carrier, target: Domain, latents: Latents, carry: Map, strength: float, last: bool
) -> Images:
    """The images of moved latents, in the style's channels."""
    there = Latents(latents.keys, moved(latents.values, carry, strength), sigma=latents.sigma)
    name = "samples" if last else f"transferred/{strength:g}"
    return target.shown(carrier.down(run, name, there, f"decoding {strength:g}", target.finish))


def _kept(sources: Images, images: Images) -> KeptContent:
    """How much of the sources is left in the images."""
    ssim = spread(round_trip(as_shown(sources.values), as_shown(images.values)).ssim)
    return KeptContent(**vars(kept(sources.values, images.values)), ssim=ssim)
