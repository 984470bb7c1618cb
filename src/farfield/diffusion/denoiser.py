r"""The one contract: ``denoiser(x, sigma)`` is :math:`E[x_0 \mid x]` for :math:`x = x_0 + \sigma n`.

A foreign network is wrapped here, once, and nowhere else is its parameterization known. With
:math:`a = 1/\sqrt{1 + \sigma^2}` and :math:`q = \sigma a` a variance-preserving model sees :math:`x_t = a x`, and

==============  ==========================  ===============================
prediction      the network's output F      the denoiser
==============  ==========================  ===============================
``epsilon``     the noise n                 :math:`x - \sigma F`
``sample``      the clean image             :math:`F`
``v``           :math:`a n - q x_0`         :math:`a^2 x - q F`
``edm``         preconditioned (table 1     :math:`c_{skip} x + c_{out} F`
                of arXiv 2206.00364)
``ve``          the noise's negative        :math:`x + \sigma F`, input x
==============  ==========================  ===============================

A denoiser with a network inside also says its ``weight``, :math:`1 / c_{out}^2` with the factor :math:`c_{out}` before F
above: the weight of :math:`\|D - x_0\|^2` that makes the loss a plain mean squared error of F, which each family is trained
with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.diffusion.codec import Codec
from farfield.diffusion.schedule import Schedule

Prediction = Literal["epsilon", "sample", "v"]


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
    """A discrete-time, variance-preserving network (DDPM and its descendants) as a denoiser.

    Args:
        network: called as ``network(x_t, time)`` or ``network(x_t, time, label)``; returns ``[B, C, H, W]``, or
            ``[B, 2C, H, W]`` with a learned variance, whose second half is not part of the mean and is left out.
        schedule: the trained levels.
        shape: ``(C, H, W)``.
        prediction: what the network was trained to output.
        label: class index for a class-conditional network.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        prediction: Prediction = "epsilon",
        label: int | None = None,
    ):
        super().__init__()
        if prediction not in get_args(Prediction):
            raise FarfieldError(f"prediction {prediction!r}: expected one of {', '.join(get_args(Prediction))}")
        self.network = network
        self.schedule = schedule
        self.shape = tuple(shape)
        self.prediction = prediction
        self.label = label

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        s = column(sigma, x)
        a = (1 + s**2).rsqrt()
        time = self.schedule.time(per_image(sigma, x))
        output = evaluate(self.network, a * x, time, self.label if label is None else label, augment)
        if self.prediction == "epsilon":
            return x - s * output
        if self.prediction == "sample":
            return output
        return a**2 * x - s * a * output

    def weight(self, sigma: Tensor) -> Tensor:
        if self.prediction == "epsilon":
            return sigma**-2
        if self.prediction == "sample":
            return torch.ones_like(sigma)
        return 1 + sigma**-2


class EDMDenoiser(Denoiser):
    r"""A network under EDM's preconditioning (arXiv 2206.00364, table 1).

    With :math:`v = \sigma^2 + \sigma_{data}^2`: :math:`c_{skip} = \sigma_{data}^2 / v`,
    :math:`c_{out} = \sigma \sigma_{data} / \sqrt v`, :math:`c_{in} = 1/\sqrt v`, noise input :math:`\ln\sigma / 4`.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        sigma_data: float = 0.5,
        label: int | None = None,
    ):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.shape = tuple(shape)
        self.sigma_data = sigma_data
        self.label = label

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        s, d = column(sigma, x), self.sigma_data
        v = s**2 + d**2
        time = self.schedule.time(per_image(sigma, x))
        output = evaluate(self.network, x * v.rsqrt(), time, self.label if label is None else label, augment)
        return d**2 / v * x + s * d * v.rsqrt() * output

    def weight(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


class VEDenoiser(Denoiser):
    r"""A variance-exploding network (NCSN++, arXiv 2011.13456) as a denoiser: :math:`D = x + \sigma F(x, \ln(\sigma / 2))`."""

    def __init__(self, network: nn.Module, schedule: Schedule, shape: tuple[int, ...], label: int | None = None):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.shape = tuple(shape)
        self.label = label

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        time = self.schedule.time(per_image(sigma, x))
        return x + column(sigma, x) * evaluate(self.network, x, time, self.label if label is None else label, augment)

    def weight(self, sigma: Tensor) -> Tensor:
        return sigma**-2


def evaluate(
    network: nn.Module, x: Tensor, time: Tensor, label: int | Tensor | None = None, augment: Tensor | None = None
) -> Tensor:
    """Call a network in its own precision; answer in the caller's, without the learned variance.

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
    told = {} if augment is None else {"augment": augment.to(first.dtype)}
    output: Tensor = network(*arguments, **told).to(x.dtype)
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
