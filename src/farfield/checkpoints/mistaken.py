"""What stands where a model was expected, and is plainly none: said before anything heavy is imported."""

from __future__ import annotations

import itertools
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farfield.core.error import FarfieldError
from farfield.core.run_folder import configuration

EXPECTED: Final = "expected a model: a checkpoint file, a folder that holds one, or a name such as cifar10-32"
WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".th", ".tar", ".h5", ".eqx")
PARTS: Final = ("model_index.json", "model.json", "config.json", "unet")
"""What a folder that may hold a model has at its top."""
LOOKED_AT: Final = 5000
"""Files of a folder, at its top and one level below."""


def refuse_other(path: Path) -> None:
    """Refuse a file or a folder that plainly holds something else; whether a model is whole is found when it is read.

    Raises:
        FarfieldError: a run that leaves no model, a picture, a folder of other files, or an empty one.
    """
    if path.is_file():
        if _is_picture(path):
            raise FarfieldError(f"{path}: a picture; {EXPECTED}; check the order of the arguments")
        return
    request = configuration(path).get("request")
    if isinstance(request, dict) and (command := request.get("command")):
        raise FarfieldError(f"{path}: a run of `farfield {command}`, which is no model; {_opened_by(path)}")
    files = list(itertools.islice(_files(path), LOOKED_AT))
    if any((path / part).exists() for part in PARTS) or any(_may_be_part(file) for file in files):
        return
    if not files:
        raise FarfieldError(f"{path}: a folder without a file; {EXPECTED}")
    shown = ", ".join(sorted(file.name for file in files)[:2]) + (", …" if len(files) > 2 else "")
    kind = "pictures" if all(map(_is_picture, files)) else "files that are no model's"
    raise FarfieldError(f"{path}: a folder of {kind} ({shown}); {EXPECTED}; check the order of the arguments")


def _opened_by(run: Path) -> str:
    """What one does with a run."""
    if not (run / "summary.json").is_file():
        return f"it is not finished: `farfield again {run}` goes on with it"
    samples = "; its samples can be given as images" if (run / "samples").is_dir() else ""
    return f"`farfield report {run} --open` opens its page{samples}"


def _files(folder: Path) -> Iterator[Path]:
    """At the top and one level below, hidden ones left out."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from (below for below in path.iterdir() if below.is_file() and not below.name.startswith("."))
        else:
            yield path


def _may_be_part(file: Path) -> bool:
    return file.suffix.lower() in WEIGHTS or file.name.endswith("config.json")


def _is_picture(file: Path) -> bool:
    return (mimetypes.guess_type(file.name)[0] or "").startswith("image/")
