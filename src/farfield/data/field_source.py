"""The one door for physical fields: a path, or a bundled domain of fields by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.command.shared import Reading
from farfield.core.error import FarfieldError
from farfield.data import bundled, science
from farfield.data.field_file import ending
from farfield.data.kind import kind_of
from farfield.data.listing import is_container
from farfield.data.place import HUB, SKETCH
from farfield.data.science import Fields
from farfield.data.subset import choose_keys


def is_physical(source: str | Path) -> bool:
    """Whether a source holds physical fields, as `data.kind` tells; False where nothing is there."""
    if domain := bundled.domain_of(source):
        return domain in bundled.FIELD_DOMAINS
    if isinstance(source, str) and source.startswith((HUB, SKETCH)):
        return False
    try:
        path, inner = science.locate(source)
    except FarfieldError:
        return False
    if path.is_file() and not is_container(path):
        return (inner is not None and bool(ending(path))) or kind_of(path) == "fields"
    return kind_of(path) == "fields"


def field_keys(source: str | Path) -> list[str] | None:
    """The keys of a domain of fields, which are made as they are asked for; None for files, which are read whole."""
    domain = bundled.domain_of(source)
    return bundled.domain_keys(domain) if domain in bundled.FIELD_DOMAINS else None


def open_fields(
    source: str | Path,
    shape: Sequence[int],
    reading: Reading = Reading(),
    keys: Sequence[str] | None = None,
) -> Fields:
    """Physical fields of a path (see `data.science.load_fields`) or of the bundled `clouds`, at the model's size.

    ``keys`` takes these, in this order; files are read whole all the same.
    """
    domain = bundled.domain_of(source)
    if domain in bundled.DOMAINS:
        raise FarfieldError(
            f"{source}: expected physical fields, found a domain of pictures; leave out --stretch and --patch"
        )
    if domain:
        if (reading.patch, reading.hdu, reading.mask) != (None, None, None):
            raise FarfieldError(f"{source}: --patch, --hdu and --field-mask are for files; leave them out")
        return bundled.cloud_fields(choose_keys(source, bundled.domain_keys(domain), keys, None), shape)
    fields = science.load_fields(
        source, shape, patch=reading.patch, hdu=reading.hdu, mask=reading.mask, strict=reading.strict
    )
    return fields if keys is None else fields.select(keys)
