r"""Pictures to the latents of an autoencoder and back: what stands between a latent model's ODE and what is seen.

Latent diffusion (arXiv 2112.10752) is diffusion of

.. math:: x_0 = s\,(E(\text{picture}) - b), \qquad \text{picture} = D(x_0 / s + b)

with a scale s that gives :math:`x_0` about unit variance, and a shift b, mostly 0. Both ways are deterministic, as inversion
needs:

- of an encoder with a Gaussian posterior (AutoencoderKL) E is the posterior's mean, no draw from it;
- of a quantising one (VQModel) E is what the encoder says before it is quantised, for that is what the diffusion was trained
  on; D quantises first, for codebook vectors are all that its layers were trained on. So small errors of a latent vanish in
  D, and larger ones jump.

No autoencoder returns a picture exactly, and no inversion can return it better than ``decode(encode(picture))``.
"""

from __future__ import annotations

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
        scale, shift: s and b above.
    """

    def __init__(self, autoencoder: nn.Module, channels: int, factor: int, scale: float, shift: float = 0.0):
        super().__init__()
        self.autoencoder: Any = autoencoder
        self.channels, self.factor, self.scale, self.shift = channels, factor, scale, shift

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
        return self.scale * (self._through(self._encoded, images, images.shape[2] * images.shape[3]) - self.shift)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents; never clipped."""
        pixels = latents.shape[2] * latents.shape[3] * self.factor**2
        return self._through(self._decoded, latents / self.scale + self.shift, pixels)

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
