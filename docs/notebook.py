"""A notebook as a page of the site: its texts, its code, and what its cells gave when it was last run.

``python docs/notebook.py`` (`make notebooks`) runs them all and keeps what they gave.
"""

from __future__ import annotations

import html
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def page(path: Path) -> str:
    """The notebook as Markdown, pictures inside."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source:
            parts += [f"```python\n{source}\n```", *_given(cell["outputs"])]
    about = "This page is a notebook, `docs/notebooks/{}`, and shows what its cells gave."
    return "\n\n".join([*parts, about.format(path.name)]) + "\n"


def _given(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """What a cell gave: words that it printed, tables and pictures; what is said of the work (standard error) is left out."""
    for output in outputs:
        kinds = {
            kind: "".join(content) for kind, content in output.get("data", {}).items() if kind != "application/json"
        }
        if output["output_type"] == "stream" and output["name"] == "stdout":
            yield f"```text\n{''.join(output['text']).rstrip()}\n```"
        elif kinds.get("text/html", "").strip():
            yield f'<div class="given">{" ".join(kinds["text/html"].split())}</div>'
        elif "image/png" in kinds:
            data = "".join(kinds["image/png"].split())
            yield f'<p><img alt="what the cell gave" src="data:image/png;base64,{data}"></p>'
        elif "text/html" not in kinds and "text/plain" in kinds:
            yield f"<pre>{html.escape(kinds['text/plain'])}</pre>"


def run(path: Path) -> None:
    """Run a notebook in an empty folder and write it with what its cells gave, without what depends on the machine."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    kept(notebook)
    nbformat.write(notebook, path)


def kept(notebook: Any) -> None:
    """Take out what was said of the work, bars that are over, and times."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if output.get("name") != "stderr"
                and (output.output_type != "display_data" or "image/png" in output.data)
            ]


if __name__ == "__main__":
    for path in sorted((Path(__file__).parent / "notebooks").glob("*.ipynb")):
        run(path)
