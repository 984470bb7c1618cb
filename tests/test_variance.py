"""Noise whose variance is known pixel by pixel: it is told apart into background and photons, and drawn for new sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import farfield, make_images, make_model, summary
from torch import Tensor

from farfield.core.artifact import Images, load
from farfield.core.runtime import generator
from farfield.data.noise import estimate_noise
from farfield.data.science import Fields
from farfield.data.signal import signal_of
from farfield.data.stretch import fit_stretch
from farfield.data.variance import above, known_noise
from farfield.study.bench.domain import Physical
from farfield.study.bench.grain import Grain

GAIN, SIDE = 0.04, 24
FIELDS = ("--hdu", "image", "--stretch", "auto")


def survey(n: int = 60, seed: int = 0, gain: float = GAIN) -> tuple[Fields, Tensor]:
    """Sources on a sky that is twice as noisy in its right half, with photon noise, and the true deviations."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    place = torch.rand(n, 2, 1, 1, generator=g) * 12 + 6
    bright = 20 + 40 * torch.rand(n, 1, 1, generator=g)
    source = bright * (-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / 8).exp()
    sky = torch.where(x < SIDE // 2, 0.3, 0.6).expand(n, -1, -1)
    deviation = (sky.square() + gain * source).sqrt().double()
    noisy = source + deviation * torch.randn(n, SIDE, SIDE, generator=g)
    return Fields(tuple(f"{i:02d}" for i in range(n)), noisy[:, None].double()), deviation[:, None]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_photons_share_is_the_true_one(seed: int) -> None:
    law = known_noise(*survey(seed=seed))
    assert law.photons is not None and float(law.photons) == pytest.approx(GAIN, rel=0.06)
    assert float(law.background[..., : SIDE // 2].median()) == pytest.approx(0.3, rel=0.05)
    assert float(law.background[..., SIDE // 2 :].median()) == pytest.approx(0.6, rel=0.05)


def test_a_map_of_the_background_alone_has_no_photons() -> None:
    fields, deviation = survey(gain=0.0)
    law = known_noise(fields, deviation)
    assert law.photons is not None and float(law.photons) < 1e-3
    assert torch.allclose(law.background, deviation, rtol=0.15)


def test_a_map_that_is_the_same_everywhere_is_the_law_of_flat_parts() -> None:
    g = torch.Generator().manual_seed(3)
    fields = Fields(tuple("abcdefgh"), 0.5 * torch.randn(8, 1, SIDE, SIDE, generator=g).double())
    told, known = estimate_noise(fields), known_noise(fields, torch.full((8, 1, SIDE, SIDE), 0.5))
    assert not isinstance(told, str)
    assert torch.allclose(told.power, known.power, rtol=1e-6) and torch.allclose(
        known.sigmas, torch.tensor(0.5).double()
    )
    same = torch.full_like(told.sigmas, 0.5)
    assert torch.allclose(
        signal_of(fields, known), signal_of(fields, type(told)(same, told.told, told.power, told.flat))
    )


def test_new_sources_have_photon_noise_of_their_own() -> None:
    fields, deviation = survey()
    physical = Physical(fit_stretch("linear", fields.values), {"examples": fields})
    grain = Grain(physical, known_noise(fields, deviation))
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    source = 50 * (-((y - 5) ** 2 + (x - 5) ** 2) / 8).exp()
    n = 600
    clean = Fields(tuple(f"{i:06d}" for i in range(n)), source.double().expand(n, 1, SIDE, SIDE))
    made = physical.to_fields(grain(physical.to_model(clean, 1))).values - clean.values
    variance = made.var(0)[0]
    assert float(variance[5, 5]) == pytest.approx(0.09 + GAIN * 50, rel=0.25)
    assert float(variance[15:, :8].mean()) == pytest.approx(0.09, rel=0.1)
    assert float(variance[:, 16:].mean()) == pytest.approx(0.36, rel=0.1)


def test_noise_of_seed_k_is_that_of_seed_k() -> None:
    fields, deviation = survey(12)
    grain = Grain(Physical(fit_stretch("linear", fields.values), {"examples": fields}), known_noise(fields, deviation))
    images = Images(("000003", "000007"), torch.randn(2, 1, SIDE, SIDE, generator=generator(0, "test")))
    both = grain(images).values
    alone = grain(images.select(("000007",))).values
    assert torch.equal(both[1:], alone)


def test_above_is_of_the_fields_own_middle() -> None:
    values = torch.tensor([[[[1.0, 2.0, 3.0]]]]) + 10
    assert above(values).flatten().tolist() == [0.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("variance")
    make_model(root / "model", (1, 16, 16))
    g = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for folder, side in (("survey", 16), ("large", 32)):
        (root / folder).mkdir()
        for i in range(20):
            down, across = g.uniform(3, 13, 2)
            source = np.kron(20 * np.exp(-((y - down) ** 2 + (x - across) ** 2) / 4), np.ones((side // 16,) * 2))
            variance = 0.04 + 0.01 * source
            field = source + np.sqrt(variance) * g.standard_normal((side, side))
            ivar = 1 / variance
            ivar[0, 0] = 0
            np.savez(root / folder / f"{i:02d}.npz", image=field, IVAR=ivar, EMPTY=0 * ivar)
    make_images(root / "pictures", 20, 16, 16)
    return root


def expand(root: Path, source: str, *options: object) -> object:
    quick = ("--steps", 2, "--sigma", 1, "--no-calibrate", "--descriptor", "pixels", "--examples", 12, "-n", 4, "-q")
    return farfield("expand", root / "model", root / source, *quick, "--no-control", *options)


def test_the_command_takes_the_inverse_variance_beside_the_data(root: Path) -> None:
    done = expand(root, "survey", *FIELDS, "--ivar", "IVAR", "-o", root / "run")
    assert done.code == 0, done.err
    noise = summary(root / "run")["physical"]["noise"]
    assert noise["photons"][0] == pytest.approx(0.01, rel=0.25) and noise["sigma"][0] == pytest.approx(0.2, rel=0.1)
    assert any("inverse variance" in line for line in summary(root / "run")["reading"])
    assert load(root / "run" / "samples", Images).values.isfinite().all()


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("survey", "EMPTY", "expected positive inverse variances"),
        ("survey", "NOTHING", "NOTHING"),
        ("large", "IVAR", "--patch 16"),
        ("pictures", "IVAR", "expected files of physical fields"),
    ],
)
def test_what_is_no_map_of_the_fields_is_refused(root: Path, source: str, name: str, said: str) -> None:
    hdu = () if source == "pictures" else FIELDS
    refused = expand(root, source, *hdu, "--ivar", name, "-o", root / f"no-{source}-{name}")
    assert refused.code != 0 and said in refused.err and refused.err.count("\n") <= 2, refused.err


def test_without_fresh_noise_it_is_no_option(root: Path) -> None:
    refused = expand(root, "survey", *FIELDS, "--ivar", "IVAR", "--no-fresh-noise")
    assert refused.code != 0 and "leave one of the two out" in refused.err
