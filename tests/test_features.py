"""`farfield describe`: features on disk equal those in memory, are continued, and are tied to images and descriptor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import farfield

from farfield.audit.descriptor import describe
from farfield.audit.named import open_descriptor
from farfield.command.describe import Describe, DescribeResult
from farfield.core.artifact import Features, load
from farfield.core.error import FarfieldError
from farfield.data.samples import open_samples
from farfield.study.bench import features


def described(source: object, out: Path, descriptor: str = "copy", **options: object) -> DescribeResult:
    settings = Describe.of(source=str(source), descriptor=descriptor, device="cpu", **options)
    return features.describe(settings, out, quiet=True)


@pytest.fixture
def source(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=values)
    return tmp_path / "images.npz"


def test_features_are_those_of_the_images(source, tmp_path):
    summary = described(source, tmp_path / "run", batch_size=2)
    found = load(tmp_path / "run" / "features", Features)
    expected = describe(open_descriptor("copy"), open_samples(str(source)))
    assert found.keys == expected.keys and found.descriptor == expected.descriptor == summary.descriptor
    assert torch.allclose(found.values, expected.values, atol=1e-5)
    assert summary.n == 20 and summary.length == 128


def test_a_lost_shard_is_made_again(source, tmp_path):
    described(source, tmp_path / "run", batch_size=1)
    shards = sorted((tmp_path / "run" / "features").iterdir())
    assert len(shards) == 3
    before = [shard.read_bytes() for shard in shards]
    shards[1].unlink()
    described(source, tmp_path / "run", batch_size=1)
    assert [shard.read_bytes() for shard in shards] == before


def test_other_images_are_refused(source, tmp_path):
    described(source, tmp_path / "run")
    np.savez(source, images=np.zeros((20, 16, 16, 3), np.uint8))
    with pytest.raises(FarfieldError, match="images_digest"):
        described(source, tmp_path / "run")


def test_pixels_are_whitened_on_what_is_given(source, tmp_path):
    whole = described(source, tmp_path / "a", "pixels")
    other = tmp_path / "other.npz"
    np.savez(other, images=np.random.default_rng(1).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8))
    given = described(source, tmp_path / "b", "pixels", references=str(other))
    assert whole.descriptor != given.descriptor
    with pytest.raises(FarfieldError, match="expected a denoiser"):
        described(source, tmp_path / "c", "model")


def test_commands(source, tmp_path):
    done = farfield("describe", source, "-o", tmp_path / "run", "--device", "cpu", "-q")
    assert done.code == 0 and done.out.strip() == str(tmp_path / "run")
    made = ("train-descriptor", source, "--images", 32, "--batch-size", 16, "--width", 4, "--features", 8)
    done = farfield(*made, "-o", tmp_path / "descriptor", "--device", "cpu", "-q")
    assert done.code == 0, done.err
    spec = f"copy:{tmp_path / 'descriptor' / 'model'}"
    done = farfield("describe", source, "--descriptor", spec, "-o", tmp_path / "own", "-q", "--json")
    assert done.code == 0 and '"length": 8' in done.out
    assert "expected sscd" in farfield("fetch", "squeezenet").err
