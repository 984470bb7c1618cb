"""``python -m benchmarks.expect [DATA] [--dry] [-o RUNS]``: the runs behind "What to expect" and docs/reach.md, and their tables.

Every run is an ordinary command, continued when this is given again; all of them take days of two cores. Some domains come along;
the others are looked for in DATA by the names below, and what is not there is passed over and named.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import controls, gains

DESCRIPTOR = "resnet56.th"
"""In DATA: the CIFAR-10 ResNet-56 whose sha256 docs/reach.md names."""
OURS = ("cifar10-32", "galaxies-64")
HSC, ZTF, LSST = "galaxygrad:hsc-64", "galaxygrad:ztf-64", "galaxygrad:lsst-60"
METHODS = "ours,patches,pixels,augment,published"


@dataclass(frozen=True)
class Domain:
    """Real images, and what is compared on them.

    Attributes:
        source: a domain that comes along, or a file or folder in DATA.
        compared: the model that makes images of them, if any does.
        tuned: whether fine-tuning takes part, on as many network calls as ours takes at most.
        also: further models that make images of them, without fine-tuning.
        own_units: whether models of galaxygrad take them in their own units.
    """

    source: str
    compared: str = ""
    tuned: bool = False
    bundled: bool = False
    also: tuple[str, ...] = ()
    own_units: bool = False


DOMAINS = (
    Domain("hubble", "cifar10-32", tuned=True, bundled=True, also=("galaxies-64", LSST, HSC, ZTF)),
    Domain("digits", "cifar10-32", tuned=True, bundled=True),
    Domain("flowers", "cifar10-32", tuned=True),
    Domain("textures", "cifar10-32", tuned=True),
    Domain("chest-xray", "cifar10-32", tuned=True),
    Domain("radio", HSC),
    Domain("sdss", HSC),
    Domain("retina", "cifar10-32", bundled=True),
    Domain("clouds", "cifar10-32", bundled=True),
    Domain("hsc", "galaxies-64", also=(HSC,), own_units=True),
    Domain("quasars", "galaxygrad:quasar-72"),
    Domain("ism"),
    Domain("radio-reduced"),
)


def commands(data: Path | None, runs: Path) -> Iterator[tuple[list[str], str]]:
    """Each command's words, and what it lacks, if anything: of which it cannot be run here."""
    for domain in DOMAINS:
        place = domain.source if domain.bundled else str((data or Path("DATA")) / domain.source)
        lacks = "" if domain.bundled or (data is not None and Path(place).exists()) else place
        models = dict.fromkeys([*OURS, HSC, ZTF, *domain.also])
        yield ["gain", place, *models, "-o", str(runs / f"gain-{domain.source}")], lacks
        descriptor = (data or Path("DATA")) / DESCRIPTOR
        lacks = lacks or ("" if data is not None and descriptor.is_file() else str(descriptor))
        measured = ["--descriptor", "copy", "--descriptor", str(descriptor)]
        for model in (domain.compared, *domain.also) if domain.compared else ():
            tuned = domain.tuned and model == domain.compared
            line = ["compare", model, place, "--counts", "100", "-n", "96", "--steps", "24", "--methods"]
            line += [METHODS + ",full", "--tuning-budget", "1"] if tuned else [METHODS]
            line += ["--stretch", "model"] if domain.own_units and model.startswith("galaxygrad:") else []
            name = domain.source if model == domain.compared else f"{domain.source}-{model.partition(':')[2] or model}"
            yield [*line, *measured, "-o", str(runs / f"compare-{name}")], lacks


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expect", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, help="a folder with the domains that do not come along")
    parser.add_argument("--dry", action="store_true", help="print the commands and run none")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/expect"))
    given = parser.parse_args(arguments)
    made: list[Path] = []
    failed = 0
    for words, lacks in commands(given.data, given.out):
        print(f"{f'# no {lacks}: ' if lacks else ''}{shlex.join(['farfield', *words])}", flush=True)
        if given.dry or lacks:
            continue
        if subprocess.run([sys.executable, "-m", "farfield", *words, "-q"]).returncode:
            failed += 1
        else:
            made.append(Path(words[-1]))
    found = [row for run in made if run.name.startswith("gain") for row in gains.rows(run)]
    if found:
        print("\n" + "\n".join(gains.table(found)))
    for run in made:
        if run.name.startswith("compare"):
            print("\n" + "\n\n".join(controls.tables(run)))
    if failed:
        print(f"{failed} of these commands failed; their lines are above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
