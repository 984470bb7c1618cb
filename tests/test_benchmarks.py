"""The benchmarks run at their smallest, and what they compare is comparable."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import expect, frontier
from farfield.command.commands import read_line


def run(folder, *arguments):
    file = folder / "figures.json"
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json", str(file)]
    out = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True).stdout
    figures = json.loads(file.read_text())
    assert all(math.isfinite(v) for v in numbers(figures))
    return figures, out


def numbers(figures):
    """Every number in nested figures."""
    if isinstance(figures, dict):
        figures = list(figures.values())
    if isinstance(figures, list):
        return [n for f in figures for n in numbers(f)]
    return [figures] if isinstance(figures, int | float) else []


def test_the_commands_behind_the_tables_are_commands(tmp_path, capsys):
    """`make table DRY=1`: each can be given, and what it lacks is named."""
    for place in ("flowers", "sdss"):
        (tmp_path / place).mkdir()
    assert expect.main([str(tmp_path), "--dry", "-o", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 13 + 11 + 5  # gains, comparisons, and those under more models
    lacking = [line for line in lines if line.startswith("# no ")]
    assert f"# no {tmp_path / 'textures'}" in str(lacking) and f"# no {tmp_path / 'resnet56.th'}" in str(lacking)
    assert not [line for line in lacking if "gain " in line and ("flowers" in line or "hubble" in line)]
    for line in lines:
        command, words = read_line(shlex.split(line.partition("farfield ")[2]))
        assert command.settings.of(**command.settings.parse(words[:-2]))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_both_empirical_denoisers_give_one_answer(tmp_path):
    figures, out = run(tmp_path, "empirical", "--points", "200", "--batch", "6", "--repetitions", "2")
    rows = {row["implementation"]: row for row in figures["empirical"]["rows"]}
    assert rows["EmpiricalDenoiser"]["difference"] < 1e-6
    assert rows["broadcast, float32"]["difference"] < 1e-2
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 0 and row["implementation"] in out for row in rows.values())


@pytest.mark.slow
def test_round_trip_spends_the_same_calls_on_every_method(tmp_path):
    figures, out = run(tmp_path, "round_trip", "--images", "1", "--calls", "8", "24", "--reference", "100")
    figures = figures["round_trip"]
    given = [row for row in figures["rows"] if not row["method"].startswith("fixed-point")]  # which stops by itself
    assert len(given) == 22 and {row["calls"] for row in given} == {8, 24}
    assert all(row["psnr"] > 100 for row in given if row["method"] in ("belm", "bdia", "reversible-heun"))
    rows = {row["method"]: row for row in figures["rows"] if row["calls"] == 24}
    assert rows["multistep"]["level"] == figures["last_level"] > rows["diffusers, as stored"]["level"]
    assert rows["multistep"]["latent"] < rows["euler"]["latent"]
    assert rows["diffusers, no clipping"]["latent"] < 1  # the levels match: a wrong one is off by more
    assert figures["reference"]["gap"] < 1e-2 and "multistep" in out


@pytest.mark.slow
def test_what_a_sample_costs_is_counted(tmp_path):
    figures, out = run(tmp_path, "sample", "--examples", "10", "--made", "4", "--repetitions", "1")
    rows = {row["way"]: row for row in figures["sample"]["rows"]}
    assert (
        rows["ours without the network"]["calls"] == 0 < rows["ours"]["calls"] < rows["patchwork, best of 3"]["calls"]
    )
    assert all(row["seconds"] > 0 and row["way"] in out for row in rows.values())


@pytest.mark.slow
def test_an_audit_holds_little_of_each_training_image(tmp_path):
    """Less than the 3,072 bytes that it has where it is stored; libraries and blocks of fixed size are the rest."""
    figures, out = run(tmp_path, "growth", "--read", "12000", "24000", "--of", "audit")
    first, second = figures["growth"]["rows"]
    assert (
        second["exponent"] < 3
        and first["peak_bytes"] < 1e9
        and second["bytes_an_image"] < 3072
        and "bytes a further image" in out
    )


def test_startup_is_measured(tmp_path):
    figures, out = run(tmp_path, "startup", "--repetitions", "1")
    assert set(figures["startup"]["seconds"]) >= {"import farfield", "farfield --help"} and "seconds" in out


@pytest.mark.slow
def test_all_searches_find_the_same_neighbours(tmp_path):
    figures, out = run(tmp_path, "search", "--queries", "400", "--references", "500", "--repetitions", "1")
    assert all(row["right"] == 1 and row["implementation"] in out for row in figures["search"]["rows"])


@pytest.mark.slow
def test_the_trainer_and_the_ordinary_loop_have_one_loss(tmp_path):
    figures, out = run(tmp_path, "training", "--width", "8", "--repetitions", "1")
    assert figures["training"]["difference"] < 1e-4 and "images/s" in out


@pytest.mark.slow
def test_features_are_counted(tmp_path):
    figures, _ = run(tmp_path, "features", "--described", "64", "--repetitions", "1")
    assert numbers(figures["features"])


@pytest.mark.slow
def test_every_family_is_loaded(tmp_path):
    figures, out = run(tmp_path, "loading", "--channels", "64", "--repetitions", "1")
    rows = {row["family"]: row for row in figures["loading"]["rows"]}
    assert len(rows) == 8 and all(name in out for name in rows)
    assert all(4 * row["parameters"] <= row["file_bytes"] for row in rows.values())
    assert 4 * rows["flow matching (torchcfm)"]["parameters"] < 0.6 * rows["flow matching (torchcfm)"]["file_bytes"]


@pytest.mark.slow
def test_a_pickle_is_loaded_as_the_reference_loads_its_weights(tmp_path):
    figures, out = run(tmp_path, "checkpoints", "--channels", "16", "--repetitions", "1")
    assert {row["load"] for row in figures["checkpoints"]["loads"]} and "SongUNet takes" in out


@pytest.mark.slow
def test_sampling_stands_beside_diffusers(tmp_path):
    figures, out = run(tmp_path, "pipeline", "--width", "32", "--repetitions", "1")
    assert len(figures["pipeline"]["rows"]) == 2 and figures["pipeline"]["ratio"] > 0 and "DDIMPipeline" in out


@pytest.mark.slow
def test_measures_agree_with_the_packages_beside_them(tmp_path):
    figures, out = run(tmp_path, "metrics", "--compared", "700", "--repetitions", "1")
    found = figures["metrics"]
    assert all(row["peak_bytes"] > 0 and row["implementation"] in out for row in found["rows"])
    assert {row["implementation"] for row in found["rows"]} >= {"farfield", "farfield, no interval"}
    assert all(f"{name}: not installed" in out for name in found["absent"])


@pytest.mark.slow
def test_the_engine_stands_beside_the_peak(tmp_path):
    figures, out = run(tmp_path, "engine", "--width", "32", "--batch-size", "2", "--repetitions", "1", "--low")
    rows = {row["way"]: row for row in figures["engine"]["rows"]}
    assert rows["float32"]["off"] == 0 < rows["bfloat16"]["off"] < 0.05 and "share of peak" in out
    assert sum(figures["engine"]["time"].values()) == pytest.approx(1)
    model = ("--model", "bundled:digits-generalizing", "--batch-size", "2", "--repetitions", "1")
    figures, out = run(tmp_path, "engine", *model)
    assert figures["engine"]["side"] == 8 and "bundled:digits-generalizing" in out
    figures, out = run(tmp_path, "training", "--width", "8", "--batch-size", "2", "--repetitions", "1", "--low")
    assert len(figures["training"]["rows"]) == 4 and "bfloat16" in out


@pytest.mark.slow
def test_growth_with_pixels_is_measured(tmp_path):
    figures, out = run(tmp_path, "sides", "--sides", "16", "32")
    assert [row["command"] for row in figures["sides"]["rows"]] == ["expand", "expand", "dimension", "dimension"]
    assert "exponent in pixels" in out


def test_every_table_of_controls_in_the_documents_is_drawn():
    document = (Path(__file__).parents[1] / "docs" / "reach.md").read_text()
    found = list(frontier.tables(document))
    assert len(found) == document.count("| real against real |") >= 13
    for table in found:
        for distances in table.distances.values():
            assert set(distances) == set(table.copies) >= {frontier.REAL, "ours", "patches", "pixels", "augment"}
            assert all(math.isfinite(v) for v in (*distances.values(), *table.copies.values()))
    (quasars,) = (table for table in found if table.title == "lensed quasars\nquasar-72")
    assert quasars.distances["copy"]["ours"] == 0.000008 and quasars.copies["pixels"] == 75
    figure = frontier.draw(found, "copy")
    assert [ax.get_title(loc="left") for ax in figure.axes][: len(found)] == [table.title for table in found]
