"""The domains that ship with libraries, the one door for sources, and the choice of examples."""

import itertools
import socket

import numpy as np
import pytest
import torch
from PIL import Image

from farfield.core.error import FarfieldError
from farfield.core.note import kept
from farfield.data import bundled
from farfield.data.bundled import DOMAINS, is_domain, load_domain
from farfield.data.image import list_keys, load_images
from farfield.data.picture import to_uint8
from farfield.data.subset import choose

COUNTS = {
    "hubble": 450,
    "retina": 186,
    "ihc": 256,
    "brick": 256,
    "grass": 256,
    "gravel": 256,
    "faces": 100,
    "digits": 1797,
}


def test_every_domain_is_counted_here():
    assert set(COUNTS) == set(DOMAINS)


@pytest.mark.parametrize("name", DOMAINS)
def test_a_domain_needs_no_network_and_fits_the_model(name, monkeypatch):
    def refuse(*_):
        raise AssertionError("a bundled domain asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    bundled.domain_pictures.cache_clear()
    images = load_domain(name, (3, 16, 12))
    assert images.values.shape == (COUNTS[name], 3, 16, 12) and images.values.dtype == torch.float32
    assert images.keys[0] == f"{name}-0001" and list(images.keys) == sorted(images.keys) == list_keys(name)
    assert images.values.min() >= -1 and images.values.max() <= 1
    assert len(images.values.flatten(1).unique(dim=0)) == len(images)  # no image twice
    assert images.values.flatten(1).std(dim=1).min() > 0  # none is flat


@pytest.mark.parametrize("name", ["hubble", "digits"])
def test_a_domain_is_the_same_when_made_again(name):
    before = load_domain(name, (1, 8, 8)).digest()
    bundled.domain_pictures.cache_clear()
    assert load_domain(name, (1, 8, 8)).digest() == before


def test_native_pixels_are_the_library_s(tmp_path):
    from skimage import data
    from sklearn.datasets import load_digits

    digits = load_domain("digits", (1, 8, 8)).values[:, 0].numpy()
    assert np.array_equal((digits + 1) * 8, load_digits().images)
    patches = to_uint8(load_domain("ihc", (3, 32, 32)).values).permute(0, 2, 3, 1).numpy()
    rows = patches.reshape(16, 16, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(512, 512, 3)
    assert np.array_equal(rows, data.immunohistochemistry())
    faces = load_domain("faces", (1, 25, 25)).values[:, 0].numpy()
    assert np.allclose((faces + 1) / 2, data.lfw_subset()[:100], atol=1e-6)


def test_retina_has_no_black_border():
    assert load_domain("retina", (3, 83, 83)).values[:, 0].min() > -0.7


def test_galaxies_stand_in_the_middle_and_none_is_there_twice():
    from skimage import data

    boxes = bundled._galaxy_boxes(data.hubble_deep_field())
    height, width = data.hubble_deep_field().shape[:2]
    assert all(y >= 0 and x >= 0 and y + side <= height and x + side <= width for y, x, side in boxes)
    corner, end = np.array(boxes)[:, :2], np.array(boxes)[:, :2] + np.array(boxes)[:, 2:]
    for i, j in itertools.combinations(range(len(boxes)), 2):
        common = np.clip(np.minimum(end[i], end[j]) - np.maximum(corner[i], corner[j]), 0, None).prod()
        assert common <= 0.2 * (boxes[i][2] ** 2 + boxes[j][2] ** 2 - common)
    grey = load_domain("hubble", (1, 24, 24)).values[:, 0]
    middle, rim = grey[:, 8:16, 8:16].mean((1, 2)), torch.cat([grey[:, :3], grey[:, -3:]], 1).mean((1, 2))
    assert (middle > rim).float().mean() > 0.97


def test_a_synthetic_sky_gives_back_its_objects():
    y, x = np.mgrid[:120, :160]
    sky = np.zeros((120, 160))
    # the last stands on the border and cannot be centred
    for top, left, size, peak in [(60, 40, 4, 220), (30, 120, 2, 150), (90, 110, 2, 90), (2, 80, 2, 200)]:
        sky += peak * np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * size**2))
    boxes = bundled._galaxy_boxes(np.repeat(sky.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    centres = [(top + side / 2, left + side / 2) for top, left, side in boxes]
    assert np.abs(np.array(centres) - [(60, 40), (30, 120), (90, 110)]).max() <= 1


def test_keys_and_limit_of_a_domain():
    images = load_domain("hubble", (3, 8, 8))
    some = load_images("hubble", (3, 8, 8), keys=["hubble-0007", "hubble-0002"])
    assert some.keys == ("hubble-0007", "hubble-0002") and torch.equal(some.values, images.values[[6, 1]])
    assert load_images("hubble", (3, 8, 8), limit=3).keys == images.keys[:3]
    with pytest.raises(FarfieldError, match=r"hubble: expected images named hubble-9999, found none"):
        load_domain("hubble", (3, 8, 8), keys=["hubble-9999"])


def test_a_path_wins_over_a_domain_with_a_line_that_says_so(tmp_path, monkeypatch):
    (tmp_path / "hubble").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "hubble" / "mine.png")
    monkeypatch.chdir(tmp_path)
    with kept() as said:
        assert list_keys("hubble") == ["mine"]
    assert said == ["hubble: the folder here is read; the bundled domain is bundled:hubble"]
    assert list_keys("./hubble") == list_keys(tmp_path / "hubble") == ["mine"]
    assert len(list_keys("bundled:hubble")) == COUNTS["hubble"]
    with pytest.raises(FarfieldError, match="bundled:mars: expected one of the bundled domains hubble"):
        list_keys("bundled:mars")


def test_unknown_names_list_the_domains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = [lambda name: load_images(name, (3, 8, 8)), list_keys, lambda name: load_domain(name, (3, 8, 8))]
    for call in calls:
        with pytest.raises(FarfieldError, match=r"hubbel: expected .*hubble, retina.*digits"):
            call("hubbel")
    with pytest.raises(FarfieldError, match="found nothing there"):
        load_images("./hubbel", (3, 8, 8))
    assert is_domain("hubble") and not is_domain("./hubble") and not is_domain("hubbel")


def test_strict_reaches_the_files(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    assert list_keys(tmp_path) == ["a"]
    with pytest.raises(FarfieldError, match="1 of 1 unreadable"):
        list_keys(tmp_path, strict=True)


def test_choose_is_seeded_disjoint_and_complete():
    keys = [f"k{i:03d}" for i in range(200)]
    chosen, rest = choose(keys, 40, seed=5)
    assert len(chosen) == 40 and chosen == sorted(chosen) and rest == sorted(rest)
    assert not set(chosen) & set(rest) and set(chosen) | set(rest) == set(keys)
    assert (chosen, rest) == choose(keys[::-1], 40, seed=5)  # the order of the listing does not matter
    assert chosen != choose(keys, 40, seed=6)[0]
    assert choose(keys, 200, seed=0) == (keys, [])


def test_choose_is_uniform():
    hits = np.zeros(10)
    for seed in range(2000):
        for key in choose([str(i) for i in range(10)], 3, seed)[0]:
            hits[int(key)] += 1
    assert ((hits - 600) ** 2 / 600).sum() < 27.9  # chi² with 9 degrees of freedom: exceeded once in 1,000


def test_choose_keeps_its_draw_for_ever():
    assert choose(list("abcdefgh"), 3, seed=0)[0] == ["b", "c", "d"]


@pytest.mark.parametrize(("keys", "n", "seed"), [("ab", 3, 0), ("ab", 0, 0), ("aa", 1, 0), ("ab", 1, -1), ("", 1, 0)])
def test_choose_refuses(keys, n, seed):
    with pytest.raises(FarfieldError, match="choose: expected n from 1 to the number of keys"):
        choose(list(keys), n, seed)
