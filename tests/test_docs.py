"""What the documents say of the commands is so: keys of results, the functions behind them, options by name."""

import pkgutil
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import make_parser
from docs.generate import WAY, results, stub, with_lines
from farfield.command.commands import COMMANDS
from farfield.command.settings import leaves

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
DOCUMENTS += sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("src/farfield/models/*/*.md")])
OF_OTHERS = {"--nproc-per-node", "--constraint", "--no-deps", "--index-url"}
OF_OTHERS |= set(make_parser()._option_string_actions)
"""Options of other programs, and of the benchmarks."""


OPTIONS = {name: {"--help"} for name in COMMANDS}
"""Of every command, former spellings aside."""
for name, command in COMMANDS.items():
    OPTIONS[name] |= {flag for leaf in leaves(command.settings) for option in leaf.flags for flag in option.split("/")}
    of_runs = {"--out", "--json", "--quiet", "--config", "--dry-run", "--open"}
    OPTIONS[name] |= of_runs if command.result is not None else set()
OPTIONS["transition"] |= OPTIONS["train"]  # which it gives on


def test_the_keys_of_results_are_as_they_are_declared():
    assert (ROOT / "docs" / "results.md").read_text() == results() + "\n", "give `make docs`"


def test_the_types_of_functions_are_as_they_are_declared():
    assert (ROOT / "src" / "farfield" / "__init__.pyi").read_text() == stub(), "give `make docs`"


def test_the_functions_behind_keys_are_there():
    """`room.module.name` in what a key means: the second hop from a number to its formula."""
    meanings = "".join(row.split(" | ", 2)[2] for row in results().splitlines() if row.startswith("| `"))
    for name in sorted(set(re.findall(r"`([a-z_]+\.[a-z_]+\.[\w.]+)`", meanings))):
        behind = pkgutil.resolve_name(f"farfield.{name}")
        assert callable(behind) or isinstance(behind, property), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_that_documents_name_are_there(document):
    text = document.read_text()
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))
    assert named <= {option for known in OPTIONS.values() for option in known} | OF_OTHERS
    for command, known in OPTIONS.items():
        for line in re.findall(rf"farfield {command}(?![\w-])((?:[^`\n#&|\\]|\\\n)*)", text):
            assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line)) <= known, (command, line)


def test_lines_of_code_that_documents_point_to_are_there():
    """The ways of a number from the page to its formula; `make docs` puts their lines right."""
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(WAY.findall(guide)) >= 9 and with_lines(guide) == guide
