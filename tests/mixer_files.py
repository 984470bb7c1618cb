"""Score networks as equinox writes them, and what they answer, evaluated in NumPy from the arrays of a file alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np


def arrays(
    patches: int = 4,
    channels: int = 1,
    patch: int = 2,
    width: int = 3,
    blocks: int = 2,
    hidden: tuple[int, int] = (5, 7),
    until: float = 10.0,
    seed: int = 0,
) -> list[np.ndarray]:
    """Random weights of a small network in the file's order, the end of time last; like a trained one it answers about -x."""
    g = np.random.default_rng(seed)

    def dense(rows: int, columns: int) -> list[np.ndarray]:
        return [g.normal(size=(rows, columns)) / columns**0.5, 0.1 * g.normal(size=rows)]

    made = [g.normal(size=(width, channels + 1, patch, patch)) / patch, 0.1 * g.normal(size=(width, 1, 1))]
    made += [0.1 * g.normal(size=(channels, width, patch, patch)), 0.1 * g.normal(size=(channels, 1, 1))]
    for _ in range(blocks):
        for size, inside in ((patches, hidden[0]), (width, hidden[1])):
            made += [*dense(inside, size), *dense(size, inside)]
        for shape in ((width, patches), (patches, width)):
            made += [1 + 0.1 * g.normal(size=shape), 0.1 * g.normal(size=shape)]
    made += [1 + 0.1 * g.normal(size=(width, patches)), 0.1 * g.normal(size=(width, patches))]
    return [*(part.astype(np.float32) for part in made), np.float64(until)]


def stream(parts: list[np.ndarray]) -> bytes:
    """The file."""
    out = io.BytesIO()
    for part in parts:
        np.save(out, part)
    return out.getvalue()


def write(path: Path, parts: list[np.ndarray]) -> Path:
    path.write_bytes(stream(parts))
    return path


def score(parts: list[np.ndarray], x: np.ndarray, time: float) -> np.ndarray:
    """The network's answer to ``[C, H, W]`` at a time, in float64; its transposed convolution is JAX's, by its definition:
    a correlation of the kernel with patches that are spread out, and padded by a kernel less one.
    """
    *parts, until = [np.asarray(part, dtype=np.float64) for part in parts]
    kernel, bias = parts[0], parts[1]
    patch, (_, height, columns) = kernel.shape[-1], x.shape
    rows, across = height // patch, columns // patch
    seen = np.concatenate([x, np.full((1, height, columns), time / until)])
    cells = seen.reshape(len(seen), rows, patch, across, patch)
    y = np.einsum("ciajb,wcab->wij", cells, kernel).reshape(len(kernel), -1) + bias[:, 0]
    at = 4
    while at + 2 < len(parts):
        block = parts[at : at + 12]
        y = y + _mlp(block[:4], _norm(y, *block[8:10]))
        y = y.T
        y = (y + _mlp(block[4:8], _norm(y, *block[10:12]))).T
        at += 12
    y = _norm(y, *parts[at:]).reshape(-1, rows, across)
    kernel, bias = parts[2], parts[3]
    spread = np.zeros((len(y), height + patch - 1, columns + patch - 1))
    spread[:, patch - 1 :: patch, patch - 1 :: patch] = y
    windows = np.lib.stride_tricks.sliding_window_view(spread, (patch, patch), (1, 2))
    return np.einsum("wijab,cwab->cij", windows, kernel) + bias


def _norm(y: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / np.sqrt(y.var() + 1e-5) * weight + bias


def _mlp(parts: list[np.ndarray], y: np.ndarray) -> np.ndarray:
    inside = np.maximum(y @ parts[0].T + parts[1], 0)
    return inside @ parts[2].T + parts[3]
