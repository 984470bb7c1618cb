"""The command line of a command, from its declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from farfield.command.commands import Command
from farfield.command.option import Leaf
from farfield.command.settings import help_of, leaves
from farfield.core.error import FarfieldError

RUN = "The run"


def add(app: typer.Typer, command: Command, whole: bool = True) -> None:
    """Let an application know a command; only its name and what it is for, if it is not ``whole``."""
    if not whole:
        app.command(**_said(command))(lambda: None)
        return
    fields = leaves(command.settings)
    parameters = [_parameter(leaf) for leaf in sorted(fields, key=lambda leaf: not leaf.argument)]
    parameters += [_former(leaf) for leaf in fields if leaf.option.old]
    if command.result is not None:
        parameters += _of_a_run(command)
    rest = any(leaf.option.rest for leaf in fields)
    context = {"allow_extra_args": True, "ignore_unknown_options": True} if rest else {}
    app.command(**_said(command), context_settings=context)(_function(command, parameters, rest))


def _said(command: Command) -> dict[str, Any]:
    """A command's name, what it is for, under which heading, and its examples."""
    examples = "\n\n".join(["Examples:", *(f"$ {line}" for line in command.settings.epilog)])
    wing = {} if " " in command.name else {"rich_help_panel": command.settings.wing}
    return {
        "name": command.name.split()[-1],
        "help": _shown(help_of(command.settings)),
        "epilog": _shown(examples) if command.settings.epilog else None,
        **wing,
    }


def _function(command: Command, parameters: list[inspect.Parameter], rest: bool) -> Callable[..., None]:
    """What typer calls, with a signature that it reads."""

    def called(**given: Any) -> None:
        from farfield.cli.work import Manner, work

        manner = Manner(**{name: given.pop(f"{name}_") for name in vars(Manner()) if f"{name}_" in given})
        given.pop("config_", None)  # `cli.config` has put what it says on the command line
        for leaf in leaves(command.settings):
            if leaf.option.rest:
                given[leaf.name] = tuple(given.pop("context").args)
            former = given.pop(f"{leaf.name}__old", None)
            if former in (None, []):
                continue
            if given.get(leaf.name) not in (None, []):
                raise FarfieldError(
                    f"{leaf.said} and {leaf.option.old[0]}: one option by two names; give {leaf.said} alone"
                )
            given[leaf.name] = former
        work(
            command,
            {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v not in (None, [])},
            manner,
        )

    if rest:
        parameters = [
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
            *parameters,
        ]
        parameters = [
            p for p in parameters if p.name not in {leaf.name for leaf in leaves(command.settings) if leaf.option.rest}
        ]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def _parameter(leaf: Leaf) -> inspect.Parameter:
    """Texts, which the declaration reads; switches are on, off or left open."""
    kind: Any = bool if leaf.kind is bool else list[str] if leaf.repeated or (leaf.argument and leaf.item) else str
    extra: dict[str, Any] = {"help": _help(leaf), "show_default": False}
    if leaf.argument:
        said: Any = typer.Argument(metavar=leaf.said, autocompletion=_completion(leaf), **extra)
    else:
        extra |= {"metavar": leaf.metavar or None, "rich_help_panel": leaf.panel or None}
        said = typer.Option(*leaf.flags, autocompletion=_completion(leaf), **extra)
    if leaf.required and not leaf.option.old:
        return _keyword(leaf.name, Annotated[kind, said], inspect.Parameter.empty)
    return _keyword(leaf.name, Annotated[kind | None, said], None)


def _former(leaf: Leaf) -> inspect.Parameter:
    """Old spellings, which work and are not shown."""
    kind: Any = bool if leaf.kind is bool else list[str] if leaf.repeated else str
    return _keyword(f"{leaf.name}__old", Annotated[kind | None, typer.Option(*leaf.option.old, hidden=True)], None)


def _of_a_run(command: Command) -> list[inspect.Parameter]:
    """What every command with a run folder takes besides."""
    out = typer.Option(
        "-o",
        "--out",
        help=f"The run folder; the same command continues it. \\[default: {command.folder}, or the next that is free]",
        show_default=False,
        rich_help_panel=RUN,
    )
    config = typer.Option(
        "--config", metavar="FILE", help="Read options from this TOML file; those given here win.", rich_help_panel=RUN
    )
    as_json = typer.Option("--json", help="Print summary.json on standard output.", rich_help_panel=RUN)
    quiet = typer.Option("-q", "--quiet", help="Show no progress bars.", rich_help_panel=RUN)
    dry = typer.Option("--dry-run", help="Say what would be read and done, and stop.", rich_help_panel=RUN)
    show = typer.Option("--open", help="Open the page when it is done.", rich_help_panel=RUN)
    return [
        _keyword("out_", Annotated[Path | None, out], None),
        _keyword("config_", Annotated[str | None, config], None),
        _keyword("as_json_", Annotated[bool, as_json], False),
        _keyword("quiet_", Annotated[bool, quiet], False),
        _keyword("dry_run_", Annotated[bool, dry], False),
        _keyword("show_", Annotated[bool, show], False),
    ]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _completion(leaf: Leaf) -> Callable[[str], list[str]] | None:
    """What Tab offers: the words of a choice; the bundled names, and files; of several with commas between, the last."""
    if not leaf.choices and leaf.option.names is None and leaf.kind is not Path and leaf.name != "device":
        return None
    several = leaf.item is not None and not leaf.repeated and not leaf.argument

    def offered(incomplete: str) -> list[str]:
        from farfield.cli.complete import words

        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [f"{before}{comma}{word}" for word in words(leaf, last)]

    return offered


def _help(leaf: Leaf) -> str:
    """The help with bounds and default."""
    required = ["required"] if leaf.required and leaf.option.old else []  # where typer cannot say it
    more = "; ".join(filter(None, [*required, leaf.hint]))
    return _shown(leaf.option.help + (f" [{more}]" if more else ""))


def _shown(text: str) -> str:
    """Brackets are no markup."""
    return text.replace("[", "\\[")
