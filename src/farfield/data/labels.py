"""The classes of images: from EDM's ``dataset.json``, from class folders, or from an array; whole numbers from 0."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.picture import some

FILE = "dataset.json"
"""Holds ``{"labels": [["00000/img00000000.png", 3], …]}``, or null for no labels; names are relative to its folder."""

NUMBERED = re.compile(r"\d{5}/img\d{8}\.\w+")
"""A name in EDM's layout, whose folders are no classes."""


def parse_labels(content: bytes, where: str, names: Mapping[str, str]) -> dict[str, int]:
    """The class of each key, from the content of a dataset.json.

    Args:
        content: of the file.
        where: what to call it in errors.
        names: each key's file name, relative to the dataset.json.

    Raises:
        FarfieldError: not of that form, a class that is no whole number from 0, or names other than those of the
            images.
    """
    try:
        found = json.loads(content)
        rows = found["labels"]
        given: dict[str, Any] = {} if rows is None else {name: label for name, label in rows}  # noqa: C416 — checks pairs
    except (ValueError, KeyError, TypeError) as error:
        form = '{"labels": [["file name", class], …]}'
        raise FarfieldError(
            f"{where}: expected {form}, found something else ({error}); mend it or remove it"
        ) from error
    if not given:
        return {}
    if len(given) < len(rows):
        raise FarfieldError(f"{where}: expected each name once, found {len(rows) - len(given)} again; remove these")
    if absent := [name for name in names.values() if name not in given]:
        raise FarfieldError(
            f"{where}: expected a class for each of the {len(names)} images, found none for {len(absent)} of them: "
            f"{some(absent)}; add them, or leave labels out"
        )
    if len(given) > len(names):
        extra = sorted(set(given) - set(names.values()))
        raise FarfieldError(
            f"{where}: expected classes of the {len(names)} images that are there, found {len(extra)} more: {some(extra)}; "
            "is it another set's file? Mend it, or leave labels out"
        )
    return {key: _checked(given[name], f"{where}: {name}") for key, name in names.items()}


def folder_labels(names: Mapping[str, str]) -> dict[str, int]:
    """The class of each key where every image lies in one of several folders side by side: its folder's place.

    Empty where they do not lie so, or are numbered as in EDM's layout.
    """
    top = posixpath.commonpath([posixpath.dirname(name) for name in names.values()])
    inner = {key: name.removeprefix(f"{top}/") for key, name in names.items()}
    if any(name.count("/") != 1 for name in inner.values()) or all(map(NUMBERED.fullmatch, inner.values())):
        return {}
    classes = {folder: i for i, folder in enumerate(sorted({name.split("/")[0] for name in inner.values()}))}
    return {key: classes[name.split("/")[0]] for key, name in inner.items()}


def check_array(labels: np.ndarray, n: int, where: str) -> np.ndarray:
    """Classes ``[n]`` as int64."""
    if labels.dtype.kind not in "iu" or labels.size != n or labels.ndim not in (1, 2):
        found = f"{labels.dtype} {list(labels.shape)}"
        raise FarfieldError(
            f"{where}: expected {n} whole numbers, one an image, found {found}; mend it, or leave labels out"
        )
    if n and int(labels.min()) < 0:
        raise FarfieldError(
            f"{where}: expected classes from 0, found {int(labels.min())}; mend it, or leave labels out"
        )
    return labels.ravel().astype(np.int64)


def _checked(label: Any, where: str) -> int:
    if isinstance(label, bool) or not isinstance(label, int) or label < 0:
        raise FarfieldError(f"{where}: expected a class, a whole number from 0, found {label!r}; mend it")
    return label
