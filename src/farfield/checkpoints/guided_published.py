"""The flags of published files of guided-diffusion's format, as their authors' instructions give them.

Sources: the READMEs of openai/guided-diffusion, openai/improved-diffusion, jychoi118/P2-weighting, torchcfm
(atong01/conditional-flow-matching, whose networks are flows) and openai/consistency_models (`teacher`), and for ``ffhq_10m.pt``
and ``afhq_dog_4m.pt`` (jychoi118/ilvr_adm) also the settings that DiffusionCLIP runs them with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farfield.checkpoints.flow import TOWARD_DATA


@dataclass(frozen=True)
class Published:
    """What a published file's weights do not say.

    Attributes:
        parameters: how many it has; another file of the same name has others.
        answers: to the questions of `checkpoints.guided`.
    """

    parameters: int
    answers: Mapping[str, Any]


def _adm(size: int, schedule: str = "linear", order: str = "legacy", **heads: int) -> dict[str, Any]:
    heads = heads or {"head_channels": 64}
    return {"size": size, "schedule": schedule, "steps": 1000, "order": order, **heads}


def _improved(size: int, rescale: bool) -> dict[str, Any]:
    return {"size": size, "schedule": "cosine", "steps": 4000, "rescale": rescale, "order": "legacy", "heads": 4}


_P2 = Published(93_563_910, _adm(256))
_LSUN = Published(552_814_086, _adm(256))
_TORCHCFM = Published(35_746_307, {"size": 32, "order": "legacy", "head_channels": 64, **TOWARD_DATA})
_TEACHER = Published(526_304_771, {"size": 256, "head_channels": 64, "kind": "denoiser"})
_IMPROVED_LSUN = Published(113_676_678, _adm(256, heads=1))

PUBLISHED: Mapping[str, Published] = {
    "64x64_diffusion.pt": Published(295_904_454, _adm(64, "cosine", "new")),
    "128x128_diffusion.pt": Published(421_529_606, _adm(128, heads=4)),
    "256x256_diffusion.pt": Published(553_838_086, _adm(256)),
    "256x256_diffusion_uncond.pt": Published(552_814_086, _adm(256)),
    "512x512_diffusion.pt": Published(558_997_638, _adm(512)),
    "lsun_bedroom.pt": _LSUN,
    "lsun_cat.pt": _LSUN,
    "lsun_horse.pt": _LSUN,
    "lsun_horse_nodropout.pt": _LSUN,
    "imagenet64_uncond_100M_1500K.pt": Published(121_063_942, _improved(64, True)),
    "imagenet64_uncond_vlb_100M_1500K.pt": Published(121_063_942, _improved(64, True)),
    "imagenet64_cond_270M_250K.pt": Published(273_049_350, _improved(64, False)),
    "cifar10_uncond_50M_500K.pt": Published(52_546_438, _improved(32, True)),
    "cifar10_uncond_vlb_50M_500K.pt": Published(52_546_438, _improved(32, True)),
    "lsun_uncond_100M_1200K_bs128.pt": _IMPROVED_LSUN,
    "lsun_uncond_100M_2400K_bs64.pt": _IMPROVED_LSUN,
    "ffhq_p2.pt": _P2,
    "celebahq_p2.pt": _P2,
    "afhqdog_p2.pt": _P2,
    "cub_p2.pt": _P2,
    "flower_p2.pt": _P2,
    "metface_p2.pt": _P2,
    "ffhq_10m.pt": _P2,
    "afhq_dog_4m.pt": _P2,
    "edm_imagenet64_ema.pt": Published(295_899_267, {"size": 64, "head_channels": 64, "kind": "denoiser"}),
    "edm_bedroom256_ema.pt": _TEACHER,
    "edm_cat256_ema.pt": _TEACHER,
    "cfm_cifar10_weights_step_400000.pt": _TORCHCFM,
    "otcfm_cifar10_weights_step_400000.pt": _TORCHCFM,
    "fm_cifar10_weights_step_400000.pt": _TORCHCFM,
}


def published(name: str, parameters: int) -> Published | None:
    """What is known of a file by its name, if it has the published weights' number."""
    card = PUBLISHED.get(name)
    return card if card and card.parameters == parameters else None


def alike(parameters: int) -> tuple[str, Published] | None:
    """A published file with as many weights: of the same architecture, most likely."""
    return next(((name, card) for name, card in PUBLISHED.items() if card.parameters == parameters), None)
