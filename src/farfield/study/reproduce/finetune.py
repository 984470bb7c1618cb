"""Fine-tuning on few images, of all layers and of some: RP and GL over the size (arXiv 2310.05264, appendix)."""

from __future__ import annotations

from farfield.command.reproduce import Curve, Outcome, Panel
from farfield.command.transition import TransitionResult
from farfield.study.reproduce.grids import curve, outcome
from farfield.study.reproduce.plan import Plan, Step
from farfield.study.reproduce.regimes import between, ends_apart, kind

WAYS = {"all layers": (), "layers on the way up": ("--layers", "*up_blocks*")}
SMALL = (
    "--from", "digits-generalizing", "--data", "flowers", "--sizes", "16,64,256", "--samples", "128", "--descriptor", "pixels",
    "--heldout-images", "200", "--length", "40k", "--batch-size", "64", "--ema", "2k", "--warmup", "2k", "--level-law", "0,1.3",
    "--learning-rate", "0.002",
)  # fmt: skip
FULL = ("--from", "cifar10-32", "--data", "flowers", "--sizes", "64,256,512", "--samples", "1000", "--length", "2M")


def steps(plan: Plan) -> list[Step]:
    """Two grids of two seeds each. Of the full scale too on a domain that the model never saw: images of CIFAR it knows."""
    how = SMALL if plan.small else FULL
    return [
        plan.step(f"finetune/{name.replace(' ', '-')}", "transition", *how, *way, "--seeds", "0,1")
        for name, way in WAYS.items()
    ]


def read(plan: Plan) -> Outcome:
    grids = dict(zip(WAYS, (one.result(TransitionResult) for one in steps(plan)), strict=True))
    gl, rp, findings = [], [], []
    for name, found in grids.items():
        which = kind(found)
        gl.append(curve(name, [c for c in found.cells if c.seed == 0], lambda c, which=which: c.gl[which].score))  # type: ignore[misc]
        rp += [Curve(name=name, x=one.x, y=one.y) for one in between(found, which)]
        rises = ends_apart(gl[-1].y[0], gl[-1].y[-1])
        first, last = gl[-1].y[0].value, gl[-1].y[-1].value
        few, many = found.grid.sizes[0], found.grid.sizes[-1]
        findings.append(
            (
                rises,
                f"Fine-tuning of {name}: GL {'rises' if rises else 'does not rise'} from {first:.2f} with {few} images to "
                f"{last:.2f} with {many} (published: from copies to new images, as from scratch).",
            )
        )
    return outcome(
        grids["all layers"],
        "CIFAR-10 and SSCD with a threshold of 0.6 (its values are not among those read)",
        findings,
        panels=[
            Panel(title="new samples (GL)", along="training images", published=[], ours=gl),
            Panel(title="agreement of two fine-tunings (RP)", along="training images", published=[], ours=rp),
        ],
        rows=[],
    )
