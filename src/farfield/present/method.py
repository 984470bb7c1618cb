"""The section on how a method of inversion was found (``--method auto``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farfield.present.page import Section, Table
from farfield.present.words import number, share


def section(search: Mapping[str, Any]) -> Section | None:
    """What was tried, with its cost and its two errors; None where nothing was searched.

    Args:
        search: ``method_search`` of ``summary.json``.
    """
    tried = search.get("tried") or []
    if not tried:
        return None
    rows = [
        [
            f"{row['method']}, {row['solver']}",
            row["steps"],
            row.get("calls"),
            number(row.get("psnr")),
            share(row.get("latent")),
            row.get("failed") or "",
        ]
        for row in tried
    ]
    return Section(
        "method",
        "The search for a method",
        f"Asked: {number(search['round_trip'])} dB for every image and {share(search['latent'])} for every latent of "
        f"{number(search['n'])} probe images, at the fewest network calls there and back. Errors are those of the worst image; "
        f"latents are held against {number(search['reference_steps'])} steps, themselves {share(search['reference_error'])} off.",
        tables=[
            Table(
                ["Method", "Steps", "Calls", "PSNR in dB", "Latent error", ""],
                rows,
                chosen=[i for i, row in enumerate(tried) if row.get("chosen")],
            )
        ],
    )
