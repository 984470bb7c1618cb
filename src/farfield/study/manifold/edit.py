"""`farfield edit`: images moved along the directions of the denoiser's Jacobian, and how local the change is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.shared import Numerics, Reading
from farfield.core import note
from farfield.core.artifact import Images, Latents, Score, load, save
from farfield.core.error import FarfieldError
from farfield.core.interval import bootstrap, mean_score
from farfield.core.runtime import Advance, seeded_noise
from farfield.diffusion.denoiser import Denoiser
from farfield.manifold.edit import Directions, change, compose, find_directions
from farfield.manifold.jacobian import Jacobian
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.domain import open_source
from farfield.study.bench.measure import spread
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.run import Run
from farfield.study.manifold.mask import open_mask
from farfield.unseen.inversion import from_latent, round_trip

LEVEL = 3.0
"""Where images are moved, unless a level is given: coarse shapes are decided below it, and J has a low rank there."""
KEEP = 16
"""Directions that move the rest of the image and are left alone, unless their number is given."""
ORIGIN, RANDOM = "as it came back", "random"
"""The image that is decoded without a move, and the direction that is drawn at random."""


@dataclass(frozen=True)
class Moves:
    """What is done to each image.

    Attributes:
        directions: which, from 1.
        strengths: of each, in standard deviations of the latents.
        composed: several directions at once, as pairs (direction, strength).
        control: move along a random direction too, for comparison.
    """

    directions: tuple[int, ...] = (1, 2, 3)
    strengths: tuple[float, ...] = (-4.0, -2.0, 2.0, 4.0)
    composed: tuple[tuple[tuple[int, float], ...], ...] = ()
    control: bool = True

    def __post_init__(self) -> None:
        used = [*self.directions, *(i for one in self.composed for i, _ in one)]
        if not used or min(used) < 1:
            raise FarfieldError(f"directions {used}: expected whole numbers from 1")
        if not self.strengths:
            raise FarfieldError("strengths: expected at least one number")

    @property
    def count(self) -> int:
        """Of the directions that are needed."""
        return max([*self.directions, *(i for one in self.composed for i, _ in one)])

    def names(self) -> list[tuple[str, float, list[float]]]:
        """Name, strength and coefficients of every move but the one along the random direction."""
        found: list[tuple[str, float, list[float]]] = [(ORIGIN, 0.0, [])]
        for i in self.directions:
            found += [(f"direction {i}", s, [0.0] * (i - 1) + [s]) for s in self.strengths if s]
        for one in self.composed:
            weights = [0.0] * max(i for i, _ in one)
            for i, s in one:
                weights[i - 1] += s
            found.append((" and ".join(f"{s:+g} of {i}" for i, s in one), 1.0, weights))
        return found


@note.kept()
def edit(
    model: str,
    source: str,
    out: Path,
    numerics: Numerics,
    moves: Moves,
    reading: Reading = Reading(),
    *,
    mask: str | None = None,
    keep: int | None = None,
    loaded: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Invert images, move their latents along the directions of the first one, decode them, and measure the change.

    Writes ``directions/``, ``latents/``, ``edits/``, ``images/``, ``mask/`` and ``summary.json``; the keys of the edits are
    those of the images and the moves' numbers.

    Args:
        mask: what is to change: a box ``x0,y0,x1,y1`` in pixels, the last two just outside, or a picture of the model's
            size, bright inside; that of ``loaded`` if not given.
        keep: see `manifold.edit.find_directions`; KEEP if not given, fewer where less is outside the mask.
        loaded: the folder of a run whose directions are used again, on these images.
        seed: of the random direction and of the iteration's start.

    Raises:
        FarfieldError: bad input, before the run's folder is begun; later, directions that move nothing inside the mask.
    """
    denoiser = open_model(model, numerics)
    if denoiser.codec is not None:
        raise FarfieldError(
            f"{model}: edits work on the pixels that a mask names; this is a latent model, expected a pixel model"
        )
    digest = model_digest(model)
    given = None if loaded is None else _loaded(loaded, denoiser, digest, numerics, moves)
    wanted = numerics.sigma if given is None else given.sigma
    if wanted is None:
        wanted = min(max(LEVEL, denoiser.schedule.sigma_min), denoiser.schedule.sigma_max)
    inside = (
        open_mask(mask, denoiser.image_shape)
        if mask or loaded is None
        else load(loaded / "mask", Images).values[0, 0] > 0
    )
    entries = inside.flatten().repeat(denoiser.shape[0])
    kept = min(KEEP, int((~entries).sum())) if keep is None else keep
    if given is None:
        _check_count(moves.count, kept, entries)
    images = open_source(source, denoiser.image_shape, reading, limit=limit).examples
    request = {
        "model": model,
        "images": source,
        **numerics.request(),
        "sigma": wanted,
        "directions": list(moves.directions),
        "strengths": list(moves.strengths),
        "composed": [[list(pair) for pair in one] for one in moves.composed],
        "control": moves.control,
        "mask": mask,
        "keep": kept if given is None else given.kept,
        "load": None if loaded is None else str(loaded),
        "seed": seed,
    }
    carrier = Carrier.of(numerics, denoiser, denoiser.schedule.sigmas(numerics.steps, wanted))
    masked = Images(("mask",), inside[None, None].float())
    run = Run(out, "edit", request, {"model": digest, "images": images, "mask": masked, "load": given}, quiet)
    latents = carrier.up(run, "latents", images, "inverting")

    def directions(keys: tuple[str, ...], advance: Advance) -> Directions:
        if given is not None:
            return given
        z = latents.values[0].to(denoiser.device)
        x = from_latent(z, torch.tensor(carrier.sigma, dtype=z.dtype))
        jacobian = Jacobian(denoiser, x, carrier.sigma)
        found = find_directions(jacobian, entries.to(x.device), len(keys), keep=kept, seed=seed)
        advance(len(keys))
        return Directions(
            keys,
            found.vectors.reshape(-1, *denoiser.shape).cpu(),
            sigma=carrier.sigma,
            model=digest,
            image=images.keys[0],
            kept=found.kept,
            gains=found.gains.tolist(),
            leaks=found.leaks.tolist(),
        )

    names = tuple(f"direction-{i + 1}" for i in range(len(given) if given is not None else moves.count))
    basis = run.compute("directions", Directions, names, len(names), directions, "finding directions")
    wanted_moves, moved = _moved(latents, basis, moves, seed)
    edits = carrier.down(run, "edits", moved, "decoding")
    if run.ranks.main:
        save(images, out / "images")
        save(masked, out / "mask")
    base = edits.select([_key(key, 0) for key in images.keys])
    trip = round_trip(images.values, base.values)
    summary = {
        "command": "edit",
        "model": model_facts(run.request, denoiser),
        "images": source,
        "n": len(images),
        **carrier.solved(),
        "mask": {"given": mask, "pixels": int(inside.sum()), "of": inside.numel()},
        "found_at": basis.image,
        "kept": basis.kept,
        "directions": [
            {"name": name, "gain": gain, "leak": leak}
            for name, gain, leak in zip(basis.keys, basis.gains, basis.leaks, strict=True)
        ],
        "round_trip_psnr": spread(trip.psnr),
        "moves": [
            {"name": name, "strength": strength, "index": i, **_locality(edits, base, images.keys, i, inside)}
            for i, (name, strength) in enumerate(wanted_moves)
        ],
    }
    return run.conclude(summary)


def _check_count(count: int, kept: int, entries: Tensor) -> None:
    """Refuse more directions than there are before a folder is begun with them."""
    inside, d = int(entries.sum()), len(entries)
    if kept and inside == d:
        raise FarfieldError(
            f"keep {kept}: the mask covers the whole image, nothing outside is to be kept; give --keep 0"
        )
    if not 0 <= kept <= d - inside or not 1 <= count <= min(inside, d - kept):
        raise FarfieldError(
            f"{count} directions with {kept} kept: this mask of {inside} of {d} numbers has up to {min(inside, d - kept)}, and "
            f"up to {d - inside} can be kept; give fewer"
        )


def _loaded(folder: Path, denoiser: Denoiser, digest: str, numerics: Numerics, moves: Moves) -> Directions:
    """The directions of another run, refused where they are another model's or another level's."""
    found = load(folder / "directions", Directions)
    if found.model != digest or tuple(found.values.shape[1:]) != tuple(denoiser.shape):
        raise FarfieldError(f"{folder}: its directions are another model's; expected those of a run with this model")
    if numerics.sigma is not None and abs(numerics.sigma / found.sigma - 1) > 1e-6:
        raise FarfieldError(
            f"{folder}: its directions are for sigma {found.sigma:.6g}, not {numerics.sigma:g}; leave --sigma out"
        )
    if moves.count > len(found):
        raise FarfieldError(f"{folder}: holds {len(found)} directions, {moves.count} asked for; give fewer")
    return found


def _moved(latents: Latents, basis: Directions, moves: Moves, seed: int) -> tuple[list[tuple[str, float]], Latents]:
    """Every image's latent after every move, and the moves' names and strengths."""
    names = moves.names()
    shifts = [(name, strength, compose(basis, weights)) for name, strength, weights in names[1:]]
    if moves.control:
        drawn = seeded_noise([seed], basis.values.shape[1:], "edit-control")[0].to(basis.values)
        shifts += [(RANDOM, s, s * drawn / drawn.norm()) for s in moves.strengths if s]
    every = torch.stack([torch.zeros_like(basis.values[0]), *(shift for _, _, shift in shifts)])
    z = latents.values[:, None] + every[None].to(latents.values)
    keys = tuple(_key(key, i) for key in latents.keys for i in range(len(every)))
    return [(ORIGIN, 0.0), *((n, s) for n, s, _ in shifts)], Latents(keys, z.flatten(0, 1), sigma=latents.sigma)


def _key(image: str, move: int) -> str:
    return f"{image}/{move:03d}"


def _locality(edits: Images, base: Images, keys: Sequence[str], move: int, mask: Tensor) -> dict[str, Any]:
    """Mean absolute change on either side of the mask, in units of the image's range of 2, and their ratio."""
    moved = change(edits.select([_key(key, move) for key in keys]).values, base.values, mask)
    inside, outside = moved.inside / 2, moved.outside / 2
    told: dict[str, Any] = {"inside": mean_score(inside, least=0.0)}
    if not bool(mask.all()):
        told["outside"] = mean_score(outside, least=0.0)
        if float(outside.mean()) > 0:
            told["ratio"] = _ratio(inside, outside)
    return told


def _ratio(values: Tensor, over: Tensor) -> Score:
    """The ratio of two means over the same images, with its bootstrap interval where there are several."""

    def statistic(rows: Tensor) -> float:
        return float(values[rows].mean() / over[rows].mean())

    n = len(values)
    return Score(statistic(torch.arange(n)), n, *bootstrap(statistic, n))
