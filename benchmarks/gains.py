"""``python -m benchmarks.gains [--figure FILE] RUN…``: runs of `farfield gain` as one Markdown table, and as a figure.

How foreign a domain is to a network is measured by the frozen network itself: its error over that of the examples' Wiener filter,
at the level at which all together are left with a fifth of what the examples vary by. Below 1 the network knows more than their
mean and spectrum.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from farfield.command.contribution import GainLevel
from farfield.command.gain import GainResult
from farfield.command.result import from_json
from farfield.core.artifact import read_json
from farfield.core.score import Score

LEFT = 0.2
COLUMNS = ("wiener", "frozen", "network", "patches", "all")
EDGES = (lambda row: row.adds.low, lambda row: row.adds.high)
HEAD = ("domain", "model", "adds, %", "σ", "Wiener", "frozen", "calibrated", "no network", "all", "share")


@dataclass(frozen=True)
class Row:
    """One model on one domain."""

    domain: str
    model: str
    adds: Score
    level: GainLevel

    @property
    def foreign(self) -> float:
        """The frozen network's error over the Wiener filter's."""
        return self.level.errors["frozen"].value / self.level.errors["wiener"].value

    @property
    def share(self) -> float:
        """What part of the answer is the network's, over all bands alike."""
        shares = self.level.shares.get("network", [0.0])
        return sum(shares) / len(shares)

    def line(self) -> str:
        e, mean = self.level.errors, self.level.errors["mean"].value
        low, high = self.adds.low or 0.0, self.adds.high or 0.0
        cells = [self.domain, self.model, f"{100 * self.adds.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"]
        cells += [f"{self.level.sigma:.2g}", *(f"{100 * e[name].value / mean:.0f}" for name in COLUMNS)]
        return f"| {' | '.join(cells)} | {100 * self.share:.0f} % |"


def rows(run: Path) -> list[Row]:
    path = run / "summary.json"
    result: GainResult = from_json(GainResult, read_json(path), str(path))
    found = []
    for one in result.models:
        if one.gain.adds is not None:
            level = min(one.gain.levels, key=lambda g: abs(g.errors["all"].value / g.errors["mean"].value - LEFT))
            found.append(Row(run.name, one.model.name.split(":")[-1], one.gain.adds, level))
    return found


def table(found: list[Row]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}", *(row.line() for row in found)]


def draw(found: list[Row], file: Path) -> None:
    """What each network adds against how foreign the domain is to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot()
    for model in dict.fromkeys(row.model for row in found):
        mine = [row for row in found if row.model == model]
        values = [100 * row.adds.value for row in mine]
        below, above = (
            [abs(100 * (edge(row) or 0.0) - v) for row, v in zip(mine, values, strict=True)] for edge in EDGES
        )
        axes.errorbar(
            [row.foreign for row in mine], values, [below, above], fmt="o", markersize=4, linewidth=1, label=model
        )
        for row, value in zip(mine, values, strict=True):
            if value > 4:
                axes.annotate(row.domain, (row.foreign, value), (4, 3), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1, color="0.7", linewidth=0.8)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set_xlabel("error of the frozen network over the examples' Wiener filter")
    axes.set_ylabel("the network lowers the error by, %")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gains", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    found = [row for run in given.runs for row in rows(run)]
    print("\n".join(table(found)))
    if given.figure:
        draw(found, given.figure)


if __name__ == "__main__":
    main()
