"""`farfield edit`: images moved along the directions of the denoiser's Jacobian, and how local the change is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.edit import LABELLED, ORIGIN, RANDOM, Direction, Edit, EditResult, MaskFacts
from farfield.command.shared import Reading
from farfield.core.artifact import Images, Latents, Score, load, save
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.runtime import Advance, generator, seeded_noise
from farfield.diffusion.activation import network_of
from farfield.diffusion.denoiser import Denoiser
from farfield.manifold import rival
from farfield.manifold.boundary import Boundary
from farfield.manifold.edit import FEW, ROUNDS, SPARE, Directions, Found, find_directions
from farfield.manifold.jacobian import Jacobian
from farfield.study.bench.carrier import Carrier, place
from farfield.study.bench.domain import open_source
from farfield.study.bench.mask import open_mask
from farfield.study.bench.measure import spread
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.manifold.edit_labels import Labelled, boundaries, taught
from farfield.study.manifold.edit_scores import Scores, Shift, key
from farfield.unseen.inversion import from_latent, round_trip

LEVEL = 3.0
"""Where images are moved, unless a level is given: coarse shapes are decided below it, and J has a low rank there."""
KEEP = 16
"""Directions that move the rest of the image and are left alone, unless their number is given."""


def edit(settings: Edit, out: Path, *, quiet: bool = False) -> EditResult:
    """Invert images, move their latents along the directions of the first one, decode them, and measure the change.

    Writes ``directions/``, ``latents/``, ``edits/``, ``images/`` and ``mask/``, and of what is asked for ``ways/`` (directions of
    each image, and rivals) and ``labelled/`` (latents); the keys of the edits are those of the images and the moves' numbers.

    Raises:
        FarfieldError: bad input, before the run's folder is begun; later, directions that move nothing inside the mask.
    """
    numerics, seed = settings.numerics, settings.seed
    denoiser = open_model(settings.model, numerics)
    if denoiser.codec is not None:
        raise FarfieldError(
            f"{settings.model}: edits work on the pixels that a mask names; this is a latent model, expected a pixel model"
        )
    if {"pullback", "mid-boundary"} & set(settings.rival):
        network_of(denoiser)
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
    labelled = Labelled.open(settings, denoiser, images)
    carrier = Carrier.of(replace(numerics, sigma=wanted), denoiser)
    masked = Images(("mask",), inside[None, None].float())
    points = images.keys if settings.each else images.keys[:1]
    run = Run.of(
        out,
        settings,
        {"model": digest, "images": images, "mask": masked, "load": given, "labels": labelled},
        quiet,
        _works(settings, carrier, images, labelled, entries, kept),
        sigma=wanted,
        composed=settings.composed,
        keep=kept if given is None else given.kept,
    )
    latents = carrier.up(run, "latents", images, "inverting")

    def point(name: str) -> Tensor:
        z = latents.select([name]).values[0].to(denoiser.device)
        return from_latent(z, torch.tensor(carrier.sigma, dtype=z.dtype))

    def found_at(name: str) -> Found:
        jacobian = Jacobian(denoiser, x := point(name), carrier.sigma)
        return find_directions(jacobian, entries.to(x.device), settings.count, keep=kept, seed=seed)

    def directions(keys: tuple[str, ...], advance: Advance) -> Directions:
        if given is not None:
            return given
        first = found_at(images.keys[0])
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

    walls = {} if labelled is None else boundaries(run, carrier, labelled, set(settings.rival))
    seek = {
        "noise": lambda x: rival.noise(denoiser, x, carrier.sigma, entries.to(x.device), seed),
        "pullback": lambda x: rival.pullback(denoiser, x, carrier.sigma, seed),
        "mid-boundary": lambda x: rival.gradient(denoiser, x, carrier.sigma, walls["mid-boundary"][0].normal),
    }
    ways = [*(names if settings.each else ()), *(name for name in dict.fromkeys(settings.rival) if name in seek)]

    def at(keys: tuple[str, ...], advance: Advance) -> Latents:
        """The directions of one image, and its rivals."""
        image = keys[0].rpartition("/")[0]
        own = [found_at(image).vectors] if settings.each else []
        vectors = torch.cat([*own, *(seek[name](point(image))[None] for name in ways if name in seek)])
        advance(len(keys))
        return Latents(keys, vectors.reshape(-1, *denoiser.shape).cpu(), sigma=carrier.sigma)

    there: dict[str, Tensor] = {}
    if ways:
        keys = [f"{image}/{name}" for image in points for name in ways]
        rows = run.compute("ways", Latents, keys, len(ways), at, "finding ways of each").read().values
        there = dict(zip(ways, rows.unflatten(0, (len(points), len(ways))).unbind(1), strict=True))
    if RANDOM in settings.rival:
        drawn = seeded_noise([seed], denoiser.shape, "edit-control")
        there[RANDOM] = drawn / drawn.norm()
    each = [like(there[name], first) for name, first in zip(names, basis.values, strict=True) if settings.each]
    shifts, moved = move(latents, basis, settings, each, there, walls["boundary"][0] if "boundary" in walls else None)
    edits = carrier.down(run, "edits", moved, "decoding")
    if run.ranks.main:
        save(images, out / "images")
        save(masked, out / "mask")
    base = edits.select([key(name, 0) for name in images.keys])
    judge, facts = (None, None) if labelled is None else taught(labelled)
    scores = Scores(edits, base, inside, judge)
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
            agreement=_agreement(each, basis) if settings.each and len(images) > 1 else None,
            attribute=facts,
            boundaries=[told for _, told in walls.values()] or None,
            round_trip_psnr=spread(round_trip(images.values, base.values).psnr),
            moves=[scores.move(shift, i) for i, shift in enumerate(shifts)],
        )
    )


def like(vectors: Tensor, first: Tensor) -> Tensor:
    """Unit vectors ``[n, *shape]`` with the sign that is nearer to the first: singular vectors have none of their own."""
    cosines = (vectors * first).flatten(1).sum(1)
    return vectors * torch.where(cosines < 0, -1.0, 1.0).reshape(-1, *(1,) * first.ndim)


def _agreement(each: Sequence[Tensor], basis: Directions) -> list[Score]:
    """|cosine| of each direction of the images beyond the first with the first's."""
    pairs = zip(each, basis.values, strict=True)
    return [mean_score((rows[1:] * first).flatten(1).sum(1).abs().double(), 0.0, 1.0) for rows, first in pairs]


def _works(
    settings: Edit, carrier: Carrier, images: Images, labelled: Labelled | None, entries: Tensor, kept: int
) -> list[Work]:
    """Up and down, and between them the directions, unless they are there: as many rounds as finding them takes at most."""
    denoiser, (up, down) = carrier.denoiser, carrier.method.calls(carrier.steps)
    n, walls = len(images), set(settings.rival) & set(LABELLED)
    plans = [{"inverting": float(n * up)}, {"decoding": float(n * len(plan(settings)) * down)}]
    if labelled is not None and walls:
        plans.append({"inverting labels": float(int(labelled.first.sum()) * up)})
    works = [Work(denoiser, carrier.batch_size, part) for part in plans]
    x = place(denoiser, torch.zeros(denoiser.shape))

    def once(rows: int) -> None:
        jacobian = Jacobian(denoiser, x, carrier.sigma)
        vectors = torch.randn(rows, x.numel(), generator=generator(0, "opening")).to(x)
        jacobian.columns(vectors)
        jacobian.rows(vectors)

    # of few pixels each is a row, and that is all
    def rows(count: int, pixels: int) -> float:
        size = count + SPARE
        return pixels / 2 if pixels <= FEW * size else ROUNDS * size

    one = rows(settings.count, int(entries.sum())) + (rows(kept, int((~entries).sum())) if kept else 0)
    ways = {"noise": rows(1, int(entries.sum())), "pullback": rows(1, x.numel()), "mid-boundary": 1.0}
    more = [one] * settings.each + [ways[name] for name in settings.rival if name in ways]
    finding = {} if settings.load is not None else {"finding directions": one}
    if more:
        finding["finding ways of each"] = sum(more) * (n if settings.each else 1)
    if finding:
        size = max(settings.count, kept) + SPARE
        works.append(Work(denoiser, size, finding, once=once, most=True))
    return works


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


def plan(settings: Edit) -> list[tuple[str, float, tuple[tuple[int, float], ...], tuple[int, ...]]]:
    """The moves in their order: name, strength, the directions that are added up with their strengths, and the moves that each
    of several alone is, by index. The first moves nothing."""
    strengths = [s for s in settings.strength if s]
    wanted: list[tuple[str, float, tuple[tuple[int, float], ...], tuple[int, ...]]] = [(ORIGIN, 0.0, (), ())]
    wanted += [(f"direction {i}", s, ((i, s),), ()) for i in settings.direction for s in strengths]
    for pairs in settings.composed:
        parts = []
        for i, s in pairs:
            alone = f"direction {i}", s, ((i, s),), ()
            if alone not in wanted:
                wanted.append(alone)
            parts.append(wanted.index(alone))
        wanted.append((" and ".join(f"{s:+g} of {i}" for i, s in pairs), 1.0, tuple(pairs), tuple(parts)))
    if settings.each:
        wanted += [(f"direction {i} of the first", s, ((i, s),), ()) for i in settings.direction for s in strengths]
    return wanted + [(name, s, (), ()) for name in dict.fromkeys(settings.rival) for s in strengths]


def move(
    latents: Latents,
    basis: Directions,
    settings: Edit,
    each: Sequence[Tensor] = (),
    rivals: Mapping[str, Tensor] = {},
    wall: Boundary | None = None,
) -> tuple[list[Shift], Latents]:
    """All moves, and every image's latent after each of them.

    Args:
        each: of every direction the images' own, ``[n, *shape]``; the first image's serve all, if empty.
        rivals: unit vectors of other methods, ``[n or 1, *shape]``.
        wall: the rival ``boundary``; each latent goes as far as brings it to the signed distance that the strength is.
    """
    z = latents.values
    shifts = []
    for name, strength, pairs, parts in plan(settings):
        if name in rivals:
            added = strength * rivals[name].to(z)
        elif wall is not None and name == "boundary":
            lengths = (strength - wall.distance(z)).to(z)
            added = lengths.reshape(-1, *(1,) * (z.ndim - 1)) * wall.normal.to(z)
        else:
            first = name.endswith("of the first") or not each
            ways = [(basis.values[i - 1 : i] if first else each[i - 1], s) for i, s in pairs]
            added = sum((s * vectors.to(z) for vectors, s in ways), torch.zeros_like(z))
        shifts.append(Shift(name, strength, added.expand_as(z), parts))
    there = z[:, None] + torch.stack([shift.values for shift in shifts], 1)
    keys = tuple(key(image, i) for image in latents.keys for i in range(len(shifts)))
    return shifts, Latents(keys, there.flatten(0, 1), sigma=latents.sigma)
