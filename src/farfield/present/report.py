"""A run folder becomes one page, ``report.html``, that needs nothing else: no network, no script, no model, no GPU.

Everything on it comes from artifacts and JSON on disk, so it can be made anew at any time and ends as the same bytes.
What a run does not have is left out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.commands import COMMANDS, Command
from farfield.command.result import from_json
from farfield.core.artifact import read_json, write_bytes
from farfield.core.error import FarfieldError
from farfield.core.provenance import Provenance
from farfield.core.score import Score
from farfield.data.picture import png
from farfield.present import (
    audit,
    field,
    matrix,
    method,
    molrg,
    plot,
    train,
    transition,
    verdict,
    words,
)
from farfield.present.command import command_line
from farfield.present.gallery import Gallery
from farfield.present.page import Content, Section, model_name

if TYPE_CHECKING:
    from PIL import Image

PAGES: dict[str, Callable[[Path, dict[str, Any]], Content]] = {
    "audit": audit.content,
    "molrg": molrg.content,
    "score gl": matrix.gl,
    "score matrix": matrix.matrix,
    "score rp": matrix.rp,
    "train": train.content,
    "transition": transition.content,
}
"""Commands whose page is made of sections, and what makes these from the folder and its summary."""


def write_report(folder: Path) -> Path:
    """The page of a run, as `draw` writes it; its path."""
    return draw(folder)[0]


def draw(folder: Path, command: Command | None = None) -> tuple[Path, Sequence[str]]:
    """Write ``grids/*.png`` and ``report.html`` into a run folder, each atomically.

    Args:
        command: of the run, if it is none of ours.

    Returns:
        the page's path, and what it says in a few lines for a terminal.

    Raises:
        FarfieldError: not a run folder, an unfinished run, or a damaged file in it.
    """
    folder = Path(folder)
    page = _Page(folder, command)
    html = page.html()
    # the pictures first: who finds a report also finds what it shows
    for name, content in page.pictures.items():
        write_bytes(folder / "grids" / f"{name}.png", content)
    write_bytes(folder / "report.html", html.encode(errors="replace"))  # names of files may be any bytes
    return folder / "report.html", page.lines


class _Page:
    """Everything that the templates show of one run folder."""

    def __init__(self, folder: Path, known: Command | None):
        self.folder = folder
        self.lines: Sequence[str] = ()
        self.summary = _object(_finished(folder))
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
        self.pictures: dict[str, bytes] = {}

    def html(self) -> str:
        command = self.name
        if self.known is not None and (written := self.known.load_page()):
            result = from_json(self.known.result, self.summary, str(self.folder / "summary.json"))
            content: Content = written(self.folder, result)
            self.lines = content.lines
            name, context = "frame.html.jinja", self._written(content)
        elif command in PAGES:
            name, context = "frame.html.jinja", self._written(PAGES[command](self.folder, self.summary))
        else:
            name, context = "report.html.jinja", self._images()
        html: str = (
            _templates()
            .get_template(name)
            .render(
                words=words,
                summary=self.summary,
                command=command,
                cost=self._cost(),
                settings=self._settings(),
                command_line=self.line or command_line(self.request, self.summary.get("n")),
                **context,
            )
        )
        return html

    def _written(self, content: Content) -> dict[str, Any]:
        """A page that a command's own module wrote."""
        return {
            "model": words.short(content.model),
            "domain": content.domain,
            "facts": content.facts,
            "verdict": content.verdict,
            "caveats": content.caveats,
            "key_numbers": content.key_numbers,
            "sections": [self._section(section) for section in content.sections],
        }

    def _images(self) -> dict[str, Any]:
        """The page of one domain's images."""
        from markupsafe import Markup

        summary = self.summary
        gallery, geometry = Gallery(self.folder, summary, self._picture), _object(self.folder / "geometry.json")
        examples = summary.get("examples") or {"source": self.request.get("images"), "n": summary.get("n")}
        domain = words.short(examples.get("source") or "images")
        figures = {
            "geometry": plot.histograms(geometry),
            "measures": plot.measures(summary),
            "search": plot.sigma_search(summary.get("sigma_search") or []),
        }
        return {
            "model": words.short(model_name(summary if summary.get("model") else self.request)),
            "domain": domain,
            "examples": examples,
            "facts": verdict.facts(summary, gallery.count, examples),
            "verdict": verdict.verdict(summary, gallery.count, domain),
            "caveats": verdict.caveats(summary),
            "key_numbers": verdict.key_numbers(summary),
            "geometry": geometry if figures["geometry"] else None,
            "charts": {name: Markup(plot.svg(figure)) for name, figure in figures.items() if figure is not None},
            "sections": [
                self._section(part)
                for part in (
                    field.section(summary.get("fields") or {}),
                    method.section(summary.get("method_search") or {}),
                )
                if part
            ],
            **gallery.context(),
        }

    def _section(self, section: Section) -> dict[str, Any]:
        from markupsafe import Markup

        pictures = [
            {**self._picture(p.name, p.image, p.alt or p.title, p.generated), "title": p.title, "note": p.note}
            for p in section.pictures
        ]
        charts = [(Markup(plot.svg(chart.figure)), chart.label) for chart in section.charts]
        return {**vars(section), "pictures": pictures, "charts": charts}

    def _picture(self, name: str, image: Image.Image, alt: str, generated: bool) -> dict[str, Any]:
        """Keep a picture for ``grids/`` and give what an ``<img>`` needs."""
        self.pictures[name] = png(image, Provenance.of(self.request).record() if generated else None)
        data = base64.b64encode(self.pictures[name]).decode()
        return {"src": f"data:image/png;base64,{data}", "width": image.width, "height": image.height, "alt": alt}

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
        names = ("sigma", "steps", "solver", "network_calls", "sampler")
        used |= {name.replace("_", " "): self.summary[name] for name in names if name in self.summary}
        for key, value in self.request.items():
            name = key.replace("_", " ")
            if key == "sampler" or (name not in used and f"{name} name" not in used and f"{name} source" not in used):
                used[name] = value  # the request has the sampler's settings line by line
        used.pop("command line", None)
        used |= {f"{name} version": version for name, version in self.versions.items()}
        if self.started:
            used["started"] = self.started
        if shape := used.get("model shape"):
            used["model shape"] = " × ".join(map(str, shape))
        return [(name, words.setting(value)) for name, value in used.items()]


def _finished(folder: Path) -> Path:
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
    found = read_json(path)
    if not isinstance(found, dict):
        raise FarfieldError(
            f"{path}: expected a JSON object written by farfield, found {type(found).__name__}; run the command again"
        )
    return found


def _templates() -> Any:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("farfield", "present"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["score"] = lambda value: isinstance(value, Score)
    return environment
