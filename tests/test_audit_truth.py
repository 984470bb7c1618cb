"""The audit end to end where the truth is known: perfect memory, real images, half of each, noise, and the same in any order."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import farfield, numbers, summary

from farfield.core.artifact import Images, read_json
from farfield.data.bundled import load_domain
from farfield.data.picture import save_png, to_uint8
from farfield.data.subset import shuffled

PIXELS = ("--descriptor", "pixels", "-q")
SIZES = {"train": 400, "heldout": 250, "fresh": 200}

pytestmark = pytest.mark.usefixtures("without_the_page")


@pytest.fixture(scope="module")
def digits() -> dict[str, Images]:
    """Real digits in three parts, none in another."""
    found = load_domain("digits", (1, 8, 8))
    keys, parts = shuffled(found.keys, 0), {}
    for name, size in SIZES.items():
        parts[name], keys = found.select(sorted(keys[:size])), keys[size:]
    return parts


@pytest.fixture(scope="module")
def root(digits: dict[str, Images], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts as npz files; ``half``: half of the samples are training images; ``noise``."""
    root = tmp_path_factory.mktemp("truth")
    for name, part in digits.items():
        write(root / f"{name}.npz", part.values)
    fresh, train = digits["fresh"].values, digits["train"].values
    write(root / "half.npz", torch.cat([fresh[:100], train[:100]]))
    write(root / "noise.npz", torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return root


def write(path: Path, values: torch.Tensor) -> None:
    np.savez(path, images=to_uint8(values).permute(0, 2, 3, 1).numpy())


def audit(out: Path, *arguments: object) -> dict[str, Any]:
    outcome = farfield("audit", *arguments, *PIXELS, "-o", out)
    assert outcome.code == 0, outcome.err
    return summary(out)


def readings(found: dict[str, Any]) -> dict[str, str]:
    return {e["name"]: e["reading"] for e in found["verdict"]["evidence"]}


@pytest.fixture(scope="module")
def memory(root: Path) -> dict[str, Any]:
    """What samples of the empirical denoiser are said to be."""
    model, train = f"empirical:{root / 'train.npz'}", root / "train.npz"
    given = (model, train, "--heldout", root / "heldout.npz", "-n", 80, "--steps", 16, "--theory")
    return audit(root / "memory", *given, "--other", root / "fresh.npz")


def test_the_empirical_denoiser_memorizes(memory: dict[str, Any], root: Path):
    assert memory["verdict"]["kind"] == "memorizes" and memory["verdict"]["against"] == []
    assert set(readings(memory).values()) == {"copies"}
    assert memory["gl"]["calibrated"]["score"]["value"] == 0
    assert memory["ratio_test"]["samples"]["value"] == 1 and memory["ratio_test"]["held_out"]["value"] < 0.02
    assert memory["authenticity"]["samples"]["value"] < 0.05 < 0.3 < memory["authenticity"]["held_out"]["value"]
    assert memory["data_copying"]["whole"]["p"] < 1e-10
    assert memory["similarity"]["samples"]["min"] > 1 - 1e-6
    # near to held-out images all the same, as the training images are
    ours, own = (memory["distances"]["held_out"][name]["kernel_distance"] for name in ("samples", "training"))
    assert ours["low"] < own["high"] and own["low"] < ours["high"]
    table = read_json(root / "memory" / "nearest.json")
    assert len(table["samples"]) == 80 and len(table["held_out"]) == 250


def summary_of(path: Path) -> Any:
    import json

    return json.loads(path.read_text())


def test_it_reproduces_itself_and_nothing_else(memory: dict[str, Any]):
    other, theory = memory["reproducibility"]
    assert theory["theory"] and theory["pairs"] == 80 and not other["theory"] and other["pairs"] == 80
    assert theory["rp"]["calibrated"]["score"]["value"] == 1 == theory["mae"]["score"]["value"]
    assert theory["rp"]["calibrated"]["chance"]["value"] < 0.05
    assert other["rp"]["calibrated"]["score"]["value"] < 0.1 and other["mae"]["score"]["value"] < 0.05


def test_real_images_generalize(root: Path, tmp_path: Path):
    given = (root / "fresh.npz", root / "train.npz", "--heldout", root / "heldout.npz")
    found = audit(tmp_path / "run", *given)
    assert found["verdict"]["kind"] == "generalizes" and found["verdict"]["against"] == []
    assert set(readings(found).values()) == {"no copies"}
    score, ceiling = found["gl"]["calibrated"]["score"], 1 - found["calibration"]["rate"]
    assert score["low"] < ceiling < score["high"] and score["value"] > 0.95
    assert (
        found["ratio_test"]["samples"]["value"] < 0.02 and abs(found["data_copying"]["whole"]["statistic"]["value"]) < 3
    )
    assert found["distances"]["held_out"]["samples"]["precision"]["value"] > 0.7
    assert found["subject"] == {"source": str(given[0]), "kind": "samples", "n": 200}


def test_half_copies_are_half(root: Path, tmp_path: Path):
    found = audit(tmp_path / "run", root / "half.npz", root / "train.npz", "--heldout", root / "heldout.npz")
    copied = found["gl"]["calibrated"]["memorized"]
    assert copied["low"] < 0.5 + 0.5 * found["calibration"]["rate"] < copied["high"]
    assert found["verdict"]["kind"] == "copies some"
    assert found["ratio_test"]["samples"]["low"] < 0.5 < found["ratio_test"]["samples"]["high"]
    assert set(readings(found).values()) == {"copies"}


def test_noise_is_no_copy_and_not_the_domain(root: Path, tmp_path: Path):
    found = audit(tmp_path / "run", root / "noise.npz", root / "train.npz", "--heldout", root / "heldout.npz")
    assert found["gl"]["calibrated"]["score"]["value"] == 1
    assert found["verdict"]["kind"] == "strays"
    assert found["distances"]["held_out"]["samples"]["precision"]["value"] == 0


def test_without_held_out_images_copies_are_found_and_nothing_else_is_claimed(root: Path, tmp_path: Path):
    copies = audit(tmp_path / "copies", root / "half.npz", root / "train.npz")
    assert copies["verdict"]["kind"] == "copies some"
    assert readings(copies) == {"memorized": "copies", "ratio": "no null", "authenticity": "no null"}
    new = audit(tmp_path / "new", root / "fresh.npz", root / "train.npz")
    assert new["verdict"]["kind"] == "cannot be told" and "held-out images" in new["verdict"]["sentence"]
    assert new["distances"] is None and new["data_copying"] is None and "held_out" not in new
    assert new["calibration"]["n"] == 400 and any("stand without a null" in note for note in new["notes"])


def test_subject_and_training_set_in_each_others_place(root: Path, memory: dict[str, Any], tmp_path: Path):
    made = root / "memory" / "made" / "subject"
    outcome = farfield("audit", root / "train.npz", made, *PIXELS, "-o", tmp_path / "run")
    assert outcome.code == 2 and "found a run of farfield generate; what is judged comes first" in outcome.err
    outcome = farfield("audit", root / "train.npz", "cifar10-32", *PIXELS, "-o", tmp_path / "run")
    assert outcome.code == 2 and "cifar10-32: expected images, found a model; check the order" in outcome.err
    assert not (tmp_path / "run").exists()
    swapped = audit(tmp_path / "noise", root / "train.npz", root / "noise.npz", "--heldout", root / "heldout.npz")
    assert any("in each other's place" in note for note in swapped["notes"])


def test_the_order_of_files_and_the_batch_size_change_nothing(digits: dict[str, Images], tmp_path: Path):
    found = []
    for name, size, backwards in (("a", 64, False), ("b", 7, True)):
        for which, part in digits.items():
            keys = part.keys[:100][:: -1 if backwards else 1]
            with zipfile.ZipFile(tmp_path / f"{name}-{which}.zip", "w") as archive:
                for key in keys:
                    save_png(part.select([key]).values[0], tmp_path / "one.png")
                    archive.write(tmp_path / "one.png", f"{key}.png")
        given = [tmp_path / f"{name}-{which}.zip" for which in ("fresh", "train", "heldout")]
        run = audit(tmp_path / name, *given[:2], "--heldout", given[2], "--batch-size", size)
        found.append(numbers({k: v for k, v in run.items() if k not in ("subject", "training", "held_out")}))
    assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-12)  # rounding depends on how many rows are multiplied
