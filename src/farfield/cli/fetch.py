"""``farfield fetch``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from farfield.cli.options import Quiet, app
from farfield.core.terminal import echo


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="Of a card; without it, all cards are listed.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Another address of such a file \\[default: the published one].")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="What the file must have, or it is refused.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards, or what was fetched, as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Download a published model or descriptor to the cache (FARFIELD_CACHE, or ~/.cache/farfield).

    Continues where it was interrupted.
    """
    if name is None:
        _list(as_json)
        return
    from farfield.study.model.fetch import fetch

    found = fetch(name, url=url, sha256=sha256, quiet=quiet)
    if as_json:
        told = {"name": found.card.name, "path": str(found.path), "sha256": found.sha256, "licence": found.card.licence}
        echo(json.dumps(told, indent=1))
        return
    echo(found.path)
    echo(f"licence: {found.card.licence}")
    if found.sha256 is None:
        echo("a folder of the hub, checked by the hub's own client")
    elif sha256 or (found.card.sha256 and not url):
        echo(f"sha256 {found.sha256}, as published")
    else:
        echo(
            f"sha256 {found.sha256}: unverified, no one has published one to compare with; it is kept in "
            f"{found.path.name}.sha256, and a file that changes is refused from now on"
        )


def _list(as_json: bool) -> None:
    from dataclasses import asdict

    from farfield.checkpoints.card import CARDS
    from farfield.cli.table import show_table

    if as_json:
        echo(json.dumps([asdict(card) for card in CARDS], indent=1))
        return
    show_table(["name", "what", "licence"], [[c.name, c.about, c.licence.partition(":")[0]] for c in CARDS])
