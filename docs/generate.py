"""What is made from the code (`make docs`): the keys of every ``summary.json``, numbers of lines, and the types of functions."""

from __future__ import annotations

import inspect
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal

from farfield.api.call import function
from farfield.command.commands import COMMANDS, Command
from farfield.command.option import Leaf
from farfield.command.result import key_table, shared_parts
from farfield.command.settings import leaves

HEAD = """# The keys of summary.json

Made by `make docs` from `farfield.command`; change it there. A row is a key: `a.b` stands inside `a`, `a[].b` in each object of
the list `a`, `a.*.b` in each of the map `a`. A *score* is `{"value", "n", "low", "high"}`: the number, the sample size, and a
95 % interval, null where none applies. What a key means ends with the function that computes it, in `src/farfield`. Parts
that several results hold, such as ModelFacts, are at the end.

Every summary also has `command`, `farfield` (the version), `read` (what was read, in one line), `reading` (a line for each
thing that was done to the data on the way in: resized, cropped, passed over, guessed) and `cost_seconds` (stage → seconds, over
all interruptions). `--json` prints it.
"""


ROOT = Path(__file__).parents[1]
WAY = re.compile(r"\[`([^`]+)`\]\(([\w./]+)#L(\d+)\)")
"""``[`code`](path#L12)``: a line of code that a document points to."""


def results() -> str:
    """The keys of all commands with a run folder, and the parts that they share, as Markdown."""
    kinds = {command.name: command.result for command in COMMANDS.values() if command.result is not None}
    parts = {part.__name__: part for kind in kinds.values() for part in shared_parts(kind)}
    sections = [_section(f"farfield {name}", _lead(kind), kind) for name, kind in kinds.items()]
    sections += [_section(name, _lead(part), part) for name, part in sorted(parts.items())]
    return "\n".join([HEAD, *sections]).strip()


def _lead(kind: Any) -> str:
    """What is said of the whole, as a paragraph."""
    return f"{inspect.cleandoc(said)}\n\n" if (said := vars(kind).get("__doc__")) else ""


def _section(title: str, lead: str, kind: Any) -> str:
    rows = [(f"`{key}`", kind, meaning.replace("|", "\\|")) for key, kind, meaning in key_table(kind)]
    table = "".join(f"| {' | '.join(filter(None, row))}{' |' * (1 + row.count(''))}\n" for row in rows)
    return f"## {title}\n\n{lead}| key | type | what it is |\n| --- | --- | --- |\n{table}"


STUB = '''"""Made by `make docs` from `farfield.command`; change it there. The types of what `farfield` gives when it is asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from farfield.api.found import Found
from farfield.api.model import decode as decode
from farfield.api.model import load as load
from farfield.api.model import models as models
from farfield.api.model import open_images as open_images
from farfield.api.model import wrap as wrap
{results}

__version__: str

Given = Any
"""A path, a domain or a model's name; an array, a denoiser, or what another function returned."""

'''
ROOM = "audit"
"""The command whose name is a package's too: that can be called."""


def stub() -> str:
    """``farfield/__init__.pyi``: every command's function, with what it takes and returns."""
    results = [command.result for command in COMMANDS.values() if command.result is not None]
    lines = sorted({f"from {kind.__module__} import {kind.__name__}" for kind in results})
    functions = [_typed(command, "" if name != ROOM else "    ") for name, command in COMMANDS.items()]
    return STUB.format(results="\n".join(lines)) + "\n".join(functions)


def _typed(command: Command, indent: str) -> str:
    """One function; of the package that can be called a class with it, and ``copies``."""
    name = command.name.replace(" ", "_").replace("-", "_")
    if not indent:
        return _signed(command, name, "")
    copies = _signed(COMMANDS["score gl"], "copies", indent, "self")
    return f"class _{name.title()}:\n{_signed(command, '__call__', indent, 'self')}{copies}\n{name}: _{name.title()}\n"


def _signed(command: Command, name: str, indent: str, first: str = "") -> str:
    shown = inspect.signature(function(command)).parameters.values()
    fields = {leaf.name: leaf for leaf in leaves(command.settings)}
    words = [first] if first else []
    for p in shown:
        if p.kind is p.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        kind = _type(fields[p.name]) if p.name in fields else {"out": "str | Path | None", "quiet": "bool"}[p.name]
        words.append(f"{p.name}: {kind}{'' if p.default is p.empty else ' = ...'}")
    inside = "".join(f"{indent}    {word},\n" for word in words)
    back = f"Found[{command.result.__name__}]" if command.result is not None else "Any"
    return f"{indent}def {name}({f'{chr(10)}{inside}{indent}' if words else ''}) -> {back}: ...\n"


def _type(leaf: Leaf) -> str:
    """What Python may give for an option."""
    if leaf.kind in (str, Path) or leaf.item in (str, Path):
        return "Given"
    parts = (
        typing.get_args(leaf.kind) if typing.get_origin(leaf.kind) in (typing.Union, types.UnionType) else (leaf.kind,)
    )
    number = leaf.item.__name__ if leaf.item in (int, float) else ""
    named = [f"Sequence[{number}] | {number} | str"] if number else [_named(part) for part in parts]
    return " | ".join([*named, *(["None"] if leaf.optional else [])])


def _named(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return f"Literal[{', '.join(f'{chr(34)}{word}{chr(34)}' for word in typing.get_args(kind))}]"
    return "Given" if typing.get_origin(kind) is tuple else str(kind.__name__)


def with_lines(text: str) -> str:
    """A document whose ways to lines of code have the numbers that these have now."""

    def way(match: re.Match[str]) -> str:
        code, path, _ = match.groups()
        lines = (ROOT / path).read_text().splitlines()
        place = next(number for number, line in enumerate(lines, 1) if code in line)
        return f"[`{code}`]({path}#L{place})"

    return WAY.sub(way, text)


def main() -> None:
    (ROOT / "docs" / "results.md").write_text(results() + "\n")
    (ROOT / "src" / "farfield" / "__init__.pyi").write_text(stub())
    guide = ROOT / "CONTRIBUTING.md"
    guide.write_text(with_lines(guide.read_text()))


if __name__ == "__main__":
    main()
