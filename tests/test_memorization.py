"""Copies and duplicates: exact ones are all found, new images of the same law at the stated rate."""

import pytest
import torch

from farfield.audit.memorization import copy_threshold, duplicates, novelty
from farfield.audit.search import nearest
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError


def features(n, seed, d=6, descriptor="test", prefix="k"):
    g = torch.Generator().manual_seed(seed)
    return Features(tuple(f"{prefix}{i:05d}" for i in range(n)), torch.randn(n, d, generator=g), descriptor)


def test_nearest_is_exact_search():
    sklearn = pytest.importorskip("sklearn.neighbors")
    x, y = features(50, 0).values.double() + 100, features(70, 1).values.double() + 100
    distances, indices = nearest(x, y, k=4)
    truth, where = sklearn.NearestNeighbors(n_neighbors=4, algorithm="brute").fit(y.numpy()).kneighbors(x.numpy())
    assert torch.allclose(distances, torch.from_numpy(truth), rtol=1e-9)
    assert torch.equal(indices, torch.from_numpy(where))


def test_nearest_tells_neighbours_apart_beyond_float32():
    y = torch.ones(41, 2, dtype=torch.float64)
    y[:, 1] += 2**-30 * torch.arange(41)
    y[40] = 1e4  # beside this one float32 sees forty equal points
    distances, indices = nearest(y[:40], y, k=2)
    assert indices[:, 0].tolist() == list(range(40)) and (distances[:, 0] == 0).all()
    assert torch.allclose(distances[:, 1], torch.full((40,), 2**-30, dtype=torch.float64))
    assert nearest(y, y, exclude_same=True)[1][:3, 0].tolist() == [1, 0, 1]


def test_nearest_without_itself_and_with_ties():
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    distances, indices = nearest(x, x, exclude_same=True)
    assert indices[:, 0].tolist() == [1, 0, 3, 0]
    assert distances[:, 0].tolist() == pytest.approx([0, 0, 18**0.5, 1])
    assert nearest(x[:1], x, k=4)[1].tolist() == [[0, 1, 3, 2]]
    with pytest.raises(FarfieldError, match="1 to 3 neighbours"):
        nearest(x, x, k=4, exclude_same=True)
    with pytest.raises(FarfieldError, match="one set"):
        nearest(x[:2], x, exclude_same=True)


def test_exact_copies_are_all_copies():
    examples = features(80, 0)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(3))[:30]
    samples = Features(tuple(f"s{i}" for i in range(30)), examples.values[order], "test")
    found = novelty(samples=samples, examples=examples)
    assert found.copies.value == 1 and found.is_copy.all() and found.floor is None
    assert (found.distance == 0).all()
    assert found.nearest_keys == tuple(examples.keys[i] for i in order.tolist())
    assert found.keys == samples.keys


@pytest.mark.parametrize("quantile", [0.05, 0.2])
def test_new_images_of_the_law_are_copies_at_the_stated_rate(quantile):
    found = novelty(
        samples=features(4000, 1), examples=features(1500, 0), references=features(3000, 2), quantile=quantile
    )
    assert found.copies.value == pytest.approx(quantile, abs=0.02 + quantile / 10)
    assert found.floor is not None and found.floor.value == pytest.approx(quantile, abs=0.02 + quantile / 10)
    assert found.copies.n == 4000 and found.floor.n == 3000


def test_the_floor_is_the_references():
    examples, references = features(200, 0), features(100, 2)
    near = Features(references.keys, examples.values[:100] + 1e-3, "test")
    found = novelty(samples=references, examples=examples, references=near)
    assert found.floor.value == 1 > found.copies.value


def test_threshold_is_the_quantile_of_nearest_other():
    x = torch.tensor([[0.0], [1.0], [3.0], [6.0], [10.0]])  # nearest others: 1, 1, 2, 3, 4
    assert copy_threshold(x, 0.5) == 2
    assert copy_threshold(x, 1.0) == 4
    assert copy_threshold(x[[0, 0, 1, 1]], 0.05) == 0
    with pytest.raises(FarfieldError, match="quantile 5"):
        copy_threshold(x, 5)
    with pytest.raises(FarfieldError, match="at least 3"):
        copy_threshold(x[:2])


def test_duplicates_beside_the_references():
    real, samples = features(500, 0), features(200, 1)
    values = samples.values.clone()
    values[:40] = values[40:80] + 1e-4
    threshold = copy_threshold(features(200, 5), 0.05)
    found = duplicates(Features(samples.keys, values, "test"), threshold, references=real)
    assert 0.4 <= found.share.value <= 0.5
    assert found.floor is not None and found.floor.n == found.share.n == 200
    assert found.floor.low <= 0.05 <= found.floor.high + 0.05
    assert duplicates(real, 0.0).share.value == 0
    assert duplicates(real, threshold, references=samples).share.n == 200
    again = duplicates(real, threshold, references=samples)
    assert again == duplicates(real, threshold, references=samples)


def test_features_of_different_descriptors_are_not_compared():
    with pytest.raises(FarfieldError, match="one descriptor"):
        novelty(samples=features(5, 0), examples=features(5, 1, descriptor="other"))
    with pytest.raises(FarfieldError, match="one descriptor"):
        duplicates(features(5, 0), 1.0, features(5, 1, descriptor="other"))
