"""``--dtype auto``: which precision it comes to, and that its images are those of that precision."""

import json
import math
from pathlib import Path

import pytest
import torch

import farfield
from farfield.checkpoints.load import load_denoiser
from farfield.command.expand import Expand
from farfield.command.generate import Generate
from farfield.command.reconstruct import Reconstruct
from farfield.command.settings import Settings
from farfield.study.precision import Probe, decided, probe

MODEL = "digits-generalizing"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision.json"


def dtype(settings: Settings) -> str:
    return next(value for path, value in decided(settings).values().items() if path[-1] == "dtype")


def test_the_probe_tells_rounding_from_another_model() -> None:
    exact = load_denoiser(MODEL)
    found = probe(exact, load_denoiser(MODEL, dtype=torch.bfloat16))
    assert found.quicker > 0
    assert 2**-16 < found.off < 0.02  # the least that eight bits of mantissa leave of a step, and what is near enough
    assert probe(exact, load_denoiser("digits-memorizing")).off > 0.1


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
    cache.write_text("torn")
    assert dtype(settings) in ("float32", "bfloat16")
    assert list(json.loads(cache.read_text())) == [key]


def test_what_rounding_would_show_in_stays_exact(cache: Path) -> None:
    decided(Generate.of(model=MODEL, dtype="auto"))
    key = next(iter(json.loads(cache.read_text())))
    cache.write_text(json.dumps({key: {"quicker": 9.0, "off": 0.0}}))
    assert dtype(Reconstruct.of(model=MODEL, images="digits", dtype="auto")) == "float32"
    assert dtype(Expand.of(model=MODEL, examples="digits", dtype="auto", sampler="patchwork")) == "float32"
    assert dtype(Generate.of(model="empirical:digits", dtype="auto")) == "float32"


def test_the_request_holds_what_auto_came_to(cache: Path, tmp_path: Path) -> None:
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
