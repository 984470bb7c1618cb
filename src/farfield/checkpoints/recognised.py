"""Files and folders of the field that are known for what they are, though their networks are not rebuilt here.

What is looked at are names: of weights, of classes in a pickle, of a pipeline in its index. Nothing is made or run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from farfield.checkpoints.file.stored import Made, Stored, Tree, states
from farfield.checkpoints.kind import (
    IMAGES,
    KINDS,
    LORA,
    NAMELESS,
    OBJECTS,
    OPTIMIZER,
    OTHERS,
    PIPELINES,
    TRAINING,
    WORDS,
    Kind,
    Mark,
)
from farfield.checkpoints.persistent import class_of, objects, opened
from farfield.checkpoints.wrapped import bare
from farfield.core.error import FarfieldError

_OF_OPTIMIZERS: Final = frozenset(("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "step"))
"""What optimizers keep of each weight."""
_OF_TRAININGS: Final = frozenset(("base_lrs", "_step_count", "growth_factor", "torch_manual_seed", "numpy_random_seed"))
"""What schedules of learning rates, scalers of losses and generators of random numbers keep."""
_OF_WORDS: Final = frozenset(("string_to_param", "string_to_token", "emb_params"))
_LONGEST: Final = 250
"""Characters of a name that is looked at; those of networks have some 100."""


class UnreadError(FarfieldError):
    """A file that is known for what it is, and not read.

    Attributes:
        kind: what it is.
        parameters: how many weights.
        dtype: of most of them; None where there are none.
    """

    def __init__(self, path: Path, kind: Kind, tensors: Iterable[Stored] = ()):
        super().__init__(f"{path}: {kind.name}, whose network is not rebuilt here; {kind.advice}")
        self.kind = kind
        counts = Counter[torch.dtype]()
        for tensor in tensors:
            counts[tensor.dtype] += math.prod(tensor.shape)
        self.parameters = counts.total()
        self.dtype = counts.most_common(1)[0][0] if counts else None


def refuse(tree: Tree, kinds: tuple[Kind, ...] = KINDS) -> None:
    """Say what a file is, if it is of such a kind.

    Raises:
        UnreadError: it is.
    """
    for _, state in states(tree.root):
        lines = _lines(state)
        for kind in kinds:
            if all(_bears(mark, lines) for mark in kind.marks):
                raise UnreadError(tree.path, kind, state.values())


def refuse_others(tree: Tree) -> None:
    """The same of a file in which no network that is read was found.

    Raises:
        UnreadError: it is known, or the state of an optimizer alone.
    """
    refuse(tree, OTHERS)
    every = [state for _, state in states(tree.root)]
    settings = isinstance(tree.root, dict) and "param_groups" in tree.root
    moments = any(state.keys() & {"exp_avg", "momentum_buffer", "square_avg"} for state in every)
    if (settings or moments) and all(state.keys() <= _OF_OPTIMIZERS for state in every):
        raise UnreadError(tree.path, OPTIMIZER, [t for state in every for t in state.values()])
    keys = {key for key in tree.root if isinstance(key, str)} if isinstance(tree.root, dict) else set()
    if keys & _OF_TRAININGS:
        raise UnreadError(tree.path, TRAINING)
    if keys & _OF_WORDS or (len(keys) == 1 and re.fullmatch(r"<[^<>]{1,80}>", next(iter(keys)))):
        raise UnreadError(tree.path, WORDS, [t for state in every for t in state.values()])
    if isinstance(tree.root, dict) and isinstance(tree.root.get("shadow_params"), list):
        raise UnreadError(tree.path, NAMELESS, [t for t in tree.root["shadow_params"] if isinstance(t, Stored)])


def refuse_objects(tree: Tree) -> None:
    """The same of a pickle of persistent objects.

    Raises:
        UnreadError: one of them is of such a kind.
    """
    held = objects(tree.root)
    for kind in OBJECTS:
        for place, made in held.items():
            if (kind.title and re.fullmatch(kind.title, class_of(made))) or place in kind.places:
                raise UnreadError(tree.path, kind, _tensors(made))


def refuse_title(title: Any, place: Path) -> None:
    """Say what a class of diffusers is, of a pipeline or a network that is not read.

    Raises:
        FarfieldError: it is known.
    """
    for pattern, name in PIPELINES:
        if isinstance(title, str) and re.fullmatch(pattern, title):
            raise FarfieldError(f"{place}: {name} ({title[:80]}), whose network is not rebuilt here; {IMAGES}")


def refuse_folder(folder: Path) -> None:
    """Say what a folder without a pipeline is, if it is known.

    Raises:
        FarfieldError: changes of another model (PEFT), or a training state of accelerate without a configuration.
    """
    if any((folder / name).is_file() for name in ("adapter_config.json", "pytorch_lora_weights.safetensors")):
        raise FarfieldError(f"{folder}: {LORA.name}, which are no model by themselves; {LORA.advice}")
    described = any(folder.glob("*/config.json")) or (folder / "config.json").is_file()
    if not described and any(folder.glob("random_states_*.pkl")):
        raise FarfieldError(
            f"{folder}: a training state of accelerate, which says nothing of its network; give the folder that the training "
            "saved its pipeline in, or the file of its weights (model.safetensors)"
        )


def _lines(state: Mapping[str, Stored]) -> str:
    """The names in a state dict, and how many dimensions each weight has, a line each; names that no network has are left out."""
    named = ((name, len(tensor.shape)) for name, tensor in bare(state).items())
    return "\n".join(f"{name}\t{n}" for name, n in named if len(name) <= _LONGEST and name.isprintable())


def _bears(mark: Mark, lines: str) -> bool:
    pattern, dimensions = mark if isinstance(mark, tuple) else (mark, r"\d+")
    return re.search(rf"^(?:{pattern})\t{dimensions}$", lines, re.MULTILINE) is not None


def _tensors(made: Made) -> Iterable[Stored]:
    """The weights of an object, as far as it has some."""
    try:
        found: Mapping[str, Stored] = opened(made, "").tensors()
    except FarfieldError:
        return ()
    return found.values()
