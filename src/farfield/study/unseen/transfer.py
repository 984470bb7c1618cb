"""`farfield transfer`: images of one domain in the style of another, by a frozen model that was trained on neither.

Invert the images and the style's examples, move the latents by the difference of the two domains' statistics, decode.
Held-out images of the style are seen by the measures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import farfield
from farfield.audit.content import Kept, kept
from farfield.audit.standing import standing
from farfield.checkpoints.load import model_digest
from farfield.command.shared import Numerics, Reading
from farfield.core import note
from farfield.core.artifact import Images, Latents, save
from farfield.core.error import FarfieldError
from farfield.data.picture import as_shown, save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.domain import Domain, open_domain
from farfield.study.bench.measure import SHOWN, compare, descriptions, identities, newness, spread
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.run import Run
from farfield.unseen.inversion import round_trip
from farfield.unseen.transfer import KINDS, Map, fit_transfer, moved

SIGMA = 0.25
"""Where the latents are moved if no level is given. The higher, the more the model repaints, and the farther moved latents
stand from any that it knows. Kernel distance in the model's features, 32 images, kind `spectrum`, on the pixels, at 0.1,
0.25, 0.5 and 1: hubble → retina 0.10, 0.13, 0.18, 0.19, 0.16; brick → grass 1.64, 0.43, 0.16, 0.13, 0.26; digits → ihc
0.82, 0.89, 0.98, 1.11, 1.48."""

PLAIN = "plain"
"""The set that the same map makes of the pixels themselves, without a model."""


@note.kept()
def transfer(
    model: str,
    content: str,
    style: str,
    out: Path,
    numerics: Numerics,
    reading: Reading = Reading(),
    *,
    kind: str = "spectrum",
    strengths: Sequence[float] = (0.5, 1.0),
    n: int | None = None,
    examples: int | None = None,
    heldout: str | None = None,
    descriptors: Sequence[str] = ("pixels", "model"),
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Carry ``n`` images of ``content`` over to ``style`` and measure them; the summary, as in ``summary.json``.

    Args:
        content, style: paths or bundled domains.
        numerics: without a ``sigma`` the level is `SIGMA`.
        kind, strengths: see `unseen.transfer`; the last strength is the result (``samples/``), the others steps to it.
        n: how many images of the content (all up to 100, if not given); they are the content's examples too.
        examples: how many of the style (all up to 100, if not given); the others, or ``heldout``, are measured against.
        seed: of the choice of both.
    """
    strengths = _check(kind, strengths, seed)
    named = identities(descriptors)
    numerics = replace(numerics, sigma=SIGMA) if numerics.sigma is None else numerics
    denoiser = open_model(model, numerics)
    source = open_domain(content, denoiser.image_shape, reading, examples=n, n=1, most_references=1, seed=seed)
    target = open_domain(
        style,
        denoiser.image_shape,
        reading,
        heldout=heldout,
        examples=examples,
        n=len(source.examples),
        seed=seed,
    )
    given = source.examples
    request: dict[str, Any] = {
        "model": model,
        "content": content,
        "style": style,
        "n": len(given),
        "count": len(target.examples),
        "heldout": heldout,
        "kind": kind,
        "strength": list(strengths),
        "descriptors": named,
        "seed": seed,
        **numerics.request(),
    }
    carrier = Carrier.of(numerics, denoiser)
    inputs = {"model": model_digest(model), **source.inputs("content"), **target.inputs("style")}
    run = Run(out, "transfer", request, inputs, quiet)
    lifted = {
        name: carrier.up(run, f"latents/{name}", images, f"inverting {name}")
        for name, images in (("content", given), ("style", target.examples))
    }
    proof = carrier.certify(run, given, lifted["content"])
    carry = fit_transfer(kind, lifted["content"].values, lifted["style"].values)
    made = {
        f"{s:g}": _decoded(run, carrier, target, lifted["content"], carry, s, last=s == strengths[-1])
        for s in strengths
    }
    plain = fit_transfer(kind, given.values, target.examples.values)(given.values).float()
    sets = {
        "before": given,
        **made,
        PLAIN: target.shown(Images(given.keys, target.finish(plain) if target.finish else plain)),
    }
    chosen = f"{strengths[-1]:g}"
    measures, news, nearest = _measured(run, denoiser, descriptors, sets, target, chosen, carrier.batch_size)
    stands = standing(
        {d: {"samples": found[chosen], "real": found.get("real", {})} for d, found in measures.items()},
        {d: found[chosen] for d, found in news.items()},
        same_size=len(given) == len(target.held.get("real", ())),
    )

    summary = {
        "command": "transfer",
        "farfield": farfield.__version__,
        "model": model_facts(run.request, denoiser),
        "content": {"source": content, "n": len(given), "available": source.available},
        "style": {"source": style, "n": len(target.examples), "available": target.available},
        "references": (
            {"source": heldout or style, "n": len(target.held["references"])} if "references" in target.held else None
        ),
        "kind": kind,
        "strengths": [f"{s:g}" for s in strengths],
        **carrier.solved(),
        "latent_certificate": proof,
        "measures": measures,
        "novelty": news,
        "standing": stands,
        "nearest": nearest,
        "kept": {name: _likeness(given, images) for name, images in sets.items() if name != "before"},
        "notes": [
            *source.notes,
            *target.notes,
            *([] if target.held else [NO_HELDOUT]),
            *([SAME_MODEL] if "model" in descriptors else []),
        ],
        "evaluations": {
            "inversion": (len(given) + len(target.examples)) * carrier.calls(run),
            "decoding": len(given) * len(strengths) * carrier.calls(run),
        },
    }
    if run.ranks.main:
        save(given, out / "content")
        save(target.examples, out / "examples")
        save(sets[PLAIN], out / PLAIN)
        if "references" in target.held:
            held = target.held["references"]
            save(held.select(held.keys[:SHOWN]), out / "references")
        if denoiser.image_shape[0] in (1, 3):
            save_pngs(made[f"{strengths[-1]:g}"], out / "png", run.provenance)
    return run.conclude(summary)


NO_HELDOUT = (
    "No held-out images of the style: the measures compare with its examples, whose statistics were used, and there is "
    "no floor."
)

SAME_MODEL = (
    "The descriptor `model` is the network that decoded the images, and may be kinder to them than to others: "
    "believe it where another descriptor agrees."
)


def _decoded(
    run: Run, carrier: Carrier, target: Domain, latents: Latents, carry: Map, strength: float, last: bool
) -> Images:
    """The images of moved latents, in the style's channels."""
    there = Latents(latents.keys, moved(latents.values, carry, strength), sigma=latents.sigma)
    name = "samples" if last else f"transferred/{strength:g}"
    return target.shown(carrier.down(run, name, there, f"decoding {strength:g}", target.finish))


def _measured(
    run: Run,
    denoiser: Denoiser,
    specs: Sequence[str],
    sets: dict[str, Images],
    target: Domain,
    chosen: str,
    size: int,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Distances of every set to the style, copies of its examples, and the chosen images' nearest of these."""
    measures: dict[str, Any] = {}
    news: dict[str, Any] = {}
    nearest: dict[str, Any] = {}
    against = target.held.get("references", target.examples)
    everything = {**sets, "examples": target.examples, **target.held}
    for label, describe in descriptions(specs, against, size, denoiser):
        known = describe(run, sets=everything)
        given, held = known["examples"], known.get("references")
        measures[label] = compare(held or given, {k: known[k] for k in (*sets, "real") if k in known})
        copies = {name: newness(known[name], given, held) for name in sets}
        news[label] = {name: row for name, (row, _) in copies.items()}
        nearest = nearest or copies[chosen][1]
    return measures, news, nearest


def _likeness(sources: Images, images: Images) -> dict[str, Any]:
    """How much of the sources is left in the images."""
    found: Kept = kept(sources.values, images.values)
    return {
        "correlation": found.correlation,
        "recognised": found.recognised,
        "chance": found.chance,
        "ssim": spread(round_trip(as_shown(sources.values), as_shown(images.values)).ssim),
    }


def _check(kind: str, strengths: Sequence[float], seed: int) -> list[float]:
    if kind not in KINDS:
        raise FarfieldError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    if seed < 0:
        raise FarfieldError(f"seed {seed}: expected a whole number of at least 0")
    ordered = sorted({float(s) for s in strengths})
    if not ordered or not all(0 <= s <= 4 for s in ordered):
        raise FarfieldError(f"strength {list(strengths)}: expected numbers from 0 (as it was) to 4; 1 arrives")
    return ordered
