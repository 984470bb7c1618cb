"""Files in the format of EDM's training loop, of networks of ours: what their pickles refer to, and nothing of what it is there.

``torch_utils.persistence`` and ``dnnlib.util`` exist while a file is written, so that the pickle can name what is in them, and at
no other time.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

CLASSES = {"ADMUNet": "DhariwalUNet", "Block": "UNetBlock"}
"""Ours that are called otherwise there."""


class EasyDict(dict[str, Any]):
    """Their kind of dictionary."""


EasyDict.__module__ = "dnnlib.util"


class Saved:
    """A persistent object: pickled as a call with its class's name, its source, and its ``__dict__``."""

    def __init__(self, title: str, state: dict[str, Any], source: str = "raise SystemExit('this must not run')"):
        self.title, self.state, self.source = title, state, source

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.title, "state": self.state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def module_state(module: nn.Module | None = None, **others: Any) -> dict[str, Any]:
    """The ``__dict__`` of a module; its own modules are saved the same way, but for torch's containers, which are themselves."""
    parts = {} if module is None else dict(module.named_children())
    return {
        "training": False,
        "_parameters": OrderedDict({} if module is None else module._parameters),
        "_buffers": OrderedDict({} if module is None else module._buffers),
        "_non_persistent_buffers_set": set(),
        "_forward_hooks": OrderedDict(),
        "_modules": OrderedDict((name, saved_module(part)) for name, part in parts.items()),
        **others,
    }


def saved_module(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """A module as it stands in a file, with the arguments that it was made with."""
    if isinstance(module, nn.ModuleDict):
        container = nn.ModuleDict()
        container._modules = {name: saved_module(part) for name, part in module.items()}
        return container
    title = type(module).__name__
    told = {"_init_args": args, "_init_kwargs": kwargs}
    if title == "Block":
        told["skip_scale"] = np.sqrt(0.5)
    return Saved(CLASSES.get(title, title), module_state(module, **told))


def levels(steps: int = 1000, c1: float = 0.001, c2: float = 0.008) -> torch.Tensor:
    """The levels of iDDPM from the highest down to 0: table 1 of arXiv 2206.00364, in float64, ``[steps + 1]``."""
    signal = torch.sin(torch.arange(steps + 1, dtype=torch.float64) / steps / (c2 + 1) * torch.pi / 2) ** 2
    u = torch.zeros(steps + 1, dtype=torch.float64)
    for j in range(steps, 0, -1):
        u[j - 1] = ((u[j] ** 2 + 1) / (signal[j - 1] / signal[j]).clamp(min=c1) - 1).sqrt()
    return u


def saved_model(title: str, network: nn.Module, config: dict[str, Any], *, labels: int = 0, **own: Any) -> Saved:
    """A preconditioned network of ours under the names of EDM's classes; ``own`` are the arguments of the outer one."""
    inner = {name: value for name, value in config.items() if name != "kind"}
    shared = {"img_resolution": config["img_resolution"], "img_channels": config["in_channels"], "label_dim": labels}
    around = ("img_resolution", "in_channels", "out_channels", "label_dim")
    given = {**shared, **own, **{name: value for name, value in inner.items() if name not in around}}
    state = module_state(**shared, use_fp16=False, **own, _init_args=(), _init_kwargs=given)
    state["_modules"]["model"] = saved_module(network, **inner)
    if title == "iDDPMPrecond":
        state["_buffers"]["u"] = levels(own.get("M", 1000), own.get("C_1", 0.001), own.get("C_2", 0.008)).float()
    return Saved(title, state)


@contextlib.contextmanager
def written_there() -> Iterator[None]:
    """The modules that these pickles name, while they are written."""
    persistence, util = ModuleType("torch_utils.persistence"), ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("a file was run")

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    util.EasyDict = EasyDict  # type: ignore[attr-defined]
    made = {m.__name__: m for m in (ModuleType("torch_utils"), persistence, ModuleType("dnnlib"), util)}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def write_pickle(path: Path, root: Any) -> Path:
    """A bare pickle of anything."""
    with written_there(), path.open("wb") as file:
        pickle.dump(root, file)
    return path


def write_snapshot(path: Path, ema: Saved, **others: Any) -> Path:
    """``network-snapshot-*.pkl``: the average, and what it was trained with."""
    data = EasyDict(class_name="training.dataset.ImageFolderDataset", path="images.zip", resolution=8, max_size=None)
    told = {"ema": ema, "loss_fn": Saved("EDMLoss", {"P_mean": -1.2}), "augment_pipe": None, "dataset_kwargs": data}
    return write_pickle(path, {**told, **others})


def write_training_state(path: Path, net: Saved) -> Path:
    """``training-state-*.pt``: the network as it is trained, and its optimizer."""
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = torch.optim.Adam([weight])
    optimizer.step()
    with written_there():
        torch.save({"net": net, "optimizer_state": optimizer.state_dict()}, path)
    return path
