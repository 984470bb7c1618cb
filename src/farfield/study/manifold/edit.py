"""`farfield edit`: images moved along the directions of the denoiser's Jacobian, and how local the change is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.edit import ORIGIN, RANDOM, Direction, Edit, EditResult, MaskFacts, Move
from farfield.command.shared import Reading
from farfield.core.artifact import Images, Latents, Score, load, save
from farfield.core.error import FarfieldError
from farfield.core.interval import bootstrap, mean_score
from farfield.core.runtime import Advance, generator, seeded_noise
from farfield.diffusion.denoiser import Denoiser
from farfield.manifold.edit import ROUNDS, SPARE, Directions, change, compose, find_directions
from farfield.manifold.jacobian import Jacobian
from farfield.study.bench.carrier import Carrier, place
from farfield.study.bench.domain import open_source
from farfield.study.bench.mask import open_mask
from farfield.study.bench.measure import spread
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.unseen.inversion import from_latent, round_trip

LEVEL = 3.0
"""Where images are moved, unless a level is given: coarse shapes are decided below it, and J has a low rank there."""
KEEP = 16
"""Directions that move the rest of the image and are left alone, unless their number is given."""


def edit(settings: Edit, out: Path, *, quiet: bool = False) -> EditResult:
    """Invert images, move their latents along the directions of the first one, decode them, and measure the change.

    Writes ``directions/``, ``latents/``, ``edits/``, ``images/`` and ``mask/``; the keys of the edits are those of the
    images and the moves' numbers.

    Raises:
        FarfieldError: bad input, before the run's folder is begun; later, directions that move nothing inside the mask.
    """
    numerics, seed = settings.numerics, settings.seed
    denoiser = open_model(settings.model, numerics)
    if denoiser.codec is not None:
        raise FarfieldError(
            f"{settings.model}: edits work on the pixels that a mask names; this is a latent model, expected a pixel model"
        )
    digest = model_digest(settings.model)
    given = None if settings.load is None else _loaded(Path(settings.load), denoiser, digest, settings)
    wanted = numerics.sigma if given is None else given.sigma
    if wanted is None:
        wanted = min(max(LEVEL, denoiser.schedule.sigma_min), denoiser.schedule.sigma_max)
    if settings.mask is not None:
        inside = open_mask(settings.mask, denoiser.image_shape)
    else:
        inside = load(Path(settings.load or "") / "mask", Images).values[0, 0] > 0
    entries = inside.flatten().repeat(denoiser.shape[0])
    kept = min(KEEP, int((~entries).sum())) if settings.keep is None else settings.keep
    if given is None:
        _check_count(settings.count, kept, entries)
    reading = Reading(strict=settings.strict)
    units = units_of(denoiser)
    images = open_source(settings.images, denoiser.image_shape, reading, limit=settings.limit, units=units).examples
    carrier = Carrier.of(replace(numerics, sigma=wanted), denoiser)
    masked = Images(("mask",), inside[None, None].float())
    run = Run.of(
        out,
        settings,
        {"model": digest, "images": images, "mask": masked, "load": given},
        quiet,
        _works(settings, carrier, len(images), entries if given is None else None, kept),
        sigma=wanted,
        composed=settings.composed,
        keep=kept if given is None else given.kept,
    )
    latents = carrier.up(run, "latents", images, "inverting")

    def directions(keys: tuple[str, ...], advance: Advance) -> Directions:
        if given is not None:
            return given
        z = latents.values[0].to(denoiser.device)
        x = from_latent(z, torch.tensor(carrier.sigma, dtype=z.dtype))
        jacobian = Jacobian(denoiser, x, carrier.sigma)
        first = find_directions(jacobian, entries.to(x.device), len(keys), keep=kept, seed=seed)
        advance(len(keys))
        return Directions(
            keys,
            first.vectors.reshape(-1, *denoiser.shape).cpu(),
            sigma=carrier.sigma,
            model=digest,
            image=images.keys[0],
            kept=first.kept,
            gains=first.gains.tolist(),
            leaks=first.leaks.tolist(),
        )

    names = tuple(f"direction-{i + 1}" for i in range(len(given) if given is not None else settings.count))
    basis = run.compute("directions", Directions, names, len(names), directions, "finding directions").read()
    moves, there = move(latents, basis, settings)
    edits = carrier.down(run, "edits", there, "decoding")
    if run.ranks.main:
        save(images, out / "images")
        save(masked, out / "mask")
    base = edits.select([_key(key, 0) for key in images.keys])
    return run.finish(
        EditResult(
            model=model_facts(run.request, denoiser),
            images=settings.images,
            n=len(images),
            **carrier.solved(),
            mask=MaskFacts(given=settings.mask, pixels=int(inside.sum()), of=inside.numel()),
            found_at=basis.image,
            kept=basis.kept,
            directions=[
                Direction(name=name, gain=gain, leak=leak)
                for name, gain, leak in zip(basis.keys, basis.gains, basis.leaks, strict=True)
            ],
            round_trip_psnr=spread(round_trip(images.values, base.values).psnr),
            moves=[
                _locality(edits, base, inside, index=i, name=name, strength=strength)
                for i, (name, strength) in enumerate(moves)
            ],
        )
    )


def _works(settings: Edit, carrier: Carrier, n: int, entries: Tensor | None, kept: int) -> list[Work]:
    """Up and down, and between them the directions, unless they are there: as many rounds as finding them takes at most."""
    denoiser, (up, down) = carrier.denoiser, carrier.method.calls(carrier.steps)
    strengths = len([s for s in settings.strength if s])
    moves = 1 + strengths * (len(settings.direction) + settings.control) + len(settings.composed)
    solving = {"inverting": float(n * up)}, {"decoding": float(n * moves * down)}
    lift, land = (Work(denoiser, carrier.batch_size, plan) for plan in solving)
    if entries is None:
        return [lift, land]
    x = place(denoiser, torch.zeros(denoiser.shape))

    def once(rows: int) -> None:
        jacobian = Jacobian(denoiser, x, carrier.sigma)
        vectors = torch.randn(rows, x.numel(), generator=generator(0, "opening")).to(x)
        jacobian.columns(vectors)
        jacobian.rows(vectors)

    sides = [(settings.count, entries)] + ([(kept, ~entries)] if kept else [])
    blocks = [(count + SPARE, int(side.sum())) for count, side in sides]
    # of few pixels each is a row, and that is all
    rows = sum(pixels / 2 if pixels <= 4 * size else ROUNDS * size for size, pixels in blocks)
    size = max(size for size, _ in blocks)
    return [lift, Work(denoiser, size, {"finding directions": rows}, once=once, most=True), land]


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


def _loaded(folder: Path, denoiser: Denoiser, digest: str, settings: Edit) -> Directions:
    """The directions of another run, refused where they are another model's or another level's."""
    directions, sigma = load(folder / "directions", Directions), settings.numerics.sigma
    if directions.model != digest or tuple(directions.values.shape[1:]) != tuple(denoiser.shape):
        raise FarfieldError(f"{folder}: its directions are another model's; expected those of a run with this model")
    if sigma is not None and abs(sigma / directions.sigma - 1) > 1e-6:
        raise FarfieldError(
            f"{folder}: its directions are for sigma {directions.sigma:.6g}, not {sigma:g}; leave --sigma out"
        )
    if settings.count > len(directions):
        raise FarfieldError(f"{folder}: holds {len(directions)} directions, {settings.count} asked for; give fewer")
    return directions


def move(latents: Latents, basis: Directions, settings: Edit) -> tuple[list[tuple[str, float]], Latents]:
    """Every image's latent after every move, the first of which moves nothing; and the moves' names and strengths."""
    strengths = [s for s in settings.strength if s]
    wanted = [(f"direction {i}", s, [(i, s)]) for i in settings.direction for s in strengths]
    wanted += [(" and ".join(f"{s:+g} of {i}" for i, s in pairs), 1.0, pairs) for pairs in settings.composed]
    moves = [(ORIGIN, 0.0, torch.zeros_like(basis.values[0]))]
    for name, strength, pairs in wanted:
        weights = [sum(s for i, s in pairs if i == k) for k in range(1, max(i for i, _ in pairs) + 1)]
        moves.append((name, strength, compose(basis, weights)))
    if settings.control:
        drawn = seeded_noise([settings.seed], basis.values.shape[1:], "edit-control")[0].to(basis.values)
        moves += [(RANDOM, s, s * drawn / drawn.norm()) for s in strengths]
    z = latents.values[:, None] + torch.stack([shift for _, _, shift in moves])[None].to(latents.values)
    keys = tuple(_key(key, i) for key in latents.keys for i in range(len(moves)))
    return [(name, s) for name, s, _ in moves], Latents(keys, z.flatten(0, 1), sigma=latents.sigma)


def _key(image: str, move: int) -> str:
    return f"{image}/{move:03d}"


def _locality(edits: Images, base: Images, mask: Tensor, *, index: int, name: str, strength: float) -> Move:
    """Mean absolute change on either side of the mask, in units of the image's range of 2, and their ratio."""
    keys = [_key(key.rpartition("/")[0], index) for key in base.keys]
    apart = change(edits.select(keys).values, base.values, mask)
    inside, outside = apart.inside / 2, apart.outside / 2
    around = not bool(mask.all())
    return Move(
        name=name,
        strength=strength,
        index=index,
        inside=mean_score(inside, least=0.0),
        outside=mean_score(outside, least=0.0) if around else None,
        ratio=_ratio(inside, outside) if around and float(outside.mean()) > 0 else None,
    )


def _ratio(values: Tensor, over: Tensor) -> Score:
    """The ratio of two means over the same images, with its bootstrap interval where there are several."""

    def statistic(rows: Tensor) -> float:
        return float(values[rows].mean() / over[rows].mean())

    n = len(values)
    return Score(statistic(torch.arange(n)), n, *bootstrap(statistic, n))
