"""One domain of `farfield compare`: what each method makes of the same examples, what it costs, and how near it comes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from farfield.audit.advice import added, advise
from farfield.audit.distribution import kernel_difference
from farfield.audit.stored import in_memory
from farfield.command.compare import Compare, ComparedDomain, Count, Entry, RealFields, Tuned
from farfield.command.measures import Labelled, Measures
from farfield.core.artifact import Images, save
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress
from farfield.core.score import Score
from farfield.core.state import StateFile
from farfield.data.picture import channel_law
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import network_calls
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.copies import local_copies
from farfield.study.bench.domain import Domain
from farfield.study.bench.grain import separate
from farfield.study.bench.labels import Labels
from farfield.study.bench.measure import compare as distances
from farfield.study.bench.measure import descriptions, newness
from farfield.study.bench.physical import field_measures
from farfield.study.bench.run import Inputs, Run
from farfield.study.unseen.control import PARENTS, SAMPLERS, WITHOUT_MODEL, described_by, make, open_foreign
from farfield.study.unseen.foreseen import training_calls
from farfield.study.unseen.proposal import (
    DESCENTS,
    Producer,
    fit_chooser,
    produce,
    sampler_calls,
    sampler_calls_each,
)
from farfield.study.unseen.tuned import recipe_of, save_tuned
from farfield.study.unseen.way import Way, begin
from farfield.unseen.tuning import TRAINING_CALLS, tune

SHOWN = 8
"""Images of each method kept for the strips of the report."""
KEPT = 64
"""Held-out images that are kept, to be shown beside a method's."""


@dataclass(frozen=True)
class Made:
    """What a method made: its run, its images as they are measured, and its row of the summary."""

    run: Run
    images: Images
    row: Entry
    parents: list[str] | None = None
    labels: dict[str, Labelled] = field(default_factory=dict)
    paired: dict[str, Score] = field(default_factory=dict)


class Contest:
    """The methods on one domain, in a folder of its own."""

    def __init__(self, parent: Run, name: str, denoiser: Denoiser, domain: Domain, settings: Compare):
        self.denoiser, self.domain, self.settings = denoiser, domain, settings
        self.numerics, self.tuning = settings.numerics, settings.tuning
        self.request = {k: v for k, v in parent.request.items() if k not in ("command", "examples", "heldout")}
        self.foreign = {name: open_foreign(settings, name, domain, denoiser.image_shape) for name in settings.foreign}
        self.run = Run(parent.folder / name, "compare", self.request, domain.inputs("examples"), parent.quiet)
        self.keys = [f"{s:06d}" for s in range(settings.seed, settings.seed + settings.n)]
        self.last = denoiser.schedule.sigmas(self.numerics.steps)  # the grid from the model's last level
        self.calls = network_calls(self.numerics.solver, self.numerics.steps)
        self.begun: dict[tuple[str, int], Way] = {}
        self.sources, self.grain = separate(domain, denoiser.image_shape[0])
        self.notes = list(domain.notes)
        for name, images in self.foreign.items():
            if len(images) < settings.n:
                self.notes.append(f"{name}: {len(images)} images, where each other method has {settings.n}.")
        if domain.physical:
            self.notes.append(
                "The stretch and the noise were found on the largest set of examples, and serve the smaller ones too."
            )

    def measured(self, source: str, heldout: str | None, counts: Sequence[int]) -> ComparedDomain:
        """Everything of this domain, as the summary has it."""
        own = Carrier.of(self.numerics, self.denoiser, self.last).samples(self.run, "base", self.keys, "base model")
        base, every, held = self.domain.shown(own), self.domain.examples, self.domain.held
        # The smaller draws are the first of the larger one: `choose` ranks the same keys with the same seed.
        given = {c: every.select(choose(every.keys, c, self.settings.seed)[0]) for c in sorted(counts)}
        ways = {name: self._way(name) for name in (*self.settings.chosen, *self.foreign)}
        made = {c: {name: one for name, way in ways.items() if (one := way(name, given[c]))} for c in given}
        bounds: dict[str, dict[str, Measures]] = {"real": {}, "base": {}}
        labels = Labels.read(source, heldout, self.domain)
        self.notes += [labels.note] if labels.note else []
        batch_size = self.numerics.loading.batch_size
        for label, describe in descriptions(
            self.settings.descriptors.specs, held["references"], batch_size, self.denoiser
        ):
            known = describe(self.run, sets={**held, "base": base, "examples": every})
            for name, scores in distances(
                known["references"], {b: known[b] for b in bounds}, known["examples"]
            ).items():
                bounds[name][label] = scores
            for count, entries in made.items():
                examples = known["examples"].select(given[count].keys)
                rows = {
                    name: describe(entry.run, sets={"samples": entry.images})["samples"]
                    for name, entry in entries.items()
                }
                for name, entry in entries.items():
                    scores = distances(known["references"], {"samples": rows[name]}, examples)["samples"]
                    entry.row.measures[label] = scores
                    entry.row.novelty[label] = newness(rows[name], examples, known["references"])[0]
                    if sure := labels.sure(examples, known["references"], rows[name], entry.parents):
                        entry.labels[label] = sure
                    if "ours" in rows and name not in ("ours", *self.foreign) and scores.kernel_distance:
                        entry.paired[label] = kernel_difference(
                            real=in_memory(known["references"]),
                            generated=in_memory(rows["ours"]),
                            control=in_memory(rows[name]),
                        )
        if self.run.ranks.main:
            shown = {"real": held["references"], "base": base}
            shown |= {f"{c}-{m}": entry.images for c, entries in made.items() for m, entry in entries.items()}
            shown |= {f"{c}-examples": images for c, images in given.items()}  # in place of the method of that name
            for name, images in shown.items():
                save(images.select(images.keys[:SHOWN]), self.run.folder / "shown" / name)
            save(held["references"].select(held["references"].keys[:KEPT]), self.run.folder / "references")
        physical = self.domain.physical
        return ComparedDomain(
            source=source,
            heldout=heldout,
            folder=self.run.folder.name,
            available=self.domain.available,
            references=len(held["references"]),
            **bounds,
            fields=RealFields(real=field_measures(physical, physical.fields["real"])) if physical else None,
            counts=[self._count(given[c], entries) for c, entries in made.items()],
            notes=self.notes,
        )

    def _count(self, given: Images, made: dict[str, Made]) -> Count:
        """All methods on so many examples."""
        images = {name: entry.images for name, entry in made.items()}
        copies = local_copies(self.domain, given, images) if len(given) > 2 else {}
        physical = self.domain.physical
        methods = {
            name: entry.row.but(
                local_copies=copies[name].samples if copies else None,
                paired=entry.paired or None,
                copied_parts=copies[name].parts if copies else None,
                labels=entry.labels or None,
                fields=field_measures(physical, physical.to_fields(entry.images)) if physical else None,
            )
            for name, entry in made.items()
        }
        floor = next((one.floor for one in copies.values()), None)
        return Count(
            count=len(given),
            methods=methods,
            local_copies_floor=floor,
            advice=advise(methods),
            added=added(methods),
        )

    def _way(self, name: str) -> Callable[[str, Images], Made | None]:
        if name in self.foreign:
            return self._found
        return self._sampled if name in SAMPLERS else self._without_model if name in WITHOUT_MODEL else self._tuned

    def _found(self, name: str, given: Images) -> Made:
        """Samples made elsewhere, the same for every number of examples."""
        run = self._folder(name, given, {}, {"samples": self.foreign[name]})
        return self._entry(run, self.foreign[name], {}, source=self.settings.foreign[name])

    def _without_model(self, name: str, given: Images) -> Made:
        """From the pictures alone."""
        run, size = self._folder(name, given, described_by(name)), self.numerics.loading.batch_size
        of = PARENTS[name](len(given), self._seeds) if name in PARENTS else None
        return self._entry(run, make(run, name, given, self.keys, size, self._finish(given)), {}, given, of)

    def _sampled(self, name: str, given: Images) -> Made | None:
        """From the frozen model; None where the sampler cannot serve these examples, which is noted."""
        numerics, way, sources = self.numerics, self._way_of(name, given), self._sources(name, given)
        run, flow, settings = way.run, way.flow, way.sampler
        self.notes += [f"{name} with {len(given)} examples: {way.said}"] if way.said else []
        sigmas = self.denoiser.schedule.sigmas(numerics.steps, way.sigma)
        carrier, latents = Carrier.of(numerics, flow, sigmas), None
        if settings.sampler not in DESCENTS:
            latents = carrier.up(run, "latents", sources, f"{name}: inverting")
        try:
            producer = Producer(carrier, sources, latents, settings, self._finish(given))
            if producer.accept:
                producer.propose(self._seeds, "sampler-0")
        except FarfieldError as error:
            self.notes.append(f"{name} with {len(given)} examples is left out: {error}")
            return None
        shards = run.store("samples", Images).shards()
        chooser = None
        with _timed(run, "choice", len(shards) == math.ceil(len(self.keys) / numerics.loading.batch_size)):
            if settings.candidates > 1:
                chooser = fit_chooser(run, self.denoiser, producer, sources)
        samples = produce(run, producer, chooser, self.keys, fresh=self.grain if settings.fresh_noise else None)
        each = sampler_calls_each(settings, flow, numerics.solver, sigmas)
        paid = way.searched if name == "ours" else []
        calls = sampler_calls(settings, len(given), len(self.keys), numerics, each, searched=paid, chooser=chooser)
        of = producer.parents(self._seeds)
        return self._entry(run, samples, calls, given, of, sigma=carrier.sigma, sampler=settings)

    def _way_of(self, name: str, given: Images) -> Way:
        """How a sampler goes about these examples; a control goes the way of ours, where that is among the methods."""
        if (name, len(given)) not in self.begun:
            settings = SAMPLERS[name]
            if len(given) < 3:  # nothing to tell a copy by
                settings = replace(settings, candidates=1)
            run = self._folder(name, given, settings.request())
            follows = settings.sampler == "auto" and name != "ours" and "ours" in self.settings.chosen
            ours = self._way_of("ours", given) if follows else None
            self.begun[name, len(given)] = begin(
                run, self.denoiser, self._sources(name, given), self.numerics, settings, self._finish(given), ours
            )
        return self.begun[name, len(given)]

    def _sources(self, name: str, given: Images) -> Images:
        """What a sampler makes new images of: the signal of fields that are given fresh noise after, else the examples."""
        return self.sources.select(given.keys) if SAMPLERS[name].fresh_noise else given

    def _tuned(self, name: str, given: Images) -> Made:
        """From a model tuned on the examples."""
        t, count, n = self.tuning, len(given), len(self.keys)
        most = None if name == "release" else training_calls(self.settings, count)
        unused = {"budget", "share", "patience"} if most is None else {"epochs"}
        unused |= set() if name == "lora" else {"rank"}
        run = self._folder(name, given, {k: v for k, v in vars(t).items() if k not in unused})
        steps = math.ceil(count / t.batch_size) * t.epochs if most is None else most // (TRAINING_CALLS * t.batch_size)
        recipe = recipe_of(name, t, self.settings.seed, most)
        if not run.ranks.main:
            run.ranks.wait()
        with progress(f"{name}: tuning on {count}", steps, quiet=run.quiet) as advance:
            tuned = tune(
                self.denoiser,
                given.values,
                recipe,
                heldout=None if most is None else t.share,
                checkpoint=StateFile(run.folder / "tuning.safetensors", "tuning"),
                callback=lambda step, loss: advance(1),
            )
        if run.ranks.main:
            run.ranks.wait()
            save_tuned(tuned.denoiser, run.folder / "model", self.settings.model)
        if tuned.stopped.startswith("step"):
            self.notes.append(f"{name} with {count} examples: {tuned.stopped}.")
        samples = Carrier.of(self.numerics, tuned.denoiser, self.last).samples(
            run, "samples", self.keys, f"{name}: sampling"
        )
        finish = self._finish(given)
        images = Images(samples.keys, finish(samples.values)) if finish else samples
        tuning = Tuned(history=tuned.history, stopped=tuned.stopped, best=tuned.best, seconds=tuned.seconds)
        return self._entry(run, images, {"training": tuned.calls, "sampling": n * self.calls}, tuning=tuning)

    def _entry(
        self,
        run: Run,
        images: Images,
        calls: dict[str, int],
        given: Images | None = None,
        parents: Sequence[int] | None = None,
        *,
        tuning: Tuned | None = None,
        **facts: Any,
    ) -> Made:
        seconds = sum(s for stage, s in run.cost().items() if not stage.startswith(("features/", "search/", "pilot")))
        row = Entry(
            trained=tuning is not None,
            **facts,
            tuning=tuning,
            calls={**calls, "total": sum(calls.values())},
            seconds=round(seconds + (tuning.seconds if tuning else 0.0), 3),
            measures={},
            novelty={},
        )
        keys = [given.keys[i] for i in parents] if given and parents is not None else None
        return Made(run, self.domain.shown(images), row, keys)

    def _folder(self, name: str, given: Images, settings: dict[str, Any], inputs: Inputs | None = None) -> Run:
        request, folder = {**self.request, "method": name, **settings}, self.run.folder / f"{len(given):04d}-{name}"
        return Run(folder, "compare", request, {"examples": given, **(inputs or {})}, self.run.quiet)

    @property
    def _seeds(self) -> list[int]:
        return [int(key) for key in self.keys]

    def _finish(self, given: Images) -> Callable[[Tensor], Tensor] | None:
        """The domain's channel law, for every method alike."""
        return channel_law(given.values) if self.domain.finish else None


def _timed(run: Run, stage: str, done: bool) -> contextlib.AbstractContextManager[None]:
    """A stage with other stages in it; no time is counted when it is only read again."""
    return contextlib.nullcontext() if done else run.stage(stage)
