"""The state of a long job, to be continued from: tensors and a JSON header in one safetensors file, tied to its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from farfield.core.artifact import made_again, tensor_bytes, write_bytes
from farfield.core.error import DamagedError, FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.tensor_file import open_tensors

State = tuple[dict[str, Any], dict[str, Tensor]]
"""The plain part and the tensors."""


def write_state(
    path: Path, kind: str, settings: Mapping[str, Any], plain: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Put a state in place at once.

    Args:
        kind: of job, such as ``training``.
        settings: what decides the job; a state is only ever continued under the same.
        plain: what else it must know, JSON values only.
    """
    from safetensors.torch import save

    header = {"kind": kind, "settings": settings, "plain": plain}
    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    told = {**header, "sha256": _digest(header, contiguous)}
    write_bytes(path, save(contiguous, metadata={"farfield": json.dumps(told)}))


def resume(path: Path, kind: str, settings: Mapping[str, Any]) -> State | None:
    """The state to go on from; None, to begin anew, where there is none, or a damaged one, which is said.

    Raises:
        FarfieldError: of a job with other settings.
    """
    if not path.exists():
        return None
    try:
        return read_state(path, kind, settings)
    except DamagedError:
        made_again(path)
        return None


def read_state(path: Path, kind: str, settings: Mapping[str, Any]) -> State:
    """A state. Those of versions without a checksum are read as they are.

    Raises:
        DamagedError: not the state of such a job, or damaged.
        FarfieldError: of a job with other settings.
    """
    from safetensors import SafetensorError

    try:
        with open_tensors(path) as f:
            header = parse_json((f.metadata() or {})["farfield"])
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
        digest = header.pop("sha256", None)
        if digest not in (None, _digest(header, tensors)):
            raise ValueError("its checksum differs")
        found, plain = dict(header["settings"]), dict(header["plain"])
        if header["kind"] != kind:
            raise ValueError(f"it is of a {header['kind']}")
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedError(
            f"{path}: expected the state of a {kind}, found another file or damage ({error}); delete it to start anew"
        ) from error
    wanted = json.loads(json.dumps(settings))
    changed = [k for k in {**wanted, **found} if found.get(k) != wanted.get(k)]
    if changed:
        raise FarfieldError(
            f"{path}: a {kind} with other settings ({changed[0]} was {found.get(changed[0])!r}, now "
            f"{wanted.get(changed[0])!r}); give the same ones to continue it, or another place for it"
        )
    return plain, tensors


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the header and every tensor's name, shape, dtype and bytes."""
    h = hashlib.sha256(json.dumps(header).encode())
    for name, values in sorted(tensors.items()):
        h.update(json.dumps([name, list(values.shape), str(values.dtype)]).encode())
        h.update(tensor_bytes(values))
    return h.hexdigest()
