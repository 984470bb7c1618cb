"""Methods of `farfield compare` that train the model: how each is tuned, and the model folder that it leaves."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from farfield.checkpoints.load import open_network
from farfield.checkpoints.native import save_model
from farfield.command.compare import Tuning
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.unseen.tuning import Method, Recipe

TUNINGS: dict[str, Method] = {"full": "full", "lora": "lora", "norm": "norm", "release": "full"}
"""Tuned models; ``release`` is the published baseline: all weights, a fixed number of epochs, no early stopping."""


def recipe_of(name: str, tuning: Tuning, seed: int, most: int | None) -> Recipe:
    """The recipe of one of `TUNINGS`.

    Args:
        most: network calls that training may take, stopped early; if None, a fixed number of epochs is trained.
    """
    return Recipe(
        TUNINGS[name],
        epochs=tuning.epochs if most is None else None,
        batch_size=tuning.batch_size,
        learning_rate=tuning.learning_rate,
        rank=tuning.rank,
        seed=seed,
        patience=None if most is None else tuning.patience,
        most_calls=most,
    )


def save_tuned(denoiser: Denoiser, folder: Path, model: str) -> None:
    """A tuned denoiser as a model folder, which every command takes in place of ``model``.

    Args:
        model: the name of the model that was tuned; all but its weights is taken from there.

    Raises:
        FarfieldError: it has no network.
    """
    network = getattr(denoiser, "network", None)
    if not isinstance(network, nn.Module):
        raise FarfieldError(f"{type(denoiser).__name__}: it has no network; it cannot be written as a folder")
    save_model(folder, network, open_network(model)[0])
