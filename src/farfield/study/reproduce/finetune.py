"""Fine-tuning on few images, of all layers and of some: RP and GL over the size (arXiv 2310.05264, appendix)."""

from __future__ import annotations

from farfield.command.reproduce import Outcome
from farfield.command.transition import TransitionResult
from farfield.study.reproduce.grids import outcome, panel
from farfield.study.reproduce.plan import Findings, Plan, Step
from farfield.study.reproduce.regimes import ends_apart, kind

WAYS = {"all layers": (), "the layers on the way up": ("--layers", "*up_blocks*")}
SMALL = (
    "--from", "digits-generalizing", "--data", "hubble", "--sizes", "16,256", "--samples", "128", "--descriptor", "pixels",
    "--heldout-images", "150", "--length", "40k", "--batch-size", "64", "--ema", "2k", "--warmup", "2k", "--level-law", "0,1.3",
    "--learning-rate", "0.002",
)  # fmt: skip
FULL = ("--from", "cifar10-32", "--data", "hubble", "--sizes", "64,128,256", "--samples", "1000", "--length", "2M")
PAPER = "CIFAR-10 and SSCD with a threshold of 0.6 (its values are not among those that were read)"


def steps(plan: Plan) -> list[Step]:
    """Two grids of two seeds each. Of the full scale too on a domain that the model never saw: images of CIFAR it knows."""
    how = (*(SMALL if plan.small else FULL), "--seeds", "0,1")
    return [plan.step(f"finetune/{name.split()[-1]}", "transition", *how, *layers) for name, layers in WAYS.items()]


def read(plan: Plan) -> Outcome:
    grids = {name: one.result(TransitionResult) for name, one in zip(WAYS, steps(plan), strict=True)}
    gl, rp, findings = {}, {}, Findings()
    for name, found in grids.items():
        which = kind(found)
        scores = {cell.size: cell.gl[which].score for cell in found.cells if cell.seed == 0}
        gl[name], rp[name] = scores.items(), [(pair.size, pair.rp[which].score) for pair in found.between]
        few, many = min(scores), max(scores)
        findings.say(
            ends_apart(scores[few], scores[many]),
            f"Fine-tuning of {name}: GL rises from copies to new images (published): {scores[few].value:.2f} with {few} images, "
            f"{scores[many].value:.2f} with {many}.",
        )
    panels = [
        panel("new samples (GL)", "training images", gl),
        panel("agreement of two fine-tunings (RP)", "training images", rp),
    ]
    return outcome(grids["all layers"], PAPER, findings, panels)
