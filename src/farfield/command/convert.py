"""`farfield convert`: what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Answers, Printing


@dataclass(frozen=True)
class Convert(Settings):
    """Write a model as safetensors and JSON, a folder without code that loads back equal."""

    wing: ClassVar[str] = "Models"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield convert model.ckpt converted/",
        "farfield convert runs/train/snapshots/0000320000 model/ --float16",
    )

    model: Annotated[
        str, Argument("A checkpoint file, a folder, or the name of any other model.", metavar="IN", names="model")
    ]
    out: Annotated[Path, Argument("A new folder, or one that holds an earlier conversion.")]
    float16: Annotated[bool, Option("Store float16, whether or not that is exact.", old=("--half",))] = False
    answers: Answers = ()
    format: Annotated[
        Literal["auto", "farfield", "diffusers"],
        Option(
            "Write the layout of diffusers (for a UNet2DModel with time steps), of farfield, or auto: that of "
            "diffusers where possible."
        ),
    ] = "auto"
    printing: Printing = Printing()
