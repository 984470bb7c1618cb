"""The pages of the docs site (`make docs-site`): the documents here, and what is made from the declarations of the commands.

Pages are written to ``build/docs``, where mkdocs finds them (``mkdocs.yml``). No page is edited there.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.generate import _lead, _section  # noqa: E402
from docs.notebook import page  # noqa: E402
from farfield.api.call import function  # noqa: E402
from farfield.command.commands import COMMANDS, Command  # noqa: E402
from farfield.command.option import Leaf  # noqa: E402
from farfield.command.settings import WINGS, help_of, leaves  # noqa: E402

PAGES = ROOT / "build" / "docs"
KEPT = ("LICENSE", "CITATION.cff", "constraints.txt", "Makefile")
"""Files of the checkout that documents may point to, and the site has not."""


def pages() -> dict[str, str]:
    """All pages, by their path."""
    made = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
    readme = (ROOT / "README.md").read_text()
    made |= {f"notebooks/{path.stem}.md": page(path) for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))}
    made["index.md"] = _home(readme)
    made["how.md"] = "# How it works, and what to turn\n" + _part(readme, "How it works, and what to turn")
    made["expect.md"] = "# What to expect\n" + _part(readme, "What to expect")
    made["recipes.md"] = "# Recipes\n" + _part(readme, "Recipes")
    made["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text()
    made["changelog.md"] = (ROOT / "CHANGELOG.md").read_text()
    made["commands/index.md"] = _commands()
    made |= {f"commands/{_file(name)}": _command(command) for name, command in COMMANDS.items()}
    made["reference.md"] = _reference()
    return {path: _linked(text) for path, text in made.items()}


def _part(readme: str, title: str) -> str:
    """A section of the README, without its heading."""
    return readme.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def _home(readme: str) -> str:
    intro = readme.split("\n## ", 1)[0]
    ways = (
        "[Install](install.md) · [Which command do I need?](which.md) · [Recipes](recipes.md) · "
        "[What to expect](expect.md) · [How it works](how.md) · [From Python](python.md) · [Glossary](glossary.md)"
    )
    return f"{intro}\n\n{ways}\n\n```sh\npip install .\nfarfield demo\n```\n"


def _file(name: str) -> str:
    return f"{name.replace(' ', '-')}.md"


def _commands() -> str:
    parts = ["# Commands\n"]
    for wing in WINGS:
        parts.append(f"## {wing}\n")
        parts += [
            f"- [`farfield {name}`]({_file(name)}): {help_of(command.settings).splitlines()[0]}"
            for name, command in COMMANDS.items()
            if command.settings.wing == wing
        ]
        parts.append("")
    return "\n".join(parts)


def _command(command: Command) -> str:
    """The page of a command: what it is for, examples, options by their groups, and the keys of what it leaves."""
    fields = leaves(command.settings)
    parts = [f"# farfield {command.name}\n", help_of(command.settings), "\n```sh", *command.settings.epilog, "```\n"]
    groups = {"Arguments": [leaf for leaf in fields if leaf.argument]}
    for leaf in fields:
        if not leaf.argument:
            groups.setdefault(leaf.panel or "Options", []).append(leaf)
    for title, group in groups.items():
        if group:
            parts += [f"## {title}\n", "| | what it does | values | default |", "| --- | --- | --- | --- |"]
            parts += [*map(_row, group), ""]
    if command.result is not None:
        parts.append(
            f"A run goes to `{command.folder}` or the next free folder; `-o` names another, `--config` reads options from a TOML "
            "file, `--json` prints the summary, `--dry-run` stops before the work, `--open` opens the page, `-q` is quiet.\n"
        )
        parts.append(_section("Keys of summary.json", _lead(command.result), command.result))
        parts.append("Parts that several results hold: [all keys](../results.md).")
    return "\n".join(parts)


def _row(leaf: Leaf) -> str:
    named = leaf.said if leaf.argument else ", ".join(leaf.flags).replace("/", " / ")
    values = ", ".join(filter(None, (", ".join(leaf.choices), leaf.bounds)))
    default = leaf.option.default
    if not default and leaf.default not in (None, (), False) and not leaf.argument and leaf.kind is not bool:
        default = ",".join(leaf.default) if leaf.repeated else leaf.option.show(leaf.default)
    cells = (f"`{named}`", leaf.option.help, values, "required" if leaf.required else default)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _reference() -> str:
    """Every function with its arguments, from its docstring."""
    import farfield

    parts = [
        "# Python reference\n",
        "What a command does, the function of its name does; see also [from Python](python.md).\n",
    ]
    named = {name: getattr(farfield, name) for name in ("load", "decode", "open_images", "models", "wrap")}
    named |= {name.replace(" ", "_").replace("-", "_"): function(command) for name, command in COMMANDS.items()}
    for name, called in named.items():
        given = inspect.signature(called)
        plain = [p.replace(annotation=p.empty) for p in given.parameters.values()]
        shown = given.replace(parameters=plain, return_annotation=given.empty)
        parts += [f"## farfield.{name}\n", f"```python\nfarfield.{name}{shown}\n```\n", _docstring(called), ""]
    return "\n".join(parts)


def _docstring(called: object) -> str:
    """A docstring with its sections as lists."""
    lines, inside = [], False
    for line in (inspect.getdoc(called) or "").splitlines():
        if line in ("Args:", "Returns:", "Raises:", "Attributes:"):
            lines += ["", f"**{line[:-1]}**", ""]
            inside = True
        elif inside and re.match(r" {4}\S", line):
            name, colon, text = line.strip().partition(": ")
            lines.append(f"- `{name}`: {text}" if colon and re.fullmatch(r"[\w.*, ]+", name) else f"- {line.strip()}")
        else:
            lines.append(f"  {line.strip()}" if inside and line.startswith("     ") else line)
            inside = inside and (not line or line.startswith(" "))
    return "\n".join(lines).replace("``", "`").replace("<", "&lt;")


def _linked(text: str) -> str:
    """Links of a checkout's documents as they are on the site; what it has not is only named."""

    def link(match: re.Match[str]) -> str:
        said, to = match.groups()
        to = to.removeprefix("docs/").removeprefix("../") if not to.startswith("../results") else to
        to = re.sub(r"^(notebooks/\w+)\.ipynb", r"\1.md", to)
        to = to.replace("CONTRIBUTING.md", "contributing.md").replace("CHANGELOG.md", "changelog.md")
        return said if to.startswith("src/") or to.split("#")[0] in KEPT else f"[{said}]({to})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)", link, text).replace("](docs/", "](")


def main() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    for path, text in pages().items():
        (PAGES / path).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / path).write_text(text)
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, PAGES)
    shutil.copytree(ROOT / "docs" / "papers", PAGES / "papers", dirs_exist_ok=True)
    shutil.copy(ROOT / "docs" / "worker.js", PAGES)


if __name__ == "__main__":
    main()
