"""How well images come back, and how true their latents are, against network calls: ours beside diffusers' DDIM pair.

Every method gets the same images, the same network and the same number of network calls there and back, counted at
the network itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.table import format_table
from farfield.checkpoints.load import load_denoiser, locate
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress
from farfield.data.image import load_images
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.reversible import REVERSIBLE
from farfield.diffusion.schedule import karras
from farfield.diffusion.solver import SOLVERS, integrate
from farfield.unseen.inversion import round_trip, to_latent
from farfield.unseen.method import Method, decode_by, invert_by

MODEL, DOMAIN = "cifar10-32", "hubble"
THEIRS = {"diffusers, as stored": True, "diffusers, no clipping": False}
"""Names of diffusers' pair and whether it clips its predicted image; the model's stored configuration does."""
FIXED_POINT = 5e-4
"""Tolerance of the fixed-point inverse: 40 times below the RMS error of 40 dB, as ``--method auto`` has it."""
OURS = {
    **{name: Method("explicit", name) for name in SOLVERS},
    **{f"fixed-point {name}": Method("fixed-point", name, tolerance=FIXED_POINT) for name in ("euler", "heun")},
    **{name: Method(name) for name in REVERSIBLE},
    "edit-friendly": Method("edit-friendly"),
    "multistep, Karras": Method("explicit", "multistep"),
}
"""Our methods by the name that the table has for them."""
RHO = {"multistep, Karras": 20.0}
"""The exponents of those that walk Karras's grid; of models with trained levels 20 has better latents than EDM's 7."""
TARGETS = {"psnr": 40.0, "latent": 1e-2}
"""What a round trip and a latent are asked for: PSNR in dB, relative error."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Trip:
    """Latents in unit variance with the trained level they are at, the images that came back, what it cost.

    ``calls`` where images of one batch need different numbers of them: the mean.
    """

    latents: Tensor
    level: int
    back: Tensor
    steps: int
    calls: int | None = None


@dataclass
class Counter:
    calls: int = 0


@dataclass(frozen=True)
class Reference:
    """Converged latents by level, from images taken to live at the lowest level, or at no noise (see `lift`)."""

    images: dict[int, Tensor]
    lifted: dict[int, Tensor]


def measure(images: int = 8, calls: Sequence[int] = (12, 24, 32, 48, 96), reference: int = 400) -> Figures:
    """All methods at all numbers of calls.

    Args:
        images: how many galaxies.
        calls: network calls there and back; a fixed point stops by its tolerance and spends what it needs.
        reference: steps of the reference latents; half as many certify it.
    """
    denoiser = load_denoiser(MODEL)
    x = load_images(DOMAIN, denoiser.shape, limit=images).values.double()
    methods = [*OURS, *THEIRS]
    trips: list[tuple[str, int, Trip]] = []
    with progress("round_trip", len(x) * (len(methods) * sum(calls) + 3 * reference)) as advance, torch.no_grad():
        for method in methods:
            for budget in calls:
                with count_calls(denoiser.network) as counter:
                    trip = (
                        their_trip(denoiser, x, budget, THEIRS[method])
                        if method in THEIRS
                        else our_trip(denoiser, x, budget, OURS[method], RHO.get(method))
                    )
                if trip:
                    trips.append((method, counter.calls if trip.calls is None else trip.calls, trip))
                advance(len(x) * budget)
        levels = {trip.level for _, _, trip in trips}
        coarse = find_reference(denoiser, x, reference // 2, levels)
        advance(len(x) * reference)
        fine = find_reference(denoiser, x, reference, levels)
        advance(2 * len(x) * reference)
    rows = [judge(method, spent, trip, x, fine) for method, spent, trip in trips]
    top = len(denoiser.schedule.levels) - 1
    gap = torch.cat(
        [relative_error(coarse.images[top], fine.images[top]), relative_error(coarse.lifted[top], fine.lifted[top])]
    )
    return {
        "model": MODEL,
        "domain": DOMAIN,
        "images": len(x),
        "last_level": top,
        "sigma_max": denoiser.schedule.sigma_max,
        "reference": {"steps": reference, "check_steps": reference // 2, "gap": float(gap.max())},
        "start": float(relative_error(fine.lifted[top], fine.images[top]).median()),
        "rows": [row | {"sigma": float(denoiser.schedule.levels[row["level"]])} for row in rows],
        "needed": {
            method: calls_needed(tried)
            for method in methods
            if (tried := [row for row in rows if row["method"] == method])
        },
    }


def our_trip(
    denoiser: NetworkDenoiser, images: Tensor, calls: int, method: Method, rho: float | None = None
) -> Trip | None:
    """Up and down by one method, in as many steps as the calls allow; None where it cannot be done in so few."""
    # A fixed point takes some three iterations a step on the way up: twice what one iteration would, all in all.
    share = 2 if method.name == "fixed-point" else 1
    steps = max((k for k in range(2, calls + 1) if share * sum(method.calls(k)) <= calls), default=2)
    sigmas = denoiser.schedule.sigmas(steps, rho=rho)
    try:
        found = invert_by(method, denoiser, images, sigmas, list(range(len(images))))
    except FarfieldError:  # the fixed point does not contract over so long a step
        return None
    level = len(denoiser.schedule.levels) - 1
    back = decode_by(method, denoiser, found.latents, found.beside, sigmas)
    return Trip(found.latents, level, back, steps, round(float(found.calls.double().mean())) + method.calls(steps)[1])


def their_trip(denoiser: NetworkDenoiser, images: Tensor, calls: int, clip: bool) -> Trip:
    """diffusers' schedulers made from the stored configuration and driven by the loop of their documentation, float32."""
    from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler
    from diffusers.utils import logging

    logging.set_verbosity_error()  # each time it would name the stored settings that DDIM has no use for
    stored = DDPMScheduler.from_pretrained(locate(MODEL) / "scheduler")
    decoder = DDIMScheduler.from_config(stored.config, clip_sample=clip)
    inverter = DDIMInverseScheduler.from_config(decoder.config)
    latents = walk(inverter, denoiser.network, images.float(), calls // 2)
    # One step of theirs goes from the level of t - ratio to the level of t, for t = 0, ratio, 2 ratio, …: it ends at the
    # last t of its list, (n - 1) · ratio, up to a whole ratio short of the last trained level. x_t is already in unit
    # variance, so it is compared with our latent at that very level.
    level = int(inverter.timesteps[-1])
    return Trip(latents.double(), level, walk(decoder, denoiser.network, latents, calls // 2).double(), calls // 2)


def walk(scheduler: Any, network: nn.Module, x: Tensor, steps: int) -> Tensor:
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


def find_reference(denoiser: NetworkDenoiser, images: Tensor, steps: int, levels: set[int]) -> Reference:
    """Latents at some trained levels, by the multistep solver on one fine grid through all of them.

    Below sigma 0.1 the trained levels are few and far apart, and a grid of trained levels alone would be as coarse there
    in its check as in the reference. This one is spaced freely; the network's time is interpolated.
    """
    schedule = denoiser.schedule
    top = len(schedule.levels) - 1
    wanted = {float(schedule.levels[i]): i for i in levels | {top}}
    grid = torch.cat(
        [
            karras(steps, schedule.sigma_min, schedule.sigma_max, 20),
            torch.tensor(list(wanted), dtype=torch.float64),
        ]
    )
    reached: dict[int, Tensor] = {}

    def keep(step: Any) -> None:
        if step.sigma in wanted:
            reached[wanted[step.sigma]] = to_latent(step.x, schedule.levels[wanted[step.sigma]])

    integrate(denoiser, torch.cat([images, lift(denoiser, images)]), grid.unique(), callback=keep)
    return Reference(
        {i: z[: len(images)] for i, z in reached.items()}, {i: z[len(images) :] for i, z in reached.items()}
    )


def lift(denoiser: NetworkDenoiser, images: Tensor) -> Tensor:
    """Images from no noise to the lowest level, as diffusers' inversion begins at any number of steps.

    We take an image to live at the lowest level. The two starts lead to latents some 9 % apart: a convention, not an
    error, so each method is held against the reference that starts as it does; the other error is shown beside it.
    """
    noise = denoiser.network(images.float(), torch.zeros(len(images))).double()
    return images + denoiser.schedule.sigma_min * noise


def judge(method: str, calls: int, trip: Trip, images: Tensor, reference: Reference) -> Figures:
    starts = [reference.images[trip.level], reference.lifted[trip.level]]
    own, other = starts[::-1] if method in THEIRS else starts
    errors = (
        (None, None) if method == "edit-friendly" else (own, other)
    )  # those solve no ODE: there is no truth to miss
    latent, from_other = (None if e is None else float(relative_error(trip.latents, e).median()) for e in errors)
    return {
        "method": method,
        "calls": calls,
        "steps": trip.steps,
        "level": trip.level,
        "psnr": float(round_trip(images, trip.back).psnr.median()),
        "latent": latent,
        "latent_other_start": from_other,
    }


def relative_error(z: Tensor, truth: Tensor) -> Tensor:
    return (z - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)


def calls_needed(rows: Sequence[Figures]) -> dict[str, float | None]:
    """Calls at which one method meets each target; PSNR is a logarithm already."""
    calls = [row["calls"] for row in rows]
    psnr = [row["psnr"] for row in rows]
    digits = [-math.inf if row["latent"] is None else -math.log10(row["latent"]) for row in rows]
    return {
        "psnr": crossing(calls, psnr, TARGETS["psnr"]),
        "latent": crossing(calls, digits, -math.log10(TARGETS["latent"])),
    }


def crossing(calls: Sequence[int], scores: Sequence[float], target: float) -> float | None:
    """Where scores first reach the target, on straight lines over log calls; the first calls if they begin there."""
    if scores[0] >= target:
        return float(calls[0])
    for i in range(1, len(calls)):
        if scores[i] >= target:
            share = (target - scores[i - 1]) / (scores[i] - scores[i - 1])
            return float(calls[i - 1] * (calls[i] / calls[i - 1]) ** share)
    return None


@contextmanager
def count_calls(network: nn.Module) -> Iterator[Counter]:
    counter = Counter()

    def count(*_: Any) -> None:
        counter.calls += 1

    handle = network.register_forward_hook(count)
    try:
        yield counter
    finally:
        handle.remove()


def show(figures: Figures) -> str:
    last, reference = figures["last_level"], figures["reference"]
    rows = [
        [
            row["method"],
            *(str(row[k]) for k in ("calls", "steps")),
            f"{row['psnr']:.1f}",
            *("-" if row[k] is None else f"{row[k]:.1e}" for k in ("latent", "latent_other_start")),
            f"{row['level']} of {last}",
            f"{row['sigma']:.1f}",
        ]
        for row in figures["rows"]
    ]
    curves = format_table(
        f"Round trip: {figures['images']} images of {figures['domain']} through {figures['model']}, medians",
        ["method", "calls", "steps", "PSNR dB", "latent error", "other start", "ends at level", "sigma"],
        rows,
        [
            "calls: of the network, there and back; PSNR over a data range of 2; latent error: relative, at the level "
            "where the inversion ends",
            f"reference latents: multistep, {reference['steps']} steps; those of {reference['check_steps']} steps differ "
            f"by {reference['gap']:.1e} at most",
            f"diffusers starts from no noise, ours from the lowest level: latents {figures['start']:.1e} apart; "
            "latent error is from the reference of the method's own start, beside it from the other's",
        ],
    )
    least = min(row["calls"] for row in figures["rows"])
    needed = format_table(
        "Calls needed, there and back",
        ["method", f"{TARGETS['psnr']:g} dB", f"latent error {TARGETS['latent']:g}"],
        [[m, *(show_calls(found[k], least) for k in TARGETS)] for m, found in figures["needed"].items()],
        [f"interpolated in the table above, log-log; - not reached at {max(r['calls'] for r in figures['rows'])}"],
    )
    return f"{curves}\n\n{needed}"


def show_calls(calls: float | None, least: int) -> str:
    if calls is None:
        return "-"
    return f"≤ {least}" if calls <= least else f"{calls:.0f}"
