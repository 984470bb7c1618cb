"""AuthPct and C_T: what a perfect generator and a copying one score, and the law of C_T when nothing is copied."""

import math

import pytest
import torch

from farfield.audit.authenticity import authenticity, data_copying, partition
from farfield.audit.search import Neighbours, neighbours
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError


def features(n, seed, d, prefix="k"):
    values = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return Features(tuple(f"{prefix}{i:05d}" for i in range(n)), values, "test")


def found(distances, index=None, references=1):
    """Neighbours at these distances."""
    n = len(distances)
    index = torch.zeros(n, dtype=torch.long) if index is None else index
    return Neighbours(tuple(map(str, range(n))), tuple(str(int(i)) for i in index), index, distances, references)


@pytest.mark.parametrize(("d", "truth"), [(1, 0.33), (2, 0.38), (5, 0.50), (20, 0.73), (100, 0.85)])
def test_authenticity_of_a_perfect_generator_is_not_1(d, truth):
    """Fresh samples of the training images' own Gaussian, N = 2000; exactly 1/3 in one dimension."""
    training = features(2000, 0, d)
    samples, held_out = (authenticity(neighbours(features(2000, s, d), training), training) for s in (1, 2))
    assert (samples.value + held_out.value) / 2 == pytest.approx(truth, abs=0.04)
    assert abs(samples.value - held_out.value) < 3 * math.sqrt(2 * truth * (1 - truth) / 2000)


def test_authenticity_by_the_definition():
    samples, training = features(150, 0, 3), features(100, 1, 3)
    x, y = samples.values.double(), training.values.double()
    near = torch.cdist(x, y).min(1)
    among = torch.cdist(y, y).fill_diagonal_(torch.inf).min(1).values
    truth = float((near.values >= among[near.indices]).double().mean())
    assert authenticity(neighbours(samples, training), training).value == pytest.approx(truth)


def test_copies_are_not_authentic():
    training = features(200, 0, 8)
    assert authenticity(neighbours(training, training), training).value == 0
    nearly = Features(training.keys, training.values + 1e-4, "test")
    assert authenticity(neighbours(nearly, training), training).value == 0
    with pytest.raises(FarfieldError, match="200 training images that were searched, found 5"):
        authenticity(neighbours(training, training), features(5, 0, 8))
    one = features(1, 0, 8)
    with pytest.raises(FarfieldError, match="neighbours among 1"):
        authenticity(neighbours(one, one), one)


def test_one_cell_is_mann_and_whitneys_test():
    from scipy.stats import mannwhitneyu

    g = torch.Generator().manual_seed(0)
    ours, theirs = torch.rand(80, generator=g).double() * 0.8, torch.rand(120, generator=g).double()
    for a, b in ((ours, theirs), ((ours * 10).round(), (theirs * 10).round())):  # without and with ties
        test = data_copying(samples=found(a), held_out=found(b))
        truth = mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False)
        assert test.p == pytest.approx(truth.pvalue) and test.null_sd == 1 and test.cells == 1 and test.left_out == 0
        assert test.statistic.value < 0 and test.statistic.low < test.statistic.value < test.statistic.high


@pytest.mark.parametrize("cells", [1, 4])
def test_equal_laws_give_a_normal_law_about_0(cells):
    g = torch.Generator().manual_seed(0)
    of = torch.arange(40) % cells
    z, p = [], []
    for _ in range(60):
        sets = [
            found(torch.rand(n, generator=g).double(), torch.randint(40, (n,), generator=g), 40) for n in (200, 260)
        ]
        test = data_copying(samples=sets[0], held_out=sets[1], cells=of, resamples=40)
        assert test.cells == cells
        z.append(test.statistic.value / test.null_sd)
        p.append(test.p)
    z = torch.tensor(z)
    assert abs(float(z.mean())) < 4 / math.sqrt(60) and float(z.std()) == pytest.approx(1, abs=0.25)
    assert sum(v < 0.05 for v in p) / 60 < 0.15


def test_copying_is_low_and_underfitting_high():
    training, held_out = features(500, 0, 6), features(300, 1, 6)
    theirs = neighbours(held_out, training)
    cells = partition(training, 5)

    def score(values):
        ours = neighbours(Features(held_out.keys, values, "test"), training)
        return data_copying(samples=ours, held_out=theirs, cells=cells)

    near = score(training.values[:300] + 0.05)
    assert near.statistic.high < -5 and near.p < 1e-6 and near.left_out < 1
    assert score(held_out.values * 3).statistic.low > 3
    same = score(features(300, 2, 6).values)
    assert abs(same.statistic.value) < 4 * same.null_sd and 0.001 < same.p < 0.999
    assert data_copying(samples=theirs, held_out=theirs).statistic.value == 0
    tied = found(torch.zeros(50).double())
    assert data_copying(samples=tied, held_out=tied).statistic.value == 0


def test_a_cell_where_copies_hide_is_seen():
    """In one cell of two samples are copies, in the other they are farther than held-out images: globally even."""
    g = torch.Generator().manual_seed(0)
    where = torch.arange(400) % 2
    theirs = found(torch.rand(400, generator=g).double(), where, 2)
    ours = found(torch.rand(400, generator=g).double() * 0.1 + where * 0.9, where, 2)
    whole = data_copying(samples=ours, held_out=theirs).statistic.value
    first = data_copying(samples=ours, held_out=theirs, cells=torch.tensor([0, 1]), least=150)
    assert abs(whole) < 3 and first.cells == 2
    copied = found(ours.distance[where == 0], where[where == 0], 2)
    alone = data_copying(samples=copied, held_out=theirs, cells=torch.tensor([0, 1]))
    assert alone.cells == 1 and alone.left_out == 0.5 and alone.statistic.value < -10


def test_cells_do_not_depend_on_the_order_of_files():
    training = features(300, 0, 4)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1)).tolist()
    cells = partition(training, 6)
    assert torch.equal(partition(training.select([training.keys[i] for i in order]), 6), cells[order])
    assert len(cells.unique()) == 6 and len(partition(training, 1).unique()) == 1
    for bad in (0, 301):
        with pytest.raises(FarfieldError, match="1 to 300"):
            partition(training, bad)


def test_cells_are_as_tight_as_those_of_another_k_means():
    from sklearn.cluster import KMeans

    training = features(600, 3, 5)
    cells = partition(training, 8)
    within = sum(
        float((part - part.mean(0)).square().sum()) for c in range(8) if len(part := training.values[cells == c])
    )
    assert within < 1.05 * KMeans(8, n_init=10, random_state=0).fit(training.values.numpy()).inertia_


def test_more_cells_than_distinct_images_are_no_trouble():
    twice = Features(("a", "b", "c", "d"), torch.tensor([[0.0], [0.0], [1.0], [1.0]]), "test")
    cells = partition(twice, 3).tolist()
    assert cells[0] == cells[1] != cells[2] == cells[3]


def test_data_copying_needs_one_training_set_and_enough_images():
    few = found(torch.rand(10).double())
    with pytest.raises(FarfieldError, match=r"at least 20 .* \(10 and 10 in all\)"):
        data_copying(samples=few, held_out=few)
    with pytest.raises(FarfieldError, match=r"sets of \[1, 2\]"):
        data_copying(samples=few, held_out=found(torch.rand(10).double(), references=2))
    with pytest.raises(FarfieldError, match=r"sets of \[1, 3\]"):
        data_copying(samples=few, held_out=few, cells=torch.zeros(3, dtype=torch.long))
