"""The functions that are no command: models and images as they come, and latents to images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from farfield.api.call import bind, given, signature_of, told
from farfield.api.found import Found
from farfield.api.listing import Listed
from farfield.command.option import Leaf, Option
from farfield.command.own import Decode, Load
from farfield.command.settings import leaves
from farfield.command.shared import Numerics
from farfield.core.artifact import Images, Latents, chunks
from farfield.core.error import FarfieldError
from farfield.data.collection import positions
from farfield.diffusion.denoiser import Denoiser, Prediction
from farfield.diffusion.flow import Path, Toward
from farfield.diffusion.own import Numbers


def load(model: Any, **options: Any) -> Denoiser:
    """A model as a denoiser, frozen: ``denoiser(x, sigma)`` is E[x0 | x] for x = x0 + sigma * noise, for every model alike.

    Args:
        model: a name as on the command line, such as ``"cifar10-32"``, a checkpoint's path or a hub id.
        options: ``device``, ``dtype`` and ``label``, as every command has them.
    """
    from farfield.study.bench.numerics import load_model

    fields = leaves(Load)
    bound = bind("farfield.load", signature_of(fields), fields, (model,), options)
    with told(), given(fields, bound) as values:
        settings = Load.of(**values)
        return load_model(settings.model, settings.loading)


def wrap(
    module: nn.Module,
    shape: Sequence[int],
    *,
    betas: Numbers | Literal["linear", "cosine", "scaled_linear"] | None = None,
    alphas_cumprod: Numbers | None = None,
    sigmas: Numbers | None = None,
    prediction: Prediction = "epsilon",
    label: int | None = None,
    sigma_data: float = 0.5,
    images: tuple[float, float] = (-1.0, 1.0),
    time: Callable[[Tensor], Tensor] | None = None,
    direction: Toward = "noise",
    time_scale: float = 1.0,
    path: Path = "straight",
    check: bool = True,
    data: Any = None,
) -> Denoiser:
    """Any torch module as a model for every function: a frozen copy, read as is said here, and the reading checked.

    See `farfield.diffusion.own.own_denoiser` for what a module is called with, and for all but the last two arguments.

    Args:
        check: denoise pictures with it, as it is read and in every other reading that is known, as ``farfield inspect --check``
            does; a wrong reading is refused with the right one's name.
        data: images for the check, as of every function; bundled pictures if not given.

    Raises:
        FarfieldError: what is given cannot be, or another reading denoises far better.
    """
    from farfield.diffusion.own import own_denoiser
    from farfield.study.model.check import check_own

    reading: dict[str, Any] = {
        "betas": betas,
        "alphas_cumprod": alphas_cumprod,
        "sigmas": sigmas,
        "prediction": prediction,
    }
    reading |= {"label": label, "sigma_data": sigma_data, "images": images, "time": time}
    reading |= {"direction": direction, "time_scale": time_scale, "path": path}
    denoiser = own_denoiser(module, shape, **reading)
    if check:
        with told(), _one(data, "data") as source:
            check_own(denoiser, source)
    return denoiser


def open_images(source: Any, shape: Sequence[int] | Denoiser | None = None, *, limit: int | None = None) -> Images:
    """The images of a source, float32 [n, C, H, W] in [-1, 1] with their keys.

    Args:
        source: a path, a bundled domain, an array, or a run.
        shape: (C, H, W) to bring them to, or a model whose shape it is; the size that all have, if not given.
        limit: only the first so many.
    """
    from farfield.data.dataset import open_dataset
    from farfield.data.image import load_images

    size = shape.image_shape if isinstance(shape, Denoiser) else shape
    with told(), _one(source, "source") as name:
        return (
            open_dataset(name, limit=limit, labels=False).as_images()
            if size is None
            else load_images(name, size, limit=limit)
        )


def decode(model: Any, latents: Any, **options: Any) -> Images:
    """Unit-variance latents to images, by the deterministic solver that `farfield.invert` took them up with.

    Args:
        model: a name, or a denoiser.
        latents: what `farfield.invert` returned, its ``latents``, or an array [n, *shape] with its noise level as ``sigma=``.
        options: ``sigma``, ``steps``, ``solver``, ``batch_size``, ``device``, ``dtype`` and ``label``, as of `farfield.invert`;
            a run has its own.

    Raises:
        FarfieldError: latents of another shape, of no level or of two, or of a method that keeps more than them.
    """
    from farfield.study.bench.carrier import Carrier, as_images
    from farfield.study.bench.numerics import open_model

    rows = _latents(latents)
    own = _settled(latents) if isinstance(latents, Found) else {}
    if rows.sigma:
        if options.get("sigma") not in (None, rows.sigma):
            raise FarfieldError(f"sigma {options['sigma']}: these latents are of level {rows.sigma:g}; leave it out")
        own["sigma"] = rows.sigma
    elif options.get("sigma") is None:
        raise FarfieldError(
            "latents: an array does not say its noise level; give sigma=, or the run of farfield.invert itself"
        )
    fields = tuple(leaf for leaf in leaves(Decode) if leaf.name != "latents")
    bound = bind("farfield.decode", signature_of(fields), fields, (model,), {**own, **options})
    with told(), given(fields, bound) as values:
        name = values.pop("model")
        numerics = Numerics.of(**values)
        denoiser = open_model(name, numerics)
        if rows.shape != tuple(denoiser.shape):
            raise FarfieldError(f"latents of {list(rows.shape)}: expected {list(denoiser.shape)}, as this model's are")
        carrier = Carrier.of(numerics, denoiser)
        parts = [
            carrier.decode(rows.select(part)).float().cpu() for part in chunks(rows.keys, numerics.loading.batch_size)
        ]
    return as_images(rows.keys, torch.cat(parts))


def models() -> Mapping[str, str]:
    """The models that are known by a name, with what they are: those that come along, and those that `farfield.fetch` brings."""
    from farfield.checkpoints.card import CARDS
    from farfield.checkpoints.place import bundled_models

    return Listed({**bundled_models(), **{card.name: str(card) for card in CARDS}})


@contextlib.contextmanager
def _one(value: Any, what: str) -> Iterator[Any]:
    """One source that is no option of a command, by the name that it has meanwhile."""
    leaf = Leaf((what,), str, True, None, False, Option("", names="source"))
    with given((leaf,), {what: value}) as values:
        yield values.get(what)


def _latents(value: Any) -> Latents:
    if isinstance(value, Found):
        found = value.arrays.get("latents")
        if value.command.name not in ("invert", "reconstruct") or not isinstance(found, Latents):
            raise FarfieldError(f"a run of {value.command.name}: expected one of invert or reconstruct")
        return found
    if isinstance(value, Latents):
        return value
    if not isinstance(value, np.ndarray | Tensor) or value.ndim < 2:
        raise FarfieldError(
            f"latents: expected an array [n, *shape], or a run of farfield.invert, found {type(value).__name__}"
        )
    return Latents(tuple(positions(len(value))), torch.as_tensor(value), sigma=0.0)


def _settled(run: Found[Any]) -> dict[str, Any]:
    """How the latents of a run came up.

    Raises:
        FarfieldError: by a method that keeps more than them.
    """
    if (method := getattr(run.result, "method", None)) is not None:
        raise FarfieldError(
            f"latents of the method {method}: farfield.reconstruct brings them back, with what it keeps beside"
        )
    return {"steps": run.result.steps, "solver": run.result.solver}
