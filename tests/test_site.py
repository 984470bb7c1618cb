"""The docs site: every command has its page, every link leads somewhere; and what is said to an index of packages."""

import json
import posixpath
import re
from pathlib import Path

import pytest

from docs.site import ROOT, pages
from farfield.command.commands import COMMANDS
from farfield.command.settings import leaves

PAGES = pages()
NAV = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_to_pages_and_pictures(path):
    for to in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", PAGES[path]):
        place = posixpath.normpath(posixpath.join(posixpath.dirname(path), to.split("#")[0]))
        assert place in PAGES or ((ROOT / "docs" / place).is_file() and place.endswith((".png", ".svg"))), to


def test_the_list_of_pages_names_them_all_but_those_of_commands():
    assert set(NAV) <= set(PAGES) and {page for page in PAGES if not page.startswith("commands/")} <= set(NAV)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_page_with_all_its_options_and_keys(name):
    page = PAGES[f"commands/{name.replace(' ', '-')}.md"]
    for leaf in leaves(COMMANDS[name].settings):
        assert f"`{leaf.said if leaf.argument else ', '.join(leaf.flags).replace('/', ' / ')}`" in page
    assert ("## Keys of summary.json" in page) == (COMMANDS[name].result is not None)
    assert f"({name.replace(' ', '-')}.md)" in PAGES["commands/index.md"]
    assert f"## farfield.{name.replace(' ', '_').replace('-', '_')}\n" in PAGES["reference.md"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_a_page_with_what_its_cells_gave(path):
    """It is committed as it was run, from its first cell to its last, and is small."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    page = PAGES[f"notebooks/{path.stem}.md"]
    assert "".join(cells[-1]["source"]) in page and "data:image/png;base64," in page and "/tmp" not in page
    assert path.stat().st_size < 400_000 and "Error" not in page
    assert f"notebooks/{path.stem}.md" in NAV


def test_no_page_takes_anything_from_elsewhere():
    assert (
        "http" not in (ROOT / "docs" / "worker.js").read_text() and "font: false" in (ROOT / "mkdocs.yml").read_text()
    )


def test_an_index_gets_no_link_to_a_file():
    pytest.importorskip("hatchling")
    from docs.index_readme import without_files

    said = without_files((Path(ROOT) / "README.md").read_text())
    assert (
        not re.search(r"\]\((?!https?:|#)", said) and "farfield expand" in said and "](" not in said.split("## Two")[0]
    )
