"""`farfield compare`: samplers that leave the model as it is, beside models tuned on the same examples.

Every method gets the same examples and the same seeds, and is measured against the same held-out images, in images and
in cost. Smaller sets of examples are part of the larger ones. A method has a folder of its own, so that methods and
smaller counts can be added to a finished run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import farfield
from farfield.checkpoints.load import model_digest
from farfield.command.shared import Numerics, Reading
from farfield.core import note
from farfield.core.error import FarfieldError
from farfield.data.file_name import file_names
from farfield.data.image import list_keys
from farfield.study.bench.domain import open_domain, read_fields, reads_fields
from farfield.study.bench.measure import identities
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.run import Run
from farfield.study.unseen.contest import METHODS, TUNINGS, Contest, Tuning

DEFAULT_METHODS = ("ours", "published", "geometric", "gaussian", "full", "lora", "release")
COUNTS = (10, 30, 100)
"""Numbers of examples, as far as a source holds twice as many."""


TOO_FEW = "{}: fewer than 12 held-out images; nothing can be measured against so few, give --heldout more"


@note.kept()
def compare(
    model: str,
    sources: Sequence[str],
    out: Path,
    numerics: Numerics,
    reading: Reading = Reading(),
    *,
    heldout: Sequence[str] = (),
    counts: Sequence[int] | None = None,
    methods: Sequence[str] = DEFAULT_METHODS,
    tuning: Tuning | None = None,
    n: int = 128,
    most_references: int = 1500,
    descriptors: Sequence[str] = ("pixels", "model"),
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare methods on domains over numbers of examples; the summary, as written to ``summary.json``.

    Args:
        sources: domains, each a path or a bundled one.
        heldout: held-out images of each, in the same order; none holds out the rest of each source.
        counts: numbers of examples; `COUNTS`, if not given.
        methods: some of `METHODS`.
        n: images that each method makes.
    """
    tuning = tuning or Tuning()
    _check(sources, heldout, counts, methods, n, seed)
    denoiser = open_model(model, numerics)
    if denoiser.codec and (tuned := [m for m in methods if m in TUNINGS]):
        raise FarfieldError(
            f"{model}: a latent diffusion model, which is not tuned here; leave {', '.join(tuned)} out, such as "
            f"--methods {','.join(m for m in methods if m not in TUNINGS) or 'ours'}"
        )
    named = identities(descriptors)
    held_out: list[str | None] = [*heldout] if heldout else [None] * len(sources)
    pairs = list(zip(sources, held_out, strict=True))
    places = [_counts(source, held, denoiser.image_shape, counts, reading) for source, held in pairs]
    request = {
        "model": model,
        "examples": list(sources),
        "heldout": list(heldout),
        "most_examples": [max(numbers) for numbers in places],
        "n": n,
        "most_references": most_references,
        "descriptors": named,
        "seed": seed,
        **{k: v for k, v in reading.request().items() if v is not None},
        **numerics.request(),
    }
    # the images of a domain are in the request of its own folder: only one domain is held at a time
    run = Run(out, "compare", request, {"model": model_digest(model)}, quiet)
    found = []
    for i, ((source, held), numbers) in enumerate(zip(pairs, places, strict=True)):
        domain = open_domain(
            source,
            denoiser.image_shape,
            reading,
            heldout=held,
            examples=max(numbers),
            n=n,
            most_references=most_references,
            seed=seed,
        )
        if not domain.held:
            raise FarfieldError(TOO_FEW.format(held or source))
        contest = Contest(run, file_names([f"{i + 1}-{Path(source).stem}"])[0], denoiser, domain, numerics, tuning)
        found.append({"source": source, "heldout": held, **contest.measured(numbers, methods, descriptors)})
    summary = {
        "command": "compare",
        "farfield": farfield.__version__,
        "model": model_facts(run.request, denoiser),
        "n": n,
        "steps": numerics.steps,
        "solver": numerics.solver,
        "methods": list(methods),
        "tuning": asdict(tuning),
        "domains": found,
        "cost_seconds": {
            f"{domain['folder']}, {row['count']} examples, {name}": entry["seconds"]
            for domain in found
            for row in domain["counts"]
            for name, entry in row["methods"].items()
        },
    }
    return run.conclude(summary)


def _check(
    sources: Sequence[str],
    heldout: Sequence[str],
    counts: Sequence[int] | None,
    methods: Sequence[str],
    n: int,
    seed: int,
) -> None:
    if not sources or len(set(sources)) < len(sources):
        raise FarfieldError(f"examples {', '.join(sources)}: expected at least one source, each only once")
    if heldout and len(heldout) != len(sources):
        raise FarfieldError(
            f"held-out images: {len(heldout)} sources for {len(sources)} domains; expected one for each, in the same "
            "order, or none"
        )
    unknown = [m for m in methods if m not in METHODS]
    if unknown or not methods:
        raise FarfieldError(f"method {unknown[0] if unknown else ''!r}: expected some of {', '.join(METHODS)}")
    if counts is not None and (not counts or min(counts) < 2 or len(set(counts)) < len(counts)):
        raise FarfieldError(
            f"counts {', '.join(map(str, counts))}: expected different numbers of at least 2 examples; one image has no "
            "spread"
        )
    if n < 4:
        raise FarfieldError(f"n = {n}: expected at least 4 images of each method, or nothing can be measured")
    if seed < 0:
        raise FarfieldError(f"seed {seed}: expected a whole number of at least 0")


def _counts(
    source: str,
    heldout: str | None,
    shape: Sequence[int],
    asked: Sequence[int] | None,
    reading: Reading,
) -> list[int]:
    """How many examples to take of a source, ascending; refused where too few images are held out to measure against."""

    def images(of: str) -> int:
        fields = reads_fields(source, reading)
        return len(read_fields(reading, of, shape) if fields else list_keys(of, strict=reading.strict))

    if heldout and images(heldout) < 12:
        raise FarfieldError(TOO_FEW.format(heldout))
    available = images(source)
    most = available if heldout else available - 12
    if asked is None:
        room = available if heldout else available // 2
        return [c for c in COUNTS if c <= room] or [max(2, min(most, room))]
    if max(asked) > most:
        rest = "" if heldout else ", of which 12 at least must be held out (or give --heldout)"
        raise FarfieldError(f"{source}: {max(asked)} examples asked for, but it holds {available} images{rest}")
    return sorted(asked)
