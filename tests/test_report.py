"""The report shows what is on disk, all of it and nothing else: offline, escaped, and the same bytes each time."""

import base64
import copy
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from farfield.core.artifact import Images, save, write_json
from farfield.core.error import FarfieldError
from farfield.present import plot, verdict, words
from farfield.present.command import command_line
from farfield.present.report import write_report

PARTS = ("examples", "reconstructions", "samples", "base", "references")


def galaxies(n: int, channels: int = 3, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Elliptical blobs on a dark sky, with values a little outside [-1, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    a, b, turn = rng.uniform(0.05, 0.2, (n, 1, 1)), rng.uniform(0.02, 0.1, (n, 1, 1)), rng.uniform(0, np.pi, (n, 1, 1))
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    light = np.exp(-((u / a) ** 2) - (v / b) ** 2)[:, None] * rng.uniform(0.5, 1.1, (n, channels, 1, 1))
    return torch.from_numpy(2 * light - 1 + 0.02 * rng.standard_normal((n, channels, size, size))).float()


def images(n: int, prefix: str, **kwargs) -> Images:
    return Images(tuple(f"{prefix}{i:03d}" for i in range(n)), galaxies(n, **kwargs))


def score(value: float, n: int, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "n": n, "low": low, "high": high}


def shares(*values: float) -> dict:
    return {
        k: score(v, 20, max(0.0, v - 0.12), min(1.0, v + 0.12))
        for k, v in zip(("precision", "recall", "coverage"), values, strict=True)
    }


def spread(median: float, low: float, high: float) -> dict:
    return {"median": median, "min": low, "max": high}


SUMMARY = {
    "command": "expand",
    "farfield": "0.1.0",
    "model": {"name": "cifar10-32", "digest": "9f" * 32, "shape": [3, 16, 16], "parameters": 35746307},
    "examples": {"source": "hubble", "n": 12, "available": 30, "digest": "ab" * 32},
    "references": {"source": "hubble", "n": 20},
    "sampler": {"name": "interference", "neighbours": 4},
    "sigma": 3.2,
    "sigma_asked": "auto",
    "steps": 20,
    "solver": "multistep",
    "network_calls": 21,
    "sigma_search": [
        {"sigma": 1.6, "chosen": False, "kernel_distance": score(0.0613, 20, 0.0411, 0.0815), "copies": 0.4137},
        {"sigma": 3.2, "chosen": True, "kernel_distance": score(0.0312, 20, 0.0121, 0.0503), "copies": 0.0519},
        {"sigma": 12.8, "chosen": False, "kernel_distance": None, "copies": 0.0},
    ],
    "reconstruction": {
        "psnr": spread(46.21, 44.87, 47.13),
        "ssim": spread(0.9931, 0.9872, 0.9984),
        "max_error": spread(0.03, 0.02, 0.0521),
        "n": 12,
    },
    "latent_certificate": {
        "steps": [20, 40],
        "difference": spread(0.0061, 0.003, 0.011),
        "error": spread(0.0081, 0.004, 0.0147),
        "n": 8,
    },
    "acceptance": {"proposed": 17, "accepted": 10, "rate": 10 / 17},
    "measures": {
        "inception": {
            "real": {
                "kernel_distance": score(0.0012, 20, -0.011, 0.0134),
                "frechet_distance": score(48.2, 20),
                **shares(0.83, 0.81, 0.94),
            },
            "samples": {
                "kernel_distance": score(0.0312, 10, 0.0121, 0.0503),
                "density": score(0.88, 10, 0.6, 1.16),
                **shares(0.76, 0.52, 0.71),
            },
            "base": {
                "kernel_distance": score(1.184, 10, 1.02, 1.348),
                "frechet_distance": score(412.6, 10),
                **shares(0.0, 0.02, 0.03),
            },
        }
    },
    "novelty": {
        "inception": {
            "threshold": 0.1834,
            "copies": score(0.2, 10, 0.057, 0.51),
            "copies_floor": score(0.05, 20, 0.009, 0.236),
            "duplicates": score(0.0, 10, 0.0, 0.278),
            "duplicates_floor": None,
        }
    },
    "nearest": {
        f"s{i:03d}": {"example": f"e{i % 3:03d}", "distance": 0.1517 + 0.1 * i, "copy": i < 2} for i in range(10)
    },
    "cost_seconds": {"inverting": 61.2, "decoding": 158.8, "nothing": 0.0},
    "notes": ["CLIP features were left out."],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of `farfield expand`, with every part."""
    examples = images(12, "e", seed=1)
    save(examples, tmp_path / "examples")
    save(Images(examples.keys[::-1], examples.values.flip(0) + 0.01), tmp_path / "reconstructions")
    for name, n in (("samples", 10), ("base", 10), ("references", 20)):
        save(images(n, name[0], seed=n), tmp_path / name)
    rng = np.random.default_rng(0)
    lists = {
        k: rng.normal(m, 1, 90).tolist() for k, m in (("norm", 55), ("distance", 70), ("angle", 78), ("triangle", 60))
    }
    expected = {"norm": 55.4, "distance": 70.2, "distance_sd": 0.9, "angle": 78.7, "angle_sd": 1.0, "triangle": 60.0}
    write_json(
        tmp_path / "geometry.json",
        {
            "examples": lists,
            "samples": lists,
            "expected": expected,
            "dimension": 768,
            "mean_norm": 24.3,
            "scale": 0.895,
        },
    )
    write_json(tmp_path / "summary.json", SUMMARY)
    request = {
        "command": "expand",
        "model": "cifar10-32",
        "images": "hubble",
        "seed": 7,
        "command_line": "farfield expand cifar10-32 hubble -n 10",
    }
    write_json(
        tmp_path / "config.json",
        {
            "request": request,
            "versions": {"farfield": "0.1.0", "torch": "2.7.1"},
            "started": "2025-06-01T12:00:00+0000",
        },
    )
    return tmp_path


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
    assert set(on_disk) == {"examples", "reconstructions", "samples", "base", "references", "nearest"}
    assert sorted(inlined) == sorted(on_disk.values())
    for content in inlined:
        Image.open(io.BytesIO(content)).load()
    assert html.count("<svg") == 3  # geometry, measures, search


def test_every_number_of_the_tables_appears(run):
    html = page(run)
    for text in (
        "0.031", "[0.012, 0.050]", "0.001", "[−0.011, 0.013]", "1.18", "[1.02, 1.35]", "48.2", "413",  # distances
        "0.76", "0.52", "0.71", "0.83", "0.81", "0.94", "0.88", "n = 10", "n = 20",  # shares
        "20\u202f%", "[6, 51]", "5\u202f%", "[1, 24]", "[0, 28]", "0.183",  # novelty
        "0.152", "1.052", "46.2 dB", "44.9", "0.9931", "0.9872", "0.0521", "0.81\u202f%", "1.5\u202f%",  # trip
        "0.061", "[0.041, 0.082]", "0.414", "12.8", "10 of 17", "2 min 39 s", "61.2 s", "3 min 40 s",  # search, cost
        "9f" * 32, "ab" * 32, "35746307", "2.7.1", "CLIP features were left out.",
        "farfield expand cifar10-32 hubble -n 10",
    ):  # fmt: skip
        assert text in html, text


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
        "base": "own samples, from plain noise",
    }.get(part)
    assert gone is None or gone not in html


@pytest.mark.parametrize("name", sorted(SUMMARY))
def test_an_absent_result_is_left_out(run, name):
    write_json(run / "summary.json", {k: v for k, v in SUMMARY.items() if k != name})
    assert "</html>" in page(run)


def test_an_empty_summary_is_still_a_page(tmp_path):
    for summary in ({}, dict.fromkeys(SUMMARY)):
        write_json(tmp_path / "summary.json", summary)
        assert "</html>" in page(tmp_path)


def test_hostile_names_are_text(run):
    evil = '<script>alert("$\\frac{x")</script>'
    summary = copy.deepcopy(SUMMARY)
    summary["measures"] = {evil: SUMMARY["measures"]["inception"]}
    summary["novelty"] = {evil: SUMMARY["novelty"]["inception"]}
    summary["model"]["name"] = summary["sampler"]["name"] = summary["solver"] = evil
    summary["examples"]["source"] = f"/data/{evil}/"
    summary["notes"] = [evil]
    summary["nearest"] = {evil: {"example": evil, "distance": 0.1, "copy": True}}
    summary["sigma_search"] = [{"sigma": 1.0, "chosen": True, evil: 0.5}]
    save(Images((evil,), galaxies(1)), run / "samples")
    save(Images((evil,), galaxies(1)), run / "examples")
    write_json(run / "summary.json", summary)
    write_json(run / "config.json", {"request": {"command_line": [evil], evil: evil}, "versions": {evil: evil}})
    html = page(run)
    assert "<script" not in html and html.count("&lt;script&gt;") > 8


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(run, channels):
    for name in PARTS:
        prefix = "e" if name == "reconstructions" else name[0]
        save(images(12 if prefix == "e" else 10, prefix, channels=channels), run / name)
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


def test_reconstruct_lists_the_worst_first(tmp_path):
    originals = images(3, "i")
    save(originals, tmp_path / "images")
    save(Images(originals.keys, originals.values + 0.01), tmp_path / "reconstructions")
    each = {
        k: {"psnr": p, "ssim": 0.99, "max_error": 0.01}
        for k, p in zip(originals.keys, (41.11, 38.22, 45.33), strict=True)
    }
    trip = {
        "psnr": spread(41.11, 38.22, 45.33),
        "ssim": spread(0.99, 0.99, 0.99),
        "max_error": spread(0.01, 0.01, 0.01),
        "n": 3,
    }
    certificate = SUMMARY["latent_certificate"]
    write_json(
        tmp_path / "summary.json",
        {
            "command": "reconstruct",
            "model": "m",
            "n": 3,
            "images": each,
            "reconstruction": trip,
            "latent_certificate": certificate,
        },
    )
    request = {
        "command": "reconstruct",
        "model": "m",
        "images": "my galaxies",
        "sigma": None,
        "steps": 20,
        "dtype": "float32",
    }
    write_json(tmp_path / "config.json", {"request": request})
    html = page(tmp_path)
    assert 0 < html.index("<td>i001</td>") < html.index("<td>i000</td>") < html.index("<td>i002</td>")
    assert "farfield reconstruct m &#39;my galaxies&#39; --limit 3 --steps 20 --dtype float32" in html
    assert "difference × 100" in html  # 0.01 of a range of 2, shown below white


def test_invert_shows_its_images_and_certificate(tmp_path):
    save(images(3, "i"), tmp_path / "images")
    write_json(
        tmp_path / "summary.json",
        {"command": "invert", "model": "m", "images": "x", "n": 3, "latent_certificate": SUMMARY["latent_certificate"]},
    )
    html = page(tmp_path)
    assert 'id="pictures"' in html and "0.81\u202f%" in html


def test_a_sheet_shows_pixels_as_they_are():
    values = torch.full((3, 1, 2, 2), -1.0)
    values[1] = 5.0  # clipped once, here
    sheet = plot.grid(values, columns=2, scale=3, gap=1)
    pixels = np.asarray(sheet)
    assert sheet.size == (13, 13)
    assert (pixels[:6, :6] == [0, 0, 0, 255]).all() and (pixels[:6, 7:] == 255).all()
    assert (pixels[7:, 7:, 3] == 0).all() and (pixels[6, :, 3] == 0).all()  # no fourth image; the gap
    assert plot.grid(torch.zeros(1, 3, 640, 320)).size == (80, 160)


def test_pairs_need_equal_lengths_and_frame_copies():
    with pytest.raises(FarfieldError, match="one length"):
        plot.pairs(torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 4, 4))
    with pytest.raises(FarfieldError, match="at least one image"):
        plot.grid(torch.zeros(0, 3, 4, 4))
    framed = np.asarray(plot.pairs(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), scale=1, framed=[True, False]))
    assert tuple(framed[0, 0]) == (204, 51, 153, 255) and framed[0, -1, 3] == 0


def test_the_difference_is_amplified_by_a_round_number():
    a = torch.zeros(1, 1, 2, 2)
    gap, gain = plot.difference(a, a + 0.03)
    assert gain == 50 and torch.allclose(gap, torch.full_like(gap, 0.5))
    assert plot.difference(a, a)[0].eq(-1).all()  # black
    assert plot.difference(a, a + 2)[1] == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (float("nan"), "–"), (0.0, "0"), (64, "64"), (35746307, "35\u202f746\u202f307"),
        (0.031249, "0.0312"), (-1.5, "−1.50"), (41.2345, "41.2"), (1.25e-6, "1.25 × 10⁻⁶"), (-3e9, "−3.00 × 10⁹"), (True, "yes"),
    ],
)  # fmt: skip
def test_numbers_have_sensible_digits(value, text):
    assert words.number(value) == text


def test_an_interval_decides_the_digits():
    assert words.score(score(0.03123, 9, 0.0121, 0.0503)) == "0.031 [0.012, 0.050]"
    assert words.score(score(231.4, 9, 190.0, 272.0)) == "231 [190, 272]"
    assert words.score(score(-0.0004, 9, -0.0104, 0.0096)) == "0.000 [−0.010, 0.010]"
    assert words.score(score(0.047, 9, 0.016, 0.129), percent=True) == "5\u202f% [2, 13]"
    assert words.score(0.5) == "0.500" and words.score(None) == "–" and words.score({"value": None}) == "–"


def test_the_verdict_follows_the_intervals():
    def said(ours: dict, **more) -> str:
        sets = {
            "real": {"kernel_distance": score(0.0, 50, -0.01, 0.01)},
            "base": {"kernel_distance": score(1.0, 50, 0.9, 1.1)},
        }
        return " ".join(
            verdict.verdict(
                {"measures": {"inception": {**sets, "samples": {"kernel_distance": ours}}}, **more}, 64, "hubble"
            )
        )

    assert "does not tell the new images from real ones" in said(score(0.005, 50, -0.01, 0.02))
    assert "can still be told" in said(score(0.5, 50, 0.4, 0.6)) and "clearly farther away" in said(
        score(0.5, 50, 0.4, 0.6)
    )
    assert "did not help" in said(score(2.0, 50, 1.9, 2.1))
    assert "does not show at this n" in said(score(1.0, 50, 0.8, 1.2))
    assert "a sign of copies" in said(score(-0.5, 50, -0.6, -0.4))
    assert "without intervals" in said(score(0.5, 50))
    assert "from the examples themselves" in said(score(0.5, 50)) and "no floor" in said(score(0.5, 50))
    assert "from held-out hubble" in said(score(0.5, 50), references={"n": 50})
    many = {"inception": {"copies": score(0.9, 50, 0.8, 0.95), "copies_floor": score(0.0, 50, 0.0, 0.07)}}
    assert "the sampler repeats its examples" in said(score(0.5, 50, 0.4, 0.6), novelty=many)


def test_caveats_name_what_is_missing_or_weak():
    samples = {"samples": {"kernel_distance": score(0.1, 30, 0.0, 0.2)}}
    loose = {"steps": [5, 10], "difference": spread(0.1, 0.1, 0.1), "error": spread(0.13, 0.1, 0.2), "n": 4}
    weak = {
        "references": {"n": 30},
        "measures": {"d": samples},
        "latent_certificate": loose,
        "acceptance": {"rate": 0.01},
    }
    found = " ".join(verdict.caveats(weak))
    assert "no floor" in found and "n = 30" in found and "not converged" in found and "1.0\u202f%" in found
    real = {
        "real": {"kernel_distance": score(0.0, 500, -0.1, 0.1)},
        "samples": {"kernel_distance": score(0.1, 500, 0.0, 0.2)},
    }
    assert verdict.caveats({"measures": {"d": real}}) == []


def test_the_command_line_is_one_that_farfield_takes():
    import shlex

    import typer

    from farfield.cli import app

    request = {
        "command": "expand", "model": "m", "model_digest": "9f", "examples": "my galaxies", "n": 8, "count": 12,
        "level": "auto", "heldout": None, "most_references": 1500, "descriptors": ["pixels", "model"], "seed": 3,
        "sampler": "gaussian", "prior": "lowrank", "t": [0.25, 0.5], "centre": False, "candidates": 1, "sigma": None,
        "steps": 9, "dtype": "float32",
    }  # fmt: skip
    line = shlex.split(command_line(request))
    assert line[:6] == ["farfield", "expand", "m", "my galaxies", "--sigma", "auto"]
    parsed = typer.main.get_command(app).commands["expand"].make_context("expand", line[2:]).params
    expected = {"n": 8, "examples": 12, "sigma": "auto", "t": "0.25,0.5", "centre": False, "seed": 3, "steps": 9}
    assert {k: parsed[k] for k in expected} == expected and list(parsed["descriptor"]) == ["pixels", "model"]
    assert "--sigma last" in command_line({**request, "level": "last"})
    assert "--sigma 7.5" in command_line({**request, "sigma": 7.5})
    assert command_line({"command_line": ["farfield", "a b"]}) == "farfield 'a b'"
    assert command_line({}) is None and command_line({"command": "other", "model": "m"}) is None


def test_charts_leave_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot.svg(plot.histograms({"examples": {"norm": [1.0, 2.0, None]}, "expected": {"norm": 1.5}}))
    assert dict(matplotlib.rcParams) == before
    assert plot.histograms({}) is None and plot.measures({}) is None and plot.sigma_search([]) is None
    assert plot.histograms({"examples": {"norm": [3.0, 3.0]}}) is not None  # no spread at all
