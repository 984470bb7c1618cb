r"""The one contract: ``denoiser(x, sigma)`` is :math:`E[x_0 \mid x]` for :math:`x = x_0 + \sigma n`.

A foreign network F is wrapped here, once, and nowhere else is its parameterization known: whatever it was trained to
answer, :math:`D(x, \sigma) = c_{skip}\,x + c_{out}\,F(c_{in}\,x, c_{noise})`, where its schedule says :math:`c_{noise}`
(``Schedule.time``). With :math:`a = 1/\sqrt{1 + \sigma^2}` a variance-preserving model sees :math:`x_t = a x`;
:math:`v = \sigma^2 + \sigma_d^2`, with the standard deviation :math:`\sigma_d` of the data:

===========  =============================  ======================  ===============================  =================
prediction   what F is                      :math:`c_{skip}`        :math:`c_{out}`                  :math:`c_{in}`
===========  =============================  ======================  ===============================  =================
``epsilon``  the noise n                    1                       :math:`-\sigma`                  a
``sample``   the clean image                0                       1                                a
``v``        :math:`a n - \sigma a x_0`     :math:`a^2`             :math:`-\sigma a`                a
``edm``      see arXiv 2206.00364, table 1  :math:`\sigma_d^2 / v`  :math:`\sigma \sigma_d/\sqrt v`  :math:`1/\sqrt v`
``ve``       the noise's negative           1                       :math:`\sigma`                   1
``score``    the score of :math:`x_t`       1                       :math:`\sigma^2 a`               a
``flow``     the velocity n - :math:`x_0`   b                       :math:`-\sigma b`                b
===========  =============================  ======================  ===============================  =================

A flow's :math:`x_t = (1 - t)\,x_0 + t\,n` is :math:`b x` with :math:`b = 1 - t = 1/(1 + \sigma)`, so that
:math:`D = x_t - t F`; where its time runs toward the data (`FlowSchedule`), F is the negative, :math:`x_0 - n`. On the curved
path F is :math:`\pi/2` times that of ``v``. Under the sub-VP SDE a is that of its schedule (`SubVPSchedule`), and F no v.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import chain
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.core.memory import Rows
from farfield.diffusion.codec import Codec
from farfield.diffusion.flow import FlowSchedule
from farfield.diffusion.schedule import Schedule, SubVPSchedule

Prediction = Literal["epsilon", "sample", "v", "edm", "ve", "score", "flow"]


class Denoiser(nn.Module, ABC):
    """Abstract: ``denoiser(x, sigma)`` with ``x`` of shape ``[B, *shape]`` and ``sigma`` a scalar or ``[B]``.

    The answer has the dtype of ``x``: solvers keep their states in float64 while the network may run lower.

    Attributes:
        shape: of ``x``, where the ODE runs.
        codec: between pictures and ``x``, where these are not the same: of a latent model alone.
    """

    shape: tuple[int, ...]
    schedule: Schedule

    def __init__(self) -> None:
        super().__init__()
        self.codec: Codec | None = None

    @abstractmethod
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        r"""The posterior mean :math:`E[x_0 \mid x]`, ``[B, *shape]``."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of its pictures: ``shape``, unless there is a codec."""
        return self.shape if self.codec is None else self.codec.image_shape(self.shape)

    def encode(self, images: Tensor) -> Tensor:
        """Pictures in [-1, 1] as the :math:`x_0` of the ODE, ``[B, *shape]``: as they are, unless there is a codec."""
        return images if self.codec is None else self.codec.encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """The inverse of `encode`, as far as it has one."""
        return x0 if self.codec is None else self.codec.decode(x0)

    @property
    def device(self) -> torch.device:
        """Where it computes; a closed form has buffers, and no parameters."""
        return next((t.device for t in chain(self.parameters(), self.buffers())), torch.device("cpu"))


class NetworkDenoiser(Denoiser):
    """A network as a denoiser.

    Args:
        network: called as ``network(c_in * x, time)`` or ``network(c_in * x, time, label)``; returns ``[B, C, H, W]``, or
            ``[B, 2C, H, W]`` with a learned variance, whose second half is not part of the mean and is left out.
        schedule: the trained levels; of ``flow`` a `FlowSchedule`.
        shape: ``(C, H, W)``.
        prediction: what the network was trained to output.
        label: class index for a class-conditional network.
        sigma_data: standard deviation of the data, of ``edm`` alone.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        prediction: Prediction = "epsilon",
        label: int | None = None,
        sigma_data: float = 0.5,
    ):
        super().__init__()
        if prediction not in get_args(Prediction):
            raise FarfieldError(f"prediction {prediction!r}: expected one of {', '.join(get_args(Prediction))}")
        if prediction == "flow" and not isinstance(schedule, FlowSchedule):
            raise FarfieldError(f"prediction flow with a {type(schedule).__name__}: expected a FlowSchedule")
        if prediction == "v" and isinstance(schedule, SubVPSchedule):
            raise FarfieldError("prediction v under the sub-VP SDE: expected epsilon or sample")
        self.network = network
        self.schedule = schedule
        self.shape = tuple(shape)
        self.prediction = prediction
        self.label = label
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        c_skip, c_out, c_in = self.scaling(column(sigma, x))
        time = self.schedule.time(per_image(sigma, x))
        output = evaluate(self.network, c_in * x, time, self.label if label is None else label, augment)
        return c_skip * x + c_out * output

    def scaling(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``c_skip``, ``c_out`` and ``c_in`` of the table above, each of the shape of ``sigma``."""
        one = torch.ones_like(sigma)
        if self.prediction == "ve":
            return one, sigma, one
        if self.prediction == "edm":
            d, v = self.sigma_data, sigma**2 + self.sigma_data**2
            return d**2 / v, sigma * d * v.rsqrt(), v.rsqrt()
        if isinstance(self.schedule, FlowSchedule) and self.prediction == "flow":
            sign, b = self.schedule.sign, 1 / (1 + sigma)
            if self.schedule.path == "straight":
                return b, -sign * sigma * b, b
            a = (1 + sigma**2).rsqrt()
            return a**2, -sign * sigma * a * 2 / math.pi, a
        a = self.schedule.signal(sigma) if isinstance(self.schedule, SubVPSchedule) else (1 + sigma**2).rsqrt()
        if self.prediction in ("epsilon", "score"):
            return one, -sigma if self.prediction == "epsilon" else sigma**2 * a, a
        return (torch.zeros_like(sigma), one, a) if self.prediction == "sample" else (a**2, -sigma * a, a)

    def weight(self, sigma: Tensor) -> Tensor:
        r""":math:`1 / c_{out}^2`: the weight of :math:`\|D - x_0\|^2` that makes the loss a plain mean squared error of F, which
        each family is trained with. Written out where squaring the quotient would round otherwise.
        """
        if self.prediction == "edm":
            return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
        return 1 + sigma**-2 if self.prediction == "v" else self.scaling(sigma)[1] ** -2


_rows: WeakKeyDictionary[nn.Module, Rows] = WeakKeyDictionary()
"""Of networks that were too large for a batch."""


def evaluate(
    network: nn.Module, x: Tensor, time: Tensor, label: int | Tensor | None = None, augment: Tensor | None = None
) -> Tensor:
    """Call a network in its own precision; answer in the caller's, without the learned variance.

    Where memory is out the rows are given to it in halves: an answer depends on its own row alone.

    Args:
        label: one class for all rows, or ``[B]``.
        augment: what a network that was trained with augmentation is told of it, ``[B, A]``.

    Raises:
        FarfieldError: the output fits neither C nor 2C channels.
    """
    first = next(network.parameters(), x)
    # A time step of 999 is no number of half precision; networks embed it before they go down to theirs.
    arguments = [x.to(first.dtype), time.to(torch.promote_types(first.dtype, torch.float32))]
    if label is not None:
        label = torch.as_tensor(label, dtype=torch.long, device=x.device)
        arguments.append(label.expand(len(x)))
    conditions = {} if augment is None else {"augment": augment.to(first.dtype)}

    def some(rows: slice) -> Tensor:
        answer: Tensor = network(*(a[rows] for a in arguments), **{key: a[rows] for key, a in conditions.items()})
        return answer.to(x.dtype)

    if network.training or len(x) < 2:  # a training holds on to what it computed of all rows anyway
        output = some(slice(None))
    else:
        parts = _rows.setdefault(network, Rows()).parts(len(x), some)
        output = parts[0] if len(parts) == 1 else torch.cat(parts)
    channels = x.shape[1]
    if output.shape[1] == 2 * channels:
        output = output[:, :channels]
    if output.shape != x.shape:
        raise FarfieldError(
            f"the network answers {tuple(output.shape)} to {tuple(x.shape)}; expected the same shape, or twice the "
            "channels (learned variance)"
        )
    return output


def per_image(sigma: Tensor, x: Tensor) -> Tensor:
    """A scalar or ``[B]`` level as ``[B]`` on the device of ``x``."""
    sigma = torch.as_tensor(sigma, device=x.device, dtype=x.dtype)
    return sigma.expand(len(x)) if sigma.ndim == 0 else sigma


def column(sigma: Tensor, x: Tensor) -> Tensor:
    """A scalar or ``[B]`` level shaped to multiply ``x``: ``[B, 1, 1, …]``."""
    return per_image(sigma, x).reshape(-1, *(1,) * (x.ndim - 1))
