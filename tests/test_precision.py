"""``--dtype auto``: which precision it comes to, and that its images are those of that precision."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import farfield as command_line

import farfield
from farfield.checkpoints.load import load_denoiser
from farfield.command.expand import Expand
from farfield.command.generate import Generate
from farfield.command.reconstruct import Reconstruct
from farfield.command.settings import Settings
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.precondition import precondition
from farfield.study import precision
from farfield.study.precision import Probe, decided, probe

MODEL = "digits-generalizing"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    for name, few in (("ROWS", 2), ("STEPS", 2), ("TURNS", 1)):
        monkeypatch.setattr(precision, name, few)
    return tmp_path / "cache" / "precision.json"


def dtype(settings: Settings) -> str:
    return next(value for path, value in decided(settings).values().items() if path[-1] == "dtype")


def test_the_probe_tells_rounding_from_another_model() -> None:
    exact = load_denoiser(MODEL)
    found = probe(exact, load_denoiser(MODEL, dtype=torch.bfloat16), 4)
    assert found.quicker > 0
    assert 2**-16 < found.off < 0.02  # the least that eight bits of mantissa leave of a step, and what is near enough
    assert probe(exact, load_denoiser("digits-memorizing"), 4).off > 0.1


def test_a_model_that_overflows_is_not_near() -> None:
    low = load_denoiser(MODEL, dtype=torch.bfloat16)
    with torch.no_grad():
        next(low.parameters()).mul_(math.inf)
    assert probe(load_denoiser(MODEL), low) == Probe(1.0, 1.0)


def test_what_was_found_is_kept_and_decides(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Generate.of(model=MODEL, dtype="auto")
    decided(settings)
    ((key, found),) = json.loads(cache.read_text()).items()
    assert "images" in capsys.readouterr().err
    for quicker, off, taken in ((9.0, 0.01, "bfloat16"), (9.0, 0.05, "float32"), (1.1, 0.01, "float32")):
        cache.write_text(json.dumps({key: {"quicker": quicker, "off": off}}))
        assert dtype(settings) == taken
        assert dtype(Expand.of(model=MODEL, examples="digits", dtype="auto")) == taken
    assert set(found) == {"quicker", "off"}
    wrong = ({}, None, {"quicker": "9", "off": 0.0}, {"quicker": 9.0, "off": -1.0})
    pairs = json.dumps([[key, {"quicker": 9.0, "off": 0.0}]])  # no object, though `dict` would take them
    for damaged in ("torn", "[]", pairs, *(json.dumps({key: one}) for one in wrong)):
        cache.write_text(damaged)
        assert dtype(settings) in ("float32", "bfloat16")
        kept = json.loads(cache.read_text())[key]
        assert set(kept) == {"quicker", "off"} and kept["off"] >= 0
    for quicker in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError):
            Probe(quicker, 0.0)
    with pytest.raises(ValueError):
        Probe(9.0, -1.0)


def test_what_cannot_be_kept_is_found_again(cache: Path) -> None:
    cache.mkdir(parents=True)
    assert dtype(Generate.of(model=MODEL, dtype="auto")) in ("float32", "bfloat16")
    assert cache.is_dir()


def test_a_network_that_takes_no_bfloat16_or_few_levels_keeps_float32() -> None:
    class Float(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            return self.inner(x.float())

    def made(dtype: torch.dtype) -> NetworkDenoiser:
        torch.manual_seed(0)
        return precondition("ddpm", Float().to(dtype), (1, 8, 8), levels={"steps": 4})

    exact = made(torch.float32)
    with torch.no_grad():
        assert probe(exact, made(torch.bfloat16)) == Probe(1.0, 1.0)
        assert probe(exact, made(torch.float32), rows=1).off == 0


def test_what_rounding_would_show_in_stays_exact(cache: Path) -> None:
    decided(Generate.of(model=MODEL, dtype="auto"))
    key = next(iter(json.loads(cache.read_text())))
    cache.write_text(json.dumps({key: {"quicker": 9.0, "off": 0.0}}))
    assert dtype(Reconstruct.of(model=MODEL, images="digits", dtype="auto")) == "float32"
    assert dtype(Expand.of(model=MODEL, examples="digits", dtype="auto", sampler="patchwork")) == "float32"
    assert dtype(Generate.of(model="empirical:digits", dtype="auto")) == "float32"


def test_the_request_holds_what_auto_came_to(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"seeds": range(4), "steps": 6, "form": "shards", "quiet": True}
    asked = {name: tmp_path / name for name in ("float32", "bfloat16", "auto")}
    exact = farfield.generate(MODEL, dtype="float32", out=asked["float32"], **options).samples
    low = farfield.generate(MODEL, dtype="bfloat16", out=asked["bfloat16"], **options).samples
    decided(Generate.of(model=MODEL, dtype="auto"))
    key = next(iter(json.loads(cache.read_text())))
    cache.write_text(json.dumps({key: {"quicker": 9.0, "off": 0.0}}))
    auto = farfield.generate(MODEL, dtype="auto", out=asked["auto"], **options).samples
    assert torch.equal(auto.values, low.values) and not torch.equal(auto.values, exact.values)
    assert json.loads((asked["auto"] / "config.json").read_text())["request"]["dtype"] == "bfloat16"
    cache.write_text(json.dumps({key: {"quicker": 0.5, "off": 0.0}}))  # it goes on in what it was begun in
    capsys.readouterr()
    again = farfield.generate(MODEL, dtype="auto", out=asked["auto"], **options).samples
    assert torch.equal(again.values, low.values)
    assert "--dtype auto: bfloat16, in which this run was begun" in capsys.readouterr().err
    other = farfield.generate(MODEL, dtype="auto", out=tmp_path / "other", **options).samples
    assert torch.equal(other.values, exact.values)


def test_a_dry_run_probes_nothing(cache: Path, tmp_path: Path) -> None:
    assert command_line("generate", MODEL, "--dtype", "auto", "--dry-run", "-o", tmp_path / "run").code == 0
    assert not cache.exists() and not (tmp_path / "run").exists()


def test_where_nothing_is_only_made_auto_is_float32(capsys: pytest.CaptureFixture[str]) -> None:
    assert dtype(Reconstruct.of(model=MODEL, images="digits", dtype="auto")) == "float32"
    assert "float32; only where images are made" in capsys.readouterr().err
    assert next(farfield.load(MODEL, dtype="auto").parameters()).dtype == torch.float32


def test_latents_of_low_precision_are_said_to_be() -> None:
    options = {
        "count": 4,
        "n": 2,
        "steps": 2,
        "sampler": "patchwork",
        "control": False,
        "patches": False,
        "quiet": True,
    }
    options |= {"descriptors": ("pixels",)}
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    low, exact = (farfield.expand(MODEL, images, dtype=d, **options) for d in ("bfloat16", "float32"))
    assert "inverted in bfloat16" in " ".join(low.notes) and "inverted in" not in " ".join(exact.notes)
