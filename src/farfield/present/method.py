"""The section on how a method of inversion was found (``--method auto``), and whether it kept its budgets."""

from __future__ import annotations

from farfield.command.reconstruct import Budget, MethodSearch
from farfield.present.page import Section, Table
from farfield.present.words import number, share


def budget(kept: Budget | None) -> list[str]:
    """Whether the run keeps the budgets it was given, in a sentence."""
    if kept is None:
        return []
    trip, latent = kept.round_trip, kept.latent
    parts = []
    if trip.met is not None:
        parts.append(f"the worst image comes back with {number(trip.found)} dB (asked: {number(trip.asked)} dB)")
    if latent.met is not None:
        parts.append(
            f"the worst certified latent is {share(latent.found)} off (asked: {share(latent.asked)}; of the probe, against "
            f"its reference: {share(latent.probe)})"
        )
    failed = [name for name, part in (("--round-trip", trip), ("--latent", latent)) if part.met is False]
    if not parts:
        return [
            "Whether the budgets are met was not measured: nothing was decoded, and this method has no certificate."
        ]
    said = f"The budgets are {'met' if kept.met else 'not met'}: {', '.join(parts)}."
    if failed:
        said += (
            f" The method was chosen on a probe of a few images; ask for more than needed with {' and '.join(failed)}."
        )
    elif trip.met is None:
        said += " The round trip was not measured: nothing was decoded."
    return [said]


def section(search: MethodSearch | None) -> list[Section]:
    """What was tried, with its cost and its two errors; none where nothing was searched."""
    if search is None:
        return []
    rows = [
        [f"{row.method}, {row.solver}", row.steps, row.calls, number(row.psnr), share(row.latent), row.failed or ""]
        for row in search.tried
    ]
    lead = (
        f"Asked: {number(search.round_trip)} dB for every image and {share(search.latent)} for every latent of "
        f"{number(search.n)} probe images, at the fewest network calls there and back. Errors are those of the worst image; "
        f"latents are held against {number(search.reference_steps)} steps, themselves {share(search.reference_error)} off."
    )
    columns = ["Method", "Steps", "Calls", "PSNR in dB", "Latent error", ""]
    chosen = [i for i, row in enumerate(search.tried) if row.chosen]
    return [Section("method", "The search for a method", lead, tables=[Table(columns, rows, chosen=chosen)])]
