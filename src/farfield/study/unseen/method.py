"""Any method of `unseen.method` over a run folder, and ``--method auto``: the cheapest one that meets two budgets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from farfield.core.artifact import Images, Latents, read_kept, write_kept
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.run import Run
from farfield.unseen.inversion import convergence, round_trip
from farfield.unseen.method import METHODS, Method, Trial, as_row, choose

PROBE = 8
"""Images that the choice is made on."""
LADDER = (6, 8, 12, 16, 20, 24, 32, 48, 64)
"""Numbers of steps that are tried."""
REFERENCE = 128
"""Steps of the multistep latents that the probe's are held against; half as many say how far these can be believed."""


@dataclass(frozen=True)
class Choice:
    """What was asked for: a method by name, or ``auto`` with the two budgets.

    Args:
        eta, seed: of ``edit-friendly``: how much noise a step has, and which.
        round_trip: PSNR in dB that the worst probe image must come back with, as far as a latent model's codec lets it.
        latent: relative error that the worst probe latent may have.
    """

    method: str = "explicit"
    eta: float = 1.0
    seed: int = 0
    round_trip: float = 40.0
    latent: float = 1e-2

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, "auto"):
            raise FarfieldError(f"method {self.method!r}: expected one of {', '.join(METHODS)}, or auto")
        if not 0 < self.eta <= 1:
            raise FarfieldError(f"eta {self.eta:g}: expected more than 0 and at most 1")
        if self.seed < 0:
            raise FarfieldError(f"seed {self.seed}: expected a whole number of at least 0")
        if not (0 < self.round_trip < 300 and 0 < self.latent < 1):
            raise FarfieldError(
                f"budgets {self.round_trip:g} dB and {self.latent:g}: expected more than 0 dB (below 300) and a latent error "
                "between 0 and 1"
            )

    def of(self, solver: str) -> Method:
        """The method itself, where it was named."""
        return Method(self.method, solver, self.eta)

    def request(self) -> dict[str, Any]:
        """What it adds to a run's request; nothing for the explicit method, whose runs are as they always were."""
        if self.method == "explicit":
            return {}
        if self.method == "auto":
            return {
                "method": "auto",
                "round_trip": self.round_trip,
                "latent": self.latent,
                "steps": None,
                "solver": None,
            }
        if self.method == "fixed-point":
            return {"method": self.method}
        extra = {"eta": self.eta, "seed": self.seed} if self.method == "edit-friendly" else {}
        return {"method": self.method, "solver": None, **extra}


def parse_budgets(round_trip: str, latent: str) -> tuple[float, float]:
    """``40dB`` (or ``40``) and ``1e-2`` as numbers."""
    decibel = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(dB)?\s*", round_trip, re.IGNORECASE)
    if not decibel:
        raise FarfieldError(f"round-trip {round_trip!r}: expected a PSNR such as 40dB")
    try:
        return float(decibel[1]), float(latent)
    except ValueError:
        raise FarfieldError(f"latent {latent!r}: expected a relative error such as 1e-2") from None


def search_method(
    run: Run, denoiser: Denoiser, images: Images, sigma: float | None, choice: Choice, size: int
) -> tuple[Method, int, dict[str, Any]]:
    """The cheapest method and steps that meet the budgets on the first images, and the table of what was tried.

    Methods are tried from the fewest network calls upwards until nothing cheaper than the best is left. Each line goes
    to ``probe.json`` as it is known, so an interrupted search goes on where it stopped.
    """
    probe = images.select(images.keys[:PROBE])
    most = _most_steps(denoiser, sigma)
    grid = denoiser.schedule.sigmas
    fine = Carrier(denoiser, grid(most, sigma), batch_size=size)
    truth = fine.up(run, "probe_reference", probe, "reference latents").values
    half = Carrier(denoiser, grid(most // 2, sigma), batch_size=size)
    check = half.up(run, "probe_check", probe, "checking them").values
    doubt = float(convergence(check, truth, "multistep").difference.max()) / 3  # the finer one's own error
    if doubt > choice.latent / 3:
        raise FarfieldError(
            f"method auto: latents to {choice.latent:g} cannot be told on this model, the reference of {most} steps is itself "
            f"{doubt:.1g} off; ask for {3 * doubt:.1g} or more"
        )
    path = run.folder / "probe.json"
    if run.ranks.main:
        rows: list[dict[str, Any]] = read_kept(path) or []
        candidates = _candidates(choice, most)
        with run.stage("probe"), progress("trying methods", len(candidates), quiet=run.quiet) as advance:
            for method, steps in candidates:
                trials = [Trial(**r) for r in rows if "failed" not in r]
                best = min((t.calls for t in trials if t.meets(choice.round_trip, choice.latent)), default=None)
                known = any((r["method"], r["solver"], r["steps"]) == (method.name, method.label, steps) for r in rows)
                if not known and (best is None or sum(method.calls(steps)) < best):
                    rows.append(_try(Carrier(denoiser, grid(steps, sigma), method), probe, truth))
                    write_kept(path, rows)
                advance(1)
    run.ranks.wait()
    rows = read_kept(path)
    chosen = choose([Trial(**r) for r in rows if "failed" not in r], choice.round_trip, choice.latent)
    table = [r if "failed" in r else as_row(Trial(**r), Trial(**r) == chosen) for r in rows]
    method = next(m for m, steps in _candidates(choice, most) if (m.name, m.label) == (chosen.method, chosen.solver))
    return (
        method,
        chosen.steps,
        {
            "round_trip": choice.round_trip,
            "latent": choice.latent,
            "n": len(probe),
            "reference_steps": most,
            "reference_error": doubt,
            "tried": table,
        },
    )


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
    found = [(m, k) for k in LADDER if 2 * k <= most for m in methods]
    return sorted(found, key=lambda pair: sum(pair[0].calls(pair[1])))


def _try(carrier: Carrier, probe: Images, truth: Tensor) -> dict[str, Any]:
    """One line of the table: errors of the worst image, calls of the mean one."""
    method, steps = carrier.method, carrier.steps
    line = {"method": method.name, "solver": method.label, "steps": steps}
    try:
        inverted = carrier.invert(probe)
        beside = None if inverted.beside is None else Latents(probe.keys, inverted.beside)
        back = carrier.decode(Latents(probe.keys, inverted.latents), beside)
        best = carrier.recode(probe)
    except FarfieldError as error:  # it does not contract, or overflows: not a method for this model
        return {**line, "failed": str(error)}
    gap = (inverted.latents.cpu() - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    return {
        **line,
        "calls": float(inverted.calls.double().mean()) + method.calls(steps)[1],
        "psnr": float(round_trip(best, back).psnr.min()),
        "latent": float(gap.max()),
    }


def _most_steps(denoiser: Denoiser, sigma: float | None) -> int:
    """Steps of the reference: as many as the model has levels for, up to `REFERENCE`."""

    def possible() -> Iterator[int]:
        for steps in (REFERENCE, REFERENCE // 2, REFERENCE // 4):
            try:
                denoiser.schedule.sigmas(steps, sigma)
            except FarfieldError:
                continue
            yield steps

    found = next(possible(), None)
    if found is None:
        denoiser.schedule.sigmas(1, sigma)  # a level out of range is the better message
        raise FarfieldError(
            f"method auto: this model has fewer than {REFERENCE // 4} levels below sigma {sigma}; give --method and --steps"
        )
    return found
