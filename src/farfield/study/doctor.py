"""`farfield doctor`: what this machine and this installation are, for a report of a problem."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from farfield import __version__
from farfield.command.first import Doctor
from farfield.core.cache import cache_folder
from farfield.core.terminal import table

HEARD = (
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "WORLD_SIZE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "FARFIELD_CACHE",
    "TMPDIR",
)
"""Variables of the environment that change what happens."""


@dataclass(frozen=True)
class Findings:
    """By heading: pairs of what was looked at and what was found."""

    found: dict[str, dict[str, str]]

    def to_json(self) -> dict[str, Any]:
        return self.found

    def __str__(self) -> str:
        rows = [
            [name if i == 0 else "", *pair] for name, part in self.found.items() for i, pair in enumerate(part.items())
        ]
        return table(["", "", ""], rows)


def doctor(settings: Doctor) -> Findings:
    """Look at everything; nothing is changed."""
    needed, extras = _requirements()
    return Findings(
        {
            "farfield": {"version": __version__, "python": platform.python_version(), "system": platform.platform()},
            "packages": {name: _version(name) or "missing: pip install " + name for name in needed},
            "devices": dict(_devices()),
            "cache": dict(_cache()),
            "extras": {name: _extra(packages) for name, packages in extras.items()},
            "environment": {name: os.environ[name] for name in HEARD if name in os.environ} or {"": "nothing set"},
        }
    )


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The packages that farfield needs, and those of each of its extras."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in metadata.requires("farfield") or []:
        match = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if match and match[0] != "farfield" and not extra:
            needed.append(match[0])
        elif match and match[0] != "farfield" and extra and extra[1] != "dev":
            extras.setdefault(extra[1], []).append(match[0])
    return needed, extras


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extra(packages: list[str]) -> str:
    found = {package: _version(package) for package in packages}
    if missing := [package for package, version in found.items() if version is None]:
        return f"missing: pip install {' '.join(missing)}"
    return ", ".join(f"{package} {version}" for package, version in found.items())


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    yield (
        "cpu",
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch, {torch.backends.cpu.get_cpu_capability()}",
    )
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{about.name}, {about.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    if torch.backends.mps.is_available():
        yield "mps", "Metal"


def _cache() -> Iterator[tuple[str, str]]:
    folder = cache_folder()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    place = next(part for part in (folder, *folder.parents) if part.is_dir())
    yield "folder", f"{folder}, {len(files)} files, {sum(path.stat().st_size for path in files) / 1e9:.1f} GB"
    yield "free", f"{shutil.disk_usage(place).free / 1e9:.0f} GB"
