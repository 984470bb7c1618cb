"""`farfield compare`: samplers that leave the model as it is, beside models tuned on the same examples.

Every method gets the same examples and the same seeds, and is measured against the same held-out images, in images and
in cost. Smaller sets of examples are part of the larger ones. A method has a folder of its own, so that methods and
smaller counts can be added to a finished run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.checkpoints.load import model_digest
from farfield.command.compare import Compare, CompareResult
from farfield.command.settings import LEFT_OUT
from farfield.core.error import FarfieldError
from farfield.data.field_source import open_fields
from farfield.data.file_name import file_names
from farfield.data.image import list_keys
from farfield.study.bench.domain import Split, open_domain, reads_fields
from farfield.study.bench.measure import identities
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.unseen.contest import Contest
from farfield.study.unseen.foreseen import contest_work
from farfield.study.unseen.tuned import TUNINGS

COUNTS = (10, 30, 100)
"""Numbers of examples, as far as a source holds twice as many."""


REFERENCES = 1500
"""Held-out images that are measured against, at most."""
TOO_FEW = "{}: fewer than 12 held-out images; nothing can be measured against so few, give --heldout more"


def compare(settings: Compare, out: Path, *, quiet: bool = False) -> CompareResult:
    """Compare methods on domains over numbers of examples."""
    numerics, reading = settings.numerics, settings.reading
    denoiser = open_model(settings.model, numerics)
    if denoiser.codec and (tuned := [m for m in settings.chosen if m in TUNINGS]):
        raise FarfieldError(
            f"{settings.model}: a latent diffusion model, which is not tuned here; leave {', '.join(tuned)} out, such as "
            f"--methods {','.join(m for m in settings.chosen if m not in TUNINGS) or 'ours'}"
        )
    named = identities(settings.descriptors.specs)
    pairs = list(zip(settings.examples, settings.heldout or [None] * len(settings.examples), strict=True))
    places = [_counts(source, held, denoiser.image_shape, settings) for source, held in pairs]
    # the images of a domain are in the request of its own folder: only one domain is held at a time
    run = Run.of(
        out,
        settings,
        {"model": model_digest(settings.model)},
        quiet,
        contest_work(settings, denoiser, [numbers for _, numbers in places]),
        _read(settings, denoiser.image_shape, places),
        most_examples=[max(numbers) for _, numbers in places],
        most_references=REFERENCES,
        descriptors=named,
        sigma=None,
        **{key: LEFT_OUT if value is None else value for key, value in reading.request().items()},
    )
    domains = []
    for i, ((source, held), (_, numbers)) in enumerate(zip(pairs, places, strict=True)):
        domain = open_domain(
            source,
            denoiser.image_shape,
            reading,
            Split(max(numbers), settings.n, REFERENCES, settings.seed),
            heldout=held,
            units=units_of(denoiser),
        )
        if not domain.held:
            raise FarfieldError(TOO_FEW.format(held or source))
        folder = file_names([f"{i + 1}-{Path(source).stem}"])[0]
        domains.append(Contest(run, folder, denoiser, domain, settings).measured(source, held, numbers))
    return run.finish(
        CompareResult(
            model=model_facts(run.request, denoiser),
            n=settings.n,
            steps=numerics.steps,
            solver=numerics.solver,
            methods=[*settings.chosen, *settings.foreign],
            tuning=settings.tuning,
            domains=domains,
            cost_seconds={
                f"{domain.folder}, {row.count} examples, {name}": entry.seconds
                for domain in domains
                for row in domain.counts
                for name, entry in row.methods.items()
            },
        )
    )


def _read(settings: Compare, shape: Sequence[int], places: Sequence[tuple[int, Sequence[int]]]) -> str:
    """``60 images of hubble → 32×32, 10 and 30 examples; 9 methods, 64 images to make by each``."""
    size = "×".join(map(str, shape[1:]))
    said = [
        f"{available:,} images of {source} → {size}, {' and '.join(map(str, numbers))} examples"
        for source, (available, numbers) in zip(settings.examples, places, strict=True)
    ]
    methods = len(settings.chosen) + len(settings.foreign)
    return f"{'; '.join(said)}; {methods} method{'s' * (methods > 1)}, {settings.n} images to make by each"


def _counts(source: str, heldout: str | None, shape: Sequence[int], settings: Compare) -> tuple[int, list[int]]:
    """How many images a source has, and how many to take as examples, ascending.

    Raises:
        FarfieldError: too few images are held out to measure against.
    """
    reading, asked = settings.reading, settings.counts

    def images(of: str) -> int:
        fields = reads_fields(source, reading)
        return len(open_fields(of, shape, reading) if fields else list_keys(of, strict=reading.strict))

    if heldout and images(heldout) < 12:
        raise FarfieldError(TOO_FEW.format(heldout))
    available = images(source)
    most = available if heldout else available - 12
    if asked is None:
        room = available if heldout else available // 2
        return available, [c for c in COUNTS if c <= room] or [max(2, min(most, room))]
    if max(asked) > most:
        rest = "" if heldout else ", of which 12 at least must be held out (or give --heldout)"
        raise FarfieldError(f"{source}: {max(asked)} examples asked for, but it holds {available} images{rest}")
    return available, sorted(asked)
