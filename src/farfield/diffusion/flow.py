"""The levels of flow matching: paths between images and noise that a network answers the velocity of, in our coordinate."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import state_dtype
from farfield.diffusion.schedule import Bounded

Toward = Literal["noise", "data"]
"""What a flow's time 1 is."""
Path = Literal["straight", "curved"]


class FlowSchedule(Bounded):
    r"""Flow matching's straight paths, :math:`x_t = (1 - t)\,x_0 + t\,n` (arXiv 2210.02747, 2209.03003), in our coordinate.

    :math:`x = x_t / (1 - t)` and :math:`\sigma = t / (1 - t)`, both exactly; a step of Euler's in t is one in sigma. A time
    that is normal in its logit (arXiv 2403.03206) is a sigma that is normal in its logarithm. Pure noise, t = 1, has no
    sigma: the schedule ends at the last trained t below it.

    The curved path, :math:`x_t = \cos(\pi t / 2)\,x_0 + \sin(\pi t / 2)\,n` (arXiv 2209.15571), has
    :math:`\sigma = \tan(\pi t / 2)` and :math:`x = x_t / \cos(\pi t / 2)`.

    Args:
        toward: ``noise``: the network is told t, which is 1 at the noise; ``data``: 1 - t, which is 1 at the data.
        scale: and that times this.
        t_min, t_max: the ends in t, which is 1 at the noise in any case.
        path: ``straight`` or ``curved``.
    """

    def __init__(
        self,
        toward: Toward = "noise",
        scale: float = 1.0,
        t_min: float = 1e-3,
        t_max: float = 0.999,
        path: Path = "straight",
    ):
        if toward not in get_args(Toward) or not 0 < scale < math.inf or not 0 < t_min < t_max < 1:
            raise FarfieldError(
                f"flow toward {toward!r}, told its time times {scale:g}, from {t_min:g} to {t_max:g}: expected noise or data, a "
                "positive number, and 0 < t_min < t_max < 1"
            )
        if path not in get_args(Path):
            raise FarfieldError(f"flow on a {path!r} path: expected one of {', '.join(get_args(Path))}")
        self.toward, self.scale, self.path = toward, scale, path
        low, high = (t / (1 - t) if path == "straight" else math.tan(math.pi / 2 * t) for t in (t_min, t_max))
        self.bounds = low, high

    @property
    def open_end(self) -> bool:
        return True

    @property
    def sign(self) -> int:
        """Of dt along the time that the network is told."""
        return 1 if self.toward == "noise" else -1

    def time(self, sigma: Tensor) -> Tensor:
        s = sigma.to(state_dtype(sigma.device))
        s = s if self.toward == "noise" else 1 / s  # of 1 - t, on either path
        return self.scale * (s / (1 + s) if self.path == "straight" else s.atan() * 2 / math.pi)
