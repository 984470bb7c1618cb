"""``python -m benchmarks.papers RUN``: a run of `farfield reproduce` as docs/papers.md, with its charts in docs/papers/."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.controls import shown_score
from farfield.command.reproduce import Compared, Curve, Experiment, Panel, ReproduceResult
from farfield.command.result import from_json
from farfield.core.artifact import read_json
from farfield.present.plot import svg
from farfield.present.reproduce import chart

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# The papers, reproduced

`farfield reproduce NAME` does a published experiment again, in small, and says what comes out as published and what does not;
`--full` asks for the published scale, and `--commands` prints what a scheduler would run. Dashed lines and the
column *published* are read off the papers' figures by us, each value to about 0.02. Ours are small: shapes can be compared,
heights hardly. `settings` on MNIST: [which models make the same
image](audit.md#which-models-make-the-same-image-of-one-noise); `regimes` on CIFAR-10: [from memorizing to
generalizing](audit.md#from-memorizing-to-generalizing-on-cifar-10).
Made by `python -m benchmarks.papers runs/reproduce` of a run by `farfield reproduce --all`, which takes 55 minutes on two cores.
"""


def page(result: ReproduceResult, charts: Path) -> Iterator[str]:
    """The page's parts; its charts are written to a folder."""
    yield HEAD
    for one in result.experiments:
        yield from _section(one, charts)


def _section(one: Experiment, charts: Path) -> Iterator[str]:
    outcome = one.outcome
    yield f"## {one.name}\n\narXiv {one.published}.\n\n```sh\nfarfield reproduce {one.name}\n```\n\n{outcome.scale}\n"
    yield "\n".join(
        [
            *(f"- **As published.** {line}" for line in outcome.agrees),
            *(f"- **Not as published.** {line}" for line in outcome.differs),
        ]
    )
    for i, panel in enumerate(outcome.panels):
        if (figure := chart(panel)) is not None:
            name = f"{one.name}-{i + 1}.svg"
            charts.mkdir(exist_ok=True)
            (charts / name).write_text(svg(figure), encoding="utf-8")
            yield f"\n![{panel.title}: published and here.](papers/{name})"
    if outcome.rows:
        yield "\n| | published | here |\n| --- | --- | --- |\n" + "\n".join(map(_row, outcome.rows))
    for panel in outcome.panels:
        yield f"\n*{panel.title}*: " + "; ".join(_told(panel)) + "."
    yield ""


def _row(row: Compared) -> str:
    published = "" if row.published is None else f"{row.published:g}"
    return f"| {row.name} | {published} | {shown_score(row.ours)} |"


def _told(panel: Panel) -> Iterator[str]:
    for whose, curves in (("published", panel.published), ("here", panel.ours)):
        for curve in curves:
            yield f"{whose}, {curve.name}: {_points(curve)}"


def _points(curve: Curve) -> str:
    return ", ".join(f"{x:g}: {y.value:.2g}" for x, y in zip(curve.x, curve.y, strict=True))


def main(arguments: list[str]) -> int:
    (run,) = arguments
    path = Path(run) / "summary.json"
    result: ReproduceResult = from_json(ReproduceResult, read_json(path), str(path))
    (DOCS / "papers.md").write_text("\n".join(page(result, DOCS / "papers")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
