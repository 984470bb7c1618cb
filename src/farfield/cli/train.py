"""``farfield train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import AsJson, Device, Out, Quiet, app, finish, numbers, whole_numbers


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="Training images: a folder, zip, npz, or a bundled domain (see `farfield domains`).")
    ],
    images: Annotated[str, typer.Option(help="How long: images to train on, with repetition: 20000, 500k, 50M.")],
    out: Out = Path("runs/train"),
    start: Annotated[
        str | None, typer.Option("--from", help="Train this model further (fine-tuning) in place of a new network.")
    ] = None,
    max_images: Annotated[
        int | None, typer.Option(help="Train on so many images, drawn at random; the subset of N holds that of N/2.")
    ] = None,
    heldout: Annotated[str | None, typer.Option(help="Images never trained on, for the held-out loss.")] = None,
    heldout_images: Annotated[int, typer.Option(min=1, help="At most so many of them.")] = 128,
    network: Annotated[str, typer.Option(help="ddpmpp, ncsnpp, adm or unet2d (of diffusers).")] = "ddpmpp",
    width: Annotated[int, typer.Option(min=1, help="Channels at the full resolution.")] = 128,
    multipliers: Annotated[
        str | None, typer.Option(help="Multiples of the width at each halving: 2,2,2 \\[default: the network's own].")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Residual blocks a resolution \\[default: the network's own].")
    ] = None,
    attention: Annotated[
        str | None, typer.Option(help="Resolutions with attention: 16,8, or none \\[default: the network's own].")
    ] = None,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="Share of activations dropped in training.")] = 0.0,
    precond: Annotated[
        str | None,
        typer.Option(
            help="edm, ddpm, v, iddpm, vp or ve: what is predicted, at which levels \\[default: edm; --from: its own]."
        ),
    ] = None,
    sigma_data: Annotated[
        float | None, typer.Option(help="Of edm: the data's standard deviation \\[default: 0.5].")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Condition on the classes of the data.")] = False,
    augment: Annotated[
        float, typer.Option(min=0, max=1, help="Probability of each non-leaking augmentation; EDM's is 0.12.")
    ] = 0.0,
    flips: Annotated[bool, typer.Option("--flips", help="Mirror images at random.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step, over all processes.")] = 64,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Divide a process's share into so many parts, to save memory.")
    ] = 1,
    learning_rate: Annotated[float, typer.Option(help="Adam's, at its highest.")] = 1e-3,
    warmup: Annotated[str, typer.Option(help="Images over which the rate rises.")] = "10k",
    decay: Annotated[str, typer.Option(help="constant, cosine, linear or rsqrt.")] = "constant",
    weight_decay: Annotated[float, typer.Option(min=0, help="Decoupled (AdamW).")] = 0.0,
    ema: Annotated[
        str,
        typer.Option(
            help="Averages of the weights: half-lives in images (500k) or power:0.1, with commas between; the first is the model."
        ),
    ] = "500k",
    clip: Annotated[float, typer.Option(min=0, help="Largest norm of a gradient; 0 for any.")] = 1.0,
    levels: Annotated[
        str | None,
        typer.Option(help="Mean and standard deviation of ln sigma in training: -1.2,1.2 \\[default: the family's]."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16, of the network's arithmetic.")
    ] = "float32",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network (torch.compile).")] = False,
    every: Annotated[
        str | None,
        typer.Option(help="Images between rows of the log, with samples \\[default: a fiftieth, at least 50 steps]."),
    ] = None,
    snapshots: Annotated[
        str | None, typer.Option(help="Images between snapshots of the model \\[default: a quarter].")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples drawn for each row of the log.")] = 16,
    minutes: Annotated[
        float, typer.Option(min=0, help="Between saved states: the most that an interruption loses.")
    ] = 5.0,
    half: Annotated[bool, typer.Option("--half", help="Keep snapshots in float16.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order, levels and noise.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a model, from scratch or from another one; the same command continues it, to the bit on one process."""
    from farfield.core.error import FarfieldError
    from farfield.diffusion.average import count
    from farfield.diffusion.training import Recipe
    from farfield.present.report import write_report
    from farfield.study.model.train import Architecture, Watch, train

    if start is not None and (labels or augment):
        raise FarfieldError("--labels and --augment decide the network; --from has its own: leave them out")
    law = numbers(levels, "levels", "a mean and a standard deviation of ln sigma, such as -1.2,1.2") if levels else None
    if law is not None and len(law) != 2:
        raise FarfieldError(f"levels {levels!r}: expected a mean and a standard deviation, such as -1.2,1.2")
    recipe = Recipe(
        images=count(images, "images"),
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=learning_rate,
        warmup=count(warmup, "warmup"),
        decay=decay,  # type: ignore[arg-type]
        weight_decay=weight_decay,
        averages=tuple(part.strip() for part in ema.split(",")),
        clip=clip or None,
        flips=flips,
        law=(law[0], law[1]) if law else None,
        precision=precision,  # type: ignore[arg-type]
        seed=seed,
    )
    architecture = Architecture(
        network,
        precond or "edm",  # type: ignore[arg-type]
        width,
        _whole(multipliers, "multipliers"),
        blocks,
        () if attention == "none" else _whole(attention, "attention"),
        dropout,
        labels,
        augment,
        sigma_data,
    )
    watch = Watch(
        count(every, "every") if every else None,
        count(snapshots, "snapshots") if snapshots else None,
        samples,
        minutes=minutes,
    )
    train(
        data,
        out,
        recipe,
        architecture=architecture,
        origin=start,
        family=precond,  # type: ignore[arg-type]
        heldout=heldout,
        most=max_images,
        most_heldout=heldout_images,
        watch=watch,
        device=device,
        compiled=compiled,
        half=half,
        quiet=quiet,
    )
    finish(out, as_json, write_report)


def _whole(text: str | None, name: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    return whole_numbers(text, name, most=8)
