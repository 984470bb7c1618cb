"""The classes of images and their names: from a file beside them, from class folders, from file names, or from an array.

Classes are whole numbers from 0. Their names travel with them, so that two sources of one command are compared by name
and not by number.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.note import say
from farfield.data.listing import natural
from farfield.data.picture import some

FILE = "dataset.json"
"""Holds ``{"labels": [["00000/img00000000.png", 3], …]}``, or null for no labels; names are relative to its folder. Ours
has ``class_names`` beside."""
TABLES = ("metadata.jsonl", "metadata.csv")
"""A row an image, with ``file_name`` and one of `COLUMNS`, as Hugging Face's image folders have it."""
COLUMNS = ("label", "labels", "class", "category", "target")

NUMBERED = re.compile(r"\d{5}/img\d{8}\.\w+")
"""A name in EDM's layout, whose folders are no classes."""
PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9-]*)_\w+")
"""A name whose beginning is its class, as guided-diffusion has it: ``cat_0001.png``."""
NUMBERS = 1000
"""Folders named by numbers below this are the classes of these numbers."""


@dataclass(frozen=True)
class Classes:
    """The class ``of`` each key, and the ``names`` of classes 0, 1, 2 … (empty where they have none).

    ``without`` are keys that have no class although others have.
    """

    of: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def kept(self, keys: Iterable[str]) -> list[str]:
        """The keys less those without a class."""
        gone = set(self.without)
        return [key for key in keys if key not in gone]


def read_classes(names: Mapping[str, str], opened: Callable[[str], IO[bytes]], where: str) -> Classes:
    """The classes of a listing's files.

    In this order: a `FILE` or one of `TABLES` in the images' common folder or above it; the folders side by side in
    which all images lie; the beginnings of their names.

    Args:
        names: each key's file name inside the source.
        opened: opens a file of the source by its name.

    Raises:
        FarfieldError: a file of classes that does not fit the images.
    """
    top = PurePosixPath(posixpath.commonpath([posixpath.dirname(n.replace("\\", "/")) for n in names.values()]))
    for folder in (top, *top.parents):
        prefix = "" if folder == PurePosixPath() else f"{folder}/"
        relative = {key: n.replace("\\", "/").removeprefix(prefix) for key, n in names.items()}
        for file, parse in ((FILE, parse_labels), *((table, parse_table) for table in TABLES)):
            try:
                with opened(prefix + file) as content:
                    text = content.read()
            except (KeyError, FileNotFoundError):
                continue
            classes = parse(text, f"{where}: {prefix}{file}", relative)
            if classes is not None:
                return _said(classes, where, file)
    return _by_folder(names, where) or _by_prefix(names, where) or Classes()


def parse_labels(content: bytes, where: str, names: Mapping[str, str]) -> Classes:
    """The classes in a dataset.json.

    Args:
        content: of the file.
        where: what to call it in errors.
        names: each key's file name, relative to the dataset.json.

    Raises:
        FarfieldError: not of that form, a class that is no whole number, or names other than those of the images.
    """
    try:
        parsed = parse_json(content)
        rows = parsed["labels"]
        given: dict[str, Any] = {} if rows is None else {name: label for name, label in rows}  # noqa: C416 — checks pairs
        titles = [str(name) for name in parsed.get("class_names") or []]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        form = '{"labels": [["file name", class], …]}'
        raise FarfieldError(
            f"{where}: expected {form}, found something else ({error}); mend it or remove it"
        ) from error
    if not given:
        return Classes()
    if len(given) < len(rows):
        raise FarfieldError(f"{where}: expected each name once, found {len(rows) - len(given)} again; remove these")
    _check_names(given, names, where)
    return _numbered({key: _checked(given[name], f"{where}: {name}") for key, name in names.items()}, titles, where)


def parse_table(content: bytes, where: str, names: Mapping[str, str]) -> Classes | None:
    """The classes in a metadata.jsonl or metadata.csv, numbers or names; None where it has no column of classes."""
    try:
        text = content.decode("utf-8-sig")
        if where.endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = [parse_json(line) for line in text.splitlines() if line.strip()]
        column = next((c for c in COLUMNS if rows and c in rows[0]), None)
        if column is None:
            return None
        given = {str(row["file_name"]): row.get(column) for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise FarfieldError(
            f"{where}: expected a row with file_name an image, found something else ({error!r}); mend it or remove it"
        ) from error
    _check_names(given, names, where)
    labels = {key: given[name] for key, name in names.items()}
    if all(isinstance(v, str) and re.fullmatch(r"-?\d{1,9}", v) for v in labels.values()):
        labels = {key: int(str(v)) for key, v in labels.items()}
    if all(isinstance(v, str) for v in labels.values()):
        return named({key: str(v) for key, v in labels.items()})
    return _numbered({key: _checked(v, f"{where}: {names[key]}") for key, v in labels.items()}, [], where)


def named(given: Mapping[str, str | None]) -> Classes:
    """Classes given by name, numbered in their natural order; names that are numbers below `NUMBERS` are these numbers.

    None is no class.
    """
    of = {key: title for key, title in given.items() if title is not None}
    without = tuple(key for key in given if key not in of)
    titles = sorted(set(of.values()), key=natural)
    numbers = {t: int(t) for t in titles if re.fullmatch(r"\d{1,9}", t)}
    if len(numbers) == len(titles) == len(set(numbers.values())) and max(numbers.values()) < NUMBERS:
        return Classes(
            {key: numbers[t] for key, t in of.items()}, tuple(str(i) for i in range(max(numbers.values()) + 1)), without
        )
    place = {title: i for i, title in enumerate(titles)}
    return Classes({key: place[t] for key, t in of.items()}, tuple(titles), without)


def check_array(labels: np.ndarray, keys: Sequence[str], where: str, titles: Sequence[str] = ()) -> Classes:
    """Classes in an array ``[n]``, whole numbers or names, in the order of ``keys``; -1 is none."""
    if labels.dtype.kind not in "iuUS" or labels.size != len(keys) or labels.ndim not in (1, 2):
        seen = f"{labels.dtype} {list(labels.shape)}"
        raise FarfieldError(
            f"{where}: expected {len(keys)} whole numbers, one an image, found {seen}; mend it, or leave labels out"
        )
    if labels.dtype.kind in "US":
        return named(dict(zip(keys, labels.astype(str).ravel().tolist(), strict=True)))
    return _numbered(dict(zip(keys, labels.ravel().tolist(), strict=True)), titles, where)


def matched(labels: Sequence[int], names: Sequence[str], to: Sequence[str], where: str, other: str) -> list[int]:
    """Classes of one source as another numbers them: by name where both have names, else as they are.

    Raises:
        FarfieldError: a class that the other does not have.
    """
    if not names or not to:
        return list(labels)
    place = {name: i for i, name in enumerate(to)}
    if absent := sorted({names[i] for i in labels} - set(place), key=natural):
        raise FarfieldError(
            f"{where}: expected the classes of {other} ({some(list(to))}), found also {some(absent)}; leave those images out"
        )
    return [place[names[i]] for i in labels]


def _by_folder(names: Mapping[str, str], where: str) -> Classes | None:
    """The class of each key where every image lies in or below one of several folders side by side: that folder."""
    plain = {key: n.replace("\\", "/") for key, n in names.items()}
    top = posixpath.commonpath([posixpath.dirname(n) for n in plain.values()])
    inner = {key: n.removeprefix(f"{top}/") if top else n for key, n in plain.items()}
    folders = {key: n.split("/")[0] for key, n in inner.items() if "/" in n}
    if len(folders) < len(inner) or len(set(folders.values())) < 2 or all(map(NUMBERED.fullmatch, inner.values())):
        return None
    if all(
        re.fullmatch(r"(\d{6})/\1|\d{6}/\d{6}\.\w+", n) for n in inner.values()
    ):  # EDM's samples, a thousand a folder
        return None
    return _said(named(folders), where, "folders")


def _by_prefix(names: Mapping[str, str], where: str) -> Classes | None:
    """The class of each key where all files lie in one folder and are called ``class_anything``."""
    stems = {key: posixpath.splitext(n.replace("\\", "/"))[0] for key, n in names.items()}
    if len({posixpath.dirname(stem) for stem in stems.values()}) > 1:
        return None
    matches = {key: PREFIXED.fullmatch(posixpath.basename(stem)) for key, stem in stems.items()}
    if not all(matches.values()):
        return None
    titles = {key: match[1] for key, match in matches.items() if match}
    return _said(named(titles), where, "the beginnings of file names") if len(set(titles.values())) > 1 else None


def _numbered(of: Mapping[str, int], titles: Sequence[str], where: str) -> Classes:
    """Classes given by number; -1 is none."""
    if low := [n for n in of.values() if n < -1]:
        raise FarfieldError(f"{where}: expected classes from 0, found {low[0]}; mend it, or leave labels out")
    without = tuple(key for key, n in of.items() if n == -1)
    if len(without) == len(of):  # a test set that keeps its classes back
        say(f"{where}: all classes are -1, which is none")
        return Classes()
    if without:
        say(f"{where}: {len(without)} of {len(of)} images have no class (-1) and are left out; labels off keeps them")
    kept = {key: n for key, n in of.items() if n >= 0}
    if titles and max(kept.values()) >= len(titles):
        raise FarfieldError(
            f"{where}: names of {len(titles)} classes, but a class {max(kept.values())}; expected a name for each"
        )
    return Classes(kept, tuple(titles), without)


def _said(classes: Classes, where: str, by: str) -> Classes:
    if classes.of and by not in (FILE,):
        used = sorted(set(classes.of.values()))
        shown = ", ".join(f"{i} {classes.names[i]}" if classes.names else str(i) for i in used[:8])
        say(f"{where}: {len(used)} classes by {by}: {shown}{', …' if len(used) > 8 else ''}")
    return classes


def _check_names(given: Mapping[str, Any], names: Mapping[str, str], where: str) -> None:
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


def _checked(label: Any, where: str) -> int:
    if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < 2**31:
        raise FarfieldError(f"{where}: expected a class, a whole number from 0, found {label!r}; mend it")
    return label
