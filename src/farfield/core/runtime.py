"""Where and how a computation runs: device, precision, ranks, seeds, progress."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.progress import Advance as Advance
from farfield.core.progress import shown


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` (cuda, then mps, then cpu), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Under several processes, ``auto`` and ``cuda`` mean this process's own GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise FarfieldError(f"device {name!r}: expected auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise FarfieldError(
                f"device {name!r}: this machine has no CUDA device (or torch was built without CUDA); use --device cpu"
            )
        index = Ranks.current().local if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise FarfieldError(f"device {name!r}: only {torch.cuda.device_count()} CUDA device(s) here; use cuda:0")
        device = torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise FarfieldError("device 'mps': no Metal device here; use --device cpu")
    return device


def resolve_dtype(name: str) -> torch.dtype:
    """Precision of the network's weights and activations; solver states are kept in float64 (float32 on mps).

    ``auto`` is float32 wherever nobody has found another (`study.precision`).
    """
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
    known["auto"] = torch.float32
    if name not in known:
        raise FarfieldError(f"dtype {name!r}: expected one of {', '.join(known)}")
    return known[name]


def state_dtype(device: torch.device) -> torch.dtype:
    """The widest float that the device has: Metal has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextlib.contextmanager
def exact_matmul() -> Iterator[None]:
    """TF32 off while inside: its 10-bit mantissa alone ruins a round trip."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def generator(seed: int, stream: str = "") -> torch.Generator:
    """The random numbers of one seed, drawn on the CPU so that no device or batch changes them.

    The unnamed stream is ``manual_seed(seed)``, the field's habit; named streams of one seed (a sampler's choices, a
    solver's noise) are independent of it and of each other through numpy's ``SeedSequence``.
    """
    if seed < 0:
        raise FarfieldError(f"seed {seed}: expected a whole number of at least 0")
    if stream:
        words = np.random.SeedSequence([seed, zlib.crc32(stream.encode(errors="surrogateescape"))]).generate_state(
            2, np.uint32
        )
        seed = int(words[0]) << 31 | int(words[1]) >> 1
    return torch.Generator("cpu").manual_seed(seed)


def seeded_noise(seeds: Sequence[int], shape: Sequence[int], stream: str = "") -> Tensor:
    """Standard normal noise ``[len(seeds), *shape]`` float32; row i depends on ``seeds[i]`` alone."""
    rows = [torch.randn(tuple(shape), generator=generator(s, stream)) for s in seeds]
    return torch.stack(rows) if rows else torch.empty((0, *shape))


@dataclass(frozen=True)
class Ranks:
    """The processes that share a job: work is given out by position, so results equal those of one process."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @staticmethod
    def current() -> Ranks:
        """As torchrun or ``accelerate launch`` set it; one process otherwise.

        Raises:
            FarfieldError: the variables of a launcher contradict each other, or some are missing.
        """
        world = _told("WORLD_SIZE", 1)
        if world == 1:
            return Ranks()
        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
            raise FarfieldError(
                f"environment variable WORLD_SIZE={world} without {' and '.join(missing)}: expected all that torchrun or "
                "`accelerate launch` sets; start the command with one of these, or unset WORLD_SIZE for one process"
            )
        rank, local = _told("RANK", 0), _told("LOCAL_RANK", 0)
        if not 0 <= rank < world or not 0 <= local < world:
            raise FarfieldError(
                f"environment variables WORLD_SIZE={world}, RANK={rank} and LOCAL_RANK={local}: expected ranks from 0 to "
                f"{world - 1}; start the command with torchrun or `accelerate launch`, or unset WORLD_SIZE for one process"
            )
        return Ranks(rank, world, local)

    @property
    def main(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here; the first time, this is what makes them a group, of CPUs and of GPUs."""
        if self.world == 1:
            return
        if not torch.distributed.is_initialized():
            backend = "gloo"
            if torch.cuda.is_available():
                backend = "cpu:gloo,cuda:nccl"
                torch.cuda.set_device(self.local % torch.cuda.device_count())
            # torch gives up after 10 to 30 minutes, but a tuning or a last shard that the others wait for may take hours
            torch.distributed.init_process_group(backend, timeout=timedelta(days=7))
        torch.distributed.barrier()

    def same(self, answer: bool) -> bool:
        """The main process's answer, in every process."""
        if self.world == 1:
            return answer
        self.wait()
        held = torch.tensor(int(answer))
        torch.distributed.broadcast(held, 0)
        return bool(held)


def _told(name: str, default: int) -> int:
    """A whole number from the environment, where a launcher may have left it empty."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"\d{1,6}", text) or (name == "WORLD_SIZE" and int(text) == 0):
        raise FarfieldError(
            f"environment variable {name}={text!r}: expected a whole number, as a launcher sets it; unset it for one process"
        )
    return int(text)


@contextlib.contextmanager
def progress(label: str, total: int, *, done: int = 0, quiet: bool = False) -> Iterator[Advance]:
    """How far a stage is, from the main process only (`core.progress`)."""
    if quiet or not Ranks.current().main:
        yield lambda n: None
        return
    with shown(label, total, done) as advance:
        yield advance
