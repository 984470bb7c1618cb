"""Any method of `unseen.method` over a run folder, and ``--method auto``: the cheapest one that meets two budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from farfield.command.reconstruct import Choice, Invert, MethodSearch, TriedMethod
from farfield.command.result import from_json, to_json
from farfield.core.artifact import Images, Latents, read_kept, write_kept
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.run import Run
from farfield.unseen.inversion import convergence, round_trip
from farfield.unseen.method import Method, Trial, choose

PROBE = 8
"""Images that the choice is made on."""
LADDER = (6, 8, 12, 16, 20, 24, 32, 48, 64)
"""Numbers of steps that are tried."""
REFERENCE = 128
"""Steps of the multistep latents that the probe's are held against; half as many say how far these can be believed."""


def search_method(run: Run, denoiser: Denoiser, images: Images, settings: Invert) -> tuple[Method, int, MethodSearch]:
    """The cheapest method and steps that meet the budgets on the first images, and the table of what was tried.

    Methods are tried from the fewest network calls upwards until nothing cheaper than the best is left. Each line goes
    to ``probe.json`` as it is known, so an interrupted search goes on where it stopped.
    """
    choice, sigma, batch_size = settings.choice, settings.sigma, settings.loading.batch_size
    probe = images.select(images.keys[:PROBE])
    most = _most_steps(denoiser, sigma)
    grid = denoiser.schedule.sigmas
    fine = Carrier(denoiser, grid(most, sigma), batch_size=batch_size)
    truth = fine.up(run, "probe_reference", probe, "reference latents").values
    half = Carrier(denoiser, grid(most // 2, sigma), batch_size=batch_size)
    check = half.up(run, "probe_check", probe, "checking them").values
    doubt = float(convergence(check, truth, "multistep").difference.max()) / 3  # the finer one's own error
    if doubt > choice.latent / 3:
        raise FarfieldError(
            f"method auto: latents to {choice.latent:g} cannot be told on this model, the reference of {most} steps is itself "
            f"{doubt:.1g} off; ask for {3 * doubt:.1g} or more"
        )
    path = run.folder / "probe.json"
    if run.ranks.main:
        rows = _read(path)
        candidates = _candidates(choice, most)
        with run.stage("probe"), progress("trying methods", len(candidates), quiet=run.quiet) as advance:
            for method, steps in candidates:
                met = [t.calls for t in _trials(rows) if t.meets(choice.round_trip, choice.latent)]
                known = any((r.method, r.solver, r.steps) == (method.name, method.label, steps) for r in rows)
                if not known and (not met or sum(method.calls(steps)) < min(met)):
                    rows.append(_try(Carrier(denoiser, grid(steps, sigma), method), probe, truth))
                    write_kept(path, to_json(rows))
                advance(1)
    run.ranks.wait()
    rows = _read(path)
    chosen = choose(_trials(rows), choice.round_trip, choice.latent)
    tried = [row if row.failed else row.but(chosen=_trials([row]) == [chosen]) for row in rows]
    method = next(m for m, steps in _candidates(choice, most) if (m.name, m.label) == (chosen.method, chosen.solver))
    search = MethodSearch(
        round_trip=choice.round_trip,
        latent=choice.latent,
        n=len(probe),
        reference_steps=most,
        reference_error=doubt,
        tried=tried,
    )
    return method, chosen.steps, search


def _read(path: Path) -> list[TriedMethod]:
    rows: list[TriedMethod] = from_json(list[TriedMethod], read_kept(path) or [], str(path))
    return rows


def _trials(rows: Sequence[TriedMethod]) -> list[Trial]:
    """Those that could be tried."""
    return [
        Trial(r.method, r.solver, r.steps, r.calls, r.psnr, r.latent)
        for r in rows
        if r.calls is not None and r.psnr is not None and r.latent is not None
    ]


def _candidates(choice: Choice, most: int) -> list[tuple[Method, int]]:
    """Methods with their steps, from the fewest calls up. None of more than half the reference's steps."""
    # The RMS error of the round trip asked for is 2 · 10^(-dB/20); a step's residual is kept 40 times below, because
    # decoding can grow it.
    tolerance = 0.05 * 10 ** (-choice.round_trip / 20)
    methods = [
        Method("explicit", "multistep"),
        Method("explicit", "midpoint"),
        Method("reversible-heun"),
        Method("bdia"),
        Method("belm"),
        Method("fixed-point", "heun", tolerance=tolerance),
    ]
    affordable = [(m, k) for k in LADDER if 2 * k <= most for m in methods]
    return sorted(affordable, key=lambda pair: sum(pair[0].calls(pair[1])))


def _try(carrier: Carrier, probe: Images, truth: Tensor) -> TriedMethod:
    """One line of the table: errors of the worst image, calls of the mean one."""
    method = carrier.method
    line = TriedMethod(method=method.name, solver=method.label, steps=carrier.steps)
    try:
        inverted = carrier.invert(probe)
        beside = None if inverted.beside is None else Latents(probe.keys, inverted.beside)
        back = carrier.decode(Latents(probe.keys, inverted.latents), beside)
        best = carrier.recode(probe)
    except FarfieldError as error:  # it does not contract, or overflows: not a method for this model
        return line.but(failed=str(error))
    gap = (inverted.latents.cpu() - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    return line.but(
        calls=float(inverted.calls.double().mean()) + method.calls(carrier.steps)[1],
        psnr=float(round_trip(best, back).psnr.min()),
        latent=float(gap.max()),
    )


def _most_steps(denoiser: Denoiser, sigma: float | None) -> int:
    """Steps of the reference: as many as the model has levels for, up to `REFERENCE`."""

    def possible() -> Iterator[int]:
        for steps in (REFERENCE, REFERENCE // 2, REFERENCE // 4):
            try:
                denoiser.schedule.sigmas(steps, sigma)
            except FarfieldError:
                continue
            yield steps

    most = next(possible(), None)
    if most is None:
        denoiser.schedule.sigmas(1, sigma)  # a level out of range is the better message
        raise FarfieldError(
            f"method auto: this model has fewer than {REFERENCE // 4} levels below sigma {sigma}; give --method and --steps"
        )
    return most
