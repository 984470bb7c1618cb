"""The one listing: which files of a folder, a zip or a pattern are the data, and in one line what is passed over.

Everything below a folder is looked at, through links too. Hidden files, runs of farfield and files of other kinds are
passed over and said. What cannot be told is asked: two kinds of data side by side, and the parts of a data set
(train/ and test/) under one roof.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.json_file import parse_json
from farfield.core.note import say
from farfield.data import budget
from farfield.data.field_file import ENDINGS as FIELDS
from farfield.data.picture import some
from farfield.data.place import existing as existing
from farfield.data.place import pattern_of

PICTURES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".tga"),
)
BESIDE = ("", ".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".html", ".pdf", ".py", ".log", ".xml")
"""Endings of what lies beside data and is none: not worth a line."""

PARTS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "heldout", "held-out"})
MARKS = frozenset(
    {"mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentations", "gt"}
)
MARKED = frozenset({"image", "images", "img", "imgs"})
MOST = 10_000_000
"""Files below one folder; links that lead to each other make more."""


@dataclass(frozen=True)
class Listing:
    """Files of one kind, by key.

    Attributes:
        source: what to call it.
        names: the name inside the source of each key's file, sorted by key. A key is the file's stem with its folder
            (``sub/stem``); files that share a stem keep their full names.
        opened: opens a name, of a file beside the data too; whoever opens it closes it. KeyError or FileNotFoundError
            where there is none.
        folder: what the names are relative to; None in a zip.
    """

    source: str
    names: dict[str, str]
    opened: Callable[[str], IO[bytes]]
    folder: Path | None = None


@dataclass(frozen=True)
class Survey:
    """Every file of a source that could be data, and what else lies there.

    Attributes:
        shown: for each name inside the source the name that keys are made of: it is plain, and starts where the
            folders part (in a zip).
        passed: what was passed over already, in words.
        chosen: a pattern has said which files are meant.
    """

    source: str
    shown: dict[str, str]
    passed: tuple[str, ...]
    opened: Callable[[str], IO[bytes]]
    folder: Path | None = None
    chosen: bool = False

    def of(self, endings: Sequence[str]) -> list[str]:
        return [name for name, shown in self.shown.items() if shown.lower().endswith(tuple(endings))]

    def path(self, name: str) -> Path:
        """Where a file is on this machine's disk."""
        if self.folder is None:
            raise FarfieldError(f"{self.source}: expected files on disk, found them in a zip; unpack it")
        return self.folder / name


def is_container(path: Path) -> bool:
    """Whether a path holds files: a folder, a zip (but not an npz), or a pattern."""
    if path.is_file():
        zipped = path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
        return zipped and not path.name.lower().endswith((*PICTURES, *FIELDS))
    return path.is_dir() or pattern_of(path) is not None


@contextlib.contextmanager
def survey(path: Path) -> Iterator[Survey]:
    """What lies in a folder, a zip or a pattern, to be read while it is open."""
    if path.is_dir():
        yield _folder(path)
    elif path.is_file():
        with _zip(path) as files:
            yield files
    else:
        folder, pattern = pattern_of(path) or (path, "")
        files = _folder(folder)
        kept = {name: shown for name, shown in files.shown.items() if _matches(pattern, name)}
        if not kept:
            raise FarfieldError(
                f"{path}: expected files that fit {pattern!r} in {folder}, found none; check the pattern"
            )
        yield replace(files, source=str(path), shown=kept, passed=(), chosen=True)


def take(files: Survey, endings: Sequence[str], beside: Sequence[str] = ()) -> Listing:
    """The files with these endings, by key; said is what is passed over.

    Args:
        beside: names of data of another kind that lie there and are left out.

    Raises:
        FarfieldError: none; parts of a data set, or images beside folders of images, between which it is not for us to
            choose; or two files of one name.
    """
    names = files.of(endings)
    if not names:
        there = ", ".join([*_counted(list(files.shown.values())), *files.passed])
        there = f"found none, but {there}" if there else "found none"
        raise FarfieldError(f"{files.source}: expected images ({' '.join(endings)}), {there}; check the path")
    shown = {name: files.shown[name] for name in names}
    loose = [] if files.chosen else _told_apart(files.source, shown)
    for name in loose:
        del shown[name]
    others = [n for n in files.shown if n not in shown and n not in loose and n not in beside]
    passed = _counted([files.shown[n] for n in beside]) + _counted([files.shown[n] for n in others if _is_data(n)])
    if loose:
        warnings.warn(
            FarfieldWarning(f"{files.source}: {some(loose)} beside the folders of images: passed over"), stacklevel=3
        )
    if passed or files.passed:
        say(f"{files.source}: passed over {', '.join([*passed, *files.passed])}")
    return Listing(files.source, _by_key(files.source, shown), files.opened, files.folder)


def one_file(path: Path) -> Listing:
    """A file by itself."""
    return Listing(str(path), {path.stem: path.name}, lambda name: open(path.parent / name, "rb"), path.parent)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of farfield, by its ``config.json``."""
    return bool(run_command(folder))


def run_command(folder: Path) -> str:
    """The command that a run folder comes from; "" if it is none."""
    try:
        config = parse_json((folder / "config.json").read_bytes())
        return str(config["request"]["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def natural(name: str) -> list[tuple[int, str]]:
    """What to sort names by so that 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _folder(root: Path) -> Survey:
    """Every file below a folder, sorted; a link is followed unless it leads back to a folder above it."""
    names: list[str] = []
    passed: list[str] = []
    stack = [("", root, frozenset({_identity(root)}))]
    while stack:
        prefix, folder, above = stack.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            passed.append(f"{prefix or root} ({error.strerror})")
            continue
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                there = Path(entry.path)
                if _identity(there) in above:
                    passed.append(f"{name}/ (a link back to a folder above it)")
                elif is_run(there):
                    passed.append(f"{name}/ (a run of farfield)")
                else:
                    stack.append((f"{name}/", there, above | {_identity(there)}))
            elif entry.is_file():
                names.append(name)
            else:
                passed.append(f"{name} ({'a broken link' if entry.is_symlink() else 'no regular file'})")
        if len(names) > MOST:
            raise FarfieldError(f"{root}: expected at most {MOST:,} files, found more; do links lead to each other?")
    shown = {name: name for name in sorted(names)}
    return Survey(str(root), shown, tuple(passed), lambda name: open(root / name, "rb"), root)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _zip(path: Path) -> Iterator[Survey]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise FarfieldError(f"{path}: expected a zip of images, found damage ({error}); make it again") from error
    with archive:
        length = path.stat().st_size
        members: dict[str, str] = {}
        plain: dict[str, str] = {}
        twice = [n for n, times in Counter(m.filename for m in archive.infolist()).items() if times > 1]
        if twice:
            raise FarfieldError(f"{path}: expected files with names of their own, found several called {some(twice)}")
        for member in archive.infolist():
            name = _plain(member.filename)
            if member.is_dir() or any(p.startswith((".", "__MACOSX")) for p in name.split("/")):
                continue
            plain[member.filename] = name
            members[name] = member.filename
            members[member.filename] = member.filename
        folders = [posixpath.dirname(n) for n in plain.values() if n.lower().endswith(PICTURES)]
        # in EDM's layout 00000 is in an image's key, however few folders there are
        top = re.sub(r"(^|/)\d{5}$", "", posixpath.commonpath(folders)) if folders else ""
        shown = {member: name.removeprefix(f"{top}/") for member, name in plain.items()}
        yield Survey(str(path), shown, (), lambda name: _member(archive, members[name], length))


def _member(archive: zipfile.ZipFile, name: str, length: int) -> IO[bytes]:
    """A file of a zip of ``length`` bytes, in memory: it may not be what the directory of the zip says."""
    said = archive.getinfo(name)
    budget.check(said.file_size, min(said.compress_size, length))
    with archive.open(name) as file:
        return io.BytesIO(file.read(said.file_size))


def _plain(name: str) -> str:
    """A zip member's name made into a key, neither absolute nor upwards; no file is ever written under it."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _matches(pattern: str, name: str) -> bool:
    """Whether a name fits: ``*`` and ``?`` stay inside a folder, ``**`` spans any number of them."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.fullmatch("".join(words.get(part) or re.escape(part) for part in parts), name) is not None


def _told_apart(source: str, shown: dict[str, str]) -> list[str]:
    """The few images that lie loose beside folders of images; what is not clear is refused."""
    top = posixpath.commonpath([posixpath.dirname(n) for n in shown.values()])
    below = {name: n.removeprefix(f"{top}/") if top else n for name, n in shown.items()}
    folders = {n.split("/")[0] for n in below.values() if "/" in n}
    loose = [name for name, n in below.items() if "/" not in n]
    if len(folders) < 2:
        return []
    lowered = {folder.lower() for folder in folders}
    inside = posixpath.join(source, top) if top else source
    if not loose and (lowered <= PARTS or (lowered <= MARKS | MARKED and lowered & MARKED)):
        asked = " or ".join(f"{posixpath.join(inside, f)}" for f in sorted(folders))
        raise FarfieldError(
            f"{source}: holds {' and '.join(f'{f}/' for f in sorted(folders))}, which are parts of a data set and no "
            f"classes; give {asked}"
        )
    if len(loose) > max(1, len(shown) // 100):
        raise FarfieldError(
            f"{source}: {len(loose)} images lie beside {len(folders)} folders of images ({some(sorted(folders))}); give "
            f"'{inside}/*' for those, '{inside}/*/**' for the folders, or '{inside}/**' for all"
        )
    return loose


def _is_data(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() not in BESIDE


def _counted(names: Sequence[str]) -> list[str]:
    count = Counter(posixpath.splitext(name)[1].lower() or "without an ending" for name in names)
    return [f"{n} {ending}" for ending, n in sorted(count.items())]


def _by_key(source: str, shown: dict[str, str]) -> dict[str, str]:
    """``{key: name}`` sorted by key: stems, and full names for those that share a stem."""
    names = list(shown)
    stems = [_stem(shown[name]) for name in names]
    count = Counter(stems)
    keys = [stem if count[stem] == 1 else shown[name] for name, stem in zip(names, stems, strict=True)]
    if len(set(keys)) < len(keys):  # a.png, a.jpg and a.png.gif, whose stem is a.png
        keys = [shown[name] for name in names]
    if twice := [key for key, n in Counter(keys).items() if n > 1]:
        raise FarfieldError(f"{source}: expected one image a name, found several called {some(twice)}; rename them")
    return dict(sorted(zip(keys, names, strict=True)))


def _stem(name: str) -> str:
    """Without its ending; that of fields may have two parts (``.fits.gz``)."""
    double = next((e for e in FIELDS if e.count(".") > 1 and name.lower().endswith(e)), None)
    return name[: -len(double)] if double else posixpath.splitext(name)[0]
