r"""Any torch module as a denoiser: what its answer means, which levels its time steps are, how it is called.

A module is called as ``module(x, t)``, or ``module(x, t, label)``, with x ``[B, C, H, W]`` float and t ``[B]``: the time step
0, 1, … T - 1 of a model with betas, :math:`\ln(\sigma)/4` of ``edm``, :math:`\ln(\sigma/2)` of ``ve``, and a flow's time. What it
does not take as it is is adapted here: whole time steps (an embedding table), and answers in an object's ``sample``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser, Prediction
from farfield.diffusion.flow import FlowSchedule, Path, Toward
from farfield.diffusion.schedule import (
    Bounded,
    ContinuousSchedule,
    DiscreteSchedule,
    Schedule,
    VESchedule,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
)
from farfield.diffusion.units import Rescaled, Units

BETAS: Final[dict[str, Callable[[], Tensor]]] = {
    "linear": linear_betas,
    "cosine": cosine_betas,
    "scaled_linear": scaled_linear_betas,
}
"""The field's schedules of 1000 steps, by name."""

CONTINUOUS: Final[dict[str, Callable[..., Bounded]]] = {"edm": ContinuousSchedule, "ve": VESchedule}
"""Predictions whose networks know every level between two, which may be given; a flow's path has its own."""

LEAST: Final = 1.0
"""A highest level below which there is no noise to begin from, so that the numbers given mean something else."""

Numbers = Tensor | Sequence[float]


def own_denoiser(
    module: nn.Module,
    shape: Sequence[int],
    *,
    betas: Numbers | Literal["linear", "cosine", "scaled_linear"] | None = None,
    alphas_cumprod: Numbers | None = None,
    sigmas: Numbers | None = None,
    prediction: Prediction = "epsilon",
    label: int | None = None,
    sigma_data: float = 0.5,
    images: tuple[float, float] = (-1.0, 1.0),
    time: Callable[[Tensor], Tensor] | None = None,
    direction: Toward = "noise",
    time_scale: float = 1.0,
    path: Path = "straight",
) -> Denoiser:
    """A frozen copy of a module in evaluation mode, as a denoiser of images in [-1, 1].

    Args:
        shape: of its images, (C, H, W).
        betas, alphas_cumprod, sigmas: one of them, a number for each time step 0, 1, … T - 1, as `DiscreteSchedule` has them;
            betas also by name. Of ``edm`` and ``ve`` sigmas are the lowest and the highest level, and may be left out.
        prediction: what the module answers; see `diffusion.denoiser`.
        label: the class that it is told, of a conditional one.
        sigma_data: of ``edm``.
        images: the numbers that are black and white to the module, (-1, 1) or (0, 1).
        direction, time_scale, path: of ``flow``, as `FlowSchedule` has them: whether the time 1 is the noise or the data, what
            the module is told at it, and ``straight`` or ``curved``. Of ``edm`` too, what ln(sigma)/4 is told times.
        time: makes of t what the module takes, such as ``lambda t: (t + 1) / 1000``.

    Raises:
        FarfieldError: levels that cannot be, a module that cannot be called, or that answers another shape.
    """
    if isinstance(module, Denoiser):
        raise FarfieldError("wrap: this is a denoiser already; give it as a model as it is")
    if not isinstance(module, nn.Module):
        raise FarfieldError(f"wrap: expected a torch.nn.Module, found {type(module).__name__}; give the network itself")
    if prediction not in get_args(Prediction):
        raise FarfieldError(f"prediction {prediction!r}: expected one of {', '.join(get_args(Prediction))}")
    size = tuple(int(n) for n in shape) if isinstance(shape, Sequence | torch.Size) else ()
    if len(size) == 3 and size[2] in (1, 3) and size[0] not in (1, 3):
        raise FarfieldError(f"shape {size}: channels stand first; expected {(size[2], size[0], size[1])}")
    if len(size) != 3 or min(size) < 1:
        raise FarfieldError(f"shape {size}: expected (channels, height, width) of the module's images")
    told = 1.0 if prediction == "edm" else time_scale
    if (direction, told, path) != ("noise", 1.0, "straight") and prediction != "flow":
        raise FarfieldError(
            f"prediction {prediction!r}: direction=, time_scale= and path= are of 'flow'; leave them out"
        )
    flow = FlowSchedule(direction, time_scale, path=path)
    schedule = own_schedule(prediction, betas, alphas_cumprod, sigmas, flow)
    network = Called(copy.deepcopy(module).eval().requires_grad_(False), time)
    _settle(network, size, schedule, label)
    denoiser = NetworkDenoiser(network, schedule, size, prediction, label, sigma_data)
    own = Rescaled(denoiser, Units(*images)) if tuple(images) != (-1.0, 1.0) else denoiser
    return own.eval().requires_grad_(False)


def own_schedule(
    prediction: str,
    betas: Any = None,
    alphas_cumprod: Any = None,
    sigmas: Any = None,
    flow: FlowSchedule | None = None,
) -> Schedule:
    """The levels that exactly one of the three says.

    Args:
        flow: of a flow the levels themselves; of EDM's it has the scale of the time.

    Raises:
        FarfieldError: none or several of them, or numbers that are no such levels.
    """
    given = {"betas": betas, "alphas_cumprod": alphas_cumprod, "sigmas": sigmas}
    named = [name for name, value in given.items() if value is not None]
    if prediction == "flow":
        if named:
            raise FarfieldError(
                f"{named[0]}: a flow's levels are those of its path; expected direction= and time_scale= alone"
            )
        return flow or FlowSchedule()
    if prediction in CONTINUOUS:
        if named and named != ["sigmas"]:
            raise FarfieldError(
                f"{named[0]}: expected sigmas=(lowest, highest) with prediction {prediction!r}, or nothing"
            )
        told = {"scale": flow.scale} if prediction == "edm" and flow is not None else {}
        if sigmas is None:
            return CONTINUOUS[prediction](**told)
        if len(ends := _numbers(sigmas, "sigmas")) != 2:
            raise FarfieldError(
                f"sigmas: {len(ends)} numbers; expected the lowest and the highest level of {prediction!r}"
            )
        return CONTINUOUS[prediction](*sorted(ends.tolist()), **told)
    if len(named) != 1:
        raise FarfieldError(
            f"{' and '.join(named) or 'no levels'}: expected one of betas=, alphas_cumprod= and sigmas=, a number for each "
            "time step"
        )
    if isinstance(betas, str):
        if betas not in BETAS:
            raise FarfieldError(f"betas {betas!r}: expected {', '.join(BETAS)} (of 1000 steps each), or the numbers")
        return DiscreteSchedule(BETAS[betas]())
    numbers = _numbers(given[named[0]], named[0])
    if named == ["betas"]:
        schedule = DiscreteSchedule(numbers)
    else:
        signal = numbers if named == ["alphas_cumprod"] else 1 / (1 + numbers**2)
        if not bool(((signal >= 0) & (signal < 1)).all()) or not bool((signal.diff() < 0).all()):
            way = "falling, between 0 and 1" if named == ["alphas_cumprod"] else "rising, above 0"
            raise FarfieldError(f"{named[0]}: expected a number for each time step from the first on, {way}")
        schedule = DiscreteSchedule(1 - signal / torch.cat([signal.new_ones(1), signal[:-1]]))
    if schedule.sigma_max < LEAST:
        hint = "; are these the alphas themselves? Give their cumulative product" if named == ["alphas_cumprod"] else ""
        raise FarfieldError(
            f"{named[0]}: the highest noise level is {schedule.sigma_max:.3g}; expected more noise than image at the end{hint}"
        )
    return schedule


class Called(nn.Module):
    """A module called as every network here is: t a float, the answer a tensor.

    Attributes:
        whole: how many time steps it knows, where it takes whole ones alone; else 0. Between two of them its answer is
            interpolated, never rounded.
        doubled: it answers twice the channels.
    """

    def __init__(self, module: nn.Module, time: Callable[[Tensor], Tensor] | None = None, whole: int = 0):
        super().__init__()
        self.module, self.time, self.whole, self.doubled = module, time, whole, False

    def forward(self, x: Tensor, time: Tensor, *label: Tensor) -> Tensor:
        if not self.whole:
            return self._answer(x, time, label)
        time = time.clamp(0, self.whole - 1)
        low = time.floor()
        part = (time - low).to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        answer = self._answer(x, low.long(), label)
        if not bool((part > 1e-6).any()):
            return answer
        high = (low.long() + 1).clamp(max=self.whole - 1)
        return answer + part * (self._answer(x, high, label) - answer)

    def _answer(self, x: Tensor, time: Tensor, label: Sequence[Tensor]) -> Tensor:
        told = time if self.time is None else self.time(time)
        answer = self.module(x, told, *label)
        return answer if isinstance(answer, Tensor) else getattr(answer, "sample", answer)


@torch.no_grad()
def _settle(network: Called, shape: tuple[int, ...], schedule: Schedule, label: int | None) -> None:
    """Find out by one call how a module takes the time; refuse one that cannot be called, or answers another shape."""
    first = next(network.module.parameters(), torch.zeros(1))
    x = torch.zeros(2, *shape, dtype=first.dtype, device=first.device)
    time = schedule.time(torch.tensor([schedule.sigma_min, schedule.sigma_max], device=first.device).double()).float()
    labels = [] if label is None else [torch.full((2,), label, dtype=torch.long, device=first.device)]
    try:
        answer = network(x, time, *labels)
    except Exception as error:  # a stranger's module raises anything
        failed = error
        if isinstance(schedule, DiscreteSchedule):
            network.whole = len(schedule.levels)
        try:
            answer = network(x, time, *labels)
        except Exception:
            called = (
                f"{type(network.module).__name__}(x {list(x.shape)}, t {list(time.shape)}{', label' if labels else ''})"
            )
            said = " ".join(str(failed).split())[:160]
            raise FarfieldError(
                f"{called}: {type(failed).__name__}: {said}; expected a module that is called so; give a module whose forward "
                "calls yours, time= to change t, or label= where it has classes"
            ) from failed
    if not isinstance(answer, Tensor) or answer.shape[0] != 2 or answer.shape[2:] != x.shape[2:]:
        found = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise FarfieldError(
            f"{type(network.module).__name__} answers {found} to {list(x.shape)}; expected the same shape"
        )
    if answer.shape[1] not in (shape[0], 2 * shape[0]):
        raise FarfieldError(
            f"{type(network.module).__name__} answers {list(answer.shape)} to {list(x.shape)}; expected as many channels, or "
            "twice as many (learned variance)"
        )
    network.doubled = answer.shape[1] == 2 * shape[0]


def _numbers(values: Any, name: str) -> Tensor:
    try:
        numbers = torch.as_tensor(values, dtype=torch.float64).detach().cpu().flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise FarfieldError(f"{name}: expected numbers, found {type(values).__name__}") from error
    if len(numbers) < 2 or not bool(numbers.isfinite().all()):
        raise FarfieldError(f"{name}: expected a number for each time step, found {len(numbers)}, or NaN among them")
    return numbers


def own_remedy(changes: Mapping[str, str], now: int | None = None) -> str:
    """The arguments of `own_denoiser` that make a reading of `diffusion.reading`, from what it changes.

    Args:
        now: time steps of the present reading; a schedule that is named without its steps has as many.
    """
    said = []
    for what, value in changes.items():
        if what == "images":
            said.append(f"images={value.replace('[', '(').replace(']', ')')}")
        elif what == "schedule":
            steps = int(changes.get("steps", now or 1000))
            said.append(f'betas="{value}"' if steps == 1000 else f"the betas of a {value} schedule of {steps} steps")
        elif what == "mean":
            said.append("a module that answers the second half of its channels")
        elif what != "steps":
            said.append(f'{what}="{value}"' if what in ("prediction", "direction", "path") else f"{what}={value}")
    return ", ".join(said)
