"""A file from the network: resumed where it stopped, put in place when it is whole, and its sha256 kept beside it.

While a file comes in it is ``NAME.part``, and ``NAME.part.tag`` says which version of it this is the beginning of (the
server's ETag or date): a server that meanwhile has another one sends that whole. ``NAME.sha256``, as `sha256sum` writes it,
is what the file had when it came; a file that has another one later was changed.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from farfield.core.artifact import write_bytes
from farfield.core.cache import cache_folder as cache_folder
from farfield.core.disk import put
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress

WAIT: Final = 30  # seconds without an answer
BLOCK: Final = 1 << 20


def download(
    url: str, path: Path, *, sha256: str | None = None, check: Callable[[Path], Any] | None = None, quiet: bool = False
) -> str:
    """Bring a file to ``path``, unless it is there; its sha256.

    Args:
        sha256: what it must have; what is kept beside it if not given.
        check: reads the whole file before it is put in place, and raises FarfieldError where it is not what was wanted.

    Raises:
        FarfieldError: no network, no such file, a broken connection (the same call goes on from there), another sha256, or
            what ``check`` raises. Nothing is put in place then.
    """
    if path.is_file():
        digest = file_sha256(path, quiet=quiet)
        expected = sha256 or recorded_sha256(path)
        _compare(str(path), digest, expected, "delete it, with the .sha256 beside it, to fetch it anew")
    else:
        part = path.with_name(path.name + ".part")
        _receive(url, part, path, quiet)
        digest = file_sha256(part, quiet=quiet)
        try:
            _compare(url, digest, sha256, "nothing was kept; check the address")
            if check is not None:
                check(part)
        except FarfieldError as error:
            part.unlink()
            _tag(part).unlink(missing_ok=True)
            raise FarfieldError(f"{url}: not what was asked for. {error}") from error
        put(part, path)
        _tag(part).unlink(missing_ok=True)
    write_bytes(_record(path), f"{digest}  {path.name}\n".encode())
    return digest


def recorded_sha256(path: Path) -> str | None:
    """The sha256 that a file had when it was downloaded; None if that was not by `download`."""
    try:
        words = _record(path).read_text().split()
    except (OSError, UnicodeDecodeError):
        return None
    return words[0].lower() if words else None


def file_sha256(path: Path, *, quiet: bool = True) -> str:
    """sha256 of a file, with a bar where it is large."""
    digest, size = hashlib.sha256(), path.stat().st_size
    with (
        open(path, "rb") as f,
        progress(f"hashing {path.name}, MiB", size >> 20, quiet=quiet or size < 1 << 28) as advance,
    ):
        while block := f.read(BLOCK):
            digest.update(block)
            advance(1)
    return digest.hexdigest()


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _compare(where: str, digest: str, expected: str | None, advice: str) -> None:
    if expected is not None and digest != expected.lower():
        raise FarfieldError(f"{where}: expected sha256 {expected}, found {digest}; {advice}")


def _receive(url: str, part: Path, path: Path, quiet: bool) -> None:
    """All of a file into ``part``, going on from what is there if that is known to be its beginning."""
    tag = _tag(part)
    have = part.stat().st_size if part.is_file() and tag.is_file() else 0
    asked = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
    with _opened(url, asked, path) as answer:
        if have and answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            mode = "ab"
        elif have and answer.status in (206, 416):  # not the range that was asked for: begin again
            part.unlink()
            return _receive(url, part, path, quiet)
        else:
            have, mode = 0, "wb"
        total = have + int(answer.headers.get("Content-Length") or 0)
        done = have
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            tag.unlink(missing_ok=True)
            with (
                open(part, mode) as f,
                progress(f"downloading {path.name}, MiB", total >> 20, done=done >> 20, quiet=quiet) as advance,
            ):
                version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
                if version and not version.startswith("W/"):  # after the old beginning is gone
                    tag.write_text(version)
                for block in _blocks(answer, url):
                    f.write(block)
                    advance((done + len(block) >> 20) - (done >> 20))
                    done += len(block)
                f.flush()
                os.fsync(f.fileno())
        except OSError as error:
            raise FarfieldError(
                f"{part}: cannot be written ({error.strerror}); make room, or set FARFIELD_CACHE to another folder"
            ) from error
    if done < total:
        raise FarfieldError(
            f"{url}: expected {total} bytes, found {done}; the connection broke, give the same command again"
        )


def _opened(url: str, headers: dict[str, str], path: Path) -> Any:
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and headers:
            return error  # it is an answer too
        raise FarfieldError(
            f"{url}: cannot be downloaded (HTTP {error.code}, {error.reason}); check the address"
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FarfieldError(
            f"{url}: cannot be downloaded ({error}); on a machine with a network download it there, and copy it to {path}"
        ) from error


def _blocks(answer: Any, url: str) -> Iterator[bytes]:
    try:
        while block := answer.read(BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise FarfieldError(f"{url}: the connection broke ({error}); give the same command again to go on") from error
