"""Sections become a page whatever command they report."""

from __future__ import annotations

import pytest
import torch

from farfield.command.commands import Command
from farfield.command.reconstruct import MethodSearch, TriedMethod
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.core.artifact import write_json
from farfield.present import method, plot, report, sheet
from farfield.present.page import Chart, Content, Picture, Section, Table, model_name


class Trial(Settings):
    """A command of no options."""


def content(folder, summary):
    table = Table(
        ["level", "found", "note"],
        [[5.0, {"value": 0.25, "n": 40, "low": 0.125, "high": 0.375}, "a < b"], ["last", None, 3]],
        title="Figures",
        chosen=[1],
    )
    more = Table(["name"], [["all of it"]], "Folded", folded=True, note="7 more elsewhere.")
    picture = Picture("strip", sheet.grid(torch.zeros(2, 3, 8, 8)), "A strip", alt="two grey squares")
    beside = Picture("beside", picture.image, "Beside it", colour="ours")
    chart = Chart(plot.histograms({"examples": {"norm": [1.0, 2.0]}}), "a histogram")
    section = Section(
        "first",
        "What was found",
        "In short.",
        ["At length."],
        [chart],
        [picture],
        [table, more],
        [("Why", "Because.")],
        [beside],
    )
    return Content("m", "d", ["40 images"], ["It is so."], ["But few."], [("found", "0.25", "", "of 1")], [section])


@pytest.fixture
def page(tmp_path):
    write_json(tmp_path / "config.json", {"request": {"command": "trial"}})
    write_json(tmp_path / "summary.json", {"command": "trial", "model": {"name": "m"}, "cost_seconds": {"a": 1.0}})
    report.draw(tmp_path, Command(Trial, Result, "", content))
    return tmp_path


def test_everything_of_a_section_is_on_the_page(page):
    html = (page / "report.html").read_text()
    expected = ["What was found", "In short.", "At length.", "a histogram", "two grey squares", "Figures", "Because."]
    assert [part for part in [*expected, "It is so.", "But few.", "40 images", "of 1"] if part not in html] == []
    assert "<small>[0.12, 0.38]</small>" in html and "n = 40" in html
    assert "a &lt; b" in html and 'href="#first"' in html and 'class="chosen"' in html and "–" in html
    assert "<details><summary>Folded</summary>" in html and "7 more elsewhere." in html and 'class="key ours"' in html
    assert all((page / "grids" / f"{name}.png").is_file() for name in ("strip", "beside"))


def test_the_same_run_gives_the_same_bytes(page):
    before = (page / "report.html").read_bytes()
    report.draw(page, Command(Trial, Result, "", content))
    assert (page / "report.html").read_bytes() == before


def test_the_model_is_named_however_the_summary_has_it():
    assert [model_name(s) for s in ({"model": "a"}, {"model": {"name": "b"}}, {})] == ["a", "b", "model"]


def test_the_search_for_a_method_is_a_table_with_its_winner_marked():
    explicit = TriedMethod(method="explicit", solver="multistep", steps=8, calls=18.0, psnr=31.0, latent=0.08)
    failed = TriedMethod(method="belm", solver="belm", steps=8, failed="step 2 became NaN")
    best = explicit.but(steps=20, calls=42.0, psnr=46.4, latent=0.006, chosen=True)
    search = MethodSearch(
        round_trip=40.0,
        latent=0.01,
        n=4,
        reference_steps=200,
        reference_error=1e-4,
        tried=[explicit, failed, best],
    )
    (found,) = method.section(search)
    assert found.tables[0].chosen == [2] and "40.0 dB" in found.lead and "1.0" in found.lead
    assert found.tables[0].rows[1][2:] == [None, "–", "–", "step 2 became NaN"]
    assert method.section(None) == []
