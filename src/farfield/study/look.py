"""Bad names cost nothing: what a command's settings name is looked at before torch, a model or a data set is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from farfield.audit.word import look as look_at_descriptor
from farfield.checkpoints.place import BUNDLED, is_model
from farfield.checkpoints.place import look as look_at_model
from farfield.command.option import Named
from farfield.command.settings import Settings, leaves
from farfield.core.error import FarfieldError
from farfield.data.place import look as look_at_source


def _source(name: str) -> None:
    try:
        look_at_source(name)
    except FarfieldError as error:
        if name in BUNDLED:
            raise FarfieldError(f"{name}: expected images, found a model; check the order of the arguments") from error
        raise


LOOKS: Final[dict[Named, Callable[[str], None]]] = {
    "source": _source,
    "model or source": lambda name: look_at_model(name) if is_model(name) else look_at_source(name),
    "descriptor": look_at_descriptor,
    "model": look_at_model,  # the last, as a hub id may have to be downloaded
}


def look(settings: Settings) -> None:
    """Refuse a source, a model or a descriptor that is nowhere.

    Raises:
        FarfieldError: as whoever opens it would, seconds later.
    """
    values = settings.values()
    for kind, look_at in LOOKS.items():
        for leaf in leaves(type(settings)):
            value = values[leaf.path]
            if leaf.option.names == kind and value and value != leaf.default:
                for name in value if isinstance(value, tuple) else (value,):
                    look_at(name)
