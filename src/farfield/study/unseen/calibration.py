"""The frozen denoiser calibrated on a domain's examples, its corrections kept in the run; and what that says of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from farfield.command.contribution import GainLevel, ModelGain
from farfield.command.expand import Sampler
from farfield.core.artifact import Artifact, Images
from farfield.core.interval import mean_score
from farfield.core.runtime import Advance, exact_matmul
from farfield.data.symmetry import apply, group, parse
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import integrate
from farfield.study.bench.carrier import encode
from farfield.study.bench.run import Run
from farfield.unseen.calibration import LEFT_OUT, CalibratedDenoiser, Level, fit_level
from farfield.unseen.gain import counts, headline, lowered, overall
from farfield.unseen.patches import Patches

STEPS = 16
"""Steps of the grid of levels at which corrections are fitted; they change slowly from level to level."""

VIEWS = 200
"""Noisy images shown to the network at a level; a few more where the examples do not divide it."""


@dataclass(frozen=True)
class Corrections(Artifact):
    """A row of `unseen.calibration.Level.flat` for each level, named by it."""

    kind: ClassVar[str] = "corrections"


def calibrate(
    run: Run,
    denoiser: Denoiser,
    examples: Images,
    sigmas: Tensor,
    batch_size: int,
    sampler: Sampler,
    name: str = "calibration",
) -> CalibratedDenoiser:
    """The denoiser corrected on the examples for the levels of a decoder's grid ``sigmas``, as the sampler has it."""
    levels = denoiser.schedule.sigmas(min(STEPS, len(sigmas) - 1), float(sigmas[0])).flip(0)
    symmetry = parse(sampler.symmetry) if sampler.symmetry else ()
    asked = sampler.network, sampler.patches, symmetry
    return calibrate_at(run, denoiser, examples, levels, batch_size, name, *asked)


def calibrate_at(
    run: Run,
    denoiser: Denoiser,
    examples: Images,
    levels: Tensor,
    batch_size: int,
    name: str = "calibration",
    network: bool = True,
    patches: bool = True,
    symmetry: Sequence[str] = (),
    label: str = "calibrating",
) -> CalibratedDenoiser:
    """The denoiser corrected on the examples at ascending levels.

    Args:
        network: False is the control, the same without the frozen network.
        patches: whether the examples' patches may speak too.
        symmetry: the domain's (`data.symmetry`), whose images of the examples have patches too.
        label: of its bar.
    """
    keys = [f"{i:03d} {float(s):.6g}" for i, s in enumerate(levels)]
    place = {key: i for i, key in enumerate(keys)}
    x0 = encode(denoiser, examples)
    known = domain_patches(denoiser, examples, symmetry) if patches else None

    def work(part: tuple[str, ...], advance: Advance) -> Corrections:
        rows = []
        for key in part:
            i = place[key]
            with exact_matmul():
                level = fit_level(
                    denoiser,
                    x0,
                    float(levels[i]),
                    network=network,
                    patches=known,
                    index=i,
                    views=VIEWS,
                    batch_size=batch_size,
                )
            rows.append(level.flat())
            advance(1)
        return Corrections(part, torch.stack(rows))

    fitted = run.compute(name, Corrections, keys, 1, work, label).read()
    guesses = network + len(known.windows if known else ())
    c, h, w = x0.shape[1:]
    fits = [Level.of(row, (c, h, w), guesses, len(x0)) for row in fitted.values]
    return CalibratedDenoiser(denoiser, x0.mean(0), levels, fits, network=network, patches=known)


def domain_patches(denoiser: Denoiser, examples: Images, symmetry: Sequence[str] = ()) -> Patches:
    """Patches of three sizes, of the examples and their symmetric images: a few pixels, a part of the image, and the whole."""
    members = group(symmetry) if symmetry else ("identity",)
    x0 = torch.cat([encode(denoiser, Images(examples.keys, apply(examples.values, name))) for name in members])
    side = max(x0.shape[2:])
    block = 1 if side < 24 else max(2, side // 32)
    windows = (block + 2 * -(-block // 2), 5 * block, 2 * side)  # the margins of a block are the same on its four sides
    return Patches(x0.float(), windows, block=block, copies=len(members))


def model_gain(calibrated: CalibratedDenoiser) -> ModelGain:
    """What a calibration says of its model on these examples."""
    levels, each = gain(calibrated), overall_gain(calibrated)
    adds = None if each is None else mean_score(each)
    return ModelGain(levels=levels, adds=adds, says=headline(levels, adds))


def overall_gain(calibrated: CalibratedDenoiser) -> Tensor | None:
    """`unseen.gain.overall` of each example, ``[n]``."""
    return overall([float(s) for s in calibrated.levels], [fit.errors for fit in calibrated.fits])


def gain(calibrated: CalibratedDenoiser) -> list[GainLevel]:
    """What the fits say of the model on these examples, from the lowest level up."""
    return [
        _gain_at(float(sigma), fit, [_name(guess, calibrated.shape) for guess in calibrated.guesses])
        for sigma, fit in zip(calibrated.levels, calibrated.fits, strict=True)
    ]


def _gain_at(sigma: float, fit: Level, names: Sequence[str]) -> GainLevel:
    errors = {name: row for name, row in zip(LEFT_OUT, fit.errors, strict=True) if bool(row.isfinite().all())}
    less = lowered(fit.errors)
    return GainLevel(
        sigma=sigma,
        errors={name: mean_score(row, least=0) for name, row in errors.items()},
        adds=None if less is None else mean_score(less),
        shares={name: part.tolist() for name, part in zip([*names, "noisy image"], fit.shares.T, strict=True)},
        counts=counts(fit.errors),
    )


def _name(guess: int, shape: Sequence[int]) -> str:
    if not guess:
        return "network"
    return "patches, whole" if guess >= 2 * max(shape[1:]) else f"patches of {guess}"


@final
class _Witness(Denoiser):
    """Writes down at which levels it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[float] = []

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.levels.append(float(sigma))
        return x


def calls_each(denoiser: Denoiser, solver: str, sigmas: Tensor) -> tuple[int, int]:
    """Network calls an image, up a grid and down: a calibrated denoiser does not ask where the network has no weight."""
    up, down = (_Witness(), _Witness())
    for witness, grid in ((up, sigmas.flip(0)), (down, sigmas)):
        integrate(witness, torch.zeros(1, 1, dtype=torch.float64), grid, solver)
    return _asked(denoiser, up.levels), _asked(denoiser, down.levels)


def descent_calls(denoiser: Denoiser, sigmas: Tensor) -> int:
    """Network calls an image of a walk down with fresh noise: one at every level of the grid, the lowest included."""
    return _asked(denoiser, [float(s) for s in sigmas])


def _asked(denoiser: Denoiser, levels: Sequence[float]) -> int:
    return sum(not isinstance(denoiser, CalibratedDenoiser) or denoiser.asks(s) for s in levels)


def calibration_calls(examples: int, steps: int = 0) -> int:
    """Network calls of a calibration on so many examples, for a decoder of so many steps; at one level, if not given."""
    return (min(STEPS, steps) + 1) * 2 * max(1, -(-VIEWS // (2 * examples))) * examples
