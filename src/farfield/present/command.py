"""The command line that a run's request came from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from farfield.present.words import setting

SOURCES: dict[str, tuple[str, ...]] = {
    "reconstruct": ("images",),
    "invert": ("images",),
    "expand": ("examples",),
    "analyse": ("examples",),
    "transfer": ("content", "style"),
    "prompt": (),
}
"""The commands whose line can be rebuilt, with the names in the request of their arguments after the model."""

FLAGS = {"n": "-n", "count": "--examples", "descriptors": "--descriptor", "prompts": "--prompt"}
"""Options that the request knows by another name than the command line."""

NO_FLAGS = {
    "command",
    "command_line",
    "model",
    "images",
    "examples",
    "content",
    "style",
    "level",
    "sigma",
    "most_references",
}


def command_line(request: Mapping[str, Any], n: int | None = None) -> str | None:
    """The command as the run kept it, or rebuilt from its settings; None where that cannot be done.

    Args:
        request: of ``config.json``.
        n: how many images were read, where the request does not say.
    """
    if given := request.get("command_line"):
        return given if isinstance(given, str) else shlex.join(map(str, given))
    command = str(request.get("command"))
    given = [request.get(name) for name in ("model", *SOURCES.get(command, ()))]
    if command not in SOURCES or not all(given):
        return None
    words = ["farfield", command, *map(str, given)]
    if command == "expand":
        sigma = request.get("level") if request.get("sigma") is None else request["sigma"]
        words += ["--sigma", "last" if sigma is None else setting(sigma)]
    elif request.get("sigma") is not None:
        words += ["--sigma", setting(request["sigma"])]
    if n and "n" not in request:
        words += ["--limit", str(n)]
    for name, value in request.items():
        if name not in NO_FLAGS and not name.endswith("_digest") and value is not None:
            words += _option(name, value)
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        if any(isinstance(v, str) for v in value):  # an option that may be repeated
            return [word for v in value for word in (flag, v)]
        return [flag, ",".join(setting(v) for v in value)]
    return [flag, setting(value)]
