"""What is said of the methods of `farfield compare`: what each is, whether to tune, and whether the model adds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from farfield.command.compare import Count, Entry
from farfield.present.words import number

MEANINGS = {
    "ours": "`farfield expand` as it stands: the frozen denoiser calibrated on the examples in closed form, beside their "
    "patches; an example under noise, walked down with fresh noise and without its own patches.",
    "patchwork": "The same denoiser, patchworks of two inverted examples' latents, the best new one of three candidates.",
    "published": "As the authors of arXiv 2310.09213 released it: interpolation of the bare latents at the model's last level, "
    "half-way from an example to a draw of an isotropic Gaussian fitted to the examples' latents.",
    "described": "As arXiv 2310.09213 describes it: interpolation of the bare latents at the model's last level, half-way "
    "between two examples.",
    "geometric": "Draws of an isotropic Gaussian fitted to the latents at the last level, accepted by their distance and "
    "angles to the examples' latents (arXiv 2310.09213).",
    "gaussian": "Draws of an isotropic Gaussian fitted to the latents at the last level.",
    "wiener": "Ours to the letter without the network: what the calibration leaves is the examples' Wiener filter. A choice "
    "among candidates looks at whitened pixels.",
    "patches": "Ours to the letter without the network, but with the examples' patches. A choice among candidates looks at "
    "whitened pixels.",
    "pixels": "Patchworks of the pictures themselves, two examples in the places in which ours mixes their latents.",
    "augment": "Examples cropped to 80 to 100 % of their area, flipped left to right half the time, brightness and contrast "
    "changed by up to 10 %.",
    "examples": "The examples, one after the other: what copies score.",
    "full": "All weights trained on the examples, stopped early on a part of them, within the budget.",
    "lora": "Low-rank updates of convolutions and linear maps, stopped early, within the budget.",
    "norm": "Normalisation layers and biases alone, stopped early, within the budget.",
    "release": "All weights trained for a fixed number of epochs without early stopping (the baseline of arXiv "
    "2310.09213).",
}
VERDICTS = {
    "keep": "no, with {} examples the best tuned model stands farther from held-out images than the frozen model's new ones",
    "doubt": "with {} examples the frozen model's new images stand nearer, but repeat the examples",
    "even": "with {} examples no gain shows, the intervals meet",
    "copies": "no, with {} examples the tuned model comes nearer, but repeats the examples",
    "tune": "yes, with {} examples the best tuned model stands nearer to held-out images",
}
GAINS = {
    "adds": "yes, with {} examples no model-free control comes nearer, in any descriptor",
    "doubt": "with {} examples it comes nearer than every model-free control, but repeats the examples",
    "even": "with {} examples that does not show, intervals of model-free controls meet those of ours",
    "copies": "with {} examples a model-free control stands nearer, but repeats the examples",
    "less": "no, with {} examples a control that asks no network stands nearer",
}
FORMERLY = (
    "Interpolation of the bare latents half-way between two examples at the model's last level (today's `described`)."
)
"""What `published` was in runs that do not say how their latents were drawn."""


def meaning(name: str, entry: Entry | None) -> str:
    """What a method is, in a sentence."""
    if entry and entry.source:
        return f"Samples made elsewhere, as they lie in {entry.source}; what they cost is not known here."
    return FORMERLY if name == "published" and entry and not entry.sampler else MEANINGS[name]


def overall(rows: Sequence[Count]) -> str:
    """The advice over all numbers of examples in one sentence; empty where there is none."""
    advised = [(row, row.advice) for row in rows if row.advice]
    if not advised:
        return ""
    ratios = sorted(advice.cost_ratio for _, advice in advised)
    low, high = number(ratios[0], 2), number(ratios[-1], 2)
    cost = f"{low} times" if low == high else f"{low} to {high} times"
    answer = _over_counts([(row, VERDICTS[advice.verdict]) for row, advice in advised])
    return f"Should I tune? {answer}; tuning takes {cost} the network calls."


def gains(rows: Sequence[Count]) -> str:
    """Whether the frozen model adds anything, over all numbers of examples in one sentence; empty where nothing tells."""
    judged = [(row, GAINS[row.added.verdict]) for row in rows if row.added]
    return f"Does the frozen model add anything? {_over_counts(judged)}." if judged else ""


def _over_counts(judged: Sequence[tuple[Count, str]]) -> str:
    """What is said of each number of examples, those of one kind that follow each other together."""
    parts = []
    for said, group in groupby(judged, key=lambda one: one[1]):
        counts = [number(row.count) for row, _ in group]
        named = counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])} and {counts[-1]}"
        parts.append(said.format(named))
    answer = "; ".join(parts)
    return f"{answer[0].upper()}{answer[1:]}"
