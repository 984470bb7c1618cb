"""Every command that leaves a run: its page can be made anew, its summary says how the data were read, and so does the page."""

import json
from pathlib import Path

import pytest
from test_prompt import make_pipeline
from tiny import farfield, make_images, make_model, undrawn

pytestmark = pytest.mark.usefixtures("few_views")

FAST = ("--steps", 2, "--device", "cpu", "-q")
PIXELS = ("--descriptor", "pixels", "--device", "cpu", "-q")
NETWORK = ("--width", 4, "--multipliers", "1,2", "--blocks", 1, "--attention", "none")

COMMANDS = {
    "generate": ("generate", "model", "--seeds", "0-1", *FAST),
    "generate empirical": ("generate", "empirical:small", "--seeds", "0-1", *FAST),
    "reconstruct": ("reconstruct", "model", "large", "--limit", 2, "--sigma", 1, *FAST),
    "invert": ("invert", "model", "large", "--limit", 2, "--sigma", 1, *FAST),
    "expand": ("expand", "model", "large", "--examples", 4, "-n", 4, "--sigma", 1, "--candidates", 1, *FAST),
    "analyse": ("analyse", "model", "large", "--examples", 8, "--in-domain", "small", "--levels", "2", "--eta", "1", "--noise",
                "1", "--decoded", 2, "--down-steps", 4, *FAST),
    "gain": ("gain", "large", "model", "--examples", 6, "--device", "cpu", "-q"),
    "compare": ("compare", "model", "large", "--counts", 4, "--methods", "ours", "-n", 4, *FAST),
    "transfer": ("transfer", "model", "large", "small", "-n", 3, "--examples", 4, "--strength", "1", *FAST),
    "prompt": ("prompt", "pipeline", "--prompt", "dust", "-n", 4, "--size", 8, "--heldout", "large", "--examples", 4, *FAST),
    "edit": ("edit", "model", "large", "--mask", "1,2,4,6", "--direction", "1", "--strength", "3", "--keep", 4, "--sigma", 2,
             "--limit", 1, *FAST),
    "restore": ("restore", "model", "large", "--blur", 0.5, "--limit", 2, "-n", 2, "--iterations", 1, "--against", "model",
                *FAST),
    "rank": ("rank", "model", "--images", "large", "--points", 1, "--sigmas", "1", "--device", "cpu", "-q"),
    "dimension": ("dimension", "model", "large", "--limit", 2, "--sigmas", "0.5", "--probes", 2, "--copies", 768, "--device",
                  "cpu", "-q"),
    "molrg": ("molrg", "--n", 8, "--dimension", 2, "--per-class", 20, "--seeds", 1, "--starts", 0, "--points", 1, "--ratios", "1",
              "--network", "none", "--device", "cpu", "-q"),
    "train": ("train", "--data", "small", *NETWORK, "--length", 16, "--batch-size", 8, "--samples", 2, "--every", 8, "--device",
              "cpu", "-q"),
    "audit": ("audit", "small", "small", "--alpha", 0.1, *PIXELS),
    "score rp": ("score", "rp", "small", "same", "--rate", 0.1, *PIXELS),
    "score matrix": ("score", "matrix", "small", "same", "--rate", 0.1, *PIXELS),
    "score gl": ("score", "gl", "small", "same", "--rate", 0.1, *PIXELS),
    "describe": ("describe", "small", *PIXELS),
    "train-descriptor": ("train-descriptor", "large", "--images", 16, "--batch-size", 8, "--width", 4, "--features", 4,
                         "--device", "cpu", "-q"),
}  # fmt: skip
RESIZED = ("reconstruct", "invert", "expand", "analyse", "gain", "compare", "transfer", "prompt", "edit", "restore", "rank",
           "dimension", "train-descriptor")  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reports")
    make_model(root / "model", (3, 8, 8))
    make_pipeline(root / "pipeline")
    make_images(root / "large", 16, 12, 16)
    make_images(root / "small", 16, 8, 8)
    make_images(root / "same", 16, 8, 8)
    return root


@pytest.mark.parametrize("name", COMMANDS)
def test_report_makes_the_page_of_every_command(root, tmp_path, name, monkeypatch):
    monkeypatch.chdir(root)
    with undrawn():  # the same page; once is enough
        done = farfield(*COMMANDS[name], "-o", tmp_path / "run")
    assert done.code == 0 and not (tmp_path / "run" / "report.html").exists(), done.err
    done = farfield("report", tmp_path / "run")
    assert done.code == 0, done.err
    page, summary = (
        (tmp_path / "run" / "report.html").read_text(),
        json.loads((tmp_path / "run" / "summary.json").read_text()),
    )
    assert name.split()[0] in page
    side = 32 if name == "train-descriptor" else 8
    told = [line for line in summary["reading"] if f"large: 12×16 → {side}×{side}" in line]
    assert len(told) == (name in RESIZED) and ("→" in page) == (name in RESIZED)
    assert all(line in page for line in told)
