"""`farfield fetch`: a published model or descriptor comes into the cache, by its card; and `farfield domains`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farfield.checkpoints.card import CARDS, Card, find_card
from farfield.command.fetch import Domains, Fetch
from farfield.core.cache import cache_folder
from farfield.core.error import FarfieldError
from farfield.core.terminal import table
from farfield.data.place import DOMAINS, FIELD_DOMAINS


@dataclass(frozen=True)
class Fetched:
    """Where something published lies now.

    Attributes:
        path: of the file or folder; a model's name everywhere.
        sha256: of the file; None for a folder, which the hub's own client has checked.
        published: whether that is what someone stated.
    """

    card: Card
    path: Path
    sha256: str | None
    published: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"name": self.card.name, "path": self.path, "sha256": self.sha256, "licence": self.card.licence}

    def __str__(self) -> str:
        if self.sha256 is None:
            checked = "a folder of the hub, checked by the hub's own client"
        elif self.published:
            checked = f"sha256 {self.sha256}, as published"
        else:
            checked = (
                f"sha256 {self.sha256}: unverified, no one has published one to compare with; it is kept in "
                f"{self.path.name}.sha256, and a file that changes is refused from now on"
            )
        return f"{self.path}\nlicence: {self.card.licence}\n{checked}"


class Cards:
    """All that can be fetched."""

    def to_json(self) -> list[dict[str, Any]]:
        return [{**asdict(card), "here": card.here} for card in CARDS]

    def __str__(self) -> str:
        heads = ["name", "what", "pixels", "MB", "licence", "here"]
        rows = [
            [
                c.name,
                c.about,
                _number(c.side),
                _number(c.megabytes),
                c.licence.partition(":")[0],
                "yes" if c.here else "",
            ]
            for c in CARDS
        ]
        return (
            f"{table(heads, rows)}\n`farfield fetch NAME` brings one to {cache_folder()} and prints its path; `--json` has the "
            "addresses."
        )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def fetch(settings: Fetch) -> Fetched | Cards:
    """Bring a published file or folder to the cache, unless it is there; without a name, list what there is.

    A file is put in place when it is whole, has the sha256 that is stated (here, or by its publisher), and opens as what it
    should be; nothing in it is executed.

    Raises:
        FarfieldError: no such card, no network (what to download to where), another sha256, or not such a file.
    """
    name, url = settings.name, settings.url
    if name is None:
        return Cards()
    card = find_card(name)
    if card is None:
        near = [c.name for c in CARDS if name.lower() in c.name]
        raise FarfieldError(
            f"fetch {name!r}: no such card; expected {', '.join(near or [c.name for c in CARDS])}. dinov2 and clip are fetched "
            "when they are first used, and any other hub id is a model's name as it is"
        )
    if card.hub:
        if url or settings.sha256:
            raise FarfieldError(f"fetch {name}: a folder of the hub has no single file; leave out --url and --sha256")
        from farfield.checkpoints.place import hub_folder

        return Fetched(card, hub_folder(card.source), None)
    from farfield.audit.named import PUBLISHED
    from farfield.core.download import cache_folder, download

    address = url or card.source
    path = cache_folder() / (card.by_hand or address.rpartition("/")[2])
    if card.by_hand and url is None and not path.is_file():
        raise FarfieldError(
            f"fetch {name}: its publisher's address is a page that only a browser gets the file from ({card.source}); download "
            f"it there, copy it to {path}, and give this command again"
        )
    check: Callable[[Path], Any] = PUBLISHED[card.name][0] if card.name in PUBLISHED else _opens
    stated = settings.sha256 or (None if url else card.sha256)
    sha256 = download(address, path, sha256=stated, check=check, quiet=settings.printing.quiet)
    return Fetched(card, path, sha256, stated is not None)


def _opens(path: Path) -> None:
    from farfield.checkpoints.foreign import open_checkpoint

    open_checkpoint(path)


def domains(settings: Domains) -> str:
    """The bundled domains, a line each."""
    return "\n".join(f"{name:<8} {about}" for name, about in {**DOMAINS, **FIELD_DOMAINS}.items())
