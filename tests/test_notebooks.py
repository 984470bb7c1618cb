"""The notebooks run from their first cell to their last, on nothing but what comes along; and bars are shown in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="the extra notebooks")
pytest.importorskip("ipykernel", reason="the extra notebooks")
nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.slow


def executed(notebook: Any, folder: Path, seen: list[str] | None = None) -> Any:
    """The notebook with what its cells gave in this environment; ``seen`` gathers whatever was shown on the way."""

    class Client(nbclient.NotebookClient):
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if seen is not None:
                seen.append(str(msg["content"].get("data", {}).get("text/html", "")))
            return super().process_message(msg, cell, cell_index)

    client = Client(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute(env={**os.environ, "IPYTHONDIR": str(folder / "ipython")})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path):
    notebook = nbformat.read(path, as_version=4)
    shown = executed(notebook, tmp_path).cells
    given = [output for cell in shown for output in cell.get("outputs", [])]
    assert not [output for output in given if output.output_type == "error"]
    assert [output for output in given if "image/png" in output.get("data", {})]
    assert {"galaxies": "held-out hubble", "memorization": "It memorizes"}[path.stem] in str(given)


def test_a_bar_is_shown_in_a_notebook_and_gone_in_the_end(tmp_path: Path):
    code = """
import time
from farfield.core import progress
progress.SILENT = 0.0  # of nothing nothing is said
with progress.shown("counting <sheep>", 4) as advance:
    for _ in range(4):
        time.sleep(0.6)
        advance(1)
"""
    seen: list[str] = []
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    outputs = executed(notebook, tmp_path, seen).cells[0].outputs
    assert [text for text in seen if "counting &lt;sheep&gt; <progress" in text and "50%" in text]
    assert [output.data.get("text/html") for output in outputs] == [""]
