"""A command is declared once: what it takes and what it leaves, and everything else follows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from farfield.api.call import function
from farfield.cli.derive import add
from farfield.command.commands import COMMANDS, Command
from farfield.command.option import Option
from farfield.command.result import Result, from_json, key_table, to_json
from farfield.command.settings import LEFT_OUT, Settings, command_line, leaves
from farfield.command.shared import Numerics, Source
from farfield.core.error import FarfieldError
from farfield.core.score import Score
from farfield.data.image import list_keys
from farfield.present.page import Content, Section, Table
from farfield.study.bench.run import Run
from tests.tiny import farfield


# A whole command: what it takes, what it leaves, what it does, what is shown.
@dataclass(frozen=True)
class Tally(Settings):
    """Count the images of a source."""

    images: Source
    times: Annotated[int, Option("Count each so often.", least=1)] = 1
    case: Annotated[Literal["lower", "upper"], Option("Of the names.")] = "lower"


class TallyResult(Result):
    n: Annotated[int, "images"]
    names: Annotated[list[str], "as they were counted"]


def tally(settings: Tally, out: Path, *, quiet: bool = False) -> TallyResult:
    keys = list_keys(settings.images)
    run = Run.of(out, settings, {"images": str(len(keys))}, quiet)
    names = [getattr(key, settings.case)() for key in keys]
    return run.finish(TallyResult(n=settings.times * len(keys), names=names))


def page(folder: Path, result: TallyResult) -> Content:
    table = Table(["name"], [[name] for name in result.names])
    section = Section("names", "Names", f"{result.n} were counted.", tables=[table])
    return Content("none", "images", [], [f"There are {result.n}."], [], [], [section], lines=[f"  {result.n} images"])


TALLY = Command(Tally, TallyResult, tally, page)


def test_a_whole_command_runs_by_its_line_and_from_python(tmp_path):
    app = typer.Typer()
    app.callback()(lambda: None)
    add(app, TALLY)
    line = ["tally", "hubble", "--times", "2", "--case", "upper", "-o", str(tmp_path / "a b")]
    done = CliRunner().invoke(app, line, catch_exceptions=False)
    summary, config = (json.loads((tmp_path / "a b" / f"{name}.json").read_text()) for name in ("summary", "config"))
    assert done.exit_code == 0 and done.output.startswith(f"There are {summary['n']}.\n  {summary['n']} images\n")
    assert config["command_line"] == f"farfield tally hubble --times 2 --case upper -o '{tmp_path}/a b'"
    assert {k: config["request"][k] for k in ("command", "images", "times", "case")} == {
        "command": "tally", "images": "hubble", "times": 2, "case": "upper"
    }  # fmt: skip
    assert summary["command"] == "tally" and summary["farfield"] and "hubble" in config["command_line"]
    html = (tmp_path / "a b" / "report.html").read_text()
    assert f"There are {summary['n']}." in html and "farfield tally hubble --times 2" in html
    again = function(TALLY)("hubble", times=2, case="upper", out=tmp_path / "python")
    assert again.to_json() == {"n": summary["n"], "names": summary["names"]}
    with pytest.raises(FarfieldError, match="--times 0: expected a whole number, at least 1"):
        function(TALLY)("hubble", times=0)
    with pytest.raises(FarfieldError, match="--case both: expected one of lower, upper"):
        function(TALLY)("hubble", case="both")


@dataclass(frozen=True)
class Values(Settings):
    level: Annotated[float | Literal["usual", "auto"], Option("A level.", above=0)] = "usual"
    sigmas: tuple[float, ...] | None = None
    whole: tuple[int, ...] = ()
    names: tuple[str, ...] = ("a",)
    on: bool = True
    off: bool = False
    numerics: Numerics = Numerics(steps=5)


def test_values_are_read_and_written_alike():
    given = Values.of(
        level="2", sigmas="0.1,1e2", whole="none", names=("b", "-c"), on=False, off=True, steps="7", sigma=1
    )
    assert (given.level, given.sigmas, given.whole, given.names) == (2.0, (0.1, 100.0), (), ("b", "-c"))
    assert (given.numerics.steps, given.numerics.sigma, type(given.numerics.sigma)) == (7, 1.0, float)
    assert command_line(given) == (
        "farfield values --level 2 --sigmas 0.1,100 --names b --names=-c --no-on --off --steps 7 --sigma 1"
    )
    assert Values().words() == [] and Values().request()["steps"] == 5
    told = given.request(level=LEFT_OUT, steps=3)
    assert "level" not in told and told["steps"] == 3 and "device" not in told
    for name, bad in (
        ("level", "0"),
        ("level", "nan"),
        ("sigmas", "1;2"),
        ("whole", "1.5"),
        ("on", 1),
        ("steps", True),
        ("steps", "2.7"),
    ):
        with pytest.raises(FarfieldError, match="expected"):
            Values.of(**{name: bad})
    with pytest.raises(TypeError, match="nothing"):
        Values.of(nothing=1)


class Part(Result):
    score: Annotated[Score, "a share"]
    extra: str | None = None


class Whole(Result):
    parts: dict[str, list[Part]]
    none: Part | None
    ends: list[tuple[float, float]]
    word: Literal["x", "y"] = "x"


def test_a_result_is_read_as_it_was_written():
    whole = Whole(parts={"p": [Part(score=Score(0.5, 8, 0.25, None))]}, none=None, ends=[(0.0, 1.5)])
    told = json.loads(json.dumps(to_json(whole)))
    assert told == {
        "parts": {"p": [{"score": {"value": 0.5, "n": 8, "low": 0.25, "high": None}}]}, "none": None, "ends": [[0.0, 1.5]]
    }  # fmt: skip
    assert from_json(Whole, told | {"later": 1}) == whole
    keys = "parts parts.*[].score parts.*[].extra none none.score none.extra ends word"
    assert [row[0] for row in key_table(Whole)] == keys.split()
    for key, bad in (("parts", []), ("ends", [[1.0]]), ("word", "z"), ("none", 3)):
        with pytest.raises(FarfieldError, match=f"summary.{key}"):
            from_json(Whole, told | {key: bad})
    del told["none"]
    with pytest.raises(FarfieldError, match="expected none"):
        from_json(Whole, told)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_gives_the_settings_that_it_was_made_of(name):
    """Every command: its arguments, and what every option says of itself."""
    for leaf in leaves(COMMANDS[name].settings):
        assert leaf.option.help[:1].isupper() or not leaf.option.help[:1].isalpha() or leaf.option.help, leaf.name
        assert leaf.required or leaf.value(leaf.default) == leaf.default, leaf.name


def test_an_option_by_its_former_name_and_not_by_both():
    line = ("audit", "none", "none", "-o", "none", "--alpha", "2")
    assert "--rate 2: expected a number, above 0 and below 1" in farfield(*line).err
    both = farfield(*line, "--rate", "0.5")
    assert both.code == 2 and "--rate and --alpha: one option by two names" in both.err
