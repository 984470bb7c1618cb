"""`farfield describe`: images to a file of features, to be scored or searched later."""

from __future__ import annotations

from pathlib import Path

from farfield.audit import descriptor as images_to_features
from farfield.audit.descriptor import Descriptor
from farfield.audit.named import open_descriptor
from farfield.audit.stored import StoredFeatures
from farfield.checkpoints.load import model_digest
from farfield.command.describe import Describe, DescribeResult
from farfield.command.likeness import trusted
from farfield.command.shared import Loading
from farfield.core.artifact import Features, Images
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, resolve_device
from farfield.data.image_set import ImageSet
from farfield.data.samples import open_image_set
from farfield.study.bench.numerics import load_model
from farfield.study.bench.run import Inputs, Run


def describe(settings: Describe, out: Path, *, quiet: bool = False) -> DescribeResult:
    """Describe the images of a source at their own size.

    Features lie in ``features/``. The run is tied to the content of the images and to the descriptor's name, which says
    all that its numbers depend on: with other images or other weights the folder is refused.
    """
    device = resolve_device(settings.device)
    images = open_image_set(settings.source, limit=settings.limit)
    whitened = None
    if settings.descriptor == "pixels":
        whitened = images if settings.references is None else open_image_set(settings.references)
    denoiser = None if settings.model is None else load_model(settings.model, Loading(device=settings.device))
    spec = trusted([settings.descriptor], settings.trust)[0]
    descriptor = open_descriptor(spec, references=whitened, denoiser=denoiser, device=device)
    inputs: Inputs = {
        "images": images,
        "references": None if settings.references is None else whitened,
        "model": None if settings.model is None else model_digest(settings.model),
    }
    run = Run.of(out, settings, inputs, quiet, descriptor=descriptor.name)
    made = features(run, descriptor, images, settings.batch_size)
    return run.finish(
        DescribeResult(source=settings.source, n=len(made), length=made.shape[0], descriptor=made.descriptor)
    )


def features(
    run: Run,
    descriptor: Descriptor,
    images: Images | ImageSet,
    batch_size: int = 256,
    folder: str = "features",
    label: str = "describing",
) -> StoredFeatures:
    """Features of all images where they are kept, a folder of the run.

    Raises:
        FarfieldError: the folder holds those of another descriptor.
    """

    def work(keys: tuple[str, ...], advance: Advance) -> Features:
        part = images_to_features.describe(descriptor, images.select(keys), batch_size)
        advance(len(keys))
        return part

    stored = StoredFeatures(run.compute(folder, Features, images.keys, 8 * batch_size, work, label))
    if stored.descriptor != descriptor.name:
        raise FarfieldError(
            f"{run.folder / folder}: expected features of {descriptor.name}, found those of {stored.descriptor}; "
            "delete that folder and run the command again"
        )
    return stored
