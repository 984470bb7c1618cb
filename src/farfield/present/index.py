"""The page of a folder of runs: for each its title, date and verdict, as its own page says them, and a picture of it."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farfield.core.disk import write_bytes
from farfield.core.error import FarfieldError
from farfield.core.run_folder import configuration
from farfield.present.frame import templates

HEAD = 1 << 14
"""Characters of a page in which its title and description stand."""
FIRST = ("grids/samples.png", "grids/closest_samples.png")
"""Pictures that say most of a run."""


@dataclass(frozen=True)
class Entry:
    """A run.

    Attributes:
        page: what to open: its page, or its folder.
        picture: a file, if it has one.
    """

    folder: Path
    title: str
    date: str
    verdict: str
    page: Path
    picture: Path | None = None


def entries(folder: Path) -> list[Entry]:
    """The runs that lie in a folder, the newest first.

    Raises:
        FarfieldError: none does.
    """
    found = [_entry(path.parent) for path in folder.glob("*/config.json") if configuration(path.parent).get("request")]
    if not found:
        raise FarfieldError(
            f"{folder}: expected run folders in it (with config.json), found none; name the folder they are in"
        )
    return sorted(found, key=lambda run: (run.date, str(run.folder)), reverse=True)


def write_index(folder: Path, runs: Sequence[Entry]) -> Path:
    """Write ``index.html``, which points to the runs beside it; its path."""

    def link(path: Path) -> str:
        return urllib.parse.quote(path.relative_to(folder).as_posix())

    rows = [{**vars(run), "page": link(run.page), "picture": run.picture and link(run.picture)} for run in runs]
    page = templates().get_template("index.html.jinja").render(folder=folder.name, runs=rows)
    write_bytes(folder / "index.html", page.encode(errors="replace"))
    return folder / "index.html"


def _entry(folder: Path) -> Entry:
    config = configuration(folder)
    date = str(config.get("started") or "")[:16].replace("T", " ")
    page, command = folder / "report.html", str(config["request"].get("command") or "run")
    head = ""
    if page.is_file():
        with page.open(encoding="utf-8", errors="replace") as file:
            head = file.read(HEAD)
    title = _said(r"<title>(.*?)</title>", head) or f"farfield {command}"
    finished = (folder / "summary.json").is_file()
    verdict = _said(r'<meta name="description" content="(.*?)">', head) if finished else "not finished"
    pictures = (
        [folder / name for name in FIRST] + sorted(folder.glob("grids/*.png")) + sorted(folder.glob("png/*.png"))[:1]
    )
    picture = next((path for path in pictures if path.is_file()), None)
    return Entry(folder, title, date, verdict, page if head else folder, picture)


def _said(pattern: str, head: str) -> str:
    match = re.search(pattern, head, re.DOTALL)
    return html.unescape(match[1]) if match else ""
