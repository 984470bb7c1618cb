"""`farfield inspect --check`: whether a model denoises as it is read, and in which other reading it would do better."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints import flow, foreign
from farfield.checkpoints.checkpoint import Answers
from farfield.checkpoints.native import DESCRIPTION, is_native
from farfield.checkpoints.own_name import is_given
from farfield.checkpoints.place import split_name
from farfield.command.inspect import Inspect
from farfield.command.shared import Loading
from farfield.core.artifact import Score
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.core.note import say
from farfield.core.runtime import progress, resolve_device
from farfield.data.image import list_keys, load_images
from farfield.data.subset import shuffled
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser
from farfield.diffusion.own import Called, own_remedy
from farfield.diffusion.reading import Reading, Readings, readings
from farfield.diffusion.sanity import MATTERS, Sanity, Tried, examine, first_look, levels
from farfield.diffusion.schedule import DiscreteSchedule
from farfield.diffusion.units import Rescaled
from farfield.present.words import short
from farfield.study.bench.numerics import load_model
from farfield.study.model.description import Description, describe

DOMAINS: Final = ("hubble", "retina", "ihc", "brick", "faces", "digits")
"""What a model is shown where no images are given."""
GLANCE: Final = 2  # images of each kind, and
GLANCES: Final = 3  # levels, of the first look
ALTERNATIVES: Final[dict[str, tuple[Any, ...]]] = {
    "order": ("legacy", "new"),
    "heads": (1, 2, 4, 8),
    "head_channels": (32, 64, 128),
    "heads_upsample": (1, 2, 4, 8),
}
"""Answers of which each gives another network of the same weights."""
_CLASSES: Final = {"edm": "EDMEulerScheduler", "ve": "ScoreSdeVeScheduler"}
"""What diffusers calls the schedulers of these predictions."""


@dataclass(frozen=True)
class Checked:
    """What was found, on which images, and what follows from it."""

    source: str
    sanity: Sanity
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        better = self.sanity.better
        verdict = {"verdict": self.sanity.verdict, "better": dict(better.changes) if better else None}
        return {"data": self.source, **verdict, "sentences": list(self.sentences), **asdict(self.sanity)}


def check(settings: Inspect) -> Checked:
    """Denoise pictures with a model, as it is read and in other readings.

    Open questions of a file are taken to have their likely answers. Without images, those are taken of the bundled domain that
    the model denoises best, 16 of up to 64 pixels a side and fewer larger ones; without a label a conditional model has class 0.

    Raises:
        FarfieldError: no such model, or no network in it; too few images.
    """
    model, data, quiet = settings.model, settings.data, settings.printing.quiet
    description = describe(model, hashed=False)
    place = resolve_device(settings.device)
    label = 0 if settings.label is None and description.classes else settings.label
    answers = foreign.kept_answers(description.path) if description.path.is_file() else {}
    denoiser = _denoiser(model, description, answers, label, place)
    groups = [_present(denoiser, description), *_alternatives(model, description, answers, label, place)]
    source, sanity = tried(denoiser, groups, data, settings.limit, quiet=quiet)
    return Checked(source, sanity, tuple(_sentences(sanity, description, source)))


def tried(
    denoiser: Denoiser,
    groups: Sequence[Readings],
    data: str | None = None,
    limit: int | None = None,
    *,
    quiet: bool = False,
) -> tuple[str, Sanity]:
    """A model in all of these readings, the present one first: on what it was tried, and what was found."""
    sigmas = levels(denoiser.schedule)
    glance = {s: _pictures(s, denoiser, 0, GLANCE) for s in ([data] if data else DOMAINS)}
    total = sum(len(group.names) for group in groups) * GLANCES * sum(map(len, glance.values()))
    with progress("first look", total, quiet=quiet) as advance:
        source, keep = first_look(groups, glance, levels(denoiser.schedule, GLANCES), report=advance)
    height, width = denoiser.image_shape[1:]
    n = limit or max(4, min(16, 16 * 64**2 // (height * width)))
    x0 = _pictures(source, denoiser, 0 if data else GLANCE, n)
    with progress("checking", len(keep) * len(sigmas) * len(x0), quiet=quiet) as advance:
        return source, examine(groups, x0, sigmas, keep=keep, report=advance)


def check_own(denoiser: Denoiser, data: str | None = None) -> None:
    """Refuse a module that was wrapped in a wrong reading; what is not sure is said.

    Raises:
        FarfieldError: another reading denoises far better: which.
    """
    inner = denoiser.inner if isinstance(denoiser, Rescaled) else denoiser
    if not isinstance(inner, NetworkDenoiser) or not isinstance(inner.network, Called):
        raise FarfieldError(f"{type(inner).__name__}: expected a module that was wrapped")
    if denoiser.image_shape[0] not in (1, 3) and data is None:
        say(
            f"{denoiser.image_shape[0]} channels: no bundled picture has as many, so the reading was not checked; give data="
        )
        return
    steps = len(inner.schedule.levels) if isinstance(inner.schedule, DiscreteSchedule) else None
    name = type(inner.network.module).__name__
    own = denoiser if isinstance(denoiser, Rescaled) else inner
    groups = [Readings.of(own, doubled=inner.network.doubled)]
    if own is not inner:
        groups.append(_unscaled(inner))
    with warnings.catch_warnings():
        if data is None:  # how the bundled pictures are brought to size is nobody's concern
            warnings.simplefilter("ignore", FarfieldNote)
        found, sanity = tried(denoiser, groups, data, quiet=True)
        source = short(found)
    present, better = sanity.present, _plainest(sanity)
    far = "of the error of the best multiple of the noisy image"
    if better is not None:
        raise FarfieldError(
            f"{name}: denoises {source} far better with {better.name} ({_shown(better.ratio)} {far}) than as it is read "
            f"({_shown(present.ratio)}): wrap it with {own_remedy(better.changes, steps)}, or with check=False as it is"
        )
    if _high(present.ratio) < 1 and present.finite and not sanity.open:
        say(f"{name}: denoises {source} as it is read, {_shown(present.ratio)} {far}")
    elif sanity.open:
        say(
            f"{name}: undecided between this reading and {'; '.join(t.name for t in sanity.open)}; give data= it was trained on"
        )
    elif not present.finite:
        warnings.warn(
            f"{name}: answers NaN or infinity to some noisy images of {source}; look at its weights, and at the levels it is "
            "told",
            FarfieldWarning,
            stacklevel=2,
        )
    else:
        warnings.warn(
            f"{name}: denoises no better than a multiple of the noisy image ({_shown(present.ratio)} {far}), as it is read or "
            f"otherwise; not trained, or {source} is too far from what it was trained on: give such images as data=",
            FarfieldWarning,
            stacklevel=2,
        )


def _unscaled(inner: NetworkDenoiser) -> Readings:
    """Every reading of a module whose images are said to be of another range, with images in [-1, 1]."""
    every = [
        Reading({"images": "[-1, 1]", **r.changes}, r.denoiser) for r in readings(inner) if "images" not in r.changes
    ]
    return Readings(tuple(r.name for r in every), lambda: every)


def _plainest(sanity: Sanity) -> Tried | None:
    """Of the readings that are better than the present one, and about as good as the best, that which changes least."""
    if (best := sanity.better) is None:
        return None
    near = [t for t in sanity.others if t.ratio.value <= MATTERS * best.ratio.value]
    return min(near, key=lambda t: (len(t.changes), t.ratio.value))


def _denoiser(
    model: str, description: Description, answers: Answers, label: int | None, device: torch.device
) -> Denoiser:
    if not description.path.is_file():
        return load_model(model, Loading(device=str(device), label=label))
    checkpoint = foreign.open_checkpoint(description.path, answers, split_name(model)[1], kept=False)
    return checkpoint.settled().denoiser(label=label).to(device)


def _present(denoiser: Denoiser, description: Description) -> Readings:
    if not isinstance(denoiser, NetworkDenoiser | Rescaled):
        raise FarfieldError(f"{description.model}: expected a model with a network, which could be read in other ways")
    return Readings.of(denoiser, doubled=description.network.get("out_channels") == 2 * description.shape[0])


def _alternatives(
    model: str, description: Description, answers: Answers, label: int | None, device: torch.device
) -> Iterator[Readings]:
    """The networks that other answers would make of the same file."""
    now = {f.what: f.value for f in description.findings} | {q.name: q.likely for q in description.questions}
    if "heads" in now or "head_channels" in now:
        now = {"heads": None, "head_channels": None, **now}
    for name, values in ALTERNATIVES.items():
        for value in (v for v in values if name in now and v != now[name]):
            others = {k: v for k, v in answers.items() if not {k, name} <= {"heads", "head_channels"}}
            other = {**others, name: value}
            try:
                foreign.open_checkpoint(description.path, other, split_name(model)[1], kept=False)
            except FarfieldError:
                continue  # not with these weights

            def opened(other: Answers = other, name: str = name) -> list[Reading]:
                return [Reading({name: str(other[name])}, _denoiser(model, description, other, label, device))]

            yield Readings((f"{name} {value}",), opened)


def _pictures(source: str, denoiser: Denoiser, skip: int, n: int) -> Tensor:
    """Some images of a source, as the denoiser's x0; always the same ones."""
    keys = shuffled(list_keys(source), 0)[skip : skip + n]
    images = load_images(source, denoiser.image_shape, keys=sorted(keys)).values
    return denoiser.encode(images.to(denoiser.device)).cpu()


def _sentences(sanity: Sanity, description: Description, source: str) -> Iterator[str]:
    """What follows, in words."""
    present, better = sanity.present, sanity.better
    share = "of the error of the best multiple of the noisy image, geometric mean over noise levels"
    if better is not None:
        now = {"prediction": description.prediction, "schedule": description.schedule["levels"]}
        has = ", ".join(f"{what} {now[what]}" for what in better.changes if what in now)
        yield (
            f"{', '.join(better.changes)}: this model denoises far better with {better.name} ({_shown(better.ratio)} {share}) "
            f"than with {has or 'what is read now'} ({_shown(present.ratio)}): {_remedy(better, description)}"
        )
    elif _high(present.ratio) < 1:
        yield f"denoises as it is read: {_shown(present.ratio)} {share}"
    else:
        sure = "denoises no better" if sanity.verdict == "senseless" else "it is not sure that it denoises better"
        yield (
            f"{sure} than a multiple of the noisy image ({_shown(present.ratio)} {share}), as it is read or otherwise; not "
            f"trained, or {source} is too far from what it was trained on: give such images with --data, or more (--limit)"
        )
    if not present.finite:
        yield "answers NaN or infinity to some noisy images as it is read"
    if sanity.open and better is None:
        yield f"undecided between this reading and: {'; '.join(t.name for t in sanity.open)}; more images would tell"
    if sanity.same and better is None:
        names = "; ".join(f"{t.name} ({t.against.value:.3g} of its error)" for t in sanity.same)
        yield f"the same in effect: {names}"


def _shown(score: Score) -> str:
    return f"{score.value:.2g} [{score.low:.2g}, {score.high:.2g}]"


def _high(score: Score) -> float:
    return math.inf if score.high is None else score.high


def _remedy(better: Tried, description: Description) -> str:
    """How to have a model read in another way."""
    if is_given(description.model):
        return f"wrap it with {own_remedy(better.changes, description.schedule['steps'])}"
    if description.path.is_file():
        chosen = " ".join(f"--set {what}={value}" for what, value in better.changes.items())
        try:
            foreign.open_checkpoint(
                description.path, dict(better.changes), split_name(description.model)[1], kept=False
            )
        except FarfieldError:
            return "no answer says this of a file of its family"
        return f"farfield inspect {description.model} {chosen}"
    if is_native(description.path):
        return f"change {description.path / DESCRIPTION}"
    return f"set {', '.join(_configured(better.changes, description.prediction))} in its scheduler_config.json"


def _configured(changes: Mapping[str, str], prediction: str) -> Iterator[str]:
    """Changes of a model, read now as one of this prediction, as those of a scheduler's configuration."""
    if changes.get("prediction") == flow.FLOW:
        config = flow.configuration(changes["direction"], float(changes["time_scale"]), changes.get("path", "straight"))
        yield from (f"{k} {str(v).lower() if isinstance(v, bool) else v}" for k, v in config.items())
        return
    now = prediction.partition(",")[0]
    then = changes.get("prediction", now)
    if then in _CLASSES and then != now:
        yield f"_class_name {_CLASSES[then]}"
    elif now in (flow.FLOW, *_CLASSES) and then != now:
        yield "_class_name DDPMScheduler"
    named = {"v": "v_prediction", "cosine": "squaredcos_cap_v2"}
    keys = {"prediction": "prediction_type", "schedule": "beta_schedule", "steps": "num_train_timesteps"}
    for what, value in changes.items():
        if what == "direction":
            yield f"invert_sigmas {str(value == 'data').lower()}"
        elif what == "time_scale":
            yield f"timestep_scale {value}{'' if then in _CLASSES else ' over num_train_timesteps'}"
        elif value not in _CLASSES:
            yield f"{keys.get(what, what)} {named.get(value, value)}"
