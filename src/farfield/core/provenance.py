"""Where a generated file comes from: one record, written into every file that could be taken for an observation.

A PNG carries it as text chunks, an npz as JSON in an array ``provenance``, a FITS file as cards. It holds no date, so that
the same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import farfield

SYNTHETIC = "farfield_synthetic"
"""The key that marks a file's content as made by a model; its value is ``true``."""


@dataclass(frozen=True)
class Provenance:
    """What made a file: the command, the model by name and content, and the run.

    Attributes:
        model: its name; a path's last part alone, for where it lies says nothing.
        model_digest: sha256 of its weights and configurations.
        run: sha256 of the run's request, which holds everything that its results depend on.
    """

    command: str
    model: str = ""
    model_digest: str = ""
    run: str = ""

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Provenance:
        """Of a run, from the request in its ``config.json``."""
        given = request.get("model")
        model = given if isinstance(given, str) else ""  # a training's request describes a network that has no name yet
        return cls(
            str(request.get("command") or "run"),
            _printable(Path(model).name if os.path.exists(os.path.expanduser(model)) else model),
            str(request.get("model_digest") or ""),
            hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest(),
        )

    def record(self, key: str | None = None) -> dict[str, str]:
        """The record of a whole file; with ``key``, of one image, named by it.

        One image's leaves the run out: it depends on its seed and the model alone, and so do its file's bytes.
        """
        record = {
            SYNTHETIC: "true",
            "farfield_command": self.command,
            "farfield_version": farfield.__version__,
            "farfield_model": self.model,
            "farfield_model_sha256": self.model_digest,
            "farfield_run_sha256": "" if key is not None else self.run,
            "farfield_key": _printable(key or ""),
        }
        return {name: value for name, value in record.items() if value}

    def json(self) -> str:
        """The record of a whole file as JSON."""
        return json.dumps(self.record())


def _printable(name: str) -> str:
    """Names of files may be any bytes."""
    return name.encode(errors="replace").decode()
