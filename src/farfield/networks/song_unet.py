"""DDPM++ and NCSN++: the U-Nets of Song et al. 2021 (arXiv 2011.13456), as parameterised in arXiv 2206.00364, appendix F.

=====================  ==============  ==============
argument               DDPM++          NCSN++
=====================  ==============  ==============
embedding_type         positional      fourier
channel_mult_noise     1               2
encoder_type           standard        residual
resample_filter        (1, 1)          (1, 3, 3, 1)
=====================  ==============  ==============

Names of arguments and weights are those of that paper's published networks (``SongUNet``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.networks.layers import (
    Block,
    BlockStyle,
    Conv2d,
    FourierEmbedding,
    GroupNorm,
    Init,
    Linear,
    PositionalEmbedding,
    one_hot,
    padded,
    resolutions,
)


class SongUNet(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``, of any height and width.

    Args:
        img_resolution: side of the images it is made for; it names the levels and decides where ``attn_resolutions`` are.
        label_dim: classes, 0 for none.
        augment_dim: numbers that say how an image was augmented, 0 for none.
        model_channels: channels at the first level, of which ``channel_mult`` (at each level), ``channel_mult_emb`` (what
            the blocks are told of the noise level) and ``channel_mult_noise`` (its embedding) are multiples.
        num_blocks: residual blocks at each level on the way down; one more on the way up.
        attn_resolutions: the resolutions with attention, besides the lowest.
        dropout: share of activations dropped in training.
        label_dropout: share of labels dropped in training, from torch's own generator.
        encoder_type: ``standard``; ``residual`` or ``skip``: each level is shown the image too, made smaller.
        decoder_type: ``standard``; ``skip``: the answer is the sum of those of all levels.

    Raises:
        FarfieldError: no such type, or too many levels.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.1,
        label_dropout: float = 0.0,
        embedding_type: str = "positional",
        channel_mult_noise: int = 1,
        encoder_type: str = "standard",
        decoder_type: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ):
        super().__init__()
        _one_of("embedding type", embedding_type, ("positional", "fourier"))
        _one_of("encoder type", encoder_type, ("standard", "skip", "residual"))
        _one_of("decoder type", decoder_type, ("standard", "skip"))
        self.label_dim, self.augment_dim, self.label_dropout = label_dim, augment_dim, label_dropout
        self.encoder_type, self.decoder_type, self.num_blocks = encoder_type, decoder_type, num_blocks
        self.levels = resolutions(img_resolution, len(channel_mult))
        init, last = Init("mean"), Init("mean", 1e-5)
        noise, embedding = model_channels * channel_mult_noise, model_channels * channel_mult_emb
        style = BlockStyle(
            embedding,
            init,
            last,
            Init("mean", math.sqrt(0.2)),
            scale=math.sqrt(0.5),
            eps=1e-6,
            adaptive=False,
            project=True,
            head=0,
            dropout=dropout,
            taps=resample_filter,
        )
        self.map_noise: nn.Module = (
            PositionalEmbedding(noise, endpoint=True) if embedding_type == "positional" else FourierEmbedding(noise)
        )
        self.map_label = Linear(label_dim, noise, init) if label_dim else None
        self.map_augment = Linear(augment_dim, noise, init, bias=False) if augment_dim else None
        self.map_layer0 = Linear(noise, embedding, init)
        self.map_layer1 = Linear(embedding, embedding, init)

        attends = [img_resolution >> i in attn_resolutions for i in range(len(channel_mult))]
        taps = resample_filter
        width, aux, kept = model_channels, in_channels, []
        self.enc = nn.ModuleDict()
        for i, (name, multiple) in enumerate(zip(self.levels, channel_mult, strict=True)):
            if i == 0:
                self.enc[f"{name}_conv"] = Conv2d(in_channels, width, 3, init)
            else:
                self.enc[f"{name}_down"] = Block(width, width, style, resample="down")
                if encoder_type == "skip":
                    self.enc[f"{name}_aux_down"] = Conv2d(aux, aux, 0, init, resample="down", taps=taps)
                    self.enc[f"{name}_aux_skip"] = Conv2d(aux, width, 1, init)
                if encoder_type == "residual":
                    self.enc[f"{name}_aux_residual"] = Conv2d(
                        aux, width, 3, init, resample="down", taps=taps, filter_last=True
                    )
                    aux = width
            kept.append(width)
            for k in range(num_blocks):
                before, width = width, model_channels * multiple
                self.enc[f"{name}_block{k}"] = Block(before, width, style, attention=attends[i])
                kept.append(width)

        self.dec = nn.ModuleDict()
        for i, (name, multiple) in reversed(list(enumerate(zip(self.levels, channel_mult, strict=True)))):
            if i == len(channel_mult) - 1:
                self.dec[f"{name}_in0"] = Block(width, width, style, attention=True)
                self.dec[f"{name}_in1"] = Block(width, width, style)
            else:
                self.dec[f"{name}_up"] = Block(width, width, style, resample="up")
            for k in range(num_blocks + 1):
                before, width = width + kept.pop(), model_channels * multiple
                attention = attends[i] and k == num_blocks
                self.dec[f"{name}_block{k}"] = Block(before, width, style, attention=attention)
            if decoder_type == "skip" or i == 0:
                if decoder_type == "skip" and i < len(channel_mult) - 1:
                    self.dec[f"{name}_aux_up"] = Conv2d(out_channels, out_channels, 0, init, resample="up", taps=taps)
                self.dec[f"{name}_aux_norm"] = GroupNorm(width, style.eps)
                self.dec[f"{name}_aux_conv"] = Conv2d(width, out_channels, 3, last)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """The answer to noisy images; classes ``label`` are ``[B]`` (-1 for none), ``augment`` is ``[B, augment_dim]``."""
        height, width = x.shape[-2:]
        embedding = self._embedding(time, label, augment)
        x, kept = self._down(padded(x, 2 ** (len(self.levels) - 1)), embedding)
        return self._up(x, embedding, kept)[..., :height, :width]

    def _embedding(self, time: Tensor, label: Tensor | None, augment: Tensor | None) -> Tensor:
        cosines, sines = self.map_noise(time).to(self.map_layer0.weight.dtype).chunk(2, dim=1)
        embedding = torch.cat([sines, cosines], dim=1)
        if self.map_label is not None:
            dropout = self.label_dropout if self.training else 0.0
            rows = one_hot(label, self.label_dim, embedding, dropout)
            embedding = embedding + self.map_label(rows * math.sqrt(self.label_dim))
        if self.map_augment is not None and augment is not None:
            embedding = embedding + self.map_augment(augment.to(embedding.dtype))
        return functional.silu(self.map_layer1(functional.silu(self.map_layer0(embedding))))

    def _down(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        enc, aux, kept = self.enc, x, []
        for i, name in enumerate(self.levels):
            if i == 0:
                x = enc[f"{name}_conv"](x)
            else:
                x = enc[f"{name}_down"](x, embedding)
                if self.encoder_type == "skip":
                    aux = enc[f"{name}_aux_down"](aux)
                    x = x + enc[f"{name}_aux_skip"](aux)
                if self.encoder_type == "residual":
                    x = aux = (x + enc[f"{name}_aux_residual"](aux)) * math.sqrt(0.5)
            kept.append(x)
            for k in range(self.num_blocks):
                x = enc[f"{name}_block{k}"](x, embedding)
                kept.append(x)
        return x, kept

    def _up(self, x: Tensor, embedding: Tensor, kept: list[Tensor]) -> Tensor:
        dec, answer = self.dec, None
        for i, name in reversed(list(enumerate(self.levels))):
            for part in ("in0", "in1") if i == len(self.levels) - 1 else ("up",):
                x = dec[f"{name}_{part}"](x, embedding)
            for k in range(self.num_blocks + 1):
                x = dec[f"{name}_block{k}"](torch.cat([x, kept.pop()], dim=1), embedding)
            if self.decoder_type == "skip" or i == 0:
                part = dec[f"{name}_aux_conv"](functional.silu(dec[f"{name}_aux_norm"](x)))
                answer = part if answer is None else dec[f"{name}_aux_up"](answer) + part
        assert answer is not None  # the first level always answers
        return answer


def _one_of(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise FarfieldError(f"{what} {given!r}: expected one of {', '.join(known)}")
