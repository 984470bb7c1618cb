"""Methods of `farfield compare` that train nothing: samplers by name, controls without a model, samples made elsewhere.

The controls answer what a model is needed for. ``wiener`` and ``patches`` are ours without the network, in the way and from
the level that ours came to: what is left calibrates to the examples' Wiener filter, and to that with their patches.
``pixels`` is what ours starts from where it mixes two, the same parents in the same places for the same seed. ``examples`` shows
what copies score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from farfield.command.compare import Compare
from farfield.command.expand import Sampler
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance
from farfield.data.apart import apart
from farfield.data.field_source import is_physical, open_fields
from farfield.data.image import list_keys, load_images
from farfield.study.bench.carrier import Finish, as_images
from farfield.study.bench.domain import Domain, Physical
from farfield.study.bench.run import Run
from farfield.unseen.jitter import jitter, jittered
from farfield.unseen.patchwork import starts

OURS = Sampler()
PLAIN: dict[str, Any] = {"candidates": 1, "calibrate": False, "fresh_noise": False}
SAMPLERS: dict[str, Sampler] = {
    "ours": OURS,
    "wiener": replace(OURS, network=False, patches=False),
    "patches": replace(OURS, network=False),
    "patchwork": Sampler("patchwork", candidates=3),
    "published": Sampler("interpolation", t=(0.5, 0.5), centre=False, partner="prior", **PLAIN),
    "described": Sampler("interpolation", t=(0.5, 0.5), centre=False, **PLAIN),
    "geometric": Sampler("geometric", **PLAIN),
    "gaussian": Sampler("gaussian", **PLAIN),
}
"""Ours as `farfield expand` has it, and without the network; the samplers of arXiv 2310.09213; draws of a Gaussian.

Those of the paper are at the model's last level, uncalibrated, of fields with their noise. ``published`` is the interpolation as
its authors' code has it: at the middle, from an example to a draw of the domain's Gaussian, around the origin, the length linearly
between theirs. ``described`` is that between two examples, as the paper says it."""

LEAST = 4
"""Samples made elsewhere, fewer than which nothing is measured on."""

Make = Callable[[Tensor, Sequence[int]], Tensor]


def mixed(examples: Tensor, seeds: Sequence[int]) -> Tensor:
    """Patchworks of the pictures: what ours starts from where it mixes, without noise."""
    return starts(examples, seeds, parents=2, reach=OURS.reach, stream="sampler-0")[0]


def repeated(examples: Tensor, seeds: Sequence[int]) -> Tensor:
    """The examples, one after the other."""
    return examples[repeats(len(examples), seeds)]


def repeats(n: int, seeds: Sequence[int]) -> list[int]:
    """Of n examples, the one that `repeated` gives for each seed."""
    return [seed % n for seed in seeds]


PARENTS: dict[str, Callable[[int, Sequence[int]], list[int]]] = {"augment": jittered, "examples": repeats}
"""Which of n examples an image of each seed is made from, of methods that make one of one."""

WITHOUT_MODEL: dict[str, Make] = {"pixels": mixed, "augment": jitter, "examples": repeated}
"""Methods that are made of the pictures alone."""


def described_by(name: str) -> dict[str, Any]:
    """What a request says of a method beside its name."""
    if name == "pixels":
        return {"reach": OURS.reach, "parents": 2}
    return SAMPLERS[name].request() if name in SAMPLERS else {}


def make(run: Run, name: str, given: Images, keys: Sequence[str], batch_size: int, finish: Finish | None) -> Images:
    """Images of one of `WITHOUT_MODEL`, kept in the run; image k depends on seed k and the examples alone."""

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        values = WITHOUT_MODEL[name](given.values, [int(key) for key in part])
        advance(len(part))
        return as_images(part, values, None if name == "examples" else finish)

    return run.compute("samples", Images, keys, batch_size, work, f"{name}: sampling").read()


def open_foreign(settings: Compare, name: str, domain: Domain, shape: Sequence[int]) -> Images:
    """The first ``n`` by key of samples made elsewhere, at the model's size; fields through the domain's stretch.

    Held-out images among them are left out, or refused where they are many: they would be measured against themselves.

    Raises:
        FarfieldError: nothing there, of another kind than the domain, or too few.
    """
    path, n, reading = settings.foreign[name], settings.n, settings.reading
    said = f"--samples {name}={path}"
    if domain.physical and (reading.stretch is not None or is_physical(path)):
        images = _fields(path, said, domain.physical, shape)
    elif domain.physical:
        list_keys(path)  # nothing there is the better message
        raise FarfieldError(
            f"{said}: holds pictures, but the examples are physical fields; expected these, as physical/samples.npz of a run"
        )
    elif is_physical(path):
        raise FarfieldError(f"{said}: holds physical fields, but the examples are pictures; expected pictures")
    else:
        images = load_images(path, shape, keys=list_keys(path)[:n], strict=reading.strict)
    images, held = images.select(images.keys[:n]), [part.values for part in domain.held.values()]
    rows = apart(images.keys, images.values, held, said, "the held-out images", "images that were made")
    if len(rows) < LEAST:
        raise FarfieldError(f"{said}: expected at least {LEAST} images, found {len(rows)}; give more")
    return images.select([images.keys[i] for i in rows])


def _fields(path: str, said: str, physical: Physical, shape: Sequence[int]) -> Images:
    fields, like = open_fields(path, shape), physical.fields["examples"]
    if fields.unit != like.unit or fields.values.shape[1] != like.values.shape[1]:
        theirs, ours = (f"{f.values.shape[1]} channels in {f.unit or 'no unit'}" for f in (fields, like))
        raise FarfieldError(f"{said}: {theirs}, but the examples: {ours}; expected the same")
    return physical.to_model(fields, shape[0])
