"""A run of a page in a process of its own: ``python -m farfield.ui.work BASE WORDS…``, as ``farfield WORDS…`` would do it.

Each line of standard output is a JSON object: where the run goes, how far it is, what it ended with. Standard error is what the
command line would say there. The process ends when standard input does, so that no run outlives its page.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final, TextIO

from farfield.api.call import told
from farfield.cli.failure import failure
from farfield.command.commands import read_line
from farfield.core.error import FarfieldError, OtherRunError
from farfield.core.progress import current
from farfield.core.run_folder import is_free
from farfield.study.folder import usable
from farfield.study.perform import Done, perform
from farfield.ui.guard import offline

EVERY: Final = 0.25  # seconds between two looks at how far it is


def main() -> None:
    """Do what the command line says."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever is printed goes with what is said
    threading.Thread(target=_end_with_input, daemon=True).start()
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(out, over), daemon=True)
    watch.start()
    try:
        with offline(), told():
            done = _perform(Path(sys.argv[1]), sys.argv[2:], out)
        last: dict[str, Any] = {"lines": [str(line) for line in done.lines], "page": done.page is not None}
    except Exception as error:
        last = {"error": failure(error)[0]}
    over.set()
    watch.join()
    _tell(out, **last)


def _perform(base: Path, words: list[str], out: TextIO) -> Done:
    """Of a run the folder is that in which its settings were begun, or the next free one."""
    command, rest = read_line(words)
    settings = command.settings.of(**command.settings.parse(rest))
    if command.result is None:
        return perform(command, settings)
    for folder in usable(base, settings):
        _tell(out, folder=str(folder))
        try:
            return perform(command, settings, folder)
        except OtherRunError:  # the same settings on other data
            if is_free(folder):
                raise
    raise FarfieldError(f"{base}: there is no free folder beside it")


def _watch(out: TextIO, over: threading.Event) -> None:
    while not over.wait(EVERY):
        meter = current()
        with contextlib.suppress(KeyError, ValueError):  # the stage has just changed
            if meter.label:
                _tell(out, title=meter.title, share=meter.share, left=meter.left)


def _tell(out: TextIO, **said: Any) -> None:
    out.write(json.dumps(said) + "\n")
    out.flush()


def _end_with_input() -> None:
    while os.read(0, 1):  # sys.stdin would be locked as the interpreter ends
        pass
    os._exit(130)


if __name__ == "__main__":
    main()
