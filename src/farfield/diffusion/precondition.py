r"""A bare network becomes a denoiser, by the name of the family that it is to be trained as.

===========  =====================================  ====================================  ==========================
family       the network sees                       its output is                         levels
===========  =====================================  ====================================  ==========================
``edm``      :math:`x / \sqrt{\sigma^2 + \sigma_d^2}`, :math:`\ln\sigma/4`  preconditioned  0.002 to 80
``ddpm``     :math:`x_t`, time step                 the noise                             1,000 linear betas
``v``        :math:`x_t`, time step                 :math:`a n - q x_0`                   1,000 linear betas
``iddpm``    :math:`x_t`, time step                 the noise                             1,000 cosine betas
``vp``       :math:`x_t`, :math:`999\,t`            the noise                             linear SDE, continuous
``ve``       :math:`x`, :math:`\ln(\sigma/2)`       minus the noise                       0.02 to 100, continuous
===========  =====================================  ====================================  ==========================

Sources: arXiv 2206.00364 (table 1), 2006.11239 (ddpm), 2202.00512 (v), 2102.09672 (iddpm), 2011.13456 (vp, ve).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import EDMDenoiser, NetworkDenoiser, VEDenoiser
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    VESchedule,
    VPSchedule,
    cosine_betas,
    linear_betas,
)

Family = Literal["edm", "ddpm", "v", "iddpm", "vp", "ve"]
FAMILIES: tuple[Family, ...] = get_args(Family)

Trainable = NetworkDenoiser | EDMDenoiser | VEDenoiser
"""Denoisers with a network inside: they have ``network``, ``label`` and ``weight(sigma)``."""


def precondition(
    family: Family,
    network: nn.Module,
    shape: tuple[int, ...],
    *,
    sigma_data: float = 0.5,
    label: int | None = None,
    levels: Mapping[str, Any] | None = None,
) -> Trainable:
    """The denoiser of a network.

    Args:
        sigma_data: standard deviation of the data, of ``edm`` alone.
        label: class index, for a network with classes.
        levels: arguments of the family's schedule (of ``ContinuousSchedule``, `linear_betas`, `cosine_betas`, ``VPSchedule``,
            ``VESchedule``) where they differ from the table.

    Raises:
        FarfieldError: no such family, or a schedule that cannot be.
    """
    chosen = dict(levels or {})
    try:
        if family == "edm":
            return EDMDenoiser(network, ContinuousSchedule(**chosen), shape, sigma_data, label)
        if family == "ddpm":
            return NetworkDenoiser(network, DiscreteSchedule(linear_betas(**chosen)), shape, "epsilon", label)
        if family == "v":
            return NetworkDenoiser(network, DiscreteSchedule(linear_betas(**chosen)), shape, "v", label)
        if family == "iddpm":
            return NetworkDenoiser(network, DiscreteSchedule(cosine_betas(**chosen)), shape, "epsilon", label)
        if family == "vp":
            return NetworkDenoiser(network, VPSchedule(**chosen), shape, "epsilon", label)
        if family == "ve":
            return VEDenoiser(network, VESchedule(**chosen), shape, label)
    except TypeError as error:
        raise FarfieldError(f"levels {chosen} of a model of family {family}: {error}") from error
    raise FarfieldError(f"precondition {family!r}: expected one of {', '.join(FAMILIES)}")
