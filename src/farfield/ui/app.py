"""The pages themselves, in gradio; all that they know of options, runs and results is in the files beside this one."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farfield.command.commands import COMMANDS, Command
from farfield.command.settings import help_of
from farfield.command.ui import Ui
from farfield.core.error import FarfieldError, missing
from farfield.core.terminal import echo
from farfield.ui import drop, show, upload
from farfield.ui.form import Field, fields, read
from farfield.ui.guard import HOME, SHOWN, Guard, offline
from farfield.ui.job import Desk

EVERY: Final = 0.4  # seconds between two looks at a run
FILE: Final = " file"
"""Ends the name under which a form has what was dropped in a field's place."""
FIRST: Final[Mapping[str, Mapping[str, Any]]] = {"edit": {"limit": 1}, "expand": {"batch_size": 16}}
"""What stands in a form at first, where that is not the default: the picture that is painted on is edited; new images are shown
as each batch is done."""
TITLES: Final = {"expand": "New images", "audit": "Audit", "edit": "Edit", "inspect": "Inspect"}
"""The commands that have a page."""

STYLE: Final = f"""{drop.STYLE}
.state progress {{ width: 60%; accent-color: #f97316 }}
"""

Form = dict[str, Any]
"""The components of a form by the names of options; each gives a value, and `FILE` ends the name of a place to drop files."""


def serve(settings: Ui) -> str:
    """Show the pages until Ctrl-C; what is at work then is stopped, and can be continued.

    Raises:
        FarfieldError: gradio is not installed, or the port is taken.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise missing("farfield ui", "gradio") from error
    with contextlib.ExitStack() as stack:
        dropped = stack.enter_context(tempfile.TemporaryDirectory(prefix="farfield-ui-"))
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": dropped}
        door = stack.enter_context(_bind(settings.port))
        port, token = door.getsockname()[1], secrets.token_urlsafe(24)
        desk = Desk(settings.folder)
        stack.callback(desk.stop)
        stack.enter_context(offline())
        app = Guard(application(desk, settings.most), token, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        address = f"http://{HOME[0]}:{port}/?token={token}"
        echo(f"{address}\nThis address is for you alone; Ctrl-C ends it.")
        sys.stdout.flush()
        if settings.show:
            import webbrowser

            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[door])
    return "closed"


def _bind(port: int) -> socket.socket:
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere this lets two servers share a port
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((HOME[0], port))
    except OSError as error:
        door.close()
        raise FarfieldError(f"--port {port}: {error.strerror}; give another, or none for any that is free") from error
    return door


def application(desk: Desk, most: int) -> Any:
    """The pages and the files of runs, as an ASGI application.

    Raises:
        FarfieldError: gradio is not installed.
    """
    try:
        import fastapi
        import gradio
    except ModuleNotFoundError as error:
        raise missing("farfield ui", "gradio") from error
    app = fastapi.FastAPI(openapi_url=None)

    def run_file(path: str) -> Any:
        file = upload.served(desk.runs, path)
        return fastapi.responses.FileResponse(file) if file else fastapi.Response("not found", 404)

    app.add_api_route(SHOWN + "{path:path}", run_file, response_model=None)
    plain = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from the network
    return gradio.mount_gradio_app(
        app,
        pages(desk, most),
        path="/",
        server_name=HOME[0],
        max_file_size=most << 20,
        footer_links=[],
        theme=gradio.themes.Default(**plain),
        css=STYLE,
        ssr_mode=False,
    )


def pages(desk: Desk, most: int) -> Any:
    """All pages, each in a tab."""
    import gradio as gr

    with gr.Blocks(title="farfield", analytics_enabled=False) as blocks:
        gr.Markdown("# farfield")
        for name, title in TITLES.items():
            with gr.Tab(title, id=name):
                _Page(desk, most, COMMANDS[name]).build()
        with gr.Tab("Runs", id="runs") as tab:
            listed = gr.HTML()
            for event in (gr.Button("Look again").click, tab.select):
                event(lambda: _runs(desk.runs), None, listed, api_visibility="private")
    blocks.queue()
    return blocks


def _runs(folder: Path) -> str:
    from farfield.present.index import entries, write_index

    try:
        return show.page(write_index(folder, entries(folder)), folder)
    except FarfieldError as error:
        return show.refused(error)


@dataclass
class _Page:
    """A form, what starts and stops its command, and what is shown of it."""

    desk: Desk
    most: int
    command: Command

    def build(self) -> None:
        import gradio as gr

        gr.Markdown(help_of(self.command.settings))
        with gr.Row():
            with gr.Column(scale=2):
                shown_fields = fields(self.command, FIRST.get(self.command.name, {}))
                form: Form = {}
                _needed(form, shown_fields)
                editor = self._editor(form) if self.command.name == "edit" else None
                _options(form, shown_fields)
            with gr.Column(scale=3):
                with gr.Row():
                    start = gr.Button("Start", variant="primary")
                    stop = gr.Button("Stop", variant="stop")
                state = gr.HTML("", elem_classes="state")
                shown, more = self._result()
                with gr.Accordion("What was said", open=False):
                    said = gr.Textbox(show_label=False, lines=8, interactive=False)
                report = gr.HTML()
        names = list(form)
        inputs = [*form.values(), *([editor] if editor else [])]

        def go(*values: Any) -> Iterator[Any]:
            given = dict(zip(names, values, strict=False))
            nothing = [gr.skip()] * (len(shown) + 1)
            try:
                job = self.desk.start(self.command, self._read(given, values[len(names)] if editor else None))
            except (FarfieldError, OSError) as error:
                yield show.refused(error), "", *nothing
                return
            there = 0
            while job.running:
                so_far: Sequence[Any] = [gr.skip()] * len(shown)
                if self.command.name == "expand" and job.folder is not None:
                    there, pictures = show.made(job.folder, there)
                    so_far = so_far if pictures is None else [pictures]
                yield show.state(job), "\n".join(job.said), *so_far, gr.skip()
                time.sleep(EVERY)
            job.wait()
            # what is shown is of this run or nothing
            done = bool(job.lines) and not job.error and not job.stopped
            made: Sequence[Any] = [gr.skip()] * len(shown)
            page = ""
            if done and job.folder is not None:
                made = more(job.folder)
                page = show.page(job.folder / "report.html", self.desk.runs)
            elif done and self.command.result is None:
                made = ["\n".join(job.lines)]
            yield ("" if page == "" and done else show.state(job)), "\n".join(job.said), *made, page

        start.click(go, inputs, [state, said, *shown, report], api_visibility="private", concurrency_limit=4)
        stop.click(self.desk.stop, None, None, api_visibility="private", concurrency_limit=4)

    def _read(self, given: dict[str, Any], picture: Any) -> Any:
        """The settings of a form, what was dropped and painted being kept before."""
        for name in [name for name in given if name.endswith(FILE)]:
            if files := drop.dropped(given.pop(name)):
                given[name.removesuffix(FILE)] = str(upload.keep(files, self.desk.runs, self.most))
        if picture is not None and (mask := show.painted(picture, _shape(given["model"]))) is not None:
            with tempfile.TemporaryDirectory() as place:
                mask.save(Path(place) / "mask.png")
                given["mask"] = str(upload.keep({"mask.png": Path(place) / "mask.png"}, self.desk.runs, self.most))
        return read(self.command, given)

    def _editor(self, form: Form) -> Any:
        """Where the mask is painted, on the first picture as the model sees it."""
        import gradio as gr

        fetch = gr.Button("Show the picture, to paint on what is to change")
        said = gr.HTML()
        paint = gr.Brush(default_size=48, colors=["#cc3399"], color_mode="fixed")
        editor = gr.ImageEditor(
            label="Paint on what is to change",
            type="pil",
            sources=(),
            transforms=(),
            brush=paint,
            layers=False,
            buttons=[],
            height=580,
            canvas_size=(512, 512),
            elem_classes="canvas",
        )
        names = ["model", "images", "model" + FILE, "images" + FILE]

        def look(*values: Any) -> Any:
            given = dict(zip(names, values, strict=True))
            try:
                for name in names[:2]:
                    if files := drop.dropped(given[name + FILE]):
                        given[name] = str(upload.keep(files, self.desk.runs, self.most))
                from farfield.api.model import open_images

                read(self.command, {**given, "mask": "0,0,1,1"})  # refuses a name that runs code
                return "", show.canvas(open_images(given["images"], _shape(given["model"]), limit=1))
            except (FarfieldError, OSError) as error:
                return show.refused(error), gr.skip()

        fetch.click(look, [form[name] for name in names], [said, editor], api_visibility="private")
        return editor

    def _result(self) -> tuple[list[Any], Callable[[Path], Sequence[Any]]]:
        """Components that show a run, and what gives them their values once it is finished."""
        import gradio as gr

        if self.command.name == "expand":
            gallery = gr.Gallery(
                label="New images; in the end each beside the example that it is nearest to",
                columns=4,
                format="png",
                object_fit="contain",
            )
            return [gallery], lambda folder: [show.beside(show.found(folder))]
        if self.command.name == "edit":
            return _moves()
        if self.command.name == "inspect":
            said = gr.Code(label="What it is", language=None, interactive=False, wrap_lines=False)
            return [said], lambda folder: []
        return [], lambda folder: []


def _moves() -> tuple[list[Any], Callable[[Path], Sequence[Any]]]:
    """An edit: the direction to choose, the strength to move, the picture and the numbers."""
    import gradio as gr

    run = gr.State("")
    direction = gr.Dropdown([], label="direction", elem_classes="along")
    strength = gr.Slider(
        -4, 4, 0, step=0.5, label="strength", info="In standard deviations; the nearest that was made."
    )
    picture = gr.Image(show_label=False, type="pil", format="png", buttons=[], interactive=False)
    numbers = gr.Markdown(elem_classes="numbers")

    def look(folder: str, name: str | None, at: float) -> Any:
        return show.moved(show.found(Path(folder)), name, at) if folder and name else (None, "")

    for one in (direction, strength):
        one.change(look, [run, direction, strength], [picture, numbers], api_visibility="private")

    def more(folder: Path) -> Sequence[Any]:
        found = show.found(folder)
        there = show.directions(found)
        name = next(iter(there))
        ends = there[name]
        at = ends[-1]
        shown, said = show.moved(found, name, at)
        slider = gr.Slider(ends[0], ends[-1], at, step=0.5)
        return [str(folder), gr.Dropdown(list(there), value=name), slider, shown, said]

    return [run, direction, strength, picture, numbers], more


def _shape(model: str) -> tuple[int, ...]:
    """(C, H, W) of a model's images; nothing of its file is run."""
    from farfield.study.model.description import describe

    return tuple(describe(model, hashed=False, quiet=True).image_shape)


def _needed(form: Form, shown: Sequence[Field]) -> None:
    """First what a command cannot do without."""
    for field in (one for one in shown if one.needed):
        _add(form, field)


def _options(form: Form, shown: Sequence[Field]) -> None:
    """Then the rest, under the headings of ``--help``."""
    import gradio as gr

    for panel in dict.fromkeys(one.panel for one in shown if not one.needed):
        with gr.Accordion(panel or "Options", open=not panel):
            for field in (one for one in shown if not one.needed and one.panel == panel):
                _add(form, field)


def _add(form: Form, field: Field) -> None:
    import gradio as gr

    said: dict[str, Any] = {"label": field.label, "info": field.help, "elem_classes": f"option-{field.name}"}
    if field.kind == "switch":
        made = gr.Checkbox(field.value, **said)
    elif field.kind == "number":
        bounds = {"minimum": field.least, "maximum": field.most}
        made = gr.Number(field.value, precision=0 if field.whole else None, **bounds, **said)
    elif field.kind in ("choice", "name"):
        made = gr.Dropdown(list(field.choices), value=field.value, allow_custom_value=field.kind == "name", **said)
    else:
        made = gr.Textbox(field.value, max_lines=1, **said)
    form[field.name] = made
    if field.drops:
        form[field.name + FILE] = drop.area(field.name)
