"""What is dropped on a page: kept beside the runs, by its content, so that a run that reads it can be continued anywhere.

A dropped file is read as every other file is; here only its size is looked at, and its name made one that is harmless.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
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


def keep(files: Mapping[str, Path], folder: Path, most: int) -> Path:
    """Copy dropped files to ``folder/uploads``; the path of one, of the folder that was dropped, or of the folder of several.

    Args:
        files: by their paths in what was dropped, with / between.
        most: MiB of all together.

    Raises:
        FarfieldError: more than that, or nothing.
    """
    if not files:
        raise FarfieldError("dropped: nothing; expected a file, or a folder with files")
    size = sum(path.stat().st_size for path in files.values())
    if size > most << 20:
        raise FarfieldError(
            f"dropped: {size / 2**20:.0f} MiB; expected at most {most}. Give the path instead, or start with --upload"
        )
    named = _named(files)
    digest = hashlib.sha256()
    for name, path in sorted(named.items()):
        digest.update(f"{name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    there = folder / PLACE / digest.hexdigest()[:16]
    if not there.is_dir():
        part = there.with_name(f"{there.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        for name, path in named.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / name)
        part.replace(there)
    tops = {name.partition("/")[0] for name in named}
    return there / tops.pop() if len(tops) == 1 else there


def _named(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files under names of letters, digits and a few signs, none hidden and none twice."""
    named: dict[str, Path] = {}
    for given in sorted(files):
        *folders, last = (_plain(part) for part in given.split("/") if part)
        while (name := "/".join([*folders, last])) in named:
            last = f"again-{last}"
        named[name] = files[given]
    return named


def _plain(name: str) -> str:
    stem, dot, ending = re.sub(r"[^\w.+-]+", "_", name).lstrip(".-").rstrip(".").rpartition(".")
    if not dot:
        return ending[:LONGEST] or "file"
    return f"{(stem or 'file')[: max(1, LONGEST - len(ending) - 1)]}.{ending}"[-LONGEST:]


def served(folder: Path, path: str) -> Path | None:
    """The file of a run that a browser asks for; None where it is none, or none that a page shows."""
    whole = (folder / path).resolve()
    root = folder.resolve()
    inside = whole.is_relative_to(root) and not whole.is_relative_to(root / PLACE)
    return whole if inside and whole.suffix in SERVED and whole.is_file() else None
