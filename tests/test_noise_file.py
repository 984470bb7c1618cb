"""Noise from a file: a model begins where another code's began, and sets of samples are paired, by name or by order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import farfield, make_model, summary

from farfield.core.error import FarfieldError, FarfieldNote
from farfield.core.runtime import seeded_noise
from farfield.data.noise_file import read_noise
from farfield.data.samples import open_samples

pytestmark = pytest.mark.usefixtures("without_the_page", "few_views")

SHAPE = (3, 16, 16)
SEEDS = (4, 9, 2)
DRAWN = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Trained at 20 levels, all of which a solver can visit."""
    folder = make_model(tmp_path_factory.mktemp("noise") / "m")
    path = folder / "scheduler" / "scheduler_config.json"
    told = {"num_train_timesteps": 20, "beta_end": 0.5, "clip_sample": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    return folder


def save(path: Path, values: np.ndarray | torch.Tensor, **beside: object) -> Path:
    np.savez(path, noise=np.asarray(values), **{name: np.asarray(value) for name, value in beside.items()})
    return path


def made(model: Path, out: Path, *options: object) -> torch.Tensor:
    done = farfield("generate", model, "--steps", 4, "--format", "shards", "-q", *options, "-o", out)
    assert done.code == 0, done.err
    return open_samples(out).values


def test_the_noise_of_seeds_in_a_file_makes_the_images_of_these_seeds(model, tmp_path):
    noise = seeded_noise(SEEDS, SHAPE)
    expected = made(model, tmp_path / "a", "--seeds", "2,4,9")
    file = save(tmp_path / "n.npz", noise, keys=SEEDS)
    assert torch.equal(made(model, tmp_path / "b", "--noise", file, "--seeds", "2,4,9"), expected)
    told = summary(tmp_path / "b")
    assert told["noise"] == str(file) and told["seeds"] == "2,4,9"
    last = save(tmp_path / "last.npz", noise.permute(0, 2, 3, 1), seeds=SEEDS)
    found = farfield("generate", model, "--steps", 4, "--format", "npz", "--noise", last, "-o", tmp_path / "c")
    assert found.code == 0, found.err
    told = summary(tmp_path / "c")
    assert told["n"] == 3 and any("channels come last" in line for line in told["reading"])
    np.testing.assert_array_equal(np.load(tmp_path / "c" / "images.npz")["keys"], [f"{s:06d}" for s in SEEDS])
    eight = open_samples(tmp_path / "c" / "images.npz")
    places = [eight.keys.index(str(seed)) for seed in (2, 4, 9)]
    assert (eight.values[places] - expected.clamp(-1, 1)).abs().max() <= 1.01 / 255


def by_diffusers(model: Path, noise: torch.Tensor) -> torch.Tensor:
    """DDIM in another code, down every level that there is."""
    from diffusers import DDIMScheduler, UNet2DModel

    network, scheduler = UNet2DModel.from_pretrained(model / "unet"), DDIMScheduler.from_pretrained(model / "scheduler")
    scheduler.set_timesteps(20)
    x = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
    return x.clamp(-1, 1)


@pytest.mark.filterwarnings("ignore::farfield.core.error.FarfieldWarning")
def test_samples_of_another_code_are_paired_by_the_same_noise(model, tmp_path):
    """From the same noise another code's DDIM makes the same images: by name from an npz, by order from a folder of any names."""
    noise = seeded_noise(range(12), SHAPE)
    file, theirs = save(tmp_path / "n.npz", noise), by_diffusers(model, noise)
    done = farfield(
        "generate", model, "--steps", 19, "--solver", "ddim", "--noise", file, "-q", "-o", tmp_path / "ours"
    )
    assert done.code == 0, done.err
    eight = ((theirs + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "theirs.npz", eight)
    (tmp_path / "folder").mkdir()
    for i, picture in enumerate(eight):
        Image.fromarray(picture).save(tmp_path / "folder" / f"sample-{i}.png")  # sample-10 before sample-2
    pixels = ("--descriptor", "pixels", "--rate", 0.1, "-q")
    cases = (("theirs.npz", "name"), ("folder", "order"), ("theirs.npz", "order"))
    for k, (name, pair) in enumerate(cases):
        out = tmp_path / f"rp-{k}"
        found = farfield("score", "rp", tmp_path / "ours", tmp_path / name, "--pair", pair, *pixels, "-o", out)
        assert found.code == 0, found.err
        told = summary(out)
        assert told["pairs"] == 12 and told["mae"]["score"]["value"] == 1 > told["mae"]["chance"]["value"]
        assert max(p["mae"] for p in json.loads((out / "pairs.json").read_text()).values()) < 2 / 255
    refused = farfield("score", "rp", tmp_path / "ours", tmp_path / "folder", *pixels, "-o", tmp_path / "no")
    assert refused.code == 2 and "expected the same seeds in both" in refused.err
    sets = (tmp_path / "ours", tmp_path / "theirs.npz", tmp_path / "folder")
    found = farfield("score", "matrix", *sets, "--pair", "order", *pixels, "-o", tmp_path / "matrix")
    assert found.code == 0, found.err
    assert [[c["value"] for c in row] for row in summary(tmp_path / "matrix")["mae"]["score"]] == [[1.0] * 3] * 3


@pytest.mark.parametrize(
    ("values", "beside", "said"),
    [
        (80 * DRAWN, {}, r"variance 6\d{3}.*EDM's sigma_max"),
        (DRAWN + 1, {}, "of mean (1|0.9)"),
        ((DRAWN / 2**0.5).erf(), {}, "variance 0.33"),
        (torch.full((4, *SHAPE), torch.nan), {}, "NaN"),
        (DRAWN[..., ::2, ::2], {}, "4×3×8×8; expected n×3×16×16 or n×16×16×3"),
        (DRAWN.to(torch.uint8), {}, "numbers of uint8; expected floats"),
        (DRAWN, {"keys": [1, 2, 3]}, "3 keys, of which 3 are different whole numbers"),
        (DRAWN[:2], {"keys": [1, 1]}, "2 keys, of which 1"),
        (DRAWN[:2], {"keys": ["a", "b"]}, "of which 0"),
        (torch.zeros(0, *SHAPE), {}, "0×3×16×16"),
    ],
)
def test_what_is_no_noise_of_this_model_is_refused(values, beside, said, tmp_path):
    file = save(tmp_path / "n.npz", values, **beside)
    with pytest.raises(FarfieldError, match=said) as refused:
        read_noise(file, SHAPE)
    assert "\n" not in str(refused.value)


def test_what_is_read_is_said(tmp_path):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(256, 1, 8, 8, generator=generator)
    np.save(tmp_path / "n.npy", noise[:, 0].numpy())
    with pytest.warns(FarfieldNote, match="has no keys; its rows are the seeds 0 to 255"):
        found = read_noise(tmp_path / "n.npy", (1, 8, 8))
    assert torch.equal(found.of([63, 0]), noise[[63, 0]])
    with pytest.warns(FarfieldNote, match="variance 1.0.*, not quite standard normal"):
        read_noise(save(tmp_path / "m.npz", 1.03 * noise, keys=range(256)), (1, 8, 8))
    (tmp_path / "n.npz").write_bytes(b"PK no archive")
    for path, said in ((tmp_path / "n.npz", "damaged"), (tmp_path / "x.npz", "nothing there"), (tmp_path, "a folder")):
        with pytest.raises(FarfieldError, match=said):
            read_noise(path, (1, 8, 8))
    np.savez(tmp_path / "o.npz", noise=np.array([{}, {}], dtype=object))
    with pytest.raises(FarfieldError, match="expected"):
        read_noise(tmp_path / "o.npz", (1, 8, 8))


def test_a_seed_without_noise_is_named(model, tmp_path):
    file = save(tmp_path / "n.npz", seeded_noise(SEEDS, SHAPE), keys=SEEDS)
    refused = farfield("generate", model, "--noise", file, "--seeds", "4,5,6", "-o", tmp_path / "run")
    assert refused.code == 2 and "no noise of seed 5 and 1 more; it has 4,9,2" in refused.err
    assert not (tmp_path / "run").exists()
