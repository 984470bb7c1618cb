"""The application: all commands, how they end at Ctrl-C, and how a command line that cannot be parsed is quoted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from farfield import __version__
from farfield.cli.derive import add
from farfield.command.commands import COMMANDS
from farfield.command.nearest import hint
from farfield.command.settings import leaves
from farfield.core.terminal import echo, plain, tell


class Commands(TyperGroup):
    """All commands."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if any(word.startswith("--config") for word in args):
            from farfield.cli.config import expanded

            args = expanded(args)
        with _quoted():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _quoted():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # which typer passes over in silence; a run can be continued, so say it
            tell("farfield: interrupted; give the same command again to continue")
            raise typer.Exit(130) from None


@contextlib.contextmanager
def _quoted() -> Iterator[None]:
    """Usage errors quote arguments, which a shell may have made from the names of files."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "option_name") and hasattr(error, "possibilities"):
            _suggest(error)
        if hasattr(error, "format_message"):
            error.message = plain(str(error.message))  # type: ignore[attr-defined]
        raise


def _suggest(error: Any) -> None:
    """Of an option that a command has not, name what is meant by it, rather than all that is spelled a little alike."""
    names, context = list[str](), error.ctx
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    if (command := COMMANDS.get(" ".join(names))) is None:
        return
    if said := hint(leaves(command.settings), error.option_name):
        error.message, error.possibilities = f"{error.message}{said}", []


GROUPS = {
    "dataset": "Convert data sets, and find images that occur twice in them.",
    "score": "Do models make the same images from the same noise (rp, matrix)? Does a model make new ones (gl)?",
}
"""Commands of commands."""


def application(words: Sequence[str] | None = None) -> typer.Typer:
    """All commands; of a command line of these words the options of those alone that it names, which takes half the time."""
    app = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="How far a diffusion model reaches beyond its training data, and how to put that reach to use.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    groups = {"": app} | {name: typer.Typer(no_args_is_help=True, help=about) for name, about in GROUPS.items()}
    for name in GROUPS:
        wing = next(c.settings.wing for c in COMMANDS.values() if c.name.startswith(f"{name} "))
        app.add_typer(groups[name], name=name, rich_help_panel=wing)
    for command in COMMANDS.values():
        add(groups[command.name.rpartition(" ")[0]], command, words is None or {*command.name.split()} <= {*words})
    return app


def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        echo(__version__)
        raise typer.Exit
