r"""The configuration of a diffusers scheduler: which levels a network knows, how it is told of them, and what it answers.

Only these numbers are taken. diffusers' steps, their spacing and their clipping of x0 (``clip_sample``, which no inversion
survives) are left behind: our own solver does the rest.

==================================  =======================================================  ======================
scheduler                           levels, and how the network is told                      its answer
==================================  =======================================================  ======================
discrete ones (`DISCRETE`)          those of the betas, as the time step (times our own      ``epsilon``, ``sample``,
                                    ``timestep_scale``, where a configuration has that)      ``v_prediction``
EulerDiscrete, continuous, v        every one from sigma_min to sigma_max, as ln(sigma) / 4  ``v_prediction``
EDMEuler, EDMDPMSolverMultistep     every one, preconditioned (arXiv 2206.00364, table 1),   EDM's F, or its negative
                                    as ln(sigma) / 4 (times our own ``timestep_scale``)
ScoreSdeVe                          every one, as itself, of images in [0, 1]                the score
FlowMatchEuler, FlowMatchHeun       every one between the first and the last but one of      the velocity, toward the
                                    their times t, as t times their number (`flow`)          noise or the data
==================================  =======================================================  ======================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from farfield.checkpoints import flow
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser, Prediction
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    VESchedule,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
)
from farfield.networks.unet2d import SampleOnly

DISCRETE: Final = (
    "DDIMInverseScheduler", "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler",
    "DEISMultistepScheduler", "DPMSolverMultistepInverseScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler", "PNDMScheduler",
    "RePaintScheduler", "SASolverScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Samplers of variance-preserving networks at discrete time steps: they differ in their steps, not in the model."""

EDM: Final = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
VE: Final = "ScoreSdeVeScheduler"

_CONSISTENCY: Final = (
    "CMStochasticIterativeScheduler", "FlowMatchLCMScheduler", "LCMScheduler", "TCDScheduler",
)  # fmt: skip
_NARROW: Final = ("HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler")
"""Their betas go from 0.00085 to 0.012 where a configuration does not say it; those of all others from 0.0001 to 0.02."""

_PREDICTIONS: Final[dict[str, Prediction]] = {"epsilon": "epsilon", "sample": "sample", "v_prediction": "v"}
_MOST_STEPS: Final = 100_000


class Opposite(nn.Module):
    """A UNet2DModel whose answer is the negative of EDM's, which is what diffusers calls EDM's ``v_prediction``."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        answer: Tensor = self.unet(x, time, class_labels=label, return_dict=False)[0]
        return -answer


class Score(nn.Module):
    r"""A UNet2DModel F that answers with the score of images in [0, 1], called as a network of prediction ``ve``.

    With :math:`y = (x + 1) / 2` and :math:`s = \sigma / 2`, its denoiser :math:`y + s^2 F(y, s)` is
    :math:`x + \sigma \, [s F(y, s)]` in our coordinates; the time is :math:`\ln s` (`VESchedule`).
    """

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        s = time.exp()
        answer: Tensor = self.unet((x + 1) / 2, s, class_labels=label, return_dict=False)[0]
        return s.to(answer.dtype).reshape(-1, *(1,) * (x.ndim - 1)) * answer


def scheduled(
    network: nn.Module,
    config: dict[str, Any],
    shape: tuple[int, ...],
    label: int | None = None,
    name: str = "scheduler",
) -> NetworkDenoiser:
    """A network under the configuration of a diffusers scheduler.

    Args:
        network: `SampleOnly`, or any other that is called alike.
        config: names and defaults are diffusers'; without ``_class_name`` those of a DDPMScheduler.
        name: of the configuration, for messages.

    Raises:
        FarfieldError: a scheduler of another kind of model, or numbers that cannot be.
    """
    kind = config.get("_class_name", "DDPMScheduler")
    try:
        if kind in EDM:
            return _edm(network, config, shape, label, name)
        if kind == VE:
            low, high = (
                2 * float(config.get(k, default)) for k, default in (("sigma_min", 0.01), ("sigma_max", 1348.0))
            )
            return NetworkDenoiser(Score(_unet(network, name)), VESchedule(low, high), shape, "ve", label)
        if flow.is_flow(config) and kind in (*DISCRETE, *flow.SCHEDULERS):
            return NetworkDenoiser(network, flow.schedule(config, name), shape, "flow", label)
        if kind not in DISCRETE or config.get("use_flow_sigmas"):
            every = (*DISCRETE, *EDM, VE, *flow.SCHEDULERS)
            raise FarfieldError(f"{name}: {kind} {_why_not(kind)}; expected one of {', '.join(every)}")
        prediction = _prediction(config, name)
        scale = float(config.get("timestep_scale", 1.0))
        if not 0 < scale < math.inf:
            raise FarfieldError(f"{name}: timestep_scale {scale:g}; expected a positive number")
        discrete = DiscreteSchedule(_betas(config, kind, name), scale=scale)
        if config.get("timestep_type") == "continuous" and prediction == "v":
            low, high = (float(config.get(k) or getattr(discrete, k)) for k in ("sigma_min", "sigma_max"))
            return NetworkDenoiser(network, ContinuousSchedule(low, high), shape, "v", label)
        return NetworkDenoiser(network, discrete, shape, prediction, label)
    except FarfieldError:
        raise
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise FarfieldError(f"{name}: the configuration of a {kind} has a number that is none ({error})") from error


def _edm(
    network: nn.Module, config: dict[str, Any], shape: tuple[int, ...], label: int | None, name: str
) -> NetworkDenoiser:
    low, high, data = (
        float(config.get(k, default)) for k, default in (("sigma_min", 0.002), ("sigma_max", 80.0), ("sigma_data", 0.5))
    )
    prediction = _prediction(config, name)
    if prediction == "sample" or not data > 0:
        raise FarfieldError(
            f"{name}: EDM with prediction_type {config.get('prediction_type')!r} and sigma_data {data:g}; expected epsilon or "
            "v_prediction, and a positive sigma_data"
        )
    network = Opposite(_unet(network, name)) if prediction == "v" else network
    schedule = ContinuousSchedule(low, high, scale=float(config.get("timestep_scale", 1.0)))
    return NetworkDenoiser(network, schedule, shape, "edm", label, data)


def _unet(network: nn.Module, name: str) -> nn.Module:
    """The UNet2DModel inside, however often it was wrapped: a denoiser's network may be given another denoiser."""
    if not isinstance(network, SampleOnly | Opposite | Score):
        raise FarfieldError(f"{name}: this scheduler is read for a UNet2DModel alone, found {type(network).__name__}")
    return network.unet


def _why_not(kind: Any) -> str:
    if kind in _CONSISTENCY:
        return "is of a consistency model, which answers with the end of a path and not with the mean"
    if kind in DISCRETE:
        return f"has use_flow_sigmas, but its prediction_type is not {flow.PREDICTION}"
    if "Flow" in str(kind):
        return "is of flow matching, but of no kind that is read here"
    return "is not read here"


def _prediction(config: dict[str, Any], name: str) -> Prediction:
    named = config.get("prediction_type", "epsilon")
    if named not in _PREDICTIONS:
        raise FarfieldError(f"{name}: prediction_type {named!r}; expected one of {', '.join(_PREDICTIONS)}")
    return _PREDICTIONS[named]


def _betas(config: dict[str, Any], kind: str, name: str) -> Tensor:
    """The betas of a scheduler's configuration, float64 ``[T]``."""
    usual = (0.00085, 0.012) if kind in _NARROW else (1e-4, 0.02)
    start, end = (float(config.get(k, default)) for k, default in zip(("beta_start", "beta_end"), usual, strict=True))
    steps = int(config.get("num_train_timesteps", 1000))
    if not 2 <= steps <= _MOST_STEPS:
        raise FarfieldError(f"{name}: {steps} num_train_timesteps; expected 2 to {_MOST_STEPS}")
    known: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: linear_betas(steps, start, end),
        "scaled_linear": lambda: scaled_linear_betas(steps, start, end),
        "squaredcos_cap_v2": lambda: cosine_betas(steps),
        "sigmoid": lambda: sigmoid_betas(steps, start, end),
        "laplace": lambda: laplace_betas(steps),
        "exp": lambda: exponential_betas(steps),
    }
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
        if betas.ndim != 1 or not 2 <= len(betas) <= _MOST_STEPS:
            raise FarfieldError(
                f"{name}: trained_betas of shape {tuple(betas.shape)}; expected a list of 2 to {_MOST_STEPS}"
            )
    elif schedule in known:
        betas = known[schedule]()
    else:
        raise FarfieldError(f"{name}: beta_schedule {schedule!r}; expected one of {', '.join(known)}")
    return _zero_terminal(betas) if config.get("rescale_betas_zero_snr") else betas


def sigmoid_betas(steps: int, start: float, end: float) -> Tensor:
    """Betas on a logistic curve from -6 to 6 (GeoDiff, arXiv 2203.02923), float64 ``[steps]``."""
    return torch.linspace(-6, 6, steps, dtype=torch.float64).sigmoid() * (end - start) + start


def laplace_betas(steps: int) -> Tensor:
    r"""Betas after the Laplace schedule of arXiv 2407.03297, as diffusers has it, each at most 0.999.

    At u in [0, 1], with :math:`\lambda = \mp\frac12 \ln(1 - |1 - 2u| + 10^{-6})` (minus in the first half), the
    product that the betas are taken from is :math:`\sqrt{e^\lambda / (1 + e^\lambda)}`.
    """
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    side = torch.where(u <= 0.5, -0.5, 0.5)
    return _of_signal((side * (1 - (1 - 2 * u).abs() + 1e-6).log()).sigmoid().sqrt())


def exponential_betas(steps: int) -> Tensor:
    r"""Betas of :math:`\bar\alpha(u) = e^{-12 u}`: all the same."""
    return torch.full((steps,), -math.expm1(-12 / steps), dtype=torch.float64).clamp(max=0.999)


def _of_signal(signal: Tensor) -> Tensor:
    return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)


def _zero_terminal(betas: Tensor) -> Tensor:
    r"""Betas whose last level has no signal: :math:`\sqrt{\bar\alpha}` shifted and scaled (arXiv 2305.08891, algorithm 1)."""
    root = torch.cumprod(1 - betas, 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    signal = root**2
    return 1 - torch.cat([signal[:1], signal[1:] / signal[:-1]])
