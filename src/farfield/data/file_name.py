"""Keys to names of files: any text becomes a name that every common file system takes, and no two become one."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence

from farfield.core.disk import LONGEST

_UNSAFE = re.compile(
    r'^$|^\.|[\x00-\x1f\x7f<>:"\\|?*]|[. ]$|^(?=(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.|$))', re.IGNORECASE
)
"""Also what Windows drops at a name's end, and the place before the name of a device there."""


def file_names(keys: Sequence[str], ending: str = "") -> list[str]:
    """A name for each key, to which ``ending`` will be added.

    ``sub/stem`` lies in a subfolder; what is unsafe becomes ``_``, and what is too long is cut. Where two keys would have one
    name, or one that of the other's folder, those that are not spelled so themselves get eight digits of their sha256.
    Capitals tell no names apart, as on macOS and Windows: of two such the one without any keeps its name.
    """
    names = [_safe(key, ending) for key in keys]
    files = Counter(name.casefold() for name in names)
    folders = {folder.casefold() for name in names for folder in _folders(name)}

    def twice(name: str, key: str) -> bool:
        return files[name.casefold()] > 1 and not name == key == name.casefold()

    return [
        _marked(name, key, ending) if (name + ending).casefold() in folders or twice(name, key) else name
        for name, key in zip(names, keys, strict=True)
    ]


def _safe(key: str, ending: str) -> str:
    parts = [_UNSAFE.sub("_", part) for part in key.split("/")]
    return "/".join(
        part if len(os.fsencode(part)) + len(end) <= LONGEST else _marked(part, part, end)
        for part, end in zip(parts, [""] * (len(parts) - 1) + [ending], strict=True)
    )


def _marked(name: str, key: str, ending: str) -> str:
    """A name with the beginning of its key's digest, cut to what a file system takes."""
    folder, slash, last = name.rpartition("/")
    mark = "-" + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:8]
    while len(os.fsencode(last + mark + ending)) > LONGEST:
        last = last[:-1]
    return folder + slash + last + mark


def _folders(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]
