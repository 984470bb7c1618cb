"""``--dtype auto``: bfloat16 where a model is quicker in it on this machine and makes nearly the same images, float32 elsewhere.

Found by a short probe of speed and error, said, and kept beside the downloads: the same command goes on with what it began in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.settings import Settings
from farfield.core.cache import cache_folder
from farfield.core.disk import write_bytes
from farfield.core.error import DamagedError, NonFiniteError
from farfield.core.json_file import read_json
from farfield.core.runtime import Ranks
from farfield.core.terminal import tell
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.study.bench.numerics import load_model

QUICKER: Final = 1.2
"""How many times as quick bfloat16 has to be."""
NEAR: Final = 0.02
"""The most that its images may be off, in RMS relative to float32's."""
ROWS, STEPS, TURNS = 8, 8, 2


def decided(settings: Settings) -> Settings:
    """Settings with ``auto`` for their precision, with what it comes to in its place."""
    path = next(path for path in settings.values() if path[-1] == "dtype")
    ranks = Ranks.current()
    low = ranks.same(settings.only_makes and ranks.main and _quicker(settings, path))
    return _replaced(settings, path, "bfloat16" if low else "float32")


def _quicker(settings: Any, path: Sequence[str]) -> bool:
    ways = [_replaced(settings, path, dtype) for dtype in ("float32", "bfloat16")]
    exact, low = (load_model(way.model, way.loading) for way in ways)
    if not any(True for _ in exact.parameters()):
        return False
    key = f"{model_digest(settings.model)} {_machine(exact.device)} torch {torch.__version__}"
    kept = cache_folder() / "precision.json"
    known: dict[str, Any] = {}
    try:
        known = dict(read_json(kept))
        found = Probe(**known[key])
    except (DamagedError, KeyError, TypeError, ValueError):
        found = probe(exact, low)
        with contextlib.suppress(OSError):  # else it is probed again the next time
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, json.dumps({**known, key: vars(found)}, indent=1).encode())
    enough = found.quicker >= QUICKER and found.off <= NEAR
    taken = "bfloat16" if enough else "float32"
    tell(
        f"--dtype auto: {taken}; bfloat16 takes {1 / found.quicker:.2g} of float32's time here, images {found.off:.1%} off"
    )
    return enough


@dataclass(frozen=True)
class Probe:
    """How many times as quick a model is in bfloat16, and how far its images are off float32's, in RMS and relative to it."""

    quicker: float
    off: float


def probe(exact: Denoiser, low: Denoiser) -> Probe:
    """Of one model in float32 and in bfloat16: a few images of the same noise in a few steps, by turns."""
    seconds: dict[Denoiser, list[float]] = {exact: [], low: []}
    images: dict[Denoiser, Tensor] = {}
    sigmas = exact.schedule.sigmas(STEPS)
    for _ in range(TURNS + 1):  # the first is a warm-up
        for denoiser, spent in seconds.items():
            start = time.perf_counter()
            try:
                images[denoiser] = generate(denoiser, range(ROWS), sigmas, device=denoiser.device).cpu()
            except NonFiniteError:
                return Probe(1.0, 1.0)
            spent.append(time.perf_counter() - start)
    off = (images[low] - images[exact]).square().mean() / images[exact].square().mean()
    first, second = (statistics.median(spent[1:]) for spent in seconds.values())
    return Probe(first / second, float(off.sqrt()))


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()} x {torch.get_num_threads()}"


def _replaced(settings: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(settings, **{first: _replaced(getattr(settings, first), rest, value) if rest else value})
