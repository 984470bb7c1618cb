"""The page of `farfield dimension`: estimates of the dimension of the data around each image, over noise levels."""

from __future__ import annotations

from pathlib import Path

from farfield.command.dimension import DimensionLevel, DimensionResult
from farfield.command.facts import OverPoints
from farfield.core.score import Score
from farfield.present.curve import Line, curves
from farfield.present.page import Content, Section, Table, charts
from farfield.present.plot import PAINT
from farfield.present.words import count, level, number, score, score_parts, short

MOST = 6
"""Images whose own curves are drawn."""


def content(folder: Path, summary: DimensionResult) -> Content:
    """All of the page, from what the run left on disk."""
    facts = [
        count(summary.n, "image"),
        f"{number(summary.dimension)} pixel values each",
        f"{count(summary.probes, 'probe')} per image and level",
    ]
    return Content(
        summary.model.name,
        short(summary.examples.source),
        facts,
        _verdict(summary),
        _caveats(summary),
        _key_numbers(summary),
        [_levels(summary), _images(summary)],
    )


def _recommended(summary: DimensionResult) -> tuple[int, DimensionLevel]:
    sigma = summary.recommended.sigma
    return next((i, one) for i, one in enumerate(summary.levels) if one.sigma == sigma)


def _verdict(summary: DimensionResult) -> list[str]:
    _, one = _recommended(summary)
    over = f"a mean over {summary.n} images" if summary.n > 1 else "one image"
    said = [
        f"Around an image the data have {score(one.error.mean)} of {number(summary.dimension)} dimensions, by the denoising "
        f"error at noise level {level(one.sigma)} ({over}).",
        f"FLIPD says {score(one.flipd.mean)} there.{_impossible(one.flipd.mean.value, summary.dimension)}",
    ]
    if bundle := summary.bundle:
        said.append(f"The normal bundle has {score(bundle.threshold.mean)} dimensions there.")
    return said


def _impossible(flipd: float, dimension: int) -> str:
    """What a FLIPD means that is no number of dimensions."""
    if 0 <= flipd <= dimension:
        return ""
    return f" That is no number of dimensions of {number(dimension)}: it tells of the network, not of the data."


def _caveats(summary: DimensionResult) -> list[str]:
    chosen = summary.recommended
    if chosen.slope is None:
        said = ["One level was given, so that it cannot be said whether the estimates hang on it; give several."]
    elif chosen.plateau:
        said = [
            "The level is where the curve of the denoising error is flattest: it changes there by "
            f"{number(100 * chosen.slope, 2)} % of its value per factor of e in the noise level."
        ]
    else:
        said = [
            "There is no plateau: even at the flattest level the denoising error changes by "
            f"{number(100 * chosen.slope, 2)} % of its value per factor of e in the noise level. The data have no single "
            "dimension, or the network is too far from the ideal denoiser; any number is that of its level."
        ]
    apart = [one for one in summary.levels if not 0.5 < _ratio(one) < 2]
    if apart:
        said.append(
            f"FLIPD and the denoising error differ by more than a factor of 2 at {len(apart)} of {len(summary.levels)} "
            "levels. FLIPD asks the network about images without noise, which it was never trained on; where it is not between 0 "
            "and the number of pixels it tells of the network alone."
        )
    said.append("A dimension counts the directions in which the data vary by more than about the noise level.")
    if (bundle := summary.bundle) and bundle.without_gap:
        said.append(
            f"In {bundle.without_gap} of {summary.n} normal bundles the singular values have no clear gap: the count by gap "
            "is chance there."
        )
    if not summary.copies:
        said.append("The normal bundle was left out; --copies asks for it.")
    return said


def _ratio(one: DimensionLevel) -> float:
    """Of FLIPD to the denoising error at one level."""
    flipd, error = one.flipd.mean.value, one.error.mean.value
    return flipd / error if error else 1.0


def _key_numbers(summary: DimensionResult) -> list[tuple[str, str, str, str]]:
    _, one = _recommended(summary)
    note = f"of {number(summary.dimension)}, at noise level {level(one.sigma)}"
    beside = "no number of dimensions" if _impossible(one.flipd.mean.value, summary.dimension) else note
    tiles = [
        ("by denoising error", *score_parts(one.error.mean), note),
        ("FLIPD", *score_parts(one.flipd.mean), beside),
    ]
    if bundle := summary.bundle:
        tiles.append(("normal bundle", *score_parts(bundle.threshold.mean), note))
    return tiles


def _levels(summary: DimensionResult) -> Section:
    sigmas = [one.sigma for one in summary.levels]
    images = list(summary.images.values())[:MOST]

    def lines(own: list[list[Score]], means: list[OverPoints]) -> list[Line]:
        single = [Line("single images", list(zip(sigmas, one, strict=True)), PAINT.base, 0.5) for one in own]
        return [*single, Line("mean over images", [(s, m.mean) for s, m in zip(sigmas, means, strict=True)])]

    panels = {
        "by denoising error": lines([one.error for one in images], [one.error for one in summary.levels]),
        "FLIPD": lines([one.flipd for one in images], [one.flipd for one in summary.levels]),
    }
    lead = (
        "Grey: single images, with the 95 % interval of their random probes. Red: the mean over images, with its "
        "own (Student's)."
    )
    details = [
        (
            "FLIPD",
            "The number of pixels plus the rate at which the log density changes with the log of the noise level, at the image "
            "without noise: the trace of the denoiser's Jacobian plus |x − D|² / σ² (arXiv 2406.03537). It may be negative, or "
            "above the number of pixels, where the image is improbable for the model.",
        ),
        (
            "By denoising error",
            "The mean of |x₀ − D|² / σ² over noises: noise along the data stays. For the ideal denoiser its mean over data is "
            "that of the Jacobian's trace.",
        ),
        (
            "Normal bundle",
            "Scores at noisy copies of an image span the directions across the data (arXiv 2212.12611). The dimension is "
            "the number of their singular values below ½, directions in which the data vary by more than the noise "
            "level; or it is read off the largest step between values, where there is one.",
        ),
    ]
    figure = charts(curves(panels, columns=2), "estimates of the dimension over noise levels")
    return Section("levels", "Over noise levels", lead, charts=figure, details=details)


def _images(summary: DimensionResult) -> Section:
    place, one = _recommended(summary)
    bundle = summary.bundle
    rows = [
        [name, image.error[place], image.flipd[place]]
        + ([bundle.images[name].threshold, bundle.images[name].gap] if bundle else [])
        for name, image in summary.images.items()
    ]
    columns = ["image", "by denoising error", "FLIPD"] + (["normal bundle", "by its gap"] if bundle else [])
    means = [[level(o.sigma), o.error.mean, o.flipd.mean] for o in summary.levels]
    tables = [
        Table(["noise level", "by denoising error", "FLIPD"], means, "Means over images", chosen=[place]),
        Table(columns, rows, f"Each image at noise level {level(one.sigma)}"),
    ]
    return Section("numbers", "All numbers", tables=tables)
