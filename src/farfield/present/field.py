"""The section on physical fields: power spectrum, pixel distribution, radial profile and moments beside held-out's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from farfield.present.page import Chart, Section, Table
from farfield.present.plot import PAINT, styled, subplots
from farfield.present.words import as_score, number, score, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPECTRA = {"spectrum": "Power spectrum", "log_spectrum": "Power spectrum of the logarithm"}
SERIES = {"samples": ("samples", PAINT["ours"]), "real": ("other held-out", PAINT["base"])}
WHOSE = {"samples": "the samples", "real": "other held-out fields"}
HELD_OUT = ("held-out", PAINT["real"])

MEANING = (
    "The power spectrum is averaged over directions in shells one wavenumber wide; k counts waves per shorter side, from "
    "{first} to the Nyquist wavenumber {last}, and the corners beyond are left out. {window} Pixels, profiles and moments "
    "are those of the fields in their physical values. Wasserstein is the mean distance between pixels of equal rank, in "
    "standard deviations of the held-out pixels; Kolmogorov–Smirnov the largest difference of their distribution "
    "functions. Intervals are 95 % and come from resampling whole fields, for the pixels of one field are not "
    "independent. Chance is what two sets of one law and of these sizes stay below in 95 %: a distance under it shows "
    "no difference."
)
WINDOWS = {
    "hann": "Hann's window is applied, as to maps cut out of larger ones.",
    None: "No window is applied, as to periodic fields.",
}


def section(fields: Mapping[str, Any]) -> Section | None:
    """The section made of ``summary["fields"]``; None when it compares nothing.

    Args:
        fields: ``samples`` and ``real``, each as `audit.field.compare_fields` gives it: samples, and other held-out
            fields (the floor), against the same held-out fields; each may be missing. ``unit``, if given, stands at the axes.
    """
    compared = {name: found for name in SERIES if (found := _channels(fields.get(name)))}
    if not compared:
        return None
    count = max(map(len, compared.values()))
    channels = [{name: found[c] for name, found in compared.items() if c < len(found)} for c in range(count)]
    unit = str(fields.get("unit") or "")
    charts, tables = [], []
    for c, sets in enumerate(channels):
        about = f"Channel {c + 1}: " if count > 1 else ""
        spectra, laws = _spectra(sets, unit), _laws(sets, unit)
        if spectra:
            charts.append(Chart(spectra, f"{about}power spectra, and their ratio to held-out's"))
        if laws:
            charts.append(Chart(laws, f"{about}quantiles of the pixels and radial profile, beside held-out's"))
        tables += [_moments(sets, f"{about}Moments of the pixels"), _distances(sets, f"{about}Distances from held-out")]
    leads = [
        sentence
        for c, sets in enumerate(channels)
        for sentence in _lead(sets, f"Channel {c + 1}: t" if count > 1 else "T")
    ]
    first = next(iter(channels[0].values()))
    resolved = (first.get("spectrum") or {}).get("resolved") or ["–", "–"]
    window = (fields.get("samples") or fields.get("real") or {}).get("window")
    meaning = MEANING.format(first=resolved[0], last=resolved[1], window=WINDOWS.get(window, ""))
    return Section(
        "fields",
        "As physical fields",
        lead=leads[0] if leads else "",
        paragraphs=leads[1:],
        charts=charts,
        tables=[table for table in tables if table.rows],
        details=[("How this is measured", meaning)],
    )


def _channels(comparison: Any) -> list[Mapping[str, Any]]:
    if not isinstance(comparison, Mapping) or not comparison:
        return []
    return list(comparison.get("channels") or [comparison])


def _lead(sets: Mapping[str, Mapping[str, Any]], start: str) -> list[str]:
    """In words: how far each spectrum is from held-out's, against chance; then the pixels."""
    said = []
    for key, title in SPECTRA.items():
        for name, found in sets.items():
            spectrum = found.get(key) or {}
            worst = spectrum.get("worst") or {}
            at_worst = as_score(worst)
            if at_worst is None:
                continue
            low, high = spectrum["resolved"]
            ratio = _at(spectrum, worst["k"])
            power = title[0].lower() + title[1:]
            where = f"between k = {low} and {high}"
            if at_worst.value <= 0.5 or ratio is None:
                distance = f"stays within {share(at_worst.value)} of held-out {where}; worst at k = {worst['k']:.0f}"
            else:
                distance = f"is at worst {number(ratio, 2)} times held-out's {where}, at k = {worst['k']:.0f}"
            chance = _chance(worst.get("chance"), at_worst.value, True)
            said.append(f"{start}he {power} of {WHOSE[name]} {distance}.{chance}")
    for name, found in sets.items():
        pixels = found.get("pixels") or {}
        if wasserstein := as_score(pixels.get("wasserstein")):
            chance = _chance((pixels.get("chance") or {}).get("wasserstein"), wasserstein.value, False)
            said.append(
                f"{start}he pixels of {WHOSE[name]} lie {score(wasserstein)} standard deviations from held-out's, rank by "
                f"rank.{chance}"
            )
    return said


def _chance(chance: Any, value: float, percent: bool) -> str:
    bound = as_score(chance)
    if bound is None:
        return ""
    shown = share(bound.value) if percent else number(bound.value, 2)
    return f" That is {'no ' if value <= bound.value else ''}more than chance gives (up to {shown})."


def _at(spectrum: Mapping[str, Any], k: float) -> float | None:
    found = as_score(dict(zip(spectrum["k"], spectrum["ratio"], strict=True)).get(k))
    return found.value if found else None


@styled
def _spectra(sets: Mapping[str, Mapping[str, Any]], unit: str) -> Figure | None:
    """Spectra on the left, their ratios to held-out's on the right, a line for each kind of spectrum."""
    kinds = [key for key in SPECTRA if any(found.get(key) for found in sets.values())]
    if not kinds:
        return None
    figure, axes = subplots(2 * len(kinds), 2, 2.7)
    for key, left, right in zip(kinds, axes[::2], axes[1::2], strict=True):
        present = {name: found[key] for name, found in sets.items() if found.get(key)}
        first = next(iter(present.values()))
        _line(left, first["k"], first["real"], *HELD_OUT)
        right.axhspan(0.9, 1.1, color=PAINT["muted"], alpha=0.14, linewidth=0)
        right.axhline(1, color=PAINT["ink"], linewidth=1)
        for name, spectrum in present.items():
            _line(left, spectrum["k"], spectrum["generated"], *SERIES[name])
            low, high = spectrum["resolved"]
            inside = [i for i, k in enumerate(spectrum["k"]) if low <= k <= high]
            _line(right, [spectrum["k"][i] for i in inside], [spectrum["ratio"][i] for i in inside], *SERIES[name])
        powers = "" if not unit or key == "log_spectrum" else f", ({unit})²"
        _titled(left, SPECTRA[key] + powers, "k (waves per side)")
        _titled(right, "Ratio to held-out (grey: ± 10 %)", "k (waves per side)")
        left.set_xscale("log")
        _scaled(left, first["real"])
        right.set_xscale("log")
        if _spread([v for s in present.values() for v in s["ratio"]]) > 5:
            right.set_yscale("log")
        for ax in (left, right):
            _plain_ticks(ax, first["k"])
    _legend(figure, axes)
    return figure


@styled
def _laws(sets: Mapping[str, Mapping[str, Any]], unit: str) -> Figure | None:
    """Quantiles of the pixels, and the radial profile."""
    kinds = [key for key in ("pixels", "profile") if any(found.get(key) for found in sets.values())]
    if not kinds:
        return None
    figure, axes = subplots(len(kinds), 2, 2.7)
    label = f", {unit}" if unit else ""
    for key, ax in zip(kinds, axes, strict=True):
        present = {name: found[key] for name, found in sets.items() if found.get(key)}
        if key == "pixels":
            present = {name: found["quantiles"] for name, found in present.items()}
        first = next(iter(present.values()))
        # the tails are what matters: quantiles stand evenly, whatever their share
        x = range(len(first["levels"])) if key == "pixels" else first["r"]
        _line(ax, x, first["real"], *HELD_OUT, marker="o")
        for name, found in present.items():
            _line(ax, x, found["generated"], *SERIES[name], marker="o")
        if key == "pixels":
            _titled(ax, f"Quantiles of the pixels{label}", "share of the pixels below (%)")
            ax.set_xticks(x, labels=[f"{100 * level:g}" for level in first["levels"]])
            _scaled(ax, first["real"])
        else:
            _titled(ax, f"Radial profile{label}", "distance from the centre (pixels)")
    _legend(figure, axes)
    return figure


def _line(ax: Axes, x: Sequence[float], scores: Sequence[Any], label: str, colour: str, marker: str = "") -> None:
    """A line through the values with a band for the intervals; what has no number is left out."""
    points = [(a, s) for a, s in zip(x, map(as_score, scores), strict=True) if s is not None]
    style = (0, (4, 2)) if label == SERIES["real"][0] else "-"
    values = [s.value for _, s in points]
    ax.plot(
        [a for a, _ in points],
        values,
        color=colour,
        linewidth=1.6,
        linestyle=style,
        marker=marker,
        markersize=3.5,
        label=label,
    )
    banded = [(a, s.low, s.high) for a, s in points if s.low is not None and s.high is not None]
    if banded:
        at, low, high = zip(*banded, strict=True)
        ax.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)


def _titled(ax: Axes, title: str, x: str) -> None:
    ax.set_title(title, parse_math=False)
    ax.set_xlabel(x)


def _scaled(ax: Axes, scores: Sequence[Any]) -> None:
    """Logarithmic upwards where everything is positive and spans decades."""
    if _spread(scores) > 30:
        ax.set_yscale("log", nonpositive="mask")


def _spread(scores: Sequence[Any]) -> float:
    values = [s.value for s in map(as_score, scores) if s is not None]
    return max(values) / min(values) if values and min(values) > 0 else 1.0


def _plain_ticks(ax: Axes, k: Sequence[float]) -> None:
    ax.minorticks_off()
    shown = [v for v in (1, 2, 4, 8, 16, 32, 64, 128, 256) if v <= k[-1]]
    ax.set_xticks(shown, labels=[str(v) for v in shown])


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=3)


def _moments(sets: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """All pixels of a set together, then what one field's are, mean ± standard deviation over the fields."""
    found = {name: comparison["moments"] for name, comparison in sets.items() if comparison.get("moments")}
    rows: list[list[Any]] = []
    if found:
        names = next(iter(found.values()))
        last = next(reversed(found.values()))
        rows = [[n, *(m[n].get("generated") for m in found.values()), last[n].get("real")] for n in names]
        rows += [
            [
                f"{n} of one field",
                *(_spread_over_fields(m[n], "generated") for m in found.values()),
                _spread_over_fields(last[n], "real"),
            ]
            for n in names
        ]
    return Table(["", *(SERIES[name][0] for name in found), HELD_OUT[0]], rows, title)


def _spread_over_fields(moment: Mapping[str, Any], which: str) -> str | None:
    each = (moment.get("per_field") or {}).get(which) or {}
    if as_score(each.get("mean")) is None:
        return None
    return f"{number(each['mean'])} ± {number(each.get('sd'), 2)}"


def _distances(sets: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """What is to be near 0, and what chance alone stays below."""
    rows = []
    for name, key in [(f"{title.lower()}, largest |ratio − 1|", key) for key, title in SPECTRA.items()]:
        worst = [(found.get(key) or {}).get("worst") for found in sets.values()]
        if any(map(as_score, worst)):
            rows.append([name, *(cell for w in worst for cell in (w, (w or {}).get("chance")))])
    for name, key in (("pixels, Wasserstein", "wasserstein"), ("pixels, Kolmogorov–Smirnov", "ks")):
        pixels = [found.get("pixels") or {} for found in sets.values()]
        if any(as_score(p.get(key)) for p in pixels):
            rows.append([name, *(cell for p in pixels for cell in (p.get(key), (p.get("chance") or {}).get(key)))])
    return Table(["", *(column for name in sets for column in (SERIES[name][0], "chance"))], rows, title)
