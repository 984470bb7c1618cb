"""`farfield fetch`: a published model or descriptor comes into the cache, by its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farfield.audit.named import PUBLISHED
from farfield.checkpoints.card import CARDS, Card, find_card
from farfield.core.download import cache_folder, download
from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Fetched:
    """Where something published lies now.

    Attributes:
        path: of the file or folder; a model's name everywhere.
        sha256: of the file; None for a folder, which the hub's own client has checked.
    """

    card: Card
    path: Path
    sha256: str | None


def fetch(name: str, *, url: str | None = None, sha256: str | None = None, quiet: bool = False) -> Fetched:
    """Bring a published file or folder to the cache, unless it is there.

    A file is put in place when it is whole, has the sha256 that is stated (here, or by its publisher), and opens as what it
    should be; nothing in it is executed.

    Args:
        name: of a card.
        url: another address than the card's, for the same kind of file.

    Raises:
        FarfieldError: no such card, no network (what to download to where), another sha256, or not such a file.
    """
    card = find_card(name)
    if card is None:
        near = [c.name for c in CARDS if name.lower() in c.name]
        raise FarfieldError(
            f"fetch {name!r}: no such card; expected {', '.join(near or [c.name for c in CARDS])}. dinov2 and clip are fetched "
            "when they are first used, and any other hub id is a model's name as it is"
        )
    if card.hub:
        if url or sha256:
            raise FarfieldError(f"fetch {name}: a folder of the hub has no single file; leave out --url and --sha256")
        from farfield.checkpoints.hub import download as from_hub

        return Fetched(card, from_hub(card.source), None)
    address = url or card.source
    path = cache_folder() / address.rpartition("/")[2]
    check: Callable[[Path], Any] = PUBLISHED[card.name][0] if card.name in PUBLISHED else _opens
    stated = sha256 or (None if url else card.sha256)
    return Fetched(card, path, download(address, path, sha256=stated, check=check, quiet=quiet))


def _opens(path: Path) -> None:
    from farfield.checkpoints.foreign import open_checkpoint

    open_checkpoint(path)
