"""`farfield ui`: what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from farfield.command.option import Option
from farfield.command.settings import Settings


@dataclass(frozen=True)
class Ui(Settings):
    """Open farfield in a browser: pages on this machine alone, at an address that only you have.

    Nothing that it does leaves the machine: fetch models and descriptors before, with `farfield fetch`.
    """

    wing: ClassVar[str] = "Runs"
    epilog: ClassVar[tuple[str, ...]] = ("farfield ui --open", "farfield ui -o my-runs --port 8000")

    folder: Annotated[Path, Option("The folder for its runs and for what is dropped on it.", "-o", "--out")] = Path(
        "runs"
    )
    port: Annotated[int, Option("The port on 127.0.0.1.", least=0, most=65535, default="any that is free")] = 0
    most: Annotated[int, Option("The most that is dropped on a page at a time, in MiB.", "--upload", least=1)] = 1024
    show: Annotated[bool, Option("Open it in the browser.", "--open")] = False
