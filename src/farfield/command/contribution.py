"""What a frozen network adds: to denoising examples that were left out, and to samples."""

from __future__ import annotations

from typing import Annotated, Literal

from farfield.command.result import Result
from farfield.core.score import Score


class GainLevel(Result):
    """What is known at one noise level of examples that were left out; `study.unseen.calibration.gain`."""

    sigma: float
    errors: Annotated[
        dict[str, Score],
        "mean squared error a pixel of denoising: mean (the examples' mean), wiener (their Wiener filter), frozen (the network "
        "as it is), network (calibrated), patches (the examples' own or the Wiener filter, without a network), all (what is "
        "taken)",
    ]
    adds: Annotated[
        Score | None, "by what part the network lowers the error of what there is without it, paired; null without one"
    ]
    shares: Annotated[
        dict[str, list[float]],
        "what part of the answer each guess makes, by band from coarse to fine; `unseen.regression.shares`",
    ]
    counts: Annotated[
        bool, "whether the Wiener filter leaves 5 to 95 % of the examples' spread; `unseen.gain.counts`"
    ] = True


class ModelGain(Result):
    """What a frozen network adds to what a domain's examples say by themselves; `study.unseen.calibration.model_gain`."""

    levels: Annotated[list[GainLevel], "ascending"]
    adds: Annotated[
        Score | None,
        "the mean of the levels' ``adds`` over ln sigma where levels count, paired by example; null where none does, and "
        "without a network; `unseen.gain.overall`",
    ]
    says: Annotated[str, "the same in a sentence; `unseen.gain.headline`"]


class NetworkAdds(Result):
    """Samples beside those of the same seeds made without the network; `audit.contribution.contribution`."""

    verdict: Annotated[
        Literal["adds", "nothing", "harms", "divided"],
        "adds: nearer to held-out images in one descriptor at least, and farther in none; harms: the reverse; divided: both",
    ]
    distance: Annotated[
        dict[str, Score],
        "by what the network lowers the kernel distance, paired by seed, by descriptor; "
        "`audit.distribution.kernel_difference`",
    ]
    says: str
