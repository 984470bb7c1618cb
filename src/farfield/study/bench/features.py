"""`farfield describe`: images to a file of features, to be scored or searched later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import farfield
from farfield.audit.descriptor import Descriptor, describe
from farfield.audit.named import open_descriptor
from farfield.audit.stored import StoredFeatures
from farfield.checkpoints.load import model_digest
from farfield.command.shared import Loading
from farfield.core import note
from farfield.core.artifact import Features, Images
from farfield.core.error import FarfieldError, MachineError
from farfield.core.runtime import Advance, resolve_device
from farfield.data.image_set import ImageSet
from farfield.data.samples import open_image_set
from farfield.study.bench.numerics import load_model
from farfield.study.bench.run import Run


@note.kept()
def describe_source(
    source: str,
    out: Path,
    spec: str,
    *,
    references: str | None = None,
    model: str | None = None,
    limit: int | None = None,
    batch_size: int = 256,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Describe the images of a source at their own size; the summary, as written to ``summary.json``.

    Features lie in ``features/``. The run is tied to the content of the images and to the descriptor's name, which says
    all that its numbers depend on: with other images or other weights the folder is refused.

    Args:
        source: see `data.samples.open_image_set`.
        spec: see `audit.named.open_descriptor`.
        references: images that ``pixels`` are whitened on [default: the source's own].
        model: whose features are taken by ``model``.
    """
    place = resolve_device(device)
    images = open_image_set(source, limit=limit)
    whitened = None
    if spec == "pixels":
        whitened = images if references is None else open_image_set(references)
    denoiser = None if model is None else load_model(model, Loading(device=device))
    descriptor = open_descriptor(spec, references=whitened, denoiser=denoiser, device=place)
    request = {"source": source, "descriptor": descriptor.name, "limit": limit}
    inputs = {
        "images": images,
        "references": None if references is None else whitened,
        "model": None if model is None else model_digest(model),
    }
    run = Run(out, "describe", request, inputs, quiet)
    found = features(run, descriptor, images, batch_size)
    summary = {
        "command": "describe",
        "farfield": farfield.__version__,
        "source": source,
        "n": len(found),
        "length": found.shape[0],
        "descriptor": found.descriptor,
    }
    return run.conclude(summary)


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
        part = describe(descriptor, images.select(keys), batch_size)
        advance(len(keys))
        return part

    found = StoredFeatures(run.fill(folder, Features, images.keys, 8 * batch_size, work, label))
    if found.keys != images.keys:
        raise MachineError(
            f"{run.folder / folder}: holds other rows than were written there; give the same command again"
        )
    if found.descriptor != descriptor.name:
        raise FarfieldError(
            f"{run.folder / folder}: expected features of {descriptor.name}, found those of {found.descriptor}; "
            "delete that folder and run the command again"
        )
    return found
