"""``--dtype auto``: bfloat16 where a model is quicker in it on this machine and makes nearly the same images, float32 elsewhere.

Found by a short probe of speed and error, said, and kept beside the downloads.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import statistics
import time
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.settings import Settings
from farfield.core.cache import cache_folder
from farfield.core.disk import write_bytes
from farfield.core.error import DamagedError, FarfieldError
from farfield.core.json_file import read_json
from farfield.core.progress import current
from farfield.core.runtime import Ranks, resolve_device
from farfield.core.terminal import tell
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.study.bench.numerics import load_model

QUICKER: Final = 1.2
"""How many times as quick bfloat16 has to be."""
NEAR: Final = 0.02
"""What its images have to be less off by, in RMS relative to float32's about their means."""
ROWS, STEPS, TURNS = 8, 8, 2


def decided(settings: Settings) -> Settings:
    """Settings with ``auto`` for their precision, with what it comes to in its place; a dry run probes nothing."""
    ranks, low = Ranks.current(), False
    if settings.only_makes and not current().dry:
        with contextlib.suppress(FarfieldError):  # a model that cannot be loaded: the study says so, in every process
            low = ranks.main and _quicker(settings)
        low = ranks.same(low)
    if not settings.only_makes and ranks.main:
        tell("farfield: --dtype auto: float32; only where images are made is bfloat16 considered (generate, expand)")
    return settings.but(dtype="bfloat16" if low else "float32")


def _quicker(settings: Any) -> bool:
    key = f"{model_digest(settings.model)} {_machine(settings.loading.device)} torch {torch.__version__}"
    kept = cache_folder() / "precision.json"
    known: dict[str, Any] = {}
    try:
        if isinstance(read := read_json(kept), dict):
            known = read
        found = Probe(**known[key])
    except (DamagedError, KeyError, TypeError, ValueError):
        exact, low = (load_model(settings.model, settings.but(dtype=d).loading) for d in ("float32", "bfloat16"))
        if not any(True for _ in exact.parameters()):
            return False
        found = probe(exact, low, min(ROWS, settings.loading.batch_size))
        with contextlib.suppress(OSError, FarfieldError):  # else it is probed again the next time
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, json.dumps({**known, key: vars(found)}, indent=1).encode())
    enough = found.quicker >= QUICKER and found.off < NEAR
    taken, times = "bfloat16" if enough else "float32", f"{1 / found.quicker:.2g} times float32's time"
    tell(
        f"farfield: --dtype auto: {taken}; bfloat16 takes {times} here, and its images are {found.off:.1%} off float32's"
    )
    return enough


@dataclass(frozen=True)
class Probe:
    """How many times as quick a model is in bfloat16, and how far its images are off float32's, in RMS relative to these.

    Raises:
        ValueError: numbers that no probe finds.
    """

    quicker: float
    off: float

    def __post_init__(self) -> None:
        for value in (self.quicker, self.off):
            if not isinstance(value, float) or not math.isfinite(value):
                raise ValueError(value)
        if self.quicker <= 0 or self.off < 0:
            raise ValueError(self)


def probe(exact: Denoiser, low: Denoiser, rows: int = ROWS) -> Probe:
    """Of one model in float32 and in bfloat16: a few images of the same noise in a few steps, by turns.

    What cannot be made in bfloat16 is all wrong.
    """
    seconds: dict[Denoiser, list[float]] = {exact: [], low: []}
    images: dict[Denoiser, Tensor] = {}
    sigmas = _few(exact)
    for _ in range(TURNS + 1):  # the first is a warm-up
        for denoiser, spent in seconds.items():
            start = time.perf_counter()
            try:
                images[denoiser] = generate(denoiser, range(rows), sigmas, device=denoiser.device).cpu()
            except Exception:  # networks of others raise almost anything
                if denoiser is exact:
                    raise
                return Probe(1.0, 1.0)
            spent.append(time.perf_counter() - start)
    of = images[exact]
    off = (images[low] - of).square().mean() / (of - of.flatten(1).mean(1).reshape(-1, 1, 1, 1)).square().mean()
    first, second = (statistics.median(spent[1:]) for spent in seconds.values())
    return Probe(first / second, float(off.sqrt().nan_to_num(1.0, 1.0)))


def _few(denoiser: Denoiser) -> Tensor:
    """STEPS of a model's levels, or as many as it has."""
    for steps in range(STEPS, 1, -1):
        with contextlib.suppress(FarfieldError):
            return denoiser.schedule.sigmas(steps)
    return denoiser.schedule.sigmas(1)


def _machine(name: str) -> str:
    device = resolve_device(name)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kind = f"{platform.node()} {device.type} {platform.machine()}"
    return f"{kind} {torch.backends.cpu.get_cpu_capability()} x {torch.get_num_threads()}"
