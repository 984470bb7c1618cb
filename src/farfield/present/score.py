"""The scores of a run as lines of text, and matrices of them as heat maps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farfield.core.artifact import Score, read_json

Summary = Mapping[str, Any]


def heat_map(names: Sequence[str], values: Sequence[Sequence[float]], title: str) -> bytes:
    """A matrix of shares from 0 to 1 as a PNG, each cell with its number."""
    from matplotlib.figure import Figure

    side = 1.6 + 0.75 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(values, vmin=0, vmax=1, cmap="viridis")
    places = range(len(names))
    axes.set_xticks(places, labels=list(names), rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(places, labels=list(names), parse_math=False)
    axes.set_title(title, fontsize=10, parse_math=False)
    for row in places:
        for column in places:
            value = values[row][column]
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black")
    figure.colorbar(shown, ax=axes, shrink=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def lines(folder: Path) -> list[str]:
    """What a run of ``farfield score`` found, a score a line, each with its interval and what chance would give."""
    summary = read_json(folder / "summary.json")
    show = {"score rp": _rp, "score matrix": _matrix, "score gl": _gl}[summary["command"]]
    head = f"{summary['descriptor']} features" + (f", {summary['pairs']} pairs" if "pairs" in summary else "")
    return [head, *show(summary), *(f"note: {note}" for note in summary["notes"])]


def _rp(summary: Summary) -> list[str]:
    found = [
        f"RP {_score(row['score'])} above {_threshold(summary, kind)}; chance {_score(row['chance'])}"
        for kind, row in summary["rp"].items()
    ]
    if (mae := summary["mae"]) is not None:
        limit = f"{mae['limit'] * 255:.3g}/255"
        found.append(f"MAE-RP {_score(mae['score'])} up to {limit}; chance {_score(mae['chance'])}")
    pfd = summary["pfd"]
    return [*found, f"PFD {_score(pfd['score'])} in {pfd['space']}; chance {_score(pfd['chance'])}"]


def _matrix(summary: Summary) -> list[str]:
    names = list(summary["sets"])
    tables = [(f"RP above {_threshold(summary, kind)}", row["score"]) for kind, row in summary["rp"].items()]
    if summary["mae"] is not None:
        tables.append((f"MAE-RP up to {summary['mae']['limit'] * 255:.3g}/255", summary["mae"]["score"]))
    width = max(map(len, names))
    return [
        line
        for title, scores in tables
        for line in (
            title,
            *(
                f"  {name:<{width}}  " + "  ".join(f"{score['value']:.3f}" for score in row)
                for name, row in zip(names, scores, strict=True)
            ),
        )
    ]


def _gl(summary: Summary) -> list[str]:
    found = [
        f"GL {_score(row['score'])} at {_threshold(summary, kind)}; memorized {_score(row['memorized'])}"
        + (_real_rate(summary) if kind == "calibrated" else _floor(row["held_out"]))
        for kind, row in summary["gl"].items()
    ]
    if (ratio := summary["ratio_test"]) is not None:
        found.append(f"1/3 test in {ratio['space']}: {_score(ratio['samples'])}{_floor(ratio.get('held_out'))}")
    if (authentic := summary["authenticity"]) is not None:
        found.append(f"AuthPct {_score(authentic['samples'])}{_floor(authentic.get('held_out'))}")
    if (copying := summary["data_copying"]) is not None:
        for name, test in copying.items():
            if test is not None:
                where = "" if name == "whole" else f" in {test['cells']} cells"
                found.append(f"C_T{where} {_score(test['statistic'])}; ± {test['null_sd']:.2g} if nothing is copied")
    if (recall := summary["search"]["recall"]) is not None:
        found.append(f"{summary['search']['kind']} search found {_score(recall)} of the nearest")
    return found


def _threshold(summary: Summary, kind: str) -> str:
    text = f"{summary['thresholds'][kind]:.3g} ({kind}"
    return (
        f"{text}, {summary['calibration']['rate']:.3g} of different images exceed it)"
        if kind == "calibrated"
        else f"{text})"
    )


def _real_rate(summary: Summary) -> str:
    """What memorized is where nothing is copied: the rate of the calibration, as well as its images tell it."""
    found = summary["calibration"]
    return f"; new images {found['rate_low']:.2g} to {found['rate_high']:.2g} (95 %)"


def _floor(score: Summary | None) -> str:
    return "" if score is None else f"; held-out images {_score(score)}"


def _score(score: Summary) -> str:
    return str(Score(**score))
