"""What of the documents is made from the code (`make docs`): the keys of every ``summary.json``, and numbers of lines."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from farfield.command.commands import COMMANDS
from farfield.command.result import key_table, shared_parts

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
    guide = ROOT / "CONTRIBUTING.md"
    guide.write_text(with_lines(guide.read_text()))


if __name__ == "__main__":
    main()
