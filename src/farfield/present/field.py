"""The section on physical fields: power spectrum, pixel distribution, radial profile and moments beside held-out's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from farfield.command.measures import FieldChannel, FieldMeasures, FieldSets, MeanSpread, Spectrum
from farfield.present.curve import line
from farfield.present.page import Chart, Section, Table, charts
from farfield.present.plot import PAINT, legend, styled, subplots, ticks
from farfield.present.words import as_score, number, score, share, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPECTRA = {"spectrum": "Power spectrum", "log_spectrum": "Power spectrum of the logarithm"}
SERIES = {"samples": ("samples", PAINT.ours), "real": ("other held-out", PAINT.base)}
WHOSE = {"samples": "the samples", "real": "other held-out fields"}
HELD_OUT = ("held-out", PAINT.real)

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


Compared = dict[str, FieldChannel]
"""One channel of each set that was compared."""


def section(fields: FieldSets | None) -> list[Section]:
    """The section on fields; none where it compares nothing."""
    known = {name: one for name in SERIES if fields and (one := getattr(fields, name))}
    compared = {name: every for name, one in known.items() if (every := _channels(one))}
    if fields is None or not compared:
        return []
    count = max(map(len, compared.values()))
    channels = [{name: every[c] for name, every in compared.items() if c < len(every)} for c in range(count)]
    drawn: list[Chart] = []
    tables = []
    printed, side = unit(fields.unit), min(next(iter(known.values())).shape[-2:])
    for c, sets in enumerate(channels):
        about = f"Channel {c + 1}: " if count > 1 else ""
        drawn += charts(_spectra(sets, printed, side), f"{about}power spectra, and their ratio to held-out's")
        laws = f"{about}quantiles of the pixels and radial profile, beside held-out's"
        drawn += charts(_laws(sets, printed, fields.pixel, fields.pixel_unit), laws)
        tables += [_moments(sets, f"{about}Moments of the pixels"), _distances(sets, f"{about}Distances from held-out")]
    leads = [
        sentence
        for c, sets in enumerate(channels)
        for sentence in _lead(sets, f"Channel {c + 1}: t" if count > 1 else "T", side, fields)
    ]
    first = next(iter(channels[0].values()))
    resolved = first.spectrum.resolved if first.spectrum else ("–", "–")
    window = WINDOWS.get(next(iter(known.values())).window, "")
    meaning = MEANING.format(first=resolved[0], last=resolved[1], window=window)
    return [
        Section(
            "fields",
            "As physical fields",
            lead=leads[0] if leads else "",
            paragraphs=leads[1:],
            charts=drawn,
            tables=[table for table in tables if table.rows],
            details=[("How this is measured", meaning)],
        )
    ]


def _channels(measures: FieldMeasures) -> list[FieldChannel]:
    """Those in which something was measured."""
    every: Sequence[FieldChannel] = measures.channels or [measures]
    return [one for one in every if one.spectrum or one.pixels or one.profile or one.moments]


def _spectra_of(channel: FieldChannel) -> dict[str, Spectrum]:
    both = {"spectrum": channel.spectrum, "log_spectrum": channel.log_spectrum}
    return {key: one for key, one in both.items() if one}


def _lead(sets: Compared, start: str, side: int, fields: FieldSets) -> list[str]:
    """In words: how far each spectrum is from held-out's, against chance; then the pixels."""
    said = []
    for key, title in SPECTRA.items():
        for name, channel in sets.items():
            spectrum = _spectra_of(channel).get(key)
            if spectrum is None:
                continue
            worst, (low, high) = spectrum.worst, spectrum.resolved
            ratio = dict(zip(spectrum.k, map(as_score, spectrum.ratio), strict=True)).get(worst.k)
            power = title[0].lower() + title[1:]
            where = f"between k = {low} and {high}"
            if worst.value <= 0.5 or ratio is None:
                distance = (
                    f"stays within {share(worst.value)} of held-out {where}; worst at {_scale(worst.k, side, fields)}"
                )
            else:
                distance = (
                    f"is at worst {number(ratio.value, 2)} times held-out's {where}, at {_scale(worst.k, side, fields)}"
                )
            said.append(f"{start}he {power} of {WHOSE[name]} {distance}.{_chance(worst.chance, worst.value, True)}")
    for name, channel in sets.items():
        if pixels := channel.pixels:
            chance = _chance(pixels.chance.wasserstein, pixels.wasserstein.value, False)
            said.append(
                f"{start}he pixels of {WHOSE[name]} lie {score(pixels.wasserstein)} standard deviations from held-out's, "
                f"rank by rank.{chance}"
            )
    return said


def _scale(k: float, side: int, fields: FieldSets) -> str:
    """A wavenumber with what it is per pixel, and its wavelength where the size of a pixel is known."""
    wave = f", waves of {number(fields.pixel * side / k, 2)} {unit(fields.pixel_unit)}" if fields.pixel else ""
    return f"k = {k:.0f} ({number(k / side, 2)} per pixel{wave})"


def _chance(chance: float, value: float, percent: bool) -> str:
    shown = share(chance) if percent else number(chance, 2)
    return f" That is {'no ' if value <= chance else ''}more than chance gives (up to {shown})."


@styled
def _spectra(sets: Compared, printed: str, side: int) -> Figure | None:
    """Spectra on the left, their ratios to held-out's on the right, a line for each kind of spectrum."""
    spectra = {name: _spectra_of(channel) for name, channel in sets.items()}
    kinds = [key for key in SPECTRA if any(key in one for one in spectra.values())]
    if not kinds:
        return None
    figure, axes = subplots(2 * len(kinds), 2, 2.7)
    for key, left, right in zip(kinds, axes[::2], axes[1::2], strict=True):
        present = {name: one[key] for name, one in spectra.items() if key in one}
        first = next(iter(present.values()))
        _line(left, first.k, first.real, *HELD_OUT)
        right.axhspan(0.9, 1.1, color=PAINT.muted, alpha=0.14, linewidth=0)
        right.axhline(1, color=PAINT.ink, linewidth=1)
        for name, spectrum in present.items():
            _line(left, spectrum.k, spectrum.generated, *SERIES[name])
            low, high = spectrum.resolved
            inside = [i for i, k in enumerate(spectrum.k) if low <= k <= high]
            _line(right, [spectrum.k[i] for i in inside], [spectrum.ratio[i] for i in inside], *SERIES[name])
        powers = "" if not printed or key == "log_spectrum" else f", ({printed})²"
        _titled(left, SPECTRA[key] + powers, f"k (waves per side of {side} pixels)")
        _titled(right, "Ratio to held-out (grey: ± 10 %)", f"k (waves per side of {side} pixels)")
        left.set_xscale("log")
        _scaled(left, first.real)
        right.set_xscale("log")
        if _spread([v for s in present.values() for v in s.ratio]) > 5:
            right.set_yscale("log")
        for ax in (left, right):
            _plain_ticks(ax, first.k)
    legend(figure, axes)
    return figure


@styled
def _laws(sets: Compared, printed: str, pixel: float | None, of: str) -> Figure | None:
    """Quantiles of the pixels, and the radial profile."""
    quantiles = {name: channel.pixels.quantiles for name, channel in sets.items() if channel.pixels}
    profiles = {name: channel.profile for name, channel in sets.items() if channel.profile}
    if not quantiles and not profiles:
        return None
    figure, axes = subplots(bool(quantiles) + bool(profiles), 2, 2.7)
    label = f", {printed}" if printed else ""
    if quantiles:
        ax, law = axes[0], next(iter(quantiles.values()))
        places = range(len(law.levels))  # the tails are what matters: quantiles stand evenly, whatever their share
        _line(ax, places, law.real, *HELD_OUT, marker="o")
        for name, one in quantiles.items():
            _line(ax, places, one.generated, *SERIES[name], marker="o")
        _titled(ax, f"Quantiles of the pixels{label}", "share of the pixels below (%)")
        ax.set_xticks(places, labels=[f"{100 * level:g}" for level in law.levels])
        _scaled(ax, law.real)
    if profiles:
        ax, profile = axes[-1], next(iter(profiles.values()))
        step = pixel or 1.0
        _line(ax, [step * r for r in profile.r], profile.real, *HELD_OUT, marker="o")
        for name, own in profiles.items():
            _line(ax, [step * r for r in own.r], own.generated, *SERIES[name], marker="o")
        _titled(ax, f"Radial profile{label}", f"distance from the centre ({unit(of) if pixel else 'pixels'})")
    legend(figure, axes)
    return figure


def _line(ax: Axes, x: Sequence[float], scores: Sequence[Any], label: str, colour: str, marker: str = "") -> None:
    """A line with a band; what has no number is left out."""
    style = (0, (4, 2)) if label == SERIES["real"][0] else "-"
    look: Any = {"linestyle": style, "marker": marker, "linewidth": 1.6, "markersize": 3.5}
    line(ax, zip(x, scores, strict=True), colour, label, band=True, **look)


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
    shown = [v for v in (1, 2, 4, 8, 16, 32, 64, 128, 256) if v <= k[-1]]
    ticks(ax, shown, [str(v) for v in shown])


def _moments(sets: Compared, title: str) -> Table:
    """All pixels of a set together, then what one field's are, mean ± standard deviation over the fields."""
    moments = {name: channel.moments for name, channel in sets.items() if channel.moments}
    rows: list[list[Any]] = []
    if moments:
        last = next(reversed(moments.values()))
        rows = [[n, *(m[n].generated for m in moments.values()), last[n].real] for n in last]
        rows += [
            [
                f"{n} of one field",
                *(_over_fields(m[n].per_field.generated) for m in moments.values()),
                _over_fields(last[n].per_field.real),
            ]
            for n in last
        ]
    return Table(["", *(SERIES[name][0] for name in moments), HELD_OUT[0]], rows, title)


def _over_fields(each: MeanSpread) -> str | None:
    return None if as_score(each.mean) is None else f"{number(each.mean)} ± {number(each.sd, 2)}"


def _distances(sets: Compared, title: str) -> Table:
    """What is to be near 0, and what chance alone stays below."""
    rows: list[list[Any]] = []
    for key, named in SPECTRA.items():
        worst = [spectrum.worst if (spectrum := _spectra_of(one).get(key)) else None for one in sets.values()]
        if any(worst):
            cells = [cell for w in worst for cell in ((w.score, w.chance) if w else (None, None))]
            rows.append([f"{named.lower()}, largest |ratio − 1|", *cells])
    pixels = [channel.pixels for channel in sets.values()]
    if any(pixels):
        for name, key in (("pixels, Wasserstein", "wasserstein"), ("pixels, Kolmogorov–Smirnov", "ks")):
            pairs = ((getattr(p, key), getattr(p.chance, key)) if p else (None, None) for p in pixels)
            rows.append([name, *(cell for pair in pairs for cell in pair)])
    return Table(["", *(column for name in sets for column in (SERIES[name][0], "chance"))], rows, title)
