"""Data sets of Hugging Face by name, or from a folder on disk (needs the package datasets)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError, missing
from farfield.data.collection import Collection, positions
from farfield.data.decode import decode, warn_coarse
from farfield.data.header import Shape, header_shape
from farfield.data.labels import COLUMNS, Classes, check_array, named

PREFIX = "hf:"


def open_hub(source: str, labels: bool = True) -> Collection:
    """The images of ``hf:NAME`` or ``hf:NAME:SPLIT`` (default ``train``), under their zero-padded positions.

    Taken are the first column of images, and of classes the first declared as such, else one of `data.labels.COLUMNS`.
    The package's own cache keeps what it fetches; no code of a data set is run.

    Raises:
        FarfieldError: the package is missing or older than 3, the set or split cannot be had, or it has no images.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing(f"{source}: a data set of the hub", "datasets") from error
    if int(datasets.__version__.partition(".")[0]) < 3:  # older ones run a data set's own script
        raise FarfieldError(
            f"{source}: needs datasets 3 or newer, found {datasets.__version__}: pip install --upgrade datasets"
        )
    name, _, split = source.removeprefix(PREFIX).partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # the hub's, the network's and the builder's own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FarfieldError(
            f"{source}: cannot be had ({reason}); check name, split and network, or give a path on this machine"
        ) from error
    columns = {column: type(feature).__name__ for column, feature in rows.features.items()}
    column = next((c for c, kind in columns.items() if kind == "Image"), None)
    if column is None or not len(rows):
        raise FarfieldError(f"{source}: expected a column of images, found {columns or 'none'}; choose another set")
    encoded = rows.cast_column(column, datasets.Image(decode=False))
    of_class = next((c for c, kind in columns.items() if kind == "ClassLabel"), None) or next(
        (c for c in COLUMNS if getattr(rows.features.get(c), "dtype", "").startswith(("int", "uint", "string"))), None
    )
    places = {key: i for i, key in enumerate(positions(len(rows)))}

    def content(key: str) -> bytes:
        cell: dict[str, Any] = encoded[places[key]][column]
        return cell["bytes"] or Path(cell["path"]).read_bytes()

    def picture(key: str) -> np.ndarray:
        pixels, coarse = decode(content(key), f"{source}: {key}")
        if coarse:
            warn_coarse(source)
        return pixels

    def shape(key: str) -> Shape:
        return header_shape(io.BytesIO(content(key)))

    classes = Classes()
    if labels and of_class:
        given = rows[of_class][:]
        if any(isinstance(value, str) for value in given):
            classes = named(dict(zip(places, given, strict=True)))
        else:
            numbers = np.array([-1 if value is None else value for value in given])
            titles = getattr(rows.features[of_class], "names", None) or ()
            classes = check_array(numbers, list(places), f"{source}: {of_class}", titles)
    return Collection(source, tuple(classes.kept(places)), picture, shape, classes.of, classes.names)
