"""`farfield inspect`: what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Answers, DeviceName, Label, Printing
from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Inspect(Settings):
    """Say what a model is without running anything in its file, and keep your answers to what it leaves open."""

    wing: ClassVar[str] = "Models"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield inspect checkpoint.pkl",
        "farfield inspect model.pt --check",
    )

    model: Annotated[
        str,
        Argument(
            "A file (EDM's .pkl, guided-diffusion's .pt, DDPM's .ckpt, galaxygrad's .eqx, …; FILE@net for what is not "
            "averaged), a diffusers folder, a farfield model or training, a bundled model, or a hub id.",
            names="model",
        ),
    ]
    answers: Answers = ()
    hashed: Annotated[bool | None, Option("Compute the sha256.", "--hash/--no-hash", default="up to 256 MiB")] = None
    checked: Annotated[
        bool,
        Option("Run the network: does it denoise as it is read, and would it do so if read another way?", "--check"),
    ] = False
    data: Annotated[str | None, Option("Check with these images.", default="bundled pictures", names="source")] = None
    limit: Annotated[
        int | None, Option("Check with this many images.", least=4, old=("--images",), default="by their size, 4 to 16")
    ] = None
    label: Label = None
    device: DeviceName = "auto"
    printing: Printing = Printing()

    def check(self) -> None:
        if not self.checked and (self.data or self.limit):
            raise FarfieldError("--data and --limit are for --check; add it, or leave them out")
