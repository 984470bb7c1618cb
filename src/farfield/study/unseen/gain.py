"""`farfield gain`: what models know of a domain that they never saw, from the errors of denoising left-out examples.

Nothing is sampled: seconds of work a level, and the answer to which model to freeze.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.facts import SourceFacts
from farfield.command.gain import Gain, GainedModel, GainResult
from farfield.command.settings import LEFT_OUT
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.score import Score
from farfield.data.file_name import file_names
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import encode
from farfield.study.bench.domain import Domain, Split, check_spread, open_source
from farfield.study.bench.numerics import load_model, model_facts
from farfield.study.bench.opening import Work, what_was_read
from farfield.study.bench.physical import describe_fields
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.unseen.calibration import VIEWS, calibrate_at, calibration_calls, model_gain, overall_gain
from farfield.unseen.calibration import CalibratedDenoiser, fit_level
from farfield.unseen.gain import advise, counts, headline, rank

Paired = tuple[tuple[str, ...], Tensor | None]
"""Keys of examples, and what a network adds to each."""

TOO_FEW = (
    "{name}: of the noise levels that it knows fewer than two leave something to be found in these examples; nothing can be "
    "said of what its network adds."
)


def gain(settings: Gain, out: Path, *, quiet: bool = False) -> GainResult:
    """What each model adds to the examples, and which of them adds most. Each model has a folder of its own."""
    digests = {f"model_{i + 1}": model_digest(model) for i, model in enumerate(settings.models)}
    known = {key: LEFT_OUT if value is None else value for key, value in settings.reading.request().items()}
    first = _opened(settings, 0)
    read = what_was_read(first[1].inputs("examples")) + f", {len(digests)} models" * (len(digests) > 1)
    run = Run.of(out, settings, digests, quiet, _works(settings, first), read, **known)
    rows: list[GainedModel] = []
    paired: list[Paired] = []
    facts: SourceFacts | None = None
    for i in range(len(settings.models)):
        denoiser, domain = first if i == 0 else _opened(settings, i)
        part = _folder(run, settings, i, domain)
        label = _label(settings, i)
        with_network = knowing(part, denoiser, domain.examples, settings.loading.batch_size, label=label)
        row = GainedModel(
            model=model_facts(part.request, denoiser),
            folder=part.folder.name,
            gain=model_gain(with_network) if with_network else None,
            behind=None,
            physical=describe_fields(domain.physical, settings.reading) if domain.physical else None,
        )
        rows.append(row)
        paired.append((domain.examples.keys, overall_gain(with_network) if with_network else None))
        facts = facts or SourceFacts(
            source=settings.examples, n=len(domain.examples), available=domain.available, digest=domain.digest()
        )
    assert facts is not None  # there is at least one model
    adds = [row.gain.adds if row.gain else None for row in rows]
    order = rank(adds)
    ranked = [rows[order[0]], *(rows[i].but(behind=_behind(paired[order[0]], paired[i])) for i in order[1:])]
    return run.finish(GainResult(examples=facts, models=ranked, says=_says(ranked), notes=_notes(ranked)))


def knowing(
    run: Run,
    denoiser: Denoiser,
    examples: Images,
    batch_size: int,
    name: str = "calibration",
    label: str = "what the network adds",
) -> CalibratedDenoiser | None:
    """The denoiser calibrated at `gain_levels`; None where there are fewer than two."""
    levels = gain_levels(denoiser, encode(denoiser, examples))
    return calibrate_at(run, denoiser, examples, levels, batch_size, name, label=label) if len(levels) > 1 else None


def knowing_calls(denoiser: Denoiser, examples: Images) -> int:
    """Network calls of `knowing`."""
    return len(gain_levels(denoiser, encode(denoiser, examples))) * calibration_calls(len(examples))


def gain_levels(denoiser: Denoiser, x0: Tensor) -> Tensor:
    """The levels that count (`unseen.gain.counts`), ascending, from a quarter of the examples' spread upwards by factors of 2.

    An error is at most sigma², so below 0.22 spreads no level counts. Each is the trained level nearest to it; none of this
    asks the network.
    """
    schedule = denoiser.schedule
    spread = float((x0 - x0.mean(0)).square().mean().sqrt())
    found, level = set(), spread / 4
    while level <= schedule.sigma_max:
        if level > schedule.sigma_min * (1 + 1e-6):
            found.add(float(schedule.sigmas(1, level)[0]))
        level *= 2
    counting = [s for s in sorted(found) if counts(fit_level(denoiser, x0, s, network=False, views=VIEWS).errors)]
    return torch.tensor(counting, dtype=torch.float64)


def _opened(settings: Gain, i: int) -> tuple[Denoiser, Domain]:
    """One of the models, and the examples as it takes them."""
    denoiser = load_model(settings.models[i], settings.loading)
    return denoiser, _examples(settings, denoiser)


def _works(settings: Gain, first: tuple[Denoiser, Domain]) -> Iterator[Work]:
    """Of each model, which is opened for it: a name that is no model's is refused before the others have worked."""
    for i in range(len(settings.models)):
        denoiser, domain = first if i == 0 else _opened(settings, i)
        plan = {_label(settings, i): float(knowing_calls(denoiser, domain.examples))}
        yield Work(denoiser, settings.loading.batch_size, plan)


def _label(settings: Gain, i: int) -> str:
    """What a model's bar is called."""
    return "denoising" if len(settings.models) == 1 else f"denoising by model {i + 1}"


def _examples(settings: Gain, denoiser: Denoiser) -> Domain:
    """The same examples for every model, at its own size; those that `farfield expand` would take of pictures."""
    source, split = settings.examples, Split(settings.count, seed=settings.seed)
    domain = open_source(
        source,
        denoiser.image_shape,
        settings.reading,
        draw=lambda keys: split.examples(keys, source)[0],
        units=units_of(denoiser),
    )
    if len(domain.examples) < 2:
        raise FarfieldError(f"{source}: only {len(domain.examples)} examples can be read; expected at least 2")
    check_spread(domain.examples, source)
    return domain


def _folder(run: Run, settings: Gain, i: int, domain: Domain) -> Run:
    """The run of one model: its calibration hangs on the examples as it takes them, and on nothing of the other models."""
    name = settings.models[i]
    request = {k: v for k, v in run.request.items() if k != "command" and not k.startswith("model")}
    inputs = {"model": run.request[f"model_{i + 1}_digest"], **domain.inputs("examples")}
    folder = run.folder / file_names([f"{i + 1}-{Path(name).stem}"])[0]
    return Run(folder, "gain", {**request, "model": name}, inputs, run.quiet)


def _behind(first: Paired, other: Paired) -> Score | None:
    """By how much less another network adds than the first, on the same examples."""
    (keys, most), (others, less) = first, other
    return None if most is None or less is None or keys != others else mean_score(most - less)


def _says(ranked: list[GainedModel]) -> str:
    best = ranked[0]
    if best.gain is None:
        return TOO_FEW.format(name=best.model.name)
    if len(ranked) == 1:
        return headline(best.gain.levels, best.gain.adds)
    adds = [row.gain.adds if row.gain else None for row in ranked]
    return advise([row.model.name for row in ranked], adds, [row.behind for row in ranked])


def _notes(ranked: list[GainedModel]) -> list[str]:
    notes = [TOO_FEW.format(name=row.model.name) for row in ranked if row.gain is None]
    shapes = {tuple(row.model.latent_shape or row.model.shape) for row in ranked}
    if len(shapes) > 1:
        notes.append(
            "Each model takes the examples at its own size, and what is known without a network is another thing at each: a "
            "model of more pixels has finer detail to find."
        )
    return notes
