"""``python -m benchmarks [PART …]``, all parts by default: tables on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.table import format_table
from farfield.core.error import FarfieldError

Figures = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    figures: Figures = {"machine": describe_machine()}
    print(", ".join(f"{k} {v}" for k, v in figures["machine"].items()), flush=True)
    for part in options.parts or PARTS:
        start = time.perf_counter()
        try:
            figures[part], text = PARTS[part](options)
        except FarfieldError as error:
            sys.exit(f"{part}: {error}")
        print(f"\n{text}", flush=True)
        sys.stderr.write(f"{part}: {time.perf_counter() - start:.0f} s\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--images", type=int, default=4, help="round_trip: galaxies (%(default)s)")
    parser.add_argument("--calls", type=int, nargs="+", default=[12, 24, 48], help="round_trip: there and back")
    parser.add_argument("--reference", type=int, default=200, help="round_trip: reference steps (%(default)s)")
    parser.add_argument("--examples", type=int, default=100, help="sample: of the new domain (%(default)s)")
    parser.add_argument("--made", type=int, default=16, help="sample: new images at once (%(default)s)")
    parser.add_argument("--points", type=int, default=8192, help="empirical: data points (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="empirical: images denoised at once (%(default)s)")
    parser.add_argument("--queries", type=int, default=5000, help="search: vectors looked up (%(default)s)")
    parser.add_argument(
        "--references", type=int, default=16_384, help="search: vectors they are looked up in (%(default)s)"
    )
    parser.add_argument(
        "--width", type=int, default=32, help="engine, pipeline, training: of the network (%(default)s)"
    )
    parser.add_argument("--model", default="", help="engine: a model in place of that network")
    parser.add_argument("--side", type=int, default=32, help="engine, pipeline, training: of its images (%(default)s)")
    parser.add_argument("--device", default="cpu", help="engine, pipeline, training: where (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="engine, pipeline, training: images (%(default)s)")
    parser.add_argument("--low", action="store_true", help="engine, pipeline, training: in bfloat16 too")
    parser.add_argument("--compile", action="store_true", help="engine: by torch.compile too, which takes minutes")
    parser.add_argument("--compared", type=int, default=5000, help="metrics: vectors of either set (%(default)s)")
    parser.add_argument("--described", type=int, default=2048, help="features: images (%(default)s)")
    parser.add_argument("--read", type=int, nargs="+", default=[1000, 4000], help="growth: images (%(default)s)")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64], help="sides: of images (%(default)s)")
    parser.add_argument("--of", nargs="+", default=[], metavar="COMMAND", help="growth: commands (all)")
    parser.add_argument("--channels", type=int, default=64, help="checkpoints, loading: of the U-Nets (%(default)s)")
    parser.add_argument("--loads", type=int, default=1, help="loading: of each file in each way (%(default)s)")
    parser.add_argument("--jacobian", default="cifar10-32", metavar="MODEL", help="manifold: whose (%(default)s)")
    parser.add_argument("--noise", type=float, default=10.0, help="manifold: level of the point (%(default)s)")
    parser.add_argument(
        "--repetitions",
        type=int,
        default=3,
        help="all but round_trip, growth, sides and manifold: runs each (%(default)s)",
    )
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    return options


def describe_machine() -> dict[str, str | int]:
    import torch

    return {
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "platform": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("farfield", "torch", "diffusers")},
    }


def run_round_trip(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.round_trip import measure, show

    figures = measure(options.images, sorted(options.calls), options.reference)
    return figures, show(figures)


def run_sample(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.sample import measure, show

    figures = measure(options.examples, options.made, min(options.repetitions, 2))
    return figures, show(figures)


def run_pipeline(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.pipeline import measure, show

    figures = measure(**of_network(options), low=options.low)
    return figures, show(figures)


def run_engine(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.engine import measure, show

    figures = measure(**of_network(options), model=options.model, low=options.low, compiled=options.compile)
    return figures, show(figures)


def of_network(options: argparse.Namespace) -> Figures:
    names = ("width", "batch_size", "side", "device", "repetitions")
    return {"batch" if name == "batch_size" else name: getattr(options, name) for name in names}


def run_metrics(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.metrics import measure, show

    figures = measure(options.compared, repetitions=min(options.repetitions, 3))
    return figures, show(figures)


def run_empirical(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.empirical import measure, show

    figures = measure(options.points, options.batch, options.repetitions)
    return figures, show(figures)


def run_search(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.search import measure, show

    figures = measure(options.queries, options.references, repetitions=options.repetitions)
    return figures, show(figures)


def run_training(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.training import measure, show

    figures = measure(**of_network(options), low=options.low)
    return figures, show(figures)


def run_features(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.features import measure, show

    figures = measure(options.described, options.repetitions)
    return figures, show(figures)


def run_growth(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.growth import measure, show

    figures = measure(sorted(options.read), options.of)
    return figures, show(figures)


def run_sides(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.sides import measure, show

    figures = measure(sorted(options.sides))
    return figures, show(figures)


def run_checkpoints(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.checkpoints import measure, show

    figures = measure(options.channels, repetitions=options.repetitions)
    return figures, show(figures)


def run_loading(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.loading import measure, show

    figures = measure(options.channels, options.loads)
    return figures, show(figures)


def run_manifold(options: argparse.Namespace) -> tuple[Figures, str]:
    from benchmarks.manifold import measure, show

    figures = measure(options.jacobian, options.noise)
    return figures, show(figures)


def run_startup(options: argparse.Namespace) -> tuple[Figures, str]:
    """What is waited for before anything happens, beside the interpreter alone."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import farfield": [sys.executable, "-c", "import farfield"],
        "farfield --help": [str(Path(sysconfig.get_path("scripts")) / "farfield"), "--help"],
    }
    seconds = {name: statistics.median(time_runs(c, options.repetitions)) for name, c in commands.items()}
    rows = [[name, f"{s:.3f}"] for name, s in seconds.items()]
    title = f"Startup: median of {options.repetitions} processes"
    return {"repetitions": options.repetitions, "seconds": seconds}, format_table(title, ["command", "seconds"], rows)


def time_runs(command: list[str], repetitions: int) -> list[float]:
    def run() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    return [run() for _ in range(repetitions)]


PARTS: dict[str, Callable[[argparse.Namespace], tuple[Figures, str]]] = {
    "round_trip": run_round_trip,
    "sample": run_sample,
    "engine": run_engine,
    "pipeline": run_pipeline,
    "metrics": run_metrics,
    "empirical": run_empirical,
    "search": run_search,
    "training": run_training,
    "features": run_features,
    "growth": run_growth,
    "sides": run_sides,
    "checkpoints": run_checkpoints,
    "loading": run_loading,
    "manifold": run_manifold,
    "startup": run_startup,
}

if __name__ == "__main__":
    main()
