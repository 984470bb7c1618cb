"""Numbers as text with sensible digits, and what each measure means."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from farfield.core.score import Score
from farfield.data.held import is_array_name

SETS = {
    "real": "real images",
    "samples": "new images",
    "control": "the same seeds without the network",
    "base": "the model's own",
}
"""The sets that are measured against held-out real images, as they are called in print."""

ROUNDING = 59  # dB: PSNR of rounding to 8 bits alone, 10 log10(2² · 12 · 127.5² / 2²)


@dataclass(frozen=True)
class Measure:
    """How a measure is printed and explained; ``better`` is an arrow."""

    title: str
    better: str
    meaning: str

    @property
    def named(self) -> str:
        return f"{self.title} {self.better}"


MEASURES = {
    "kernel_distance": Measure(
        "Kernel distance",
        "↓ lower",
        "The squared distance of two sets of features under a cubic kernel (KID). It has no bias: sets of one law give "
        "0 on average at every n, so small negative values are chance and not a mistake.",
    ),
    "c2st": Measure(
        "C2ST",
        "→ near 0.5",
        "How often a linear classifier that was fitted to four fifths of the two sets is right about the rest: the "
        "classifier two-sample test. Guessing is right in half of the cases. It grows with the sets: compare it along a row, "
        "and with what relabelled images reach.",
    ),
    "density": Measure(
        "Density",
        "→ near 1",
        "How many real neighbourhoods an image falls into, relative to what equal laws would give (1). Above 1 it "
        "crowds in the most common kind of image.",
    ),
    "coverage": Measure(
        "Coverage",
        "↑ higher",
        "The share of real images with at least one of the others in their neighbourhood. Sets of equal law and size "
        "reach about 0.97, not 1.",
    ),
    "precision": Measure(
        "Precision",
        "↑ higher",
        "The share of images that lie among the real ones, no farther from one than its own third neighbour is: are "
        "they plausible?",
    ),
    "recall": Measure(
        "Recall",
        "↑ higher",
        "The share of real images that lie among the others, in the same sense: is the whole variety of the domain "
        "reached? Images scattered far from one another have wide neighbourhoods, which inflate it.",
    ),
    "frechet_distance": Measure(
        "Fréchet distance",
        "↓ lower",
        "The distance of two Gaussians fitted to the features (FID, if they are Inception's). It grows as n shrinks: "
        "compare it along a row of this table, never with published values from other n.",
    ),
    "frechet_infinity": Measure(
        "Fréchet, n → ∞",
        "↓ lower",
        "What the Fréchet distance tends to with ever more images, by a line over 1/n: the growth with small n taken away. "
        "Given only where half of the images outnumber the entries of their features; elsewhere it is no line.",
    ),
    "vendi": Measure(
        "Vendi score",
        "→ as of real",
        "How many different images the set amounts to: 1 where all are alike, n where no two have anything in common. It "
        "sees no quality: noise scores high. It grows with n: compare it along a row.",
    ),
    "clusters": Measure(
        "Distance within clusters",
        "→ as of real",
        "Images are given to their nearest example (or real image, where no example was shown); this is the mean distance "
        "of two images of one cluster, over the clusters with two. Copies of the examples score 0. n counts clusters.",
    ),
}


class Said(str):
    """A number as text that remembers it: a page shows the text, a file of a table has the number."""

    of: Any

    def __new__(cls, text: str, of: Any) -> Said:
        said = super().__new__(cls, text)
        said.of = of
        return said


def as_score(value: Any) -> Score | None:
    """A number, a Score, or one as JSON holds it; None for anything else."""
    if isinstance(value, Score):
        return value if math.isfinite(value.value) else None
    if isinstance(value, Mapping):
        inner = as_score(value.get("value"))
        return inner and Score(inner.value, value.get("n") or 0, value.get("low"), value.get("high"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Score(value, 0)


def number(value: Any, digits: int = 3) -> str:
    """A number to so many significant digits; integers in full, very small and large ones as powers of ten."""
    return Said(_digits(value, digits), value)


def _digits(value: Any, digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else setting(value)
    if not math.isfinite(value):
        return "–"
    if isinstance(value, int) or not value:
        return _typeset(f"{int(value):,}")
    size = abs(value)
    if 1e-4 <= size < 1e7:
        return _typeset(f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return _typeset(f"{mantissa} × 10") + _raised(int(power))


def score_parts(value: Any, percent: bool = False) -> tuple[str, str]:
    """A score's value and interval as text; the interval, if any, decides how many digits are worth printing."""
    score = as_score(value)
    if score is None:
        return "–", ""
    factor, unit = (100, "\u202f%") if percent else (1, "")
    middle = factor * score.value
    if score.low is None or score.high is None:
        return number(middle) + unit, ""
    low, high = factor * score.low, factor * score.high
    half = (high - low) / 2
    if not 1e-5 <= half < 1e7:
        return number(middle) + unit, f"[{number(low)}, {number(high)}]"
    power = math.floor(math.log10(half))
    # one digit of the half-width, two where the first is a 1 or 2 and rounding would hurt
    decimals = max(0, int(not percent and half < 3 * 10**power) - power)
    # adding 0.0 turns a rounded −0 into 0
    shown = [_typeset(f"{round(v, decimals) + 0.0:,.{decimals}f}") for v in (middle, low, high)]
    return shown[0] + unit, f"[{shown[1]}, {shown[2]}]"


def score(value: Any, percent: bool = False) -> str:
    """A score in a sentence: ``0.031 [0.012, 0.050]``."""
    return Said(" ".join(part for part in score_parts(value, percent) if part), as_score(value))


def share(value: float | None) -> str:
    """A proportion as a percentage of two digits."""
    return Said("–" if value is None else f"{number(100 * value, 2)}\u202f%", value)


def level(sigma: float) -> str:
    """A noise level, without the zeros that a measured number would keep."""
    return Said(f"{sigma:.4g}", sigma)


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(n: int, noun: str, several: str = "") -> str:
    """A count with its noun: 1 image, 2 images."""
    return f"{number(n)} {noun if n == 1 else several or f'{noun}s'}"


def unit(text: str) -> str:
    """A physical unit as it is printed: ``erg s-1 cm**-2`` is erg s⁻¹ cm⁻²."""
    return re.sub(
        r"(?<![\d.][eE])(?<=[A-Za-zµΩÅ)])(?:\*\*|\^)?(?:\(([+-]?\d+)\)|([+-]?\d+))(?![\w.])",
        lambda power: _raised(int(power[1] or power[2])),
        text,
    )


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def descriptor(name: str) -> str:
    """A descriptor's name without the digest, which tells two of its files apart and nobody anything."""
    return re.sub(r"(?:-\d+(?:x\d+)*)*-[0-9a-f]{12,}$", "", name)


def setting(value: Any) -> str:
    """A setting as it was given."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {setting(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(setting(v) for v in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not set"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def short(source: Any) -> str:
    """A path's last part; a name as it is, but that of an array, which tells nobody anything."""
    if is_array_name(source):
        return "given images"
    return PurePath(str(source)).name or str(source)


def _typeset(text: str) -> str:
    """A true minus sign, and narrow spaces between thousands."""
    return text.replace("-", "−").replace(",", "\u202f")
