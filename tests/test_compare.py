"""Comparison of samplers with tuned models: fair, complete, counted, continued, and its advice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import asked, farfield, make_images, make_model

from farfield.audit.advice import advise
from farfield.command.compare import Advice, CompareResult, Count, Entry
from farfield.command.expand import Sampler
from farfield.command.measures import Measures, Novelty
from farfield.command.result import from_json
from farfield.command.shared import Solving
from farfield.core.artifact import Images, Latents, Score, Store, read_kept
from farfield.present.compare import PAIRED, content, fields_table
from farfield.present.methods import overall
from farfield.present.verdict import NEGATIVE
from farfield.study.unseen.proposal import sampler_calls
from farfield.study.unseen.start import CANDIDATES

pytestmark = pytest.mark.usefixtures("few_views")

QUICK = ("-n", 6, "--steps", 2, "--tuning-budget", 0.7, "--epochs", 1, "-q")
METHODS = ("ours", "published", "geometric", "full", "lora", "release")


@pytest.fixture(autouse=True, scope="module")
def one_thread_only():
    """Networks this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    make_model(root / "model")
    make_images(root / "images", 30)
    make_images(root / "few", 13)
    return root


def compare(root: Path, out: Path, *options: object, sources: tuple[str, ...] = ("images",)) -> Any:
    return farfield("compare", root / "model", *(root / s for s in sources), "-o", out, *QUICK, *options)


@pytest.fixture(scope="module")
def run(root):
    out = root / "run"
    outcome = compare(root, out, "--counts", "3,8", "--methods", ",".join(METHODS))
    assert outcome.code == 0, outcome.err
    return out


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def timeless(value: Any) -> Any:
    """A summary without the seconds that things took."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "cost_seconds")}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def images(folder: Path) -> Images:
    return Store(folder, Images).read()


def test_every_method_is_measured_the_same_way(run):
    found = summary(run)
    assert found["command"] == "compare" and found["methods"] == list(METHODS)
    [domain] = found["domains"]
    assert [row["count"] for row in domain["counts"]] == [3, 8]
    for row in domain["counts"]:
        # with three examples the geometry has no limits: left out and said
        assert set(row["methods"]) == set(METHODS) - ({"geometric"} if row["count"] == 3 else set())
        for entry in row["methods"].values():
            for descriptor in ("pixels", "copy"):
                assert {"kernel_distance", "frechet_distance", "precision", "recall", "coverage"} <= set(
                    entry["measures"][descriptor]
                )
                assert entry["measures"][descriptor]["kernel_distance"]["low"] is not None
                assert {"copies", "copies_floor"} <= set(entry["novelty"][descriptor])
            assert [(part["scale"], part["space"]) for part in entry["copied_parts"]] == [
                ("whole", "pixels"), ("quarters", "pixels"), ("cells", "pixels")
            ]  # fmt: skip
            assert all(part["samples"]["n"] == 6 and part["floor"]["low"] is not None for part in entry["copied_parts"])
            assert entry["calls"]["total"] == sum(v for k, v in entry["calls"].items() if k != "total")
            assert entry["seconds"] > 0 and entry["trained"] == ("tuning" in entry)
        assert row["advice"]["verdict"] in ("keep", "doubt", "even", "copies", "tune")
    assert any("geometric with 3 examples is left out" in note for note in domain["notes"])
    assert set(domain["real"]) == set(domain["base"]) == {"pixels", "copy"}


def test_the_budget_holds_and_the_published_tuning_is_its_epochs(run):
    for row in summary(run)["domains"][0]["counts"]:
        dearest = Sampler("patchwork", candidates=CANDIDATES)
        most = sum(sampler_calls(dearest, row["count"], 6, Solving(steps=2)).values())
        ours = row["methods"]["ours"]["calls"]
        assert ours["total"] - ours.get("search", 0) <= most  # less where the network is not asked
        for name in ("full", "lora"):
            assert row["methods"][name]["calls"]["total"] <= 0.7 * most
        release = row["methods"]["release"]
        assert release["calls"]["training"] == 3 * row["count"] and release["tuning"]["stopped"] == "epochs"
    assert row["methods"]["full"]["calls"]["training"] > 100  # and it is made use of


def test_smaller_sets_are_part_of_larger_ones_and_nothing_held_out_is_seen(root, run):
    folder = run / "1-images"
    keys = {c: set(Store(folder / f"000{c}-published" / "latents", Latents).read().keys) for c in (3, 8)}
    assert len(keys[3]) == 3 and len(keys[8]) == 8 and keys[3] < keys[8]
    held = set(images(folder / "shown" / "real").keys)
    assert held and not held & keys[8]


def test_ours_is_what_expand_makes(root, run):
    out = root / "expand"
    outcome = farfield(
        "expand", root / "model", root / "images", "-o", out, "-n", 6, "--steps", 2, "--examples", 8, "-q"
    )
    assert outcome.code == 0, outcome.err
    assert torch.equal(images(out / "samples").values, images(run / "1-images" / "0008-ours" / "samples").values)
    assert torch.equal(images(out / "base").values, images(run / "1-images" / "base").values)
    ours = summary(run)["domains"][0]["counts"][1]["methods"]["ours"]
    assert summary(out)["evaluations"] == {k: v for k, v in ours["calls"].items() if k != "total"}


def test_what_is_walked_down_is_not_inverted(root):
    out, quick = root / "walked", ("-n", 2, "--steps", 2, "--examples", 8, "--no-patches", "--no-control", "-q")
    done = farfield("expand", root / "model", root / "images", "--sampler", "sdedit", "-o", out, *quick)
    assert done.code == 0, done.err
    told, html = summary(out), (out / "report.html").read_text()
    assert told["sampler"]["sampler"] == "sdedit" and told["solver"] == "euler"
    assert told["reconstruction"] is told["latent_certificate"] is told["selection"] is None
    assert not any((out / name).exists() for name in ("latents", "reconstructions", "geometry.json"))
    assert told["sigma"] == told["sigma_search"][-1]["sigma"] and told["sigma_search"][-1]["chosen"]
    assert 'id="search"' in html and 'id="geometry"' not in html


def test_the_page_has_advice_curves_strips_and_tables(run):
    html = (run / "report.html").read_text()
    for part in ("Should I tune?", "tuned, all weights", "Calls", "real images", "8 examples, pixels features"):
        assert part in html
    assert {p.stem for p in (run / "grids").glob("*.png")} >= {f"1-images-8-{m}" for m in (*METHODS, "examples")}


@pytest.mark.parametrize("method", ["ours", "patchwork"])
def test_calls_are_those_that_the_network_had(root, tmp_path, method):
    with asked() as rows:
        outcome = compare(root, tmp_path / "run", "--counts", 8, "--methods", method, "--descriptor", "pixels")
    assert outcome.code == 0, outcome.err
    [domain] = summary(tmp_path / "run")["domains"]
    base = 6 * 3 + 6  # two steps of the multistep solver are three calls, and one cleans up
    [made] = domain["counts"][0]["methods"].values()
    tried = [read_kept(kept) for kept in (tmp_path / "run").glob("*/*/search.json")]
    judged = sum("discrepancy" in row for found in tried for row in found or [])
    # a chooser looks where the network's middle is, and so does who judges a start
    calls, probes = made["calls"], 2 * (made["sampler"]["candidates"] > 1) + 2 * judged
    assert sum(rows) - base - probes == calls["total"] and ("search" in calls) == (method == "ours")


@pytest.mark.parametrize(
    ("options", "choosers", "stages"),
    [
        (("--sigma", 2), 0, {"inversion", "sampling", "calibration"}),
        (("--sampler", "noise", "--sigma", "auto"), 3, {"inversion", "sampling", "calibration", "search"}),
        (("--sampler", "noise", "--sigma", "auto", "--no-network"), 0, {"inversion", "sampling"}),
    ],
)
def test_so_are_those_of_expand(root, tmp_path, options, choosers, stages):
    quick = ("-n", 4, "--steps", 2, "--examples", 8, "--descriptor", "pixels", "--no-patches", "--no-control", "-q")
    with asked() as rows:
        outcome = farfield("expand", root / "model", root / "images", "-o", tmp_path / "run", *quick, *options)
    assert outcome.code == 0, outcome.err
    told = summary(tmp_path / "run")["evaluations"]
    base = 4 * 3 + 4  # two steps of the multistep solver are three calls, and one cleans up
    assert set(told) == stages and sum(rows) - base - 2 * choosers == sum(told.values())


def test_methods_can_be_added(root, tmp_path):
    options = ("--counts", "3", "-n", 4, "--descriptor", "pixels", "--tuning-budget", 1)
    out = tmp_path / "run"
    shard = out / "1-images" / "0003-ours" / "samples" / "shard-00000.safetensors"
    assert compare(root, out, *options, "--methods", "ours,release").code == 0
    first, before = summary(out)["domains"][0]["counts"][0]["methods"], shard.stat().st_mtime_ns
    assert compare(root, out, *options, "--methods", "ours,norm,release").code == 0
    second = summary(out)["domains"][0]["counts"][0]["methods"]
    assert shard.stat().st_mtime_ns == before
    assert set(second) == {"ours", "norm", "release"} and timeless(second["ours"]) == timeless(first["ours"])
    refused = compare(root, out, *options, "--seed", 1)
    assert refused.code == 2 and "seed was 0, now 1" in refused.err


@pytest.mark.parametrize(
    ("options", "sources", "says"),
    [
        (("--counts", "30"), ("images",), "30 examples asked for, but it holds 30 images, of which 12"),
        (("--counts", "3,31", "--heldout", "few"), ("images",), "31 examples asked for, but it holds 30"),
        (("--counts", "1"), ("images",), "--counts 1: expected a whole number, at least 2"),
        (("--counts", "3,3"), ("images",), "different numbers"),
        (("--counts", "many"), ("images",), "counts 'many'"),
        (("--methods", "ours,dreambooth"), ("images",), "--methods 'dreambooth'"),
        (("--heldout", "few"), ("images", "few"), "1 sources for 2 domains"),
        (("--heldout", "images"), ("few",), "are among the examples"),
        ((), ("images", "images"), "only once"),
        (("--tuning-budget", "0"), ("images",), "--tuning-budget 0"),
        (("--epochs", "0"), ("images",), "--epochs 0"),
        (("--learning-rate", "-1"), ("images",), "--learning-rate -1"),
        (("--rank", "0"), ("images",), "--rank 0"),
        (("-n", "3"), ("images",), "at least 4"),
        (("--seed", "-1"), ("images",), "--seed -1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(root, tmp_path, options, sources, says):
    named = [root / o if o in ("images", "few") else o for o in options]
    outcome = compare(root, tmp_path / "run", *named, sources=sources)
    assert outcome.code == 2 and says in outcome.err and outcome.err.count("\n") == 1
    assert not (tmp_path / "run" / "summary.json").exists()


def score(value: float, half: float) -> Score:
    return Score(value, 100, value - half, value + half)


def entry(distance: float, calls: int, copies: float = 0.05, trained: bool = True, half: float = 0.1) -> Entry:
    return Entry(
        trained=trained,
        calls={"total": calls},
        seconds=1.0,
        measures={"pixels": Measures(kernel_distance=score(distance, half)), "model": Measures()},
        novelty={"pixels": Novelty(copies=score(copies, 0.03), copies_floor=score(0.05, 0.03))},
    )


@pytest.mark.parametrize(
    ("distance", "copies", "ours", "verdict", "begins"),
    [
        (1.0, 0.05, 0.05, "keep", "Do not tune"),
        (0.45, 0.05, 0.05, "even", "Tuning shows no gain"),
        (0.45, 0.6, 0.6, "even", "Tuning shows no gain"),
        (0.1, 0.05, 0.05, "tune", "Tune:"),
        (0.1, 0.6, 0.05, "copies", "Tuning comes nearer"),
        (0.1, 0.6, 0.6, "tune", "Tune:"),
        (1.0, 0.6, 0.05, "keep", "Do not tune"),
        (1.0, 0.05, 0.6, "doubt", "The frozen model's new images stand nearer"),
    ],
)
def test_advice_follows_intervals_cost_and_copies(distance, copies, ours, verdict, begins):
    methods = {"ours": entry(0.5, 100, ours, trained=False), "full": entry(distance, 1000, copies)}
    methods["lora"] = entry(2.0, 10)
    advice = advise(methods)
    assert (advice.verdict, advice.best, advice.cost_ratio) == (verdict, "full", 10.0)
    assert advice.sentence.startswith(begins) and "10 times the network calls" in advice.sentence
    assert ("by full" in advice.sentence) == (copies > 0.5) and ("by ours" in advice.sentence) == (ours > 0.5)


def test_no_advice_without_both_sides():
    ours = entry(0.5, 100, trained=False)
    assert advise({"ours": ours}) is None and advise({"full": entry(0.5, 100)}) is None
    assert advise({"ours": ours, "published": entry(0.1, 10, trained=False)}) is None
    assert overall([counted(10, None)]) == ""


@pytest.mark.parametrize("value", [0.3, -0.3])
def test_a_distance_below_zero_is_explained_where_it_stands(run, value):
    result = from_json(CompareResult, summary(run))
    near = Score(value, 9, value - 1, value + 1)
    [domain] = result.domains
    every = [domain.real, domain.base, *(entry.measures for row in domain.counts for entry in row.methods.values())]
    for by in every:
        by |= {name: one.but(kernel_distance=near) for name, one in by.items()}
    page = content(run, result)
    notes = [table.note for section in page.sections for table in section.tables if table.title.endswith("features")]
    assert notes and all((NEGATIVE in note) == (value < 0) and PAIRED in note for note in notes)
    tiles = [beside for title, *_, beside in page.key_numbers if title.startswith("kernel distance, frozen")]
    assert tiles and all(beside.endswith("; below 0 by chance") == (value < 0) for beside in tiles)


def counted(count: int, advice: Advice | None) -> Count:
    return Count(count=count, methods={}, local_copies_floor=None, advice=advice)


def test_the_whole_advice_is_one_sentence_over_the_counts():
    rows = [
        counted(c, Advice(verdict=v, best="full", cost_ratio=r, descriptor="pixels", sentence=""))
        for c, v, r in [(10, "keep", 9.0), (30, "keep", 9.5), (100, "even", 10.0), (1000, "tune", 10.0)]
    ]
    said = overall(rows)
    assert said.startswith("Should I tune? No, with 10 and 30 examples")
    assert said.index("with 100 examples no gain") < said.index("yes, with 1\u202f000 examples")
    assert said.endswith("tuning takes 9.0 to 10 times the network calls.")


def test_physical_fields_get_a_table_of_their_own(root, tmp_path):
    (root / "maps").mkdir()
    for k in range(24):
        np.save(root / "maps" / f"{k:02d}.npy", np.random.default_rng(k).normal(size=(16, 16)).astype(np.float32))
    options = ("--counts", 4, "--methods", "published,norm", "--descriptor", "pixels")
    done = compare(root, tmp_path / "run", *options, sources=("maps",))
    assert done.code == 0, done.err
    [domain] = from_json(CompareResult, summary(tmp_path / "run")).domains
    [row] = domain.counts
    table = fields_table(domain, row)
    assert [line[0] for line in table.rows] == ["frozen, published", "tuned, norms and biases", "real images"]
    measured = [row.methods["published"].fields, row.methods["norm"].fields, domain.fields.real]
    assert [line[1] for line in table.rows] == [fields.spectrum.worst.score for fields in measured]
    assert table.rows[0][2] is None  # no logarithm of what is negative
    assert table.title in (tmp_path / "run" / "report.html").read_text()
    assert fields_table(domain.but(fields=None), row) is None
