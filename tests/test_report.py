"""The report shows what is on disk, all of it and nothing else: offline, escaped, and the same bytes each time."""

import base64
import csv
import io
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import farfield, make_images, make_model

from farfield.command.measures import Certificate, Measures, Novelty, SearchedLevel, Spread
from farfield.core.artifact import Images, Store, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.score import Score
from farfield.present import plot, verdict, words
from farfield.present.frame import coded
from farfield.present.page import Table
from farfield.present.report import write_report
from farfield.present.sheet import difference, grid, pairs
from farfield.present.table_file import as_csv

pytestmark = pytest.mark.usefixtures("few_views")

PARTS = ("examples", "reconstructions", "samples", "base", "references")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run of `farfield expand`, with every part."""
    root = tmp_path_factory.mktemp("report")
    make_model(root / "model", (3, 8, 8))
    make_images(root / "images", 32, 8, 8)
    options = ("-n", 6, "--examples", 12, "--sigma", "auto", "--steps", 4, "--candidates", 2, "--device", "cpu", "-q")
    options += ("--sampler", "patchwork")  # which has all the parts there are
    done = farfield("expand", root / "model", root / "images", *options, "-o", root / "run")
    assert done.code == 0, done.err
    return root / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def page(folder: Path) -> str:
    return write_report(folder).read_text()


def test_the_page_needs_nothing_from_outside(run):
    html = page(run)
    assert (
        "http:" not in html
        and "https:" not in html
        and "url(http" not in html
        and "<script" not in html
        and "@import" not in html
    )
    references = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(r.startswith(("data:image/png;base64,", "#")) for r in references)
    anchors = {r[1:] for r in references if r.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]*)"', html))


def test_every_picture_is_inlined_decodes_and_lies_in_grids(run):
    html = page(run)
    inlined = [base64.b64decode(d) for d in re.findall(r'src="data:image/png;base64,([^"]*)"', html)]
    on_disk = {p.stem: p.read_bytes() for p in (run / "grids").glob("*.png")}
    assert set(on_disk) == {"examples", "reconstructions", "samples", "base", "references", "nearest", "control"}
    assert sorted(inlined) == sorted(on_disk.values())
    for content in inlined:
        Image.open(io.BytesIO(content)).load()
    assert html.count("<svg") == 4  # geometry, measures, gain, search


def test_charts_and_tables_lie_beside_the_page_as_files(run):
    """As files for a paper: a chart stands alone, a table has the numbers of summary.json to the last digit."""
    page(run)
    figures = sorted((run / "figures").iterdir())
    assert [path.name for path in figures] == ["gain.svg", "geometry.svg", "measures.svg", "search.svg"]
    for path in figures:
        assert (
            ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
            and "var(" not in path.read_text()
        )
    told = summary(run)
    with (run / "tables" / "measures-pixels.csv").open(encoding="utf-8") as file:
        rows = {row["Measure"]: row for row in csv.DictReader(file)}
    title = "new images, this run"
    for name, score in told["measures"]["pixels"]["samples"].items():
        row = rows[words.MEASURES[name].named]
        assert [row[title], row[f"{title} low"], row[f"{title} n"]] == [
            "" if part is None else str(part) for part in (score["value"], score["low"], score["n"])
        ]
    with (run / "tables" / "novelty.csv").open(encoding="utf-8") as file:
        copies = {row["Descriptor"]: float(row["Copies ↓"]) for row in csv.DictReader(file)}
    assert copies == {name: news["copies"]["value"] for name, news in told["novelty"].items()}
    assert farfield("report", run, "--pdf").code == 0
    drawn = {path.name: path.read_bytes() for path in (run / "figures").glob("*.pdf")}
    assert {Path(name).stem for name in drawn} == {path.stem for path in figures}
    assert all(content.startswith(b"%PDF") and b"/Type3" not in content for content in drawn.values())
    write_report(run, pdf=True)
    assert drawn == {path.name: path.read_bytes() for path in (run / "figures").glob("*.pdf")}


def test_a_table_as_a_file_has_numbers_and_no_formulas():
    rows = [
        ["=1+1", Score(0.5, 9, 0.25, 0.75), words.share(0.125), "a, `b`"],
        ["two\nlines", None, words.number(float("nan")), True],
    ]
    first, second, third = csv.reader(io.StringIO(as_csv(Table(["", "x", "y", "z"], rows)).decode()))
    assert first == ["", "x", "x low", "x high", "x n", "y", "z"]
    assert second == ["'=1+1", "0.5", "0.25", "0.75", "9", "0.125", "a, b"]
    assert third == ["two\nlines", "", "", "", "", "", "yes"]


def test_every_number_of_the_tables_appears(run):
    html, told = page(run), summary(run)
    scores = [s for sets in told["measures"].values() for row in sets.values() for s in row.values()]
    assert (
        len(told["measures"]) == 2 and 2 * 4 * 7 <= len(scores) <= 2 * 4 * 8
    )  # clusters need two images at one example
    expected = [part for s in scores for part in words.score_parts(s)]
    for news in told["novelty"].values():
        kinds = ("copies", "copies_floor", "duplicates", "duplicates_floor")
        expected += [
            words.number(news["threshold"]),
            *(f"{words.score(news[k], True)}, n = {news[k]['n']}" for k in kinds),
        ]
    expected += [words.number(near["distance"], 4) for near in told["nearest"].values()]
    expected += [words.number(row[k]) for row in told["sigma_search"] for k in ("discrepancy", "copies")]
    psnr, error = told["reconstruction"]["psnr"], told["latent_certificate"]["error"]
    expected += [f"{words.number(psnr['median'])} dB", words.number(psnr["min"]), words.share(error["max"])]
    expected += [
        told["model"]["digest"],
        told["examples"]["digest"],
        str(told["model"]["parameters"]),
        "6 of 6 proposed",
    ]
    expected += [words.duration(s) for s in told["cost_seconds"].values()] + [
        str(coded(note)) for note in told["notes"]
    ]
    expected.append(json.loads((run / "config.json").read_text())["command_line"])
    assert [text for text in expected if text not in html.replace("&#39;", "'")] == []


def test_the_same_run_gives_the_same_bytes(run, tmp_path_factory):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    elsewhere = tmp_path_factory.mktemp("moved") / "run"
    shutil.copytree(run, elsewhere)
    assert write_report(elsewhere).read_bytes() == first


@pytest.mark.parametrize("part", [*PARTS, "geometry.json", "config.json"])
def test_an_absent_part_is_left_out(run, part):
    path = run / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    html = page(run)
    gone = {
        "samples": 'id="nearest"',
        "examples": 'id="nearest"',
        "geometry.json": 'id="geometry"',
        "base": "from plain noise, as it was trained",
    }.get(part)
    assert gone is None or gone not in html


def test_a_summary_without_a_result_is_refused(run):
    told = summary(run)
    for name in ("measures", "acceptance"):
        write_json(run / "summary.json", {k: v for k, v in told.items() if k != name})
        with pytest.raises(FarfieldError, match=f"expected {name}, which is not there"):
            write_report(run)


def test_hostile_names_are_text(run):
    evil = '<script>alert("$\\frac{x")</script>'
    told = summary(run)
    told["measures"] = {evil: told["measures"]["pixels"]}
    told["novelty"] = {evil: told["novelty"]["pixels"]}
    told["model"]["name"] = told["solver"] = evil
    told["examples"]["source"] = f"/data/{evil}/"
    told["notes"] = [evil]
    told["nearest"] = {evil: {"example": evil, "distance": 0.1, "copy": True}}
    one = Store(run / "samples", Images).read().values[:1]
    for name in ("samples", "examples"):
        shutil.rmtree(run / name)
        save(Images((evil,), one), run / name)
    write_json(run / "summary.json", told)
    write_json(run / "config.json", {"request": {evil: evil}, "command_line": evil, "versions": {evil: evil}})
    html = page(run)
    assert "<script" not in html and html.count("&lt;script&gt;") > 8


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(run, channels):
    for name in PARTS:
        before = Store(run / name, Images).read()
        shutil.rmtree(run / name)
        save(Images(before.keys, before.values[:, :1].expand(-1, channels, -1, -1).contiguous()), run / name)
    html = page(run)
    assert ("channels, as RGB" in html, "channels, as grey" in html) == (channels == 5, channels == 2)


def test_a_folder_that_is_no_run_says_what_to_do(tmp_path):
    with pytest.raises(FarfieldError, match=r"expected a run folder .*`farfield expand MODEL IMAGES -o"):
        write_report(tmp_path)
    with pytest.raises(FarfieldError, match="expected a run folder"):
        write_report(tmp_path / "absent")
    write_json(tmp_path / "config.json", {})
    with pytest.raises(FarfieldError, match=r"not finished .* give its command again"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text("[1]")
    with pytest.raises(FarfieldError, match="expected a JSON object"):
        write_report(tmp_path)


def test_reconstruct_lists_the_worst_first(finished, tmp_path):
    source = finished.parent / "images"
    line = ("reconstruct", finished.parent / "model", source, "--limit", 3, "--steps", 4, "-q", "-o", tmp_path / "run")
    assert farfield(*line).code == 0
    html, each = (tmp_path / "run" / "report.html").read_text(), summary(tmp_path / "run")["images"]
    places = [html.index(f"<th>{key}</th>") for key in sorted(each, key=lambda key: each[key]["psnr"])]
    assert len(places) == 3 and places == sorted(places)
    assert f"--steps 4 --limit 3 -o {tmp_path / 'run'}</pre>" in html and "worst first" in html


def test_invert_shows_its_images_and_certificate(finished, tmp_path):
    line = ("invert", finished.parent / "model", finished.parent / "images", "--limit", 3, "--steps", 4, "-q")
    done = farfield(*line, "-o", tmp_path / "run")
    assert done.out.startswith("Latents carry") and done.out.endswith(f"\n{tmp_path / 'run'}\n")
    assert not (tmp_path / "run" / "report.html").exists()
    html = page(tmp_path / "run")
    error = summary(tmp_path / "run")["latent_certificate"]["error"]
    assert 'id="pictures"' in html and words.share(error["max"]) in html


def test_a_sheet_shows_pixels_as_they_are():
    values = torch.full((3, 1, 2, 2), -1.0)
    values[1] = 5.0  # clipped once, here
    sheet = grid(values, columns=2, scale=3, gap=1)
    pixels = np.asarray(sheet)
    assert sheet.size == (13, 13)
    assert (pixels[:6, :6] == [0, 0, 0, 255]).all() and (pixels[:6, 7:] == 255).all()
    assert (pixels[7:, 7:, 3] == 0).all() and (pixels[6, :, 3] == 0).all()  # no fourth image; the gap
    assert grid(torch.zeros(1, 3, 640, 320)).size == (80, 160)


def test_pairs_need_equal_lengths_and_frame_copies():
    with pytest.raises(FarfieldError, match="one length"):
        pairs(torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 4, 4))
    with pytest.raises(FarfieldError, match="at least one image"):
        grid(torch.zeros(0, 3, 4, 4))
    framed = np.asarray(pairs(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), scale=1, framed=[True, False]))
    assert tuple(framed[0, 0]) == (204, 51, 153, 255) and framed[0, -1, 3] == 0


def test_the_difference_is_amplified_by_a_round_number():
    a = torch.zeros(1, 1, 2, 2)
    gap, gain = difference(a, a + 0.03)
    assert gain == 50 and torch.allclose(gap, torch.full_like(gap, 0.5))
    assert difference(a, a)[0].eq(-1).all()  # black
    assert difference(a, a + 2)[1] == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (float("nan"), "–"), (0.0, "0"), (64, "64"), (35746307, "35\u202f746\u202f307"),
        (0.031249, "0.0312"), (-1.5, "−1.50"), (41.2345, "41.2"), (1.25e-6, "1.25 × 10⁻⁶"), (-3e9, "−3.00 × 10⁹"), (True, "yes"),
    ],
)  # fmt: skip
def test_numbers_have_sensible_digits(value, text):
    assert words.number(value) == text


def score(value: float, n: int, low: float | None = None, high: float | None = None) -> Score:
    return Score(value, n, low, high)


def test_an_interval_decides_the_digits():
    assert words.score(score(0.03123, 9, 0.0121, 0.0503)) == "0.031 [0.012, 0.050]"
    assert words.score(score(231.4, 9, 190.0, 272.0)) == "231 [190, 272]"
    assert words.score(score(-0.0004, 9, -0.0104, 0.0096)) == "0.000 [−0.010, 0.010]"
    assert words.score(score(0.047, 9, 0.016, 0.129), percent=True) == "5\u202f% [2, 13]"
    assert words.score(0.5) == "0.500" and words.score(None) == "–" and words.score({"value": None}) == "–"


def test_the_verdict_follows_the_intervals():
    def said(ours: Score, held: bool = False) -> str:
        scores = {"real": score(0.0, 50, -0.01, 0.01), "base": score(1.0, 50, 0.9, 1.1), "samples": ours}
        sets = {name: Measures(kernel_distance=value) for name, value in scores.items()}
        return " ".join(verdict.distances({"inception": sets}, "hubble", held))

    assert "does not tell the new images from real ones" in said(score(0.005, 50, -0.01, 0.02))
    far = said(score(0.5, 50, 0.4, 0.6))
    assert "can still be told" in far and "clearly farther away" in far
    assert "did not help" in said(score(2.0, 50, 1.9, 2.1))
    assert "does not show at this n" in said(score(1.0, 50, 0.8, 1.2))
    assert "a sign of copies" in said(score(-0.5, 50, -0.6, -0.4))
    assert "without intervals" in said(score(0.5, 50))
    assert "from the examples themselves" in said(score(0.5, 50)) and "no floor" in said(score(0.5, 50))
    assert "from held-out hubble" in said(score(0.5, 50), held=True)
    many = Novelty(threshold=1.0, copies=score(0.9, 50, 0.8, 0.95), copies_floor=score(0.0, 50, 0.0, 0.07))
    assert "the sampler repeats its examples" in verdict.copies({"inception": many}, None)[0]


def test_caveats_name_what_is_missing_or_weak():
    samples = {"samples": Measures(kernel_distance=score(0.1, 30, 0.0, 0.2))}
    move, error = Spread(median=0.1, min=0.1, max=0.1), Spread(median=0.13, min=0.1, max=0.2)
    loose = Certificate(steps=[5, 10], difference=move, error=error, n=4)
    found = " ".join(verdict.caveats({"d": samples}, True, loose, 0.01))
    assert "no floor" in found and "n = 30" in found and "not converged" in found and "1.0\u202f%" in found
    many = {"real": score(0.0, 500, -0.1, 0.1), "samples": score(0.1, 500, 0.0, 0.2)}
    assert verdict.caveats({"d": {k: Measures(kernel_distance=v) for k, v in many.items()}}, False) == []


def test_charts_leave_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot.svg(plot.histograms({"examples": {"norm": [1.0, 2.0, None]}, "expected": {"norm": 1.5}}))
    assert dict(matplotlib.rcParams) == before
    assert plot.histograms({}) is None and plot.measures({}) is None
    assert plot.sigma_search([SearchedLevel(sigma=20.0, chosen=True)]) is None
    assert plot.histograms({"examples": {"norm": [3.0, 3.0]}}) is not None  # no spread at all


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("cm-2", "cm⁻²"), ("erg s**-1 cm^-2", "erg s⁻¹ cm⁻²"), ("Jy/beam", "Jy/beam"), ("km2 s(-1)", "km² s⁻¹"), ("", ""),
        ("1e-20 W m-2", "1e-20 W m⁻²"), ("K km/s", "K km/s"), ("10**-3 mag", "10**-3 mag"),
    ],
)  # fmt: skip
def test_units_are_printed_with_raised_powers(given, printed):
    assert words.unit(given) == printed


def test_counts_have_their_noun_and_names_no_digest():
    assert [words.count(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2\u202f000 images"]
    assert words.count(2, "copy", "copies") == "2 copies"
    assert words.descriptor("pixels-3x16x16-13-8b6e7994159e") == "pixels" and words.descriptor("pixels-1") == "pixels-1"


def test_options_and_what_stands_between_backticks_are_code():
    assert coded("`a<b` with --no-x, not a--b <") == ("<code>a&lt;b</code> with <code>--no-x</code>, not a--b &lt;")


def test_a_first_section_with_pictures_stands_above_the_numbers(run):
    html = page(run)
    places = [
        html.index(part)
        for part in ('class="headline"', 'id="pictures"', 'class="facts"', 'class="verdict"', 'class="tiles"')
    ]
    assert places == sorted(places) and html.count('id="pictures"') == 1
