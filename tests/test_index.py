"""Searches: exact ones equal the full matrix of distances however they are cut; approximate ones say what they miss."""

import sys
from itertools import pairwise

import pytest
import torch

from farfield.audit import index
from farfield.audit.blocks import nearest_in_blocks
from farfield.audit.index import Approximate, neighbours_among, neighbours_in_shards, regrouped, search_of
from farfield.audit.search import nearest, neighbours
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.note import kept


def named(values, prefix="k", descriptor="test"):
    return Features(tuple(f"{prefix}{i:05d}" for i in range(len(values))), values, descriptor)


def features(n, seed, d=8, prefix="k"):
    return named(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), prefix)


def clustered(n, seed, prefix="k"):
    """Points about 30 centres that are the same for every seed."""
    centres = torch.randn(30, 16, generator=torch.Generator().manual_seed(99)) * 3
    g = torch.Generator().manual_seed(seed)
    return named(centres[torch.randint(30, (n,), generator=g)] + torch.randn(n, 16, generator=g), prefix)


def shards(whole, *sizes):
    cuts = [0, *torch.tensor(sizes).cumsum(0).tolist(), len(whole)]
    return [whole.select(whole.keys[a:b]) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_nearest_equals_the_full_matrix(dtype):
    x, y = (torch.randn(n, 5, generator=torch.Generator().manual_seed(n)).to(dtype) for n in (300, 400))
    squares = (x.double()[:, None] - y.double()).square().sum(2)
    for k in (1, 3, 400):
        distances, indices = nearest(x, y, k)
        order = squares.argsort(dim=1, stable=True)[:, :k]
        assert torch.equal(indices, order) and torch.equal(distances, squares.gather(1, order).sqrt())
    without = squares.clone()
    own = torch.arange(300) + 17
    without[torch.arange(300), own] = torch.inf
    assert torch.equal(nearest(x, y, exclude=own)[1][:, 0], without.argmin(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e-10, 1.0, 1e10, 1e19, 1e29])
def test_the_size_of_vectors_changes_no_neighbour(size, dtype):
    """float32, in which candidates are searched, squares neither 1e-25 nor 1e25."""
    g = torch.Generator().manual_seed(2)
    x, y = (torch.randn(n, 4, generator=g, dtype=torch.float64) for n in (20, 90))
    x, y = ((v / v.abs().max() * size).to(dtype) for v in (x, y))
    full = (x.double()[:, None] / size - y.double()[None] / size).square().sum(2).sqrt()
    distances, indices = nearest(x, y, 2)
    assert torch.equal(indices, full.argsort(1)[:, :2])
    assert torch.allclose(distances / size, full.sort(1).values[:, :2], rtol=1e-9)


@pytest.mark.parametrize("far", [1e-29, 1e-6, 1e6, 1e21, 1e30])
def test_queries_far_out_find_what_the_full_matrix_finds(far):
    """Where the squares of a query overflow in float32, no proposal is sure."""
    g = torch.Generator().manual_seed(3)
    x, y = (torch.randn(n, 4, generator=g, dtype=torch.float64) for n in (20, 90))
    x, y = x.clamp(-1, 1) * far, y.clamp(-1, 1)
    full = (x[:, None] - y[None]).square().sum(2)
    assert torch.equal(nearest(x, y)[1][:, 0], full.argmin(1))
    assert torch.equal(nearest(y, x.repeat(5, 1))[1][:, 0] % 20, full.argmin(0))


def test_a_search_that_cannot_be_is_exact_or_refused_and_said(monkeypatch, tmp_path):
    assert search_of("exact", tmp_path) is None and search_of("ivf", tmp_path) == Approximate("ivf", tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(FarfieldError, match=r"--search hnsw needs the package faiss-cpu, .*: pip install faiss-cpu"):
        search_of("hnsw", tmp_path)
    monkeypatch.setattr("sys.platform", "darwin")
    with kept() as said:
        assert search_of("hnsw", tmp_path) is None
    assert said == ["--search hnsw: on macOS the OpenMP libraries of faiss and torch clash; searched exactly instead"]


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("size", [1e-28, 1e28])
def test_the_size_of_vectors_changes_no_approximate_search(kind, size, tmp_path):
    queries, whole = clustered(40, 1), clustered(600, 2)
    _, usual = neighbours_in_shards(queries, [whole], Approximate(kind, tmp_path / "usual"))
    queries, whole = (Features(f.keys, f.values / 16 * size, f.descriptor) for f in (queries, whole))
    found, recall = neighbours_in_shards(queries, [whole], Approximate(kind, tmp_path))
    assert recall.value >= usual.value - 0.1 > 0.7 and all(found.nearest_keys)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e31, 1e155, 1.7e308])
def test_features_that_cannot_be_computed_with_are_refused_by_key(value):
    """A flipped bit made such a number; the search among them never ended."""
    x, y = features(40, 0), features(200, 1)
    values = x.values.double()
    values[7, 3] = value
    for pair in ((named(values), y), (y, named(values))):
        with pytest.raises(FarfieldError, match="k00007"):
            nearest(*pair)
    with pytest.raises(FarfieldError, match="row 7"):
        nearest(values, y)


@pytest.mark.parametrize("value", [5e-324, 1e-170, 1e-40])
def test_vectors_whose_squares_vanish_are_refused(value):
    with pytest.raises(FarfieldError, match="ordinary size"):
        nearest(torch.full((3, 4), value, dtype=torch.float64), torch.randn(5, 4).double())
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)).double()
    rows[10:] *= value  # beside others they are as good as 0
    assert nearest(rows, rows)[0].tolist() == [[0.0]] * 60
    assert nearest(torch.zeros(3, 4), torch.zeros(50, 4))[1][:, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("same", [10, 80, 700])
def test_more_equals_than_candidates_come_in_order(same):
    """Among so many equal vectors any candidates look right: the first ones must be found all the same."""
    y = torch.randn(1500, 4, generator=torch.Generator().manual_seed(0))
    y[300 : 300 + same] = y[300]
    distances, indices = nearest(y[[299, 300, 305]], y, k=5)
    assert indices[1:].tolist() == [list(range(300, 305))] * 2 and (distances[1:] == 0).all()
    assert indices[0, 0] == 299 and nearest(y, y, exclude_same=True)[1][300:302, 0].tolist() == [301, 300]


@pytest.mark.parametrize("columns", [100, 700, 16384])
def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, columns):
    x, y = features(90, 0).values, features(3000, 1).values
    y[1000:1500] = y[0]
    whole = nearest(x, y, k=3)
    monkeypatch.setattr("farfield.audit.search.BLOCK", 50)
    monkeypatch.setattr("farfield.audit.search.QUERIES", 7)
    monkeypatch.setattr("farfield.audit.search.REFERENCES", columns)
    for a, b in zip(whole, nearest(x, y, k=3), strict=True):
        assert torch.equal(a, b)


def test_shards_give_the_neighbours_of_the_whole():
    queries, references = features(200, 0, prefix="q"), features(500, 1)
    whole = neighbours(queries, references)
    for sizes in ((), (100, 3, 250), (499,)):
        found, recall = neighbours_in_shards(queries, iter(shards(references, *sizes)))
        assert recall is None and found.references == 500 and found.keys == queries.keys
        assert found.nearest_keys == whole.nearest_keys
        assert torch.equal(found.distance, whole.distance) and torch.equal(found.index, whole.index)


def test_small_shards_are_searched_together():
    references = features(100, 1)
    groups = list(regrouped(iter(shards(references, 10, 20, 5, 40)), rows=30))
    assert [len(group) for group in groups] == [30, 45, 25]
    assert torch.equal(torch.cat([group.values for group in groups]), references.values)
    assert [key for group in groups for key in group.keys] == list(references.keys)
    with pytest.raises(FarfieldError, match="one descriptor"):
        list(regrouped([references, named(references.values, descriptor="other")], rows=1000))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_search_measures_its_recall(kind, tmp_path):
    queries, references = clustered(400, 0, "q"), clustered(3000, 1)
    whole = neighbours(queries, references)
    search = Approximate(kind, tmp_path)
    found, recall = neighbours_in_shards(queries, shards(references, 1600), search, checked=300)
    right = found.distance == whole.distance
    assert (found.distance >= whole.distance).all() and float(right.double().mean()) > 0.8
    assert recall.n == 300 and recall.low <= float(right.double().mean()) <= recall.high
    assert [a for a, r in zip(found.nearest_keys, right, strict=True) if r] == [
        a for a, r in zip(whole.nearest_keys, right, strict=True) if r
    ]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again, same = neighbours_in_shards(queries, shards(references, 1600), search, checked=300)
    assert len(written) == 2 and {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert torch.equal(again.distance, found.distance) and again.nearest_keys == found.nearest_keys and same == recall


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_set_is_searched_for_what_is_near_to_its_own(kind):
    whole = clustered(3000, 1)
    exact = nearest_in_blocks(whole, whole, 4, exclude=torch.arange(3000))
    distance, others, recall, truth = neighbours_among(whole, 4, kind, checked=3000)
    right = distance[:, 0] == exact[0][:, 0]
    assert recall.n == 3000 and recall.value == pytest.approx(float(right.double().mean())) and recall.value > 0.8
    assert torch.equal(truth.sort().values, exact[0][:, 0].sort().values)
    assert (distance >= exact[0]).all() and (others != torch.arange(3000)[:, None]).all()
    all_four = (distance == exact[0]).all(1)
    assert float(all_four.double().mean()) > 0.5 and torch.equal(others[all_four], exact[1][all_four])


def test_equals_and_too_few_candidates_are_no_neighbours_twice(monkeypatch: pytest.MonkeyPatch):
    twice = named(features(300, 0, 32).values.repeat(2, 1))
    distance, others, recall, truth = neighbours_among(twice, 1, "ivf")
    assert recall.value == 1 and (distance == 0).all() and (truth == 0).all()
    assert torch.equal(others[:, 0], torch.arange(600).roll(300))
    monkeypatch.setattr(index, "LISTS", 1)
    distance, others, *_ = neighbours_among(features(300, 0, 32), 200, "ivf")
    known = distance.isfinite()
    assert not known.all() and all(
        len(set(row[k].tolist())) == int(k.sum()) for row, k in zip(others, known, strict=True)
    )


def test_an_index_that_misses_says_so(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """One list in 200 of structureless vectors finds few of the nearest."""
    monkeypatch.setattr(index, "PROBED", 1e-9)
    queries, references = features(300, 0, 32, "q"), features(4000, 1, 32)
    found, recall = neighbours_in_shards(queries, [references], Approximate("ivf", tmp_path), checked=300)
    truth = float((found.distance == neighbours(queries, references).distance).double().mean())
    assert recall.value == pytest.approx(truth) and recall.value < 0.5


def test_an_index_is_read_only_for_what_it_was_made_of(tmp_path):
    search = Approximate("ivf", tmp_path)
    queries = features(50, 0, prefix="q")
    first, second = features(300, 1), features(300, 2)
    neighbours_in_shards(queries, [first], search)
    found, _ = neighbours_in_shards(queries, [second], search)
    assert len(list(tmp_path.iterdir())) == 2
    at = second.values[found.index].double()
    assert torch.allclose((at - queries.values.double()).norm(dim=1), found.distance)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FarfieldError, match="damaged one; delete it"):
        neighbours_in_shards(queries, [first], search)


def test_few_vectors_are_indexed_too(tmp_path):
    for kind in ("ivf", "hnsw"):
        found, recall = neighbours_in_shards(features(5, 0), [features(3, 1)], Approximate(kind, tmp_path))
        assert recall.value == 1 and torch.equal(found.distance, neighbours(features(5, 0), features(3, 1)).distance)


def test_errors(tmp_path):
    x = features(5, 0)
    with pytest.raises(FarfieldError, match="ivf or hnsw"):
        Approximate("flat", tmp_path)
    with pytest.raises(FarfieldError, match="at least one shard"):
        neighbours_in_shards(x, [])
    with pytest.raises(FarfieldError, match="one descriptor"):
        neighbours_in_shards(x, [named(x.values, descriptor="other")])
    with pytest.raises(FarfieldError, match="one length"):
        neighbours_in_shards(x, [features(5, 0, 9)])
    with pytest.raises(NonFiniteError):
        neighbours_in_shards(x, [named(x.values * torch.nan)])
    with pytest.raises(FarfieldError, match="1 to 5 neighbours"):
        nearest(x, x, k=6)
