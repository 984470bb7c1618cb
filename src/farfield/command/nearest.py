"""The option that was meant by a word that is none: what a sibling command calls so, or one that is spelled nearly so."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from farfield.command.commands import COMMANDS
from farfield.command.option import Leaf
from farfield.command.settings import leaves


def spellings(leaf: Leaf) -> list[str]:
    """The words that an option may be given by in Python and in a file: its field's name, and that of its flag."""
    flags = [] if leaf.argument else [flag for both in leaf.flags for flag in both.split("/")[:1]]
    return [leaf.name, *(flag[2:].replace("-", "_") for flag in flags if flag.startswith("--"))]


def sibling(fields: Sequence[Leaf], word: str) -> Leaf | None:
    """The option that has the meaning which another command has for ``--word``.

    A field of one meaning has one name in every command, and one that takes several has an s at its end: ``--examples`` of
    `expand` is ``count``, and so ``--counts`` is meant by it where a command has that.
    """
    asked = _plain(word)
    known = {name: leaf for leaf in fields if not leaf.argument for name in spellings(leaf)}
    meant = [
        leaf.name for command in COMMANDS.values() for leaf in leaves(command.settings) if asked in spellings(leaf)
    ]
    forms = (form for name in (asked, *meant) for form in (name, f"{name}s", name.removesuffix("s")))
    return next((known[form] for form in forms if form in known), None)


def nearest(fields: Sequence[Leaf], word: str) -> Leaf | None:
    """What is most likely meant by ``--word`` or ``word=``: of a `sibling`, or spelled nearly so; None where nothing is."""
    known = {name: leaf for leaf in fields for name in spellings(leaf)}
    near = difflib.get_close_matches(_plain(word), known, 1)
    return sibling(fields, word) or (known[near[0]] if near else None)


def _plain(word: str) -> str:
    return word.lstrip("-").replace("-", "_")


def elsewhere(word: str) -> str:
    """The first command that has an option so called; "" if none has."""
    asked = _plain(word)
    with_it = (
        command.name
        for command in COMMANDS.values()
        if any(asked in spellings(leaf)[1:] for leaf in leaves(command.settings))
    )
    return next(with_it, "")


def hint(fields: Sequence[Leaf], word: str) -> str:
    """Behind the name of an option that a command has not: ``; did you mean --counts?``"""
    leaf = nearest([leaf for leaf in fields if not leaf.argument], word)
    if leaf is not None:
        return f"; did you mean {leaf.said}?"
    other = elsewhere(word)
    return f"; that is an option of `farfield {other}`" if other else ""
