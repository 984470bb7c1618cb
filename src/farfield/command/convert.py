"""`farfield convert`: what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Answers, Printing


@dataclass(frozen=True)
class Convert(Settings):
    """Write a model as safetensors and JSON: a folder without code, which loads back equal."""

    model: Annotated[
        str, Argument("A checkpoint file, a folder, or any other model's name.", metavar="IN", names="model")
    ]
    out: Annotated[Path, Argument("A new folder, or one that was converted before.")]
    float16: Annotated[bool, Option("Store float16, whether or not that is exact.", old=("--half",))] = False
    answers: Answers = ()
    format: Annotated[
        Literal["auto", "farfield", "diffusers"],
        Option("diffusers (of a UNet2DModel with time steps), farfield, or auto: diffusers where it can be."),
    ] = "auto"
    printing: Printing = Printing()
