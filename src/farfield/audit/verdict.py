"""Does the model memorize or generalize? One word by a stated rule, and what each score says for it or against it.

The rule reads intervals, never values: what samples do counts only beyond what images do that were never trained on. A
sample is a copy by its similarity to a training image (beyond chance: ``memorized``) or by the distance ratio (beyond that
of held-out images). In this order,

1. **memorizes**: more than half of the samples are copies by one of the two;
2. **copies some**: more samples are copies by one of the two than new images would be;
3. **cannot be told**: no copies show, but a tenth of so few samples could be copies and not show;
4. **cannot be told**: no copies show, but without held-out images (or with a handful of images in a set) nothing says whether
   samples belong to the domain;
5. **strays**: no copies show, but samples lie among real images less than half as often as training images do; noise is
   no copy either;
6. **generalizes**.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from farfield.audit.authenticity import Copying
from farfield.core.artifact import Score
from farfield.core.interval import Z95

Kind = Literal["memorizes", "copies some", "generalizes", "strays", "cannot be told"]
Reading = Literal["copies", "no copies", "no null"]

MOST: Final = 0.5
FEW: Final = 0.1
DOMAIN: Final = 0.5
"""Of the training images' precision: samples of less than this share of it stray."""


@dataclass(frozen=True)
class Beside:
    """A score of the samples, and the same of images that were never trained on; None where there are none."""

    score: Score
    null: Score | None = None


@dataclass(frozen=True)
class Evidence:
    """``reading``: ``copies`` where score and null are apart on the side of copying, else ``no copies``."""

    name: str
    score: Score
    null: Score | None
    reading: Reading


@dataclass(frozen=True)
class Verdict:
    """``kind`` by the rule above, ``sentence`` why, ``evidence`` of every score, those that decide first.

    ``against`` names the scores that read otherwise: look at them.
    """

    kind: Kind
    sentence: str
    evidence: tuple[Evidence, ...]
    against: tuple[str, ...]


def judge(
    memorized: Beside,
    *,
    ratio: Beside | None = None,
    authenticity: Beside | None = None,
    copying: Copying | None = None,
    precision: Beside | None = None,
) -> Verdict:
    """The verdict of an audit.

    Args:
        memorized: M, the share of samples more alike a training image than the threshold; its null is the rate at
            which new images are.
        ratio: the share that the distance-ratio test counts.
        authenticity: AuthPct, low where samples are copies.
        copying: the data-copying test, negative where samples are copies.
        precision: of samples among held-out images; its null that of as many training images.
    """
    deciding = [_evidence("memorized", memorized)]
    if ratio is not None:
        deciding.append(_evidence("ratio", ratio))
    others = []
    if authenticity is not None:
        others.append(_evidence("authenticity", authenticity, low=True))
    if copying is not None:
        width = Z95 * copying.null_sd
        null = Score(0.0, copying.statistic.n, -width, width)
        others.append(_evidence("data_copying", Beside(copying.statistic, null), low=True))
    kind, sentence = _ruled(deciding, precision)
    evidence = (*deciding, *others)
    wanted = {"memorizes": "copies", "copies some": "copies", "cannot be told": None}.get(kind, "no copies")
    against = tuple(e.name for e in evidence if wanted and e.reading not in (wanted, "no null"))
    return Verdict(kind, sentence, evidence, against)


def _ruled(deciding: list[Evidence], precision: Beside | None) -> tuple[Kind, str]:
    memorized = deciding[0]
    if copies := [e for e in deciding if e.reading == "copies"]:
        most = [e for e in copies if _ends(e.score)[0] > MOST]
        return ("memorizes" if most else "copies some"), _copied((most or copies)[0])
    if memorized.null is None:
        return "cannot be told", "Nothing says how often new images exceed the threshold; give held-out images."
    none = f"No more samples are copies ({_percent(memorized.score)}) than new images would be"
    if (most_copies := _ends(memorized.score)[1]) > FEW:
        n = memorized.score.n
        return "cannot be told", f"{none}, but of {n} samples up to {most_copies:.0%} could be; make more samples."
    if precision is None or precision.null is None:
        return "cannot be told", (
            f"{none}, but nothing says whether they belong to the domain: that takes held-out images, and several of every set."
        )
    lies = f"{_percent(precision.score)} of them lie among real images, against {_percent(precision.null)} of training images"
    if _ends(precision.score)[1] < DOMAIN * _ends(precision.null)[0]:
        return "strays", f"{none}, but only {lies}."
    return "generalizes", f"{none} ({_percent(memorized.null)}), and {lies}."


def _copied(e: Evidence) -> str:
    beside = "" if e.null is None else f", against {_percent(e.null)} of new images"
    if e.name == "ratio":
        return f"{_percent(e.score)} of the samples lie far nearer to one training image than to any other{beside}."
    return f"{_percent(e.score)} of the samples are copies of training images{beside}."


def _evidence(name: str, measured: Beside, low: bool = False) -> Evidence:
    """``low``: low values tell of copies."""
    if measured.null is None:
        return Evidence(name, measured.score, None, "no null")
    (bottom, top), (floor, ceiling) = _ends(measured.score), _ends(measured.null)
    apart = top < floor if low else bottom > ceiling
    return Evidence(name, measured.score, measured.null, "copies" if apart else "no copies")


def _ends(score: Score) -> tuple[float, float]:
    return (
        score.value if score.low is None else score.low,
        score.value if score.high is None else score.high,
    )


def _percent(score: Score) -> str:
    low, high = _ends(score)
    return f"{score.value:.1%} [{low:.1%}, {high:.1%}]"
