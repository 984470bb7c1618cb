"""A run folder becomes one page, ``report.html``, that needs nothing else: no network, no script, no model, no GPU.

Everything on it comes from artifacts and JSON on disk, so it can be made anew at any time and ends as the same bytes.
What a run does not have is left out.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from farfield.command.commands import COMMANDS, Command
from farfield.command.result import from_json
from farfield.core.artifact import read_json, write_bytes
from farfield.core.error import FarfieldError
from farfield.core.provenance import Provenance
from farfield.data.picture import png
from farfield.present import plot, words
from farfield.present.frame import templates as templates
from farfield.present.page import Chart, Content, Picture, Section, model_name
from farfield.present.table_file import as_csv

LONGEST: Final = 60
"""Characters of the name of a figure's or table's file."""


def write_report(folder: Path, pdf: bool = False) -> Path:
    """The page of a run, as `draw` writes it; its path."""
    draw(folder, pdf=pdf)
    return Path(folder) / "report.html"


def draw(folder: Path, command: Command | None = None, pdf: bool = False) -> tuple[Path, Sequence[str]]:
    """Write the page of a run, ``report.html``, and what is on it as files, each atomically.

    These are ``grids/*.png``, ``figures/*.svg`` and ``tables/*.csv``.

    Args:
        command: of the run, if it is none of ours.
        pdf: whether to write ``figures/*.pdf`` as well.

    Returns:
        the path of the page to open, and what a terminal shows: the verdict in a sentence, and what else the page has for it.

    Raises:
        FarfieldError: not a run folder, an unfinished run, or a damaged file in it.
    """
    folder = Path(folder)
    page = _Page(folder, command, pdf)
    html = page.html()
    # the files first: who finds a report also finds what it shows
    for path, content in page.files.items():
        write_bytes(folder / path, content)
    write_bytes(folder / "report.html", html.encode(errors="replace"))  # names of files may be any bytes
    return folder / page.opens, page.lines


class _Page:
    """Everything that the template shows of one run folder."""

    def __init__(self, folder: Path, known: Command | None, pdf: bool):
        self.folder, self.pdf = folder, pdf
        self.lines: Sequence[str] = ()
        self.opens = "report.html"
        self.summary = _object(finished(folder))
        config = _object(folder / "config.json")
        self.request: dict[str, Any] = config.get("request") or {}
        self.versions: dict[str, Any] = config.get("versions") or {}
        self.started = config.get("started")
        self.cost: dict[str, float] = self.summary.get("cost_seconds") or _object(folder / "cost.json")
        self.line = config.get("command_line")
        self.name = self.summary.get("command") or self.request.get("command") or "run"
        if not isinstance(self.name, str):
            raise FarfieldError(f"{folder / 'summary.json'}: expected the summary of a run, found no command in it")
        self.known = known or COMMANDS.get(self.name)
        self.files: dict[str, bytes] = {}

    def html(self) -> str:
        content = self._content()
        self.lines, self.opens = content.said, content.opens
        html: str = (
            templates()
            .get_template("frame.html.jinja")
            .render(
                words=words,
                summary=self.summary,
                command=self.name,
                cost=self._cost(),
                settings=self._settings(),
                command_line=self.line,
                **{
                    **vars(content),
                    "model": words.short(content.model),
                    "sections": [self._section(section) for section in content.sections],
                },
            )
        )
        return html

    def _content(self) -> Content:
        """What the command's own module makes of its result; of a command without one no more than its frame."""
        written = self.known and self.known.load_page()
        if self.known and written:
            content: Content = written(
                self.folder, from_json(self.known.result, self.summary, str(self.folder / "summary.json"))
            )
            return content
        source = self.request.get("images") or "images"
        return Content(model_name(self.summary), words.short(source), [], [], [], [], [])

    def _section(self, section: Section) -> dict[str, Any]:
        for table in section.tables:
            self._keep("tables", f"{section.anchor} {table.title}", csv=as_csv(table))
        return {
            **vars(section),
            "side": [self._picture(p) for p in section.side],
            "pictures": [self._picture(p) for p in section.pictures],
            "charts": [self._chart(section.anchor, chart) for chart in section.charts],
        }

    def _chart(self, name: str, chart: Chart) -> tuple[Any, str]:
        """Keep a chart for ``figures/`` and give what the page has in its place."""
        from markupsafe import Markup

        svg = plot.svg(chart.figure)
        self._keep("figures", name, svg=svg.encode(), **({"pdf": plot.pdf(chart.figure)} if self.pdf else {}))
        return Markup(plot.themed(svg)), chart.label

    def _keep(self, place: str, name: str, **kinds: bytes) -> None:
        """Contents by their endings under a name that no other has."""
        plain = free = re.sub(r"[^a-z0-9]+", "-", name.lower())[:LONGEST].strip("-")
        known = {PurePath(path).stem for path in self.files if path.startswith(place)}
        number = 2
        while free in known:
            free, number = f"{plain}-{number}", number + 1
        self.files |= {f"{place}/{free}.{kind}": content for kind, content in kinds.items()}

    def _picture(self, picture: Picture) -> dict[str, Any]:
        """Keep a picture for ``grids/`` and give what an ``<img>`` needs."""
        content = png(picture.image, Provenance.of(self.request).record() if picture.generated else None)
        self.files[f"grids/{picture.name}.png"] = content
        data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        width, height = picture.image.size
        return {**vars(picture), "src": data, "width": width, "height": height, "alt": picture.alt or picture.title}

    def _cost(self) -> dict[str, Any] | None:
        """Seconds of each stage with the length of its bar in percent."""
        if not self.cost:
            return None
        longest, total = max(self.cost.values()) or 1.0, sum(self.cost.values())
        stages = [(name, words.duration(s), round(100 * s / longest, 1)) for name, s in self.cost.items()]
        return {"stages": stages, "total": words.duration(total)}

    def _settings(self) -> list[tuple[str, str]]:
        """What the run was, line by line: what was used, then what else was asked for, then versions."""
        used: dict[str, Any] = {}
        for name in ("model", "examples", "references"):
            if isinstance(part := self.summary.get(name), Mapping):
                used |= {f"{name} {key}": value for key, value in part.items()}
        names = ("sigma", "steps", "solver", "network_calls")
        used |= {name.replace("_", " "): self.summary[name] for name in names if name in self.summary}
        for key, value in self.request.items():
            name = key.replace("_", " ")
            if name not in used and f"{name} name" not in used and f"{name} source" not in used:
                used[name] = value
        used |= {f"{name} version": version for name, version in self.versions.items()}
        if self.started:
            used["started"] = self.started
        if shape := used.get("model shape"):
            used["model shape"] = " × ".join(map(str, shape))
        return [(name, words.setting(value)) for name, value in used.items()]


def finished(folder: Path) -> Path:
    """The summary of a finished run."""
    summary = folder / "summary.json"
    if summary.is_file():
        return summary
    if (folder / "config.json").is_file():
        raise FarfieldError(
            f"{folder}: this run is not finished (no summary.json yet); give its command again to complete it"
        )
    raise FarfieldError(
        f"{folder}: expected a run folder (with summary.json), found none; make one with "
        f"`farfield expand MODEL IMAGES -o {folder}`"
    )


def _object(path: Path) -> dict[str, Any]:
    """A JSON object from disk; empty where the file is absent."""
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise FarfieldError(
            f"{path}: expected a JSON object written by farfield, found {type(content).__name__}; run the command again"
        )
    return content
