"""What Tab completes a value to: the words that it may be, the names that come along, and files. Nothing heavy is imported."""

from __future__ import annotations

import glob
import os
from typing import Final

from farfield.command.option import Leaf, Named

DEVICES: Final = ("auto", "cpu", "cuda", "mps")


def words(leaf: Leaf, beginning: str) -> list[str]:
    """All that begins so, names before files."""
    known = [*leaf.choices, *(DEVICES if leaf.name == "device" else ()), *_names(leaf.option.names)]
    found = [word for word in known if word.startswith(beginning)]
    if leaf.option.names is None and str(leaf.kind) != "<class 'pathlib.Path'>":
        return found
    return found + _files(beginning)


def _names(kind: Named | None) -> tuple[str, ...]:
    if kind is None:
        return ()
    from farfield.audit.word import WORDS
    from farfield.checkpoints.place import BUNDLED
    from farfield.data.place import DOMAINS, FIELD_DOMAINS

    domains = (*DOMAINS, *FIELD_DOMAINS)
    return {"source": domains, "model": BUNDLED, "model or source": (*BUNDLED, *domains), "descriptor": WORDS}[kind]


def _files(beginning: str) -> list[str]:
    """Files and folders, these with a slash at the end."""
    paths = sorted(glob.glob(glob.escape(beginning) + "*"))
    return [path + os.sep * os.path.isdir(path) for path in paths]
