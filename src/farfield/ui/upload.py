"""What is dropped on a page: kept beside the runs, by its content, so that a run that reads it can be continued anywhere.

A dropped file is read as every other file is; here only its size is looked at, and its name made one that is harmless.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from farfield.core.error import FarfieldError

PLACE: Final = "uploads"
"""In the folder of the runs."""
LONGEST: Final = 100
"""Characters of a file's name that are kept, its ending among them."""
SERVED: Final = (".html", ".png", ".svg", ".pdf", ".csv", ".json")
"""What a page may show of a run."""
BLOCK: Final = 1 << 20


def keep(files: Sequence[str | Path], folder: Path, most: int) -> Path:
    """Copy dropped files to ``folder/uploads``; the path of one, or of the folder of several.

    Args:
        most: MiB of all together.

    Raises:
        FarfieldError: more than that, or nothing.
    """
    paths = [Path(file) for file in files]
    if not paths:
        raise FarfieldError("dropped: nothing; expected a file")
    size = sum(path.stat().st_size for path in paths)
    if size > most << 20:
        raise FarfieldError(
            f"dropped: {size / 2**20:.0f} MiB; expected at most {most}. Give the path instead, or start with --upload"
        )
    names = _names([path.name for path in paths])
    digest = hashlib.sha256()
    for name, path in sorted(zip(names, paths, strict=True)):
        digest.update(f"{name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    there = folder / PLACE / digest.hexdigest()[:16]
    if not there.is_dir():
        part = there.with_name(f"{there.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, path in zip(names, paths, strict=True):
            shutil.copyfile(path, part / name)
        part.replace(there)
    return there / names[0] if len(names) == 1 else there


def _names(given: Sequence[str]) -> list[str]:
    """Letters, digits and a few signs, none hidden and none twice."""
    names: list[str] = []
    for name in given:
        stem, dot, ending = re.sub(r"[^\w.+-]+", "_", Path(name).name).lstrip(".-").rpartition(".")
        plain = f"{(stem or 'file')[: LONGEST - len(ending) - 1]}{dot or '.'}{ending}"[-LONGEST:] if ending else "file"
        while plain in names:
            plain = f"again-{plain}"
        names.append(plain)
    return names


def served(folder: Path, path: str) -> Path | None:
    """The file of a run that a browser asks for; None where it is none, or none that a page shows."""
    whole = (folder / path).resolve()
    root = folder.resolve()
    inside = whole.is_relative_to(root) and not whole.is_relative_to(root / PLACE)
    return whole if inside and whole.suffix in SERVED and whole.is_file() else None
