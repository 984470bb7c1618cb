r"""A bare network becomes a denoiser, by the name of the family that it is to be trained as.

What the predictions are, and how each is scaled, stands in `diffusion.denoiser`.

=========  ===========  =====================  =======================
family     prediction   told the level as      levels
=========  ===========  =====================  =======================
``edm``    ``edm``      :math:`\ln\sigma/4`    0.002 to 80, continuous
``ddpm``   ``epsilon``  time step              1,000 linear betas
``v``      ``v``        time step              1,000 linear betas
``iddpm``  ``epsilon``  time step              1,000 cosine betas
``vp``     ``epsilon``  :math:`999\,t`         linear SDE, continuous
``subvp``  ``epsilon``  :math:`999\,t`         sub-VP SDE, continuous
``ve``     ``ve``       :math:`\ln(\sigma/2)`  0.02 to 100, continuous
``score``  ``score``    :math:`t / t_1`        :math:`\sqrt{e^t - 1}`
``flow``   ``flow``     t                      :math:`t / (1 - t)`
=========  ===========  =====================  =======================

Sources: arXiv 2206.00364 (table 1), 2006.11239 (ddpm), 2202.00512 (v), 2102.09672 (iddpm), 2011.13456 (vp, subvp, ve), 2210.02747
and 2209.03003 (flow).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args

from torch import nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser, Prediction
from farfield.diffusion.flow import FlowSchedule
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    Schedule,
    SubVPSchedule,
    TimeSchedule,
    VESchedule,
    VPSchedule,
    cosine_betas,
    linear_betas,
)

Family = Literal["edm", "ddpm", "v", "iddpm", "vp", "subvp", "ve", "score", "flow"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_READ_AS: Final[dict[Family, tuple[Prediction, Callable[..., Schedule]]]] = {
    "edm": ("edm", ContinuousSchedule),
    "ddpm": ("epsilon", lambda **levels: DiscreteSchedule(linear_betas(**levels))),
    "v": ("v", lambda **levels: DiscreteSchedule(linear_betas(**levels))),
    "iddpm": ("epsilon", lambda **levels: DiscreteSchedule(cosine_betas(**levels))),
    "vp": ("epsilon", VPSchedule),
    "subvp": ("epsilon", SubVPSchedule),
    "ve": ("ve", VESchedule),
    "score": ("score", TimeSchedule),
    "flow": ("flow", FlowSchedule),
}


def precondition(
    family: Family,
    network: nn.Module,
    shape: tuple[int, ...],
    *,
    sigma_data: float = 0.5,
    label: int | None = None,
    levels: Mapping[str, Any] | None = None,
) -> NetworkDenoiser:
    """The denoiser of a network.

    Args:
        sigma_data: standard deviation of the data, of ``edm`` alone.
        label: class index, for a network with classes.
        levels: arguments of the family's schedule (of ``ContinuousSchedule``, `linear_betas`, `cosine_betas`, ``VPSchedule``,
            ``SubVPSchedule``, ``VESchedule``, ``FlowSchedule``) where they differ from the table.

    Raises:
        FarfieldError: no such family, or a schedule that cannot be.
    """
    if family not in _READ_AS:
        raise FarfieldError(f"precondition {family!r}: expected one of {', '.join(FAMILIES)}")
    prediction, schedule = _READ_AS[family]
    chosen = dict(levels or {})
    try:
        return NetworkDenoiser(network, schedule(**chosen), shape, prediction, label, sigma_data)
    except TypeError as error:
        raise FarfieldError(f"levels {chosen} of a model of family {family}: {error}") from error
