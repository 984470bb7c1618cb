"""README.md as it goes into the package's metadata: an index shows no file of the checkout, so links to files are plain words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def without_files(text: str) -> str:
    """A document without its pictures and their emphasised captions, and with its links to files as words."""
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n(\*[^*]+\*\n\n?)?", "", text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]*\)", r"\1", text)


class IndexReadme(MetadataHookInterface):
    """Of hatchling: the readme, made as the package is."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_files(text)}
