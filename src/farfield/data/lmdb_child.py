"""A process of its own that reads an LMDB file, because LMDB follows what a damaged one says until the system ends it.

Run as a script with the folder: it writes every key, then answers each key that it is given with its value. A message is
its length in 8 bytes (big-endian) and its bytes; END stands behind the keys. What LMDB reports goes to standard error.
"""

from __future__ import annotations

import signal
import struct
import sys
from typing import IO

END = (1 << 64) - 1
SILENCE = 120
"""Seconds without an answer after which a damaged file is held to go round in circles."""


def send(stream: IO[bytes], message: bytes) -> None:
    stream.write(struct.pack(">Q", len(message)) + message)


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None for END.

    Raises:
        EOFError: the other side is gone.
    """
    size = struct.unpack(">Q", _exactly(stream, 8))[0]
    return None if size == END else _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _watch(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)  # ends this process even inside LMDB


def serve(folder: str, asked: IO[bytes], answers: IO[bytes]) -> None:
    import lmdb

    _watch(SILENCE)
    with lmdb.open(folder, readonly=True, lock=False, readahead=False, create=False) as store:
        with store.begin() as read:
            last = b""
            for i, key in enumerate(read.cursor().iternext(values=False)):
                if key <= last:  # a tree that turns back on itself
                    raise lmdb.CorruptedError("its keys are not in order")
                send(answers, last := bytes(key))
                if i % 4096 == 0:
                    _watch(SILENCE)
        answers.write(struct.pack(">Q", END))
        answers.flush()
        while True:
            _watch(0)
            try:
                wanted = receive(asked) or b""
            except EOFError:
                return
            _watch(SILENCE)
            with store.begin() as read:
                send(answers, bytes(read.get(wanted, b"")))
            answers.flush()


if __name__ == "__main__":
    try:
        serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
    except Exception as error:
        sys.exit(str(error).splitlines()[0] if str(error) else type(error).__name__)
