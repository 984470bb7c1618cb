"""A place on a page where files or a whole folder are dropped, each by its path in it.

gradio's own takes a folder only by its files' names, so that classes, which are folders, would be lost.
"""

from __future__ import annotations

import json
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any, Final

from farfield.core.error import FarfieldError

TEMPLATE: Final = """
<span>{{#if said}}{{said}}{{else}}Drop files or a folder here, or{{/if}}</span>
<button type="button" data-choose="files">choose files</button>
<button type="button" data-choose="folder">choose a folder</button>
{{#if said}}<button type="button" aria-label="Clear">×</button>{{/if}}
<input type="file" class="files" multiple hidden><input type="file" class="folder" webkitdirectory hidden>
"""
STYLE: Final = """
.prose.drop { border: 1px dashed var(--border-color-primary); border-radius: var(--radius-md); padding: .45rem .8rem; }
.prose.drop button { text-decoration: underline; cursor: pointer; margin-left: .5rem; color: var(--body-text-color); }
.prose.drop, .prose.drop span { font-size: .85rem; color: var(--body-text-color-subdued); }
"""


def area(name: str) -> Any:
    """The component of an option; its value is what `dropped` reads."""
    import gradio as gr

    script = resources.files("farfield.ui").joinpath("drop.js").read_text(encoding="utf-8")
    return gr.HTML("[]", html_template=TEMPLATE, js_on_load=script, said="", elem_classes=["drop", f"drop-{name}"])


def dropped(value: str | None) -> dict[str, Path]:
    """The files of a drop by their paths in it.

    Raises:
        FarfieldError: they are not all here yet, or the value is none of a drop.
    """
    found = json.loads(value or "[]")
    if found is None:
        raise FarfieldError("dropped: not all files are here yet; wait until their number is shown, and start again")
    place = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()
    files = {str(name): Path(path).resolve() for name, path in found}
    if strange := [path for path in files.values() if not path.is_relative_to(place)]:
        raise FarfieldError(f"{strange[0]}: was not dropped; drop it, or type its path")
    return files
