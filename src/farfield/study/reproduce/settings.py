"""Which networks, parameterizations and samplers make the same image of one noise (arXiv 2310.05264, Fig 6 and 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import mean

from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.command.score import ScoreMatrixResult
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step, published_values

MODELS: Mapping[str, tuple[str, ...]] = {
    "unet2d-epsilon": ("--network", "unet2d", "--precond", "ddpm"),
    "ddpmpp-v": ("--network", "ddpmpp", "--precond", "v"),
    "ddpmpp-edm": ("--network", "ddpmpp", "--precond", "edm"),
    "ddpmpp-flow": ("--network", "ddpmpp", "--precond", "flow"),
    "dit-v": ("--network", "dit", "--precond", "v"),
}
BASE, TRANSFORMER, USUAL = "ddpmpp-edm", "dit-v", "heun-18"
SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "heun-18": ("--solver", "heun", "--steps", "18"),
    "heun-9": ("--solver", "heun", "--steps", "9"),
    "euler-18": ("--solver", "euler", "--steps", "18"),
    "euler-100": ("--solver", "euler", "--steps", "100"),
    "multistep-12": ("--solver", "multistep", "--steps", "12"),
    "eta-0.2": ("--solver", "euler", "--steps", "100", "--eta", "0.2"),
    "eta-1": ("--solver", "euler", "--steps", "100", "--eta", "1"),
    "churn-40": ("--solver", "heun", "--steps", "100", "--churn", "40"),
}
"""The first is the one that the others are held against; the last three draw noise of their own on the way."""
STOCHASTIC = ("eta-0.2", "eta-1", "churn-40")
LENGTHS = {"unet": "40k", "dit": "60k"}
FULL = "50M"
SEEDS = "0-255"


def steps(plan: Plan) -> list[Step]:
    """Train each model, make the images of the same seeds with it, and with the base model by each sampler; two matrices."""
    made = []
    for name, kind in MODELS.items():
        model = f"settings/models/{name}"
        data = ("--data", plan.data or "digits")
        made.append(plan.step(model, "train", *data, *kind, *_length(plan, name), "--samples", "0"))
        made.append(_generate(plan, model, f"settings/samples/{name}", SAMPLERS[USUAL]))
    for sampler, how in SAMPLERS.items():
        made.append(_generate(plan, f"settings/models/{BASE}", f"settings/samplers/{sampler}", how))
    descriptor = ("--descriptor", "pixels") if plan.data is None else () if plan.small else ("--descriptor", "sscd")
    made.append(plan.step("settings/networks", "score", "matrix", *_places(plan, "samples", MODELS), *descriptor))
    made.append(plan.step("settings/solvers", "score", "matrix", *_places(plan, "samplers", SAMPLERS), *descriptor))
    return made


def _length(plan: Plan, name: str) -> tuple[str, ...]:
    if not plan.small:
        return ("--length", FULL)
    common = ("--learning-rate", "0.001", "--batch-size", "32", "--ema", "4k", "--warmup", "1000", "--decay", "cosine")
    if name == TRANSFORMER:
        return (*common, "--width", "64", "--blocks", "4", "--length", LENGTHS["dit"])
    return (
        *common, "--width", "16", "--multipliers", "1,2" if plan.data is None else "1,2,2", "--blocks", "1",
        "--attention", "none", "--length", LENGTHS["unet"],
    )  # fmt: skip


def _generate(plan: Plan, model: str, place: str, how: Sequence[str]) -> Step:
    seeds = SEEDS if plan.small else "0-9999"
    return plan.step(place, "generate", plan.out / model, "--seeds", seeds, *how, "--format", "shards")


def _places(plan: Plan, folder: str, names: Mapping[str, object]) -> list[str]:
    return [str(plan.out / "settings" / folder / name) for name in names]


def read(plan: Plan) -> Outcome:
    networks, solvers = (step.result(ScoreMatrixResult) for step in steps(plan)[-2:])
    paper = published_values("settings")
    ours, pixels, findings = pairs(networks), in_pixels(networks), Findings()
    for measure, scores, those in (
        ("RP", ours, "U-ViT .70 to .81, U-Nets .81 to .91"),
        ("MAE-RP", pixels, "U-ViT .68 to .84, U-Nets .75 to .92"),
    ):
        with_dit = [score.value for name, score in scores.items() if TRANSFORMER in name]
        among = [score.value for name, score in scores.items() if TRANSFORMER not in name]
        if with_dit and among:
            lowest = mean(with_dit) < mean(among)
            findings.say(
                lowest,
                f"By {measure} a U-Net and a transformer agree {'less' if lowest else 'no less'} than U-Nets among themselves: "
                f"{mean(with_dit):.2f} against {mean(among):.2f} on average (published: {those}).",
            )
    samplers = list(SAMPLERS)
    row = [Score(1.0, 0), *(between(solvers, 0, i) for i in range(1, len(samplers)))]
    fixed = [row[i].value for i, name in enumerate(samplers) if name not in STOCHASTIC and i]
    drawn = {name: row[samplers.index(name)].value for name in STOCHASTIC}
    ordered = min(fixed) > max(drawn.values())
    findings.say(
        ordered,
        f"Deterministic samplers of one model agree with Heun's method in 18 steps on at least {min(fixed):.2f} of the seeds; "
        f"those that draw noise on the way on {', '.join(f'{value:.2f} ({name})' for name, value in drawn.items())}.",
    )
    panel = Panel(
        title="agreement with Heun's method in 18 steps (RP), sampler by sampler",
        along=", ".join(f"{i + 1} {name}" for i, name in enumerate(samplers)),
        published=[],
        ours=[Curve(name=BASE, x=[float(i + 1) for i in range(len(samplers))], y=row)],
    )
    return Outcome(
        scale=f"Ours: {plan.data or 'digits'}, {networks.pairs} seeds, narrow networks trained on {LENGTHS['unet']} images (the "
        f"transformer {LENGTHS['dit']}), descriptor {networks.descriptor}. Published: CIFAR-10, SSCD with a threshold of 0.6."
        if plan.small
        else f"Ours: {plan.data}, {networks.pairs} seeds, networks trained on {FULL} images, descriptor {networks.descriptor}.",
        panels=[panel],
        rows=[
            *(Compared(name=f"RP, {name}", published=None, ours=score) for name, score in ours.items()),
            *(Compared(name=f"MAE-RP, {name}", published=None, ours=score) for name, score in pixels.items()),
            *(Compared(name=name, published=value, ours=None) for name, value in paper.items()),
        ],
        **vars(findings),
    )


def between(found: ScoreMatrixResult, i: int, j: int) -> Score:
    return next(iter(found.rp.values())).score[i][j]


def pairs(found: ScoreMatrixResult) -> dict[str, Score]:
    """RP of every two sets."""
    names = list(found.sets)
    return {f"{names[i]} and {names[j]}": between(found, i, j) for i, j in combinations(range(len(names)), 2)}


def in_pixels(found: ScoreMatrixResult) -> dict[str, Score]:
    """The same by mean absolute pixel differences."""
    names = list(found.sets)
    if found.mae is None:
        return {}
    return {f"{names[i]} and {names[j]}": found.mae.score[i][j] for i, j in combinations(range(len(names)), 2)}
