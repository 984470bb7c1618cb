"""What a measurement is of images: the operator that settings ask for, and the measurement itself, made or given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from farfield.command.restore import Restore
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.note import fit, say
from farfield.core.runtime import seeded_noise
from farfield.data.array_file import only_plane
from farfield.data.content import Unreadable
from farfield.data.field_file import ending, read_field_file
from farfield.data.picture import channel_law
from farfield.diffusion.operator import Blur, Operator, Reduce, Seen, Whole, gaussian_kernel
from farfield.study.bench.carrier import key_seed
from farfield.study.bench.domain import Domain
from farfield.study.bench.mask import open_mask


@dataclass(frozen=True)
class Degrading:
    """What is done to all images of a model's shape (C, H, W).

    Attributes:
        operator: of every image, before any of its own pixels is missing.
        missing: ``[H, W]``, what --mask names; None without it.
        content: of files that it was read from, by the option's name.
    """

    operator: Operator
    missing: Tensor | None
    content: dict[str, Images]


@dataclass(frozen=True)
class Measurement:
    """What was measured, a row an image, in the units of the model.

    Attributes:
        operator: of these rows.
        values: ``[n, C, h, w]``, 0 where nothing was seen.
        variance: of the noise in each.
        truth: the images, if they are known.
        judged: bool, broadcast to images: pixels that restorations are judged by.
        grey: whether all channels hold the same; then their noise is the same too.
    """

    keys: tuple[str, ...]
    operator: Operator
    values: Tensor
    variance: float
    truth: Tensor | None
    judged: Tensor
    grey: bool

    @property
    def seen(self) -> Tensor:
        """Where a measurement says something, bool ``[n, C, h, w]``."""
        mask = self.operator.seen if isinstance(self.operator, Seen) else torch.ones(1, dtype=torch.bool)
        return mask.expand_as(self.values)


def open_degrading(settings: Restore, shape: Sequence[int]) -> Degrading:
    """The operator that settings ask for, for images of this shape (C, H, W).

    Raises:
        FarfieldError: a mask, kernel or scale that does not fit.
    """
    if settings.blur:
        kernel = _kernel(settings.blur)
        blur = Blur(kernel)
        blur.measured(shape)
        return Degrading(blur, None, {"blur": Images(("kernel",), kernel[None, None])})
    if settings.scale:
        reduce = Reduce(settings.scale)
        reduce.measured(shape)
        return Degrading(reduce, None, {})
    if not settings.mask:
        return Degrading(Whole(), None, {})
    missing = torch.stack([open_mask(one, shape) for one in settings.mask]).any(0)
    if bool(missing.all()):
        raise FarfieldError(
            f"--mask {' '.join(settings.mask)}: covers all of the image; expected some of it to be seen"
        )
    return Degrading(Whole(), missing, {"mask": Images(("mask",), missing[None, None].float())})


def _kernel(given: str) -> Tensor:
    """A kernel ``[h, w]`` with sum 1: a Gaussian of this width, or a file's."""
    try:
        width = float(given)
    except ValueError:
        return _kernel_of(Path(given).expanduser())
    if not 0 < width < 1000:
        raise FarfieldError(f"--blur {given}: expected a width in pixels above 0, such as 1.5, or a file with a kernel")
    return gaussian_kernel(width)


def _kernel_of(path: Path) -> Tensor:
    if not path.is_file() or not ending(path):
        raise FarfieldError(
            f"--blur {path}: expected a width in pixels, or a kernel's file (FITS, npy, npz, TIFF), found none"
        )
    if path.suffix.lower() in (".npy", ".npz"):
        values = torch.from_numpy(only_plane(path)).double()
    else:
        try:
            parts = list(read_field_file(path, 1).parts.values())
        except Unreadable as error:
            raise FarfieldError(f"--blur {path}: expected a kernel, {error}") from error
        if len(parts) != 1 or len(parts[0]) != 1:
            raise FarfieldError(
                f"--blur {path}: expected one kernel [h, w], found {len(parts)} of {len(parts[0])} channels"
            )
        values = torch.from_numpy(parts[0][0]).double()
    total = float(values.sum())
    if not math.isfinite(total) or total <= 0:
        raise FarfieldError(
            f"--blur {path}: its values have the sum {total:g}; expected a kernel of finite numbers, sum above 0"
        )
    if abs(total - 1) > 1e-3:
        say(f"--blur {path.name}: its sum is {total:.4g}; it is divided by that, so that brightness stays")
    return values / total


def check_linear(settings: Restore, domain: Domain) -> None:
    """Refuse a blur or a reduction of what is no linear function of what was measured.

    Raises:
        FarfieldError: fields with a stretch that bends.
    """
    stretch = domain.physical.stretch.kind if domain.physical else "linear"
    if (settings.blur or settings.scale) and stretch not in ("linear", "percentile"):
        raise FarfieldError(
            f"--{settings.kind} with the stretch {stretch}: light adds up before the stretch, not after; give --stretch linear"
        )


def check_size(settings: Restore, shape: Sequence[int]) -> None:
    """Refuse measured images that had to be resized: what a reduced pixel is the mean of would be another square.

    Raises:
        FarfieldError: a reduction of images that had another size.
    """
    if settings.scale and "→" in fit():
        raise FarfieldError(
            f"{settings.images}: {fit()} pixels; measured images of --scale {settings.scale} have {shape[2]}×{shape[1]} with "
            "this model, and resizing them would change what was measured; give these, or another scale"
        )


def measure(settings: Restore, degrading: Degrading, domain: Domain, measured: bool) -> Measurement:
    """The images as they were measured: degraded here, with noise of their keys and the run's seed, or as they are.

    Raises:
        FarfieldError: an image of which nothing was seen, or nothing is missing.
    """
    images, values = domain.examples, domain.examples.values.double()
    fields = domain.physical.fields["examples"].values if domain.physical else None
    known = torch.ones_like(values[:, :1], dtype=torch.bool) if fields is None else ~fields.isnan()
    inner = degrading.operator
    # what a masked pixel had a part in was not seen either
    seen = known if measured or isinstance(inner, Whole) else inner.forward((~known).double()).abs() < 1e-9
    if degrading.missing is not None:
        seen = seen & ~degrading.missing
    grey = channel_law(values) is not None
    deviation = 2 * settings.noise
    operator = inner if bool(seen.all()) else Seen(inner, seen)
    y = values if measured else inner.forward(values)
    if not measured:
        seeds = [key_seed(key, settings.seed) for key in images.keys]
        noise = seeded_noise(seeds, (1, *y.shape[2:]) if grey else y.shape[1:], "measurement")
        y = y + deviation * noise.to(y)
    _check_seen(images.keys, seen, settings.kind == "mask")
    judged = known & ~seen if settings.kind == "mask" else known  # of a truth alone
    # the noise of equal channels is one and the same: taken for as many, each would say too much
    variance = deviation**2 * (values.shape[1] if grey else 1)
    truth = None if measured else values
    return Measurement(images.keys, operator, torch.where(seen, y, 0), variance, truth, judged, grey)


def _check_seen(keys: Sequence[str], seen: Tensor, mask: bool) -> None:
    parts = seen.flatten(1)
    if not bool(parts.any(1).all()):
        key = keys[int((~parts.any(1)).nonzero()[0, 0])]
        raise FarfieldError(f"{key}: nothing of it was seen; leave it out")
    if mask and bool(seen.all()):
        raise FarfieldError("nothing is missing: give --mask, --blur or --scale, or fields with masked pixels")
