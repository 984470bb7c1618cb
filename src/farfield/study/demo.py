"""`farfield demo`: the first minutes, made of ordinary commands that can be given again one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farfield.command.audit import Audit
from farfield.command.commands import COMMANDS
from farfield.command.expand import Expand
from farfield.command.first import Demo
from farfield.command.likeness import Likeness
from farfield.command.settings import command_line
from farfield.command.transition import Transition
from farfield.core.terminal import echo, link
from farfield.present.index import entries, write_index
from farfield.study.perform import perform

TRAINED = {"digits-memorizing": "n00016", "digits-generalizing": "n01024"}
"""The bundled models of digits, and their training sets as `farfield transition` divides the digits."""


@dataclass(frozen=True)
class Shown:
    """What the demo ends with."""

    page: Path

    def __str__(self) -> str:
        return link(self.page)


def demo(settings: Demo) -> Shown:
    """Two audits, the galaxies, and the page that shows them side by side."""
    out, quiet = settings.out, settings.quiet
    data = out / "digits-data"
    perform(COMMANDS["transition"], Transition(commands=True), data, quiet=True)
    for model, training in TRAINED.items():
        audit = Audit(
            model,
            str(data / "data" / f"{training}.npz"),
            heldout=str(data / "data" / "heldout.npz"),
            n=256,
            likeness=Likeness(descriptor="pixels"),
        )
        echo(f"$ {command_line(audit, '-o', str(out / model))}")
        echo(perform(COMMANDS["audit"], audit, out / model, quiet=quiet).lines[0])
    if settings.galaxies:
        expand = Expand("cifar10-32", "hubble", n=settings.n)
        echo(f"$ {command_line(expand, '-o', str(out / 'galaxies'))}")
        echo("\n".join(perform(COMMANDS["expand"], expand, out / "galaxies", quiet=quiet).lines))
    page = write_index(out, [run for run in entries(out) if run.folder != data])
    return Shown(page)
