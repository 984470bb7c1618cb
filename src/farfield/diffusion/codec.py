r"""Pictures to the latents of an autoencoder and back: what stands between a latent model's ODE and what is seen.

Latent diffusion (arXiv 2112.10752) is diffusion of

.. math:: x_0 = s\,(E(\text{picture}) - b), \qquad \text{picture} = D(x_0 / s + b)

with a scale s that gives :math:`x_0` about unit variance, and a shift b, mostly 0; either may differ from channel to channel.
Both ways are deterministic, as inversion needs:

- of an encoder with a Gaussian posterior (AutoencoderKL) E is the posterior's mean, no draw from it;
- of a quantising one (VQModel) E is what the encoder says before it is quantised, for that is what the diffusion was trained
  on; D quantises first, for codebook vectors are all that its layers were trained on. So small errors of a latent vanish in
  D, and larger ones jump.

No autoencoder returns a picture exactly, and no inversion can return it better than ``decode(encode(picture))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.core.memory import Rows

PIXELS = 2**20
"""So many go through the autoencoder at a time: its widest activations hold a few hundred numbers for each."""


@final
class Codec(nn.Module):
    """An autoencoder of diffusers (AutoencoderKL, VQModel) between ``[B, C, H, W]`` in [-1, 1] and ``[B, c, H/f, W/f]``.

    It runs in the precision of its own weights and answers in the caller's. Half precision is too narrow for the
    published ones: their activations overflow.

    Args:
        autoencoder: frozen.
        channels: C, of pictures.
        factor: f, by which both sides shrink.
        scale, shift: s and b above, one number or one for each channel of the latents.
        black: the number that is a black pixel to the autoencoder, mostly -1; white is 1.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        channels: int,
        factor: int,
        scale: float | Sequence[float],
        shift: float | Sequence[float] = 0.0,
        black: float = -1.0,
    ):
        super().__init__()
        self.autoencoder: Any = autoencoder
        self.channels, self.factor, self.scale, self.shift, self.black = channels, factor, scale, shift, black

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(C, H, W)`` of the pictures whose latents have this shape."""
        return self.channels, *(self.factor * side for side in shape[1:])

    def encode(self, images: Tensor) -> Tensor:
        """Latents of pictures.

        Raises:
            FarfieldError: another number of channels, or a side that is no multiple of the factor.
        """
        f = self.factor
        if images.ndim != 4 or images.shape[1] != self.channels or images.shape[2] % f or images.shape[3] % f:
            raise FarfieldError(
                f"pictures of shape {tuple(images.shape[1:])}: this model's autoencoder takes {self.channels} channels and "
                f"sides that are multiples of {f}"
            )
        seen = images if self.black == -1 else self.black + (1 - self.black) * (images + 1) / 2
        latents = self._through(self._encoded, seen, images.shape[2] * images.shape[3])
        return _each(self.scale, latents) * (latents - _each(self.shift, latents))

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents; never clipped."""
        pixels = latents.shape[2] * latents.shape[3] * self.factor**2
        made = self._through(self._decoded, latents / _each(self.scale, latents) + _each(self.shift, latents), pixels)
        return made if self.black == -1 else 2 * (made - self.black) / (1 - self.black) - 1

    def _encoded(self, images: Tensor) -> Tensor:
        encoded = self.autoencoder.encode(images)
        mean: Tensor = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        return mean

    def _decoded(self, latents: Tensor) -> Tensor:
        pictures: Tensor = self.autoencoder.decode(latents).sample
        return pictures

    def _through(self, step: Any, values: Tensor, pixels: int) -> Tensor:
        own = next(self.autoencoder.parameters()).dtype
        rows, answers = Rows(), []
        for part in values.split(max(1, PIXELS // pixels)):
            answers += rows.parts(len(part), lambda some, x=part: step(x[some].to(own)).to(values))  # type: ignore[misc]
        return torch.cat(answers)


def _each(numbers: float | Sequence[float], latents: Tensor) -> Tensor | float:
    """One number, or one for each channel, to go with ``[B, C, H, W]``."""
    return numbers if isinstance(numbers, int | float) else latents.new_tensor(numbers)[:, None, None]
