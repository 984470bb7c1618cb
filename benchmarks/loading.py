"""What it costs to open a file of each family that is read here without running it, beside ``torch.load`` of the same file.

Files of every family are made on the fly, with random weights under that family's names. Each load has a process of its own, by
turns (run as a module, this one prints what it took): farfield's ends with a denoiser in float32, torch's with the state dict
alone, which is not yet a network. Memory is what the peak resident size has grown by since everything was imported.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.peak import peak_bytes
from benchmarks.table import format_table
from farfield.checkpoints.foreign import open_checkpoint
from farfield.core.runtime import progress

Figures = dict[str, Any]
OURS, TORCH = "farfield", "torch.load"


def measure(width: int = 128, repetitions: int = 5) -> Figures:
    """Medians of the loads of each family, by turns.

    Args:
        width: channels of the U-Nets at full resolution, and an eighth of the transformers' width times three; a multiple of 64.
    """
    rows = []
    with progress("loading", repetitions * len(FAMILIES)) as advance, tempfile.TemporaryDirectory() as folder:
        for name, made in FAMILIES.items():
            path = Path(folder) / "model.pt"
            content, answers = made(width)
            torch.save(content, path)
            del content
            found: dict[str, list[list[float]]] = {OURS: [], TORCH: []}
            for _ in range(repetitions):
                for load, each in found.items():
                    command = [sys.executable, "-m", "benchmarks.loading", load, str(path), json.dumps(answers)]
                    each.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
                advance(1)
            parameters = int(found[OURS][0][2])
            if not parameters <= found[TORCH][0][2]:
                raise SystemExit(f"loading: {name}: the denoiser has more weights than its file")
            rows.append(
                {
                    "family": name,
                    "parameters": parameters,
                    "file_bytes": path.stat().st_size,
                    **{
                        f"{key}_{what}": statistics.median(one[place] for one in each)
                        for (key, each), (what, place) in (
                            ((key, each), pair)
                            for key, each in (("ours", found[OURS]), ("torch", found[TORCH]))
                            for pair in (("seconds", 0), ("peak_bytes", 1))
                        )
                    },
                }
            )
    return {"width": width, "repetitions": repetitions, "rows": rows}


def load_alone(load: str, path: Path, answers: dict[str, Any]) -> list[float]:
    """Seconds, bytes and the number of weights of one load, in this process."""
    if load == OURS:
        import diffusers

        from farfield.checkpoints import ddpm, guided, ldm, lucid, score_sde, transformer  # noqa: F401  not what is measured
        from farfield.networks import build  # noqa: F401

        for name in ("UNet2DModel", "VQModel"):
            getattr(diffusers, name)
        before, start = peak_bytes(), time.perf_counter()
        denoiser = open_checkpoint(path, answers).denoiser()
        seconds, held = time.perf_counter() - start, peak_bytes() - before
        return [seconds, held, sum(p.numel() for p in denoiser.network.parameters())]  # type: ignore[union-attr, operator]
    before, start = peak_bytes(), time.perf_counter()
    content = torch.load(path, weights_only=True)
    seconds, held = time.perf_counter() - start, peak_bytes() - before
    return [seconds, held, sum(t.numel() for t in _tensors(content))]


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _tensors(value)


def _guided(width: int, **flags: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from tests.guided_files import Flags, weights

    chosen = Flags(
        width=width,
        multipliers=(1, 2, 2, 2),
        blocks=2,
        attention=(2,),
        **{"learned": False, "head_channels": 32, **flags},
    )
    return weights(chosen), {**chosen.answers(), "size": 32}


def _flow(width: int) -> tuple[Any, dict[str, Any]]:
    """torchcfm's: the network and its average."""
    state, answers = _guided(width)
    told = {key: answers[key] for key in ("size", "head_channels", "order")}
    return {"net_model": state, "ema_model": {k: 1 * v for k, v in state.items()}, "step": 1}, told


def _lucid(width: int) -> tuple[Any, dict[str, Any]]:
    from tests.lucid_files import Flags, weights

    wide = {"heads": (4,) * 4, "wide": (32,) * 4, "full": (False, False, False, True)}
    state = weights(Flags(dim=width // 2, first=width // 2, multipliers=(1, 2, 4, 8), **wide))  # type: ignore[arg-type]
    return state, {"size": 32, "prediction": "epsilon", "schedule": "sigmoid", "steps": 1000}


def _score_sde(width: int) -> tuple[Any, dict[str, Any]]:
    from tests.sde_files import Flags, random_state

    flags = Flags(width=width, multipliers=(1, 2, 2, 2), blocks=2, fourier=False, shown="none", fir=False)
    state = {name: tensor.float() for name, tensor in random_state(flags).items() if name != "sigmas"}
    return state, {"size": 32, "sde": "vp"}


def _transformer(layout: str, **answers: Any) -> Callable[[int], tuple[Any, dict[str, Any]]]:
    def made(width: int) -> tuple[Any, dict[str, Any]]:
        from tests import transformer_files as files

        wide = 3 * width
        flags = files.Flags(
            side=32,
            width=wide,
            blocks=6 if layout == "dit_layout" else 5,
            heads=wide // 32,
            hidden=4 * wide,
            learned=False,
        )
        return files.weights(getattr(files, layout)(flags)), {"heads": wide // 32, **answers}

    return made


def _ldm(width: int) -> tuple[Any, dict[str, Any]]:
    """An unconditional one with a VQModel."""
    from diffusers import VQModel

    from tests.ldm_files import coder_names, single

    state, _ = _guided(width, scale_shift=False, resample="conv")
    coder = VQModel(
        block_out_channels=(width // 2, width),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=2,
        num_vq_embeddings=256,
    )
    answers = {"size": 64, "head_channels": 32, "beta_end": 0.0195}
    return {"state_dict": single(state, coder_names(coder))}, answers


FAMILIES: dict[str, Callable[[int], tuple[Any, dict[str, Any]]]] = {
    "guided-diffusion": _guided,
    "flow matching (torchcfm)": _flow,
    "lucidrains": _lucid,
    "score_sde": _score_sde,
    "DiT": _transformer("dit_layout", prediction="epsilon"),
    "SiT": _transformer("dit_layout", prediction="flow"),
    "U-ViT": _transformer("uvit_layout", schedule="sde"),
    "LDM (VQ)": _ldm,
}


def show(figures: Figures) -> str:
    mega = 2**20
    rows = [
        [
            row["family"],
            f"{row['parameters']:,}",
            f"{row['file_bytes'] / mega:.0f}",
            *(f"{row[f'{who}_seconds']:.2f}" for who in ("ours", "torch")),
            *(f"{row[f'{who}_peak_bytes'] / mega:.0f}" for who in ("ours", "torch")),
        ]
        for row in figures["rows"]
    ]
    return format_table(
        f"Loading: a file of each family, median of {figures['repetitions']} processes",
        ["family", "weights", "file MiB", "farfield s", "torch s", "farfield peak MiB", "torch peak MiB"],
        rows,
        [
            "farfield: to a denoiser, of the average where there is one. torch: torch.load(weights_only=True), no network made.",
            "farfield maps the file: its pages, which the system may drop at any time, are counted.",
        ],
    )


if __name__ == "__main__":
    print(json.dumps(load_alone(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))))
