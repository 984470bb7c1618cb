"""A run that was interrupted and continued ends as the unbroken one; image k depends on seed k only.

Runs of every command that are killed are in `test_kill`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import differences, farfield, make_images, make_model, numbers, summary

from farfield.core.artifact import Images, Latents, Store, save
from farfield.diffusion.denoiser import NetworkDenoiser

BASE = ("-n", 6, "--steps", 3, "--batch-size", 4, "--examples", 6, "--sigma", 5, "--candidates", 2, "--no-patches")
"""Two shards or more of everything; a later option overrides an earlier one."""


pytestmark = pytest.mark.usefixtures("without_the_page", "few_views")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    make_model(root / "model")
    make_images(root / "images", 26)
    return root


def command(root: Path, out: Path, *options: object) -> tuple[object, ...]:
    return ("expand", root / "model", root / "images", "-o", out, *BASE, *options)


def run(root: Path, out: Path, *options: object) -> Path:
    outcome = farfield(*command(root, out, *options))
    assert outcome.code == 0, outcome.err
    return out


class Stopped(Exception):
    """Not an error that the command line knows."""


@contextmanager
def counted(stop_at: int | None = None, error: type[BaseException] = Stopped) -> Iterator[list[int]]:
    """Count the calls of the network; the one numbered ``stop_at`` raises instead."""
    calls = [0]
    real = NetworkDenoiser.forward

    def counting(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == stop_at:
            raise error
        return real(*arguments, **named)

    with patch.object(NetworkDenoiser, "forward", counting):
        yield calls


def interrupt(root: Path, out: Path, at: int, *options: object) -> None:
    """Run until call ``at`` of the network."""
    with counted(at), pytest.raises(Stopped):
        farfield(*command(root, out, *options))


@pytest.fixture(scope="module")
def unbroken(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run in one go, and how often it called the network."""
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    with counted() as calls:
        run(root, out)
    return out, calls[0]


def test_the_same_command_in_two_folders_gives_the_same_run(root: Path, tmp_path: Path, unbroken: tuple[Path, int]):
    assert differences(run(root, tmp_path / "again"), unbroken[0]) == []


def test_a_shard_is_the_same_bytes_whenever_it_is_written(tmp_path: Path):
    latents = Latents(("a", "b"), torch.arange(6.0).reshape(2, 3), sigma=5.0)
    written = set()
    for _ in range(20):
        save(latents, tmp_path / "latents")
        written.add((tmp_path / "latents" / "shard-00000.safetensors").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("share", [0.01, 0.7, 1.0])
def test_stopped_in_the_network_and_continued_ends_as_the_unbroken_run(
    share: float, root: Path, tmp_path: Path, unbroken: tuple[Path, int]
):
    whole, calls = unbroken
    interrupt(root, tmp_path / "run", max(1, round(share * calls)))
    assert not (tmp_path / "run" / "summary.json").exists()
    with counted() as rest:
        assert differences(run(root, tmp_path / "run"), whole) == []
    if share == 0.7:  # what is done is not done again
        # A shard of candidates is lost at most; pilots' features and the probe of the descriptor are made anew.
        assert rest[0] < 0.6 * calls


def test_ctrl_c_and_continued_ends_as_the_unbroken_run(root: Path, tmp_path: Path, unbroken: tuple[Path, int]):
    """And counts the seconds of both parts."""
    whole, calls = unbroken
    with counted(calls // 2, KeyboardInterrupt):
        assert farfield(*command(root, tmp_path / "run")).code == 130
    before = json.loads((tmp_path / "run" / "cost.json").read_text())
    assert differences(run(root, tmp_path / "run"), whole) == []
    after = json.loads((tmp_path / "run" / "cost.json").read_text())
    assert before and all(after[stage] >= seconds for stage, seconds in before.items())
    assert after.keys() == json.loads((whole / "cost.json").read_text()).keys()


def test_a_search_stopped_and_continued_ends_as_the_unbroken_one(root: Path, tmp_path: Path):
    options = ("--sigma", "auto", "--examples", 8, "--batch-size", 32, "--no-control")
    with counted() as calls:
        run(root, tmp_path / "whole", *options)
    interrupt(root, tmp_path / "run", round(0.2 * calls[0]), *options)
    assert differences(run(root, tmp_path / "run", *options), tmp_path / "whole") == []


@pytest.mark.parametrize(
    ("name", "sampler"), [("calibration", "sdedit"), ("samples", "sdedit"), ("latents", "patchwork")]
)
def test_a_shard_that_was_deleted_is_made_again(name: str, sampler: str, root: Path, tmp_path: Path):
    options = ("--sampler", sampler, "--no-control")
    out = run(root, tmp_path / "run", *options)
    whole = Path(shutil.copytree(out, tmp_path / "whole"))
    (out / name / "shard-00001.safetensors").unlink()
    (out / "summary.json").unlink()
    assert differences(run(root, out, *options), whole) == []


def samples(out: Path) -> Images:
    return Store(out / "samples", Images).read()


def pixels(out: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)).astype(int) for p in sorted((out / "png").glob("*.png"))])


@pytest.fixture(scope="module")
def by_ones_and_by_all(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One run an image at a time, the other with all at once."""
    out = tmp_path_factory.mktemp("runs")
    return run(root, out / "by-1", "--batch-size", 1), run(root, out / "by-64", "--batch-size", 64)


class TestImageKDependsOnSeedKOnly:
    def test_not_on_the_batch_size(self, by_ones_and_by_all: tuple[Path, Path]):
        one, all_at_once = (samples(out) for out in by_ones_and_by_all)
        assert one.keys == all_at_once.keys
        torch.testing.assert_close(one.values, all_at_once.values, rtol=0, atol=1e-4)

    def test_nor_do_its_pixels(self, by_ones_and_by_all: tuple[Path, Path]):
        one, all_at_once = (pixels(out) for out in by_ones_and_by_all)
        assert np.abs(one - all_at_once).max() <= 1
        assert (one != all_at_once).mean() < 1e-3

    def test_nor_do_its_measures(self, by_ones_and_by_all: tuple[Path, Path]):
        first, second = (numbers(summary(out)) for out in by_ones_and_by_all)
        assert first == pytest.approx(second, rel=1e-3, abs=1e-4)

    def test_not_on_how_many_there_are(self, root: Path, tmp_path: Path, by_ones_and_by_all: tuple[Path, Path]):
        few = samples(run(root, tmp_path / "few", "--batch-size", 64, "-n", 4, "--no-control"))
        many = samples(by_ones_and_by_all[1])
        assert few.keys == many.keys[:4]
        torch.testing.assert_close(few.values, many.values[:4], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("sigma", ["5", "auto"])
    def test_not_on_the_first_seed(self, sigma: str, root: Path, tmp_path: Path):
        """With all images as examples, so that there is no choice of them that the first seed makes."""
        same = ("--examples", 26, "--sigma", sigma, "--batch-size", 64, "--no-control")
        from_0 = run(root, tmp_path / "from-0", *same, "--seed", 0, "-n", 4)
        from_2 = run(root, tmp_path / "from-2", *same, "--seed", 2, "-n", 2)
        assert summary(from_0)["sigma_search"] == summary(from_2)["sigma_search"]
        assert samples(from_2).keys == ("000002", "000003") == samples(from_0).keys[2:]
        torch.testing.assert_close(samples(from_2).values, samples(from_0).values[2:], rtol=0, atol=1e-5)

    def test_another_seed_is_another_image(self, unbroken: tuple[Path, int]):
        values = samples(unbroken[0]).values.flatten(1)
        assert torch.pdist(values).min() > 0.1
