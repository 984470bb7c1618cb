r"""The methods that carry images to latents and back, under one contract, and the choice among them.

- ``explicit``: the same solver both ways (`inversion`); what comes back has the solver's error.
- ``fixed-point``: the exact inverse of a ``euler``, ``heun`` or ``midpoint`` decoder (`diffusion.implicit`).
- ``belm``, ``bdia``, ``reversible-heun``: undone by algebra, with a second state (`diffusion.reversible`).
- ``edit-friendly``: a stochastic decoder and the noise maps that lead it back (`stochastic`); its latents are the noised
  image, no solution of the ODE.

All but the first return the image exactly; how true the latents are is another question, and has its own answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.command.reconstruct import Budget, Kept
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.implicit import integrate_implicit
from farfield.diffusion.reversible import REVERSIBLE, integrate_reversible, reversible_calls, second_level, start
from farfield.diffusion.solver import Callback, find_solver, network_calls
from farfield.unseen.inversion import decode, from_latent, invert, to_latent
from farfield.unseen.stochastic import decode_maps, noise_maps

METHODS = ("explicit", "fixed-point", *REVERSIBLE, "edit-friendly")


@dataclass(frozen=True)
class Method:
    """One way there and back.

    Args:
        name: one of `METHODS`.
        solver: of ``explicit`` and ``fixed-point``; the others are solvers themselves.
        eta: of ``edit-friendly``.
        tolerance: of ``fixed-point``, see `integrate_implicit`.
    """

    name: str = "explicit"
    solver: str = "multistep"
    eta: float = 1.0
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise FarfieldError(f"method {self.name!r}: expected one of {', '.join(METHODS)}, or auto")
        find_solver(self.solver)
        if self.name == "fixed-point" and self.solver == "multistep":
            raise FarfieldError(
                "method fixed-point: the multistep solver has no inverse step; use euler, heun or midpoint"
            )
        if self.name == "edit-friendly" and not 0 < self.eta <= 1:
            raise FarfieldError(f"eta {self.eta:g}: edit-friendly inversion needs more than 0 and at most 1")

    @property
    def label(self) -> str:
        """What integrates: a solver's name, or the method's where it is one."""
        return find_solver(self.solver).name if self.name in ("explicit", "fixed-point") else self.name

    @property
    def order(self) -> int | None:
        """Of the latents; None where they solve no ODE."""
        if self.name == "edit-friendly":
            return None
        # bdia is of first order where the grid is not smooth: the careful reading
        return {"belm": 2, "bdia": 1, "reversible-heun": 2}.get(self.name) or find_solver(self.solver).order

    @property
    def beside(self) -> str | None:
        """The folder of what is stored beside the latents and needed to decode."""
        return "second" if self.name in REVERSIBLE else "noise_maps" if self.name == "edit-friendly" else None

    def check(self, steps: int) -> None:
        """Refuse what cannot run, before a folder is begun with it."""
        if self.name in REVERSIBLE and steps < 2:
            raise FarfieldError(f"{steps} steps: {self.name} carries a pair of states and needs at least 2")

    def calls(self, steps: int) -> tuple[int, int]:
        """Network calls up and down; of a fixed point the least, since it is counted as it goes."""
        if self.name in REVERSIBLE:
            return reversible_calls(self.name, steps, up=True), reversible_calls(self.name, steps, up=False)
        if self.name == "edit-friendly":
            return steps, steps
        return network_calls(self.solver, steps) + (self.name == "fixed-point"), network_calls(self.solver, steps)


@dataclass(frozen=True)
class Inverted:
    """Unit-variance latents ``[n, *shape]``, what belongs beside them (`Method.beside`), and calls ``[n]`` on the way up.

    A second state is in unit variance at its own level ``beside_sigma``; noise maps are ``[n, steps, *shape]``.
    """

    latents: Tensor
    calls: Tensor
    beside: Tensor | None = None
    beside_sigma: float = 0.0


def invert_by(
    method: Method,
    denoiser: Denoiser,
    images: Tensor,
    sigmas: Tensor,
    seeds: Sequence[int] | None = None,
    callback: Callback | None = None,
) -> Inverted:
    """Latents of images at the top of a descending grid, by any method; ``seeds`` for ``edit-friendly``."""
    calls = torch.full((len(images),), method.calls(len(sigmas) - 1)[0])
    top = sigmas[0].to(images)
    if method.name == "explicit":
        return Inverted(invert(denoiser, images, sigmas, method.solver, callback), calls)
    x0, up = denoiser.encode(images), sigmas.flip(0)
    if method.name == "fixed-point":
        found = integrate_implicit(denoiser, x0, up, method.solver, tolerance=method.tolerance, callback=callback)
        return Inverted(to_latent(found.x, top), found.calls)
    if method.name == "edit-friendly":
        x, maps = noise_maps(denoiser, x0, sigmas, seeds or (), method.eta, callback)
        return Inverted(to_latent(x, top), calls, maps, float(top))
    x, second = integrate_reversible(denoiser, x0, start(denoiser, x0, up, method.name), up, method.name, callback)
    level = second_level(sigmas, method.name).to(images)
    return Inverted(to_latent(x, top), calls, to_latent(second, level), float(level))


def decode_by(
    method: Method,
    denoiser: Denoiser,
    latents: Tensor,
    beside: Tensor | None,
    sigmas: Tensor,
    callback: Callback | None = None,
) -> Tensor:
    """Images of latents, the inverse of `invert_by`.

    Raises:
        FarfieldError: what the method needs beside the latents is missing, or fits them not.
    """
    if method.name in ("explicit", "fixed-point"):
        return decode(denoiser, latents, sigmas, method.solver, callback)
    x = from_latent(latents, sigmas[0].to(latents))
    if method.name == "edit-friendly":
        return denoiser.decode(decode_maps(denoiser, x, beside, sigmas, method.eta, callback))
    level = second_level(sigmas, method.name).to(latents)
    second = None if beside is None else from_latent(beside, level)
    return denoiser.decode(integrate_reversible(denoiser, x, second, sigmas, method.name, callback)[0])


@dataclass(frozen=True)
class Trial:
    """What one method did to the probe images: calls there and back (the mean), and the worst image's two errors."""

    method: str
    solver: str
    steps: int
    calls: float
    psnr: float
    latent: float

    def meets(self, psnr: float, latent: float) -> bool:
        return self.psnr >= psnr and self.latent <= latent


def choose(trials: Sequence[Trial], psnr: float, latent: float) -> Trial:
    """The cheapest trial that meets both budgets; of equally cheap ones that with the better latent.

    Raises:
        FarfieldError: none does; the message names the nearest.
    """
    good = [t for t in trials if t.meets(psnr, latent)]
    if good:
        return min(good, key=lambda t: (t.calls, t.latent))
    if not trials:
        raise FarfieldError("method auto: nothing could be tried at this level; give --method and --steps")

    def short(t: Trial) -> float:
        """By what factor of RMS error the worse of the two budgets is missed."""
        return max(10 ** ((psnr - t.psnr) / 20), t.latent / latent)

    near = min(trials, key=short)
    raise FarfieldError(
        f"method auto: nothing tried returns images at {psnr:g} dB with latents to {latent:g}; the nearest is {near.method} "
        f"({near.solver}, {near.steps} steps, {near.calls:g} calls) with {near.psnr:.1f} dB and {near.latent:.2g}. Ask for "
        "less, or choose a lower --sigma"
    )


def budgets(
    choice: tuple[float, float], probe: tuple[float, float], psnr: float | None, latent: float | None
) -> Budget:
    """Whether a run kept what its method was chosen for: the choice saw a few images, the run all of them.

    Args:
        choice: the PSNR and the relative error of latents that were asked for.
        probe: those of the method chosen, on the probe; its latents were held against the reference's.
        psnr: of the worst image; None where none was decoded.
        latent: error of the worst latent that was certified, by k against 2k steps; None where none was.
    """
    met = None if psnr is None else psnr >= choice[0], None if latent is None else latent <= choice[1]
    trip, error = (
        Kept(asked=asked, probe=tried, found=value, met=kept)
        for asked, tried, value, kept in zip(choice, probe, (psnr, latent), met, strict=True)
    )
    known = [kept for kept in met if kept is not None]
    return Budget(round_trip=trip, latent=error, met=all(known) if known else None)
