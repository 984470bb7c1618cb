"""The state of a long job, to be continued from: tensors and a JSON header in one safetensors file, tied to its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from farfield.core.artifact import made_again, tensor_bytes, write_bytes
from farfield.core.error import DamagedError, FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.tensor_file import open_tensors

State = tuple[dict[str, Any], dict[str, Tensor]]
"""The plain part and the tensors."""


@dataclass(frozen=True)
class StateFile:
    """Where a job of a kind, such as ``training``, keeps its state. One is only ever continued under the same settings."""

    path: Path
    kind: str

    def write(self, settings: Mapping[str, Any], plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Put a state in place at once.

        Args:
            settings: what decides the job.
            plain: what else it must know, JSON values only.
        """
        from safetensors.torch import save

        header = {"kind": self.kind, "settings": settings, "plain": plain}
        contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        header["sha256"] = _digest(header, contiguous)
        write_bytes(self.path, save(contiguous, metadata={"farfield": json.dumps(header)}))

    def resume(self, settings: Mapping[str, Any]) -> State | None:
        """The state to go on from; None, to begin anew, where there is none, or a damaged one, which is said.

        Raises:
            FarfieldError: of a job with other settings.
        """
        if not self.path.exists():
            return None
        try:
            return self.read(settings)
        except DamagedError:
            made_again(self.path)
            return None

    def read(self, settings: Mapping[str, Any]) -> State:
        """A state. Those of versions without a checksum are read as they are.

        Raises:
            DamagedError: not the state of such a job, or damaged.
            FarfieldError: of a job with other settings.
        """
        from safetensors import SafetensorError

        path, kind = self.path, self.kind
        try:
            with open_tensors(path) as f:
                header = parse_json((f.metadata() or {})["farfield"])
                tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
            digest = header.pop("sha256", None)
            if digest not in (None, _digest(header, tensors)):
                raise ValueError("its checksum differs")
            kept, plain = dict(header["settings"]), dict(header["plain"])
            if header["kind"] != kind:
                raise ValueError(f"it is of a {header['kind']}")
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DamagedError(
                f"{path}: expected the state of a {kind}, found another file or damage ({error}); delete it to start anew"
            ) from error
        wanted = json.loads(json.dumps(settings))
        changed = [k for k in {**wanted, **kept} if kept.get(k) != wanted.get(k)]
        if changed:
            raise FarfieldError(
                f"{path}: a {kind} with other settings ({changed[0]} was {kept.get(changed[0])!r}, now "
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
