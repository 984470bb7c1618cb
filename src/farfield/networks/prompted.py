"""diffusers' UNet2DConditionModel under fixed words, or told a class as if it were a word: called as every other network here."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

CONDITIONED: Final = "UNet2DConditionModel"


class Prompted(nn.Module):
    r"""Under fixed words: :math:`F(x, t)`, or guided :math:`F_0 + g\,(F - F_0)`.

    Args:
        unet: a UNet2DConditionModel.
        words: embeddings ``[1, L, D]`` of the prompt, or ``[2, L, D]`` of the empty prompt and the prompt.
        guidance: g.
    """

    def __init__(self, unet: nn.Module, words: Tensor, guidance: float = 1.0):
        super().__init__()
        self.unet, self.guidance = unet, guidance
        self.words = nn.Buffer(words)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        answers: list[Tensor] = [
            self.unet(x, time, w.expand(len(x), -1, -1), class_labels=label, return_dict=False)[0] for w in self.words
        ]
        return answers[0].lerp(answers[1], self.guidance) if len(answers) == 2 else answers[0]


class Classed(nn.Module):
    """Told a class as one word, a row of a table: class-conditional latent diffusion (arXiv 2112.10752).

    Args:
        unet: a UNet2DConditionModel.
        table: ``[classes, D]``.
    """

    def __init__(self, unet: nn.Module, table: Tensor):
        super().__init__()
        self.unet = unet
        self.table = nn.Buffer(table)

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        answer: Tensor = self.unet(x, time, self.table[label][:, None], return_dict=False)[0]
        return answer


def conditioned(config: dict[str, Any]) -> nn.Module:
    """A new one of these, from a configuration of a UNet2DConditionModel with the shape of its ``words`` or its ``table``."""
    from diffusers import UNet2DConditionModel

    shapes = {name: config.get(name) for name in ("words", "table", "label_dropout")}
    unet: Any = UNet2DConditionModel(**{k: v for k, v in config.items() if k not in shapes})
    if shapes["table"]:
        return Classed(unet, torch.empty(*shapes["table"]))
    return Prompted(unet, torch.empty(*(shapes["words"] or ())))
