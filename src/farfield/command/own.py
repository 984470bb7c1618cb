"""What Python has beside the commands: how a model is loaded, and how latents become images; declared as commands are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from farfield.command.option import Argument
from farfield.command.settings import Settings
from farfield.command.shared import Loading, Model, Numerics


@dataclass(frozen=True)
class Load(Settings):
    """A model as a denoiser: ``denoiser(x, sigma)`` is the mean of the image behind x, for every model alike."""

    model: Model
    loading: Loading = Loading()


@dataclass(frozen=True)
class Decode(Settings):
    """Unit-variance latents to images: what `farfield.invert` returned, its ``latents``, or an array with its ``sigma``."""

    model: Model
    latents: Annotated[str, Argument("Latents, or the run of `invert` that made them.")]
    numerics: Numerics = Numerics()
