"""The docs site: every command has its page, every link leads somewhere; and what is said to an index of packages."""

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
        assert place in PAGES or ((ROOT / "docs" / place).is_file() and place.endswith(".png")), to


def test_the_list_of_pages_names_pages():
    assert NAV and set(NAV) <= set(PAGES)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_page_with_all_its_options_and_keys(name):
    page = PAGES[f"commands/{name.replace(' ', '-')}.md"]
    for leaf in leaves(COMMANDS[name].settings):
        assert f"`{leaf.said if leaf.argument else ', '.join(leaf.flags).replace('/', ' / ')}`" in page
    assert ("## Keys of summary.json" in page) == (COMMANDS[name].result is not None)
    assert f"({name.replace(' ', '-')}.md)" in PAGES["commands/index.md"]
    assert f"## farfield.{name.replace(' ', '_').replace('-', '_')}\n" in PAGES["reference.md"]


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
