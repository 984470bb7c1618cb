"""Same-seed pairs: a set with itself, chance in closed form, two Gaussians' flows."""

import math

import pytest
import torch

from farfield.audit.reproducibility import mae_rp, mean_absolute_differences, pfd, rp
from farfield.audit.similarity import paired, repaired, similarity, unit
from farfield.core.artifact import Features, Images
from farfield.core.error import FarfieldError, NonFiniteError


def features(n, seed, d=6, descriptor="test", first=0):
    g = torch.Generator().manual_seed(seed)
    return Features(tuple(str(i) for i in range(first, first + n)), torch.randn(n, d, generator=g), descriptor)


def images(values, first=0):
    return Images(tuple(str(i) for i in range(first, first + len(values))), values)


def shuffled(artifact, seed=0):
    order = torch.randperm(len(artifact), generator=torch.Generator().manual_seed(seed)).tolist()
    return artifact.select([artifact.keys[i] for i in order])


def test_a_set_reproduces_itself_in_any_order():
    x = features(200, 0)
    assert (similarity(x, shuffled(x)) == 1).all()
    score = rp(x, shuffled(x), threshold=1 - 1e-12)
    assert score.value == 1 and score.n == 200 and score.high == 1 > score.low > 0.97
    assert rp(x, x, threshold=1).value == 0  # above, not at
    assert pfd(x, shuffled(x)).value == 0 == pfd(x, x).high
    pictures = images(torch.rand(20, 3, 4, 4) * 2 - 1)
    assert mae_rp(pictures, shuffled(pictures), limit=0).value == 1


def test_cosines_are_those_of_sklearn():
    cosine = pytest.importorskip("sklearn.metrics.pairwise").cosine_similarity
    x, y = features(100, 0), features(100, 1)
    keys = sorted(x.keys)
    truth = torch.from_numpy(cosine(x.select(keys).values.double(), y.select(keys).values.double())).diagonal()
    assert torch.allclose(similarity(x, shuffled(y)), truth, atol=1e-6)
    assert rp(shuffled(x), y, 0.2).value == pytest.approx(float((truth > 0.2).double().mean()))


@pytest.mark.parametrize(("d", "threshold"), [(3, 0.6), (8, 0.3), (8, -0.2)])
def test_chance_is_that_of_random_directions(d, threshold):
    """P(cos > t) = ½ I(1 - t²; (d - 1)/2, ½) for t ≥ 0; in three dimensions (1 - t)/2."""
    from scipy.special import betainc

    tail = betainc((d - 1) / 2, 0.5, 1 - threshold**2) / 2
    truth = tail if threshold >= 0 else 1 - tail
    assert d > 3 or truth == pytest.approx((1 - threshold) / 2)
    x = features(20_000, 0, d)
    chance = rp(x, repaired(x), threshold)
    assert chance.value == pytest.approx(truth, abs=4 * math.sqrt(truth * (1 - truth) / 20_000))


def test_repaired_pairs_no_seed_with_itself_whatever_the_order():
    x = features(50, 0)
    moved = repaired(x)
    assert set(moved.keys) == set(x.keys) and not any(a == b for a, b in zip(x.keys, moved.keys, strict=True))
    assert repaired(x) == moved or torch.equal(repaired(x).values, moved.values)
    again = repaired(shuffled(x)).select(moved.keys)
    assert torch.equal(again.values, moved.values)
    assert repaired(x, seed=1).keys != moved.keys
    assert repaired(features(2, 0)).keys == ("1", "0")
    with pytest.raises(FarfieldError, match="at least 2"):
        repaired(features(1, 0))


def test_missing_seeds_are_named_or_left_aside():
    x, y = features(10, 0), features(10, 1, first=2)
    with pytest.raises(FarfieldError, match=r"2 \(0, 1\) missing in the second and 2 \(10, 11\) missing"):
        rp(x, y, 0.5)
    with pytest.raises(FarfieldError, match=r"7 \(5, 6, 7, 8, 9 …\) missing in the first"):
        rp(features(5, 0), features(10, 1, first=2), 0.5, common=False)
    assert rp(x, y, 0.5, common=True).n == 8
    with pytest.raises(FarfieldError, match="found none"):
        paired(features(3, 0), features(3, 0, first=3), common=True)


def test_what_cannot_be_compared_is_refused():
    x = features(5, 0)
    with pytest.raises(FarfieldError, match="one descriptor"):
        rp(x, features(5, 1, descriptor="other"), 0.5)
    with pytest.raises(FarfieldError, match="one length"):
        rp(x, features(5, 1, d=7), 0.5)
    with pytest.raises(FarfieldError, match="cosine from -1 to 1"):
        rp(x, x, 15)
    with pytest.raises(FarfieldError, match="zeros for image '3'"):
        unit(Features(x.keys, torch.tensor([1.0, 1, 1, 0, 1])[:, None] * x.values, "test"))
    with pytest.raises(FarfieldError, match="one shape"):
        mae_rp(images(torch.zeros(2, 3, 4, 4)), images(torch.zeros(2, 3, 8, 8)))
    with pytest.raises(FarfieldError, match="expected seeds"):
        rp(Features((), torch.empty(0, 4), "test"), Features((), torch.empty(0, 4), "test"), 0.5)
    with pytest.raises(NonFiniteError):
        mae_rp(images(torch.full((2, 1, 2, 2), torch.nan)), images(torch.zeros(2, 1, 2, 2)))
    one = rp(features(1, 0), features(1, 0), 0.5)
    assert one.value == 1 and one.n == 1 and one.low < 0.3


def test_grey_levels_apart():
    first = images(torch.zeros(4, 3, 8, 8))
    level = 2 / 255
    second = images(torch.stack([torch.full((3, 8, 8), v * level) for v in (0.0, 14.9, -15.1, 100.0)]))
    assert torch.allclose(mean_absolute_differences(first, second) * 255, torch.tensor([0, 14.9, 15.1, 100]).double())
    assert mae_rp(first, second).value == 0.5
    assert mae_rp(first, second, limit=101 / 255).value == 1
    beyond = images(torch.full((4, 3, 8, 8), 1.7))  # written as white
    assert mae_rp(beyond, images(torch.ones(4, 3, 8, 8)), limit=0).value == 1


def gaussians():
    """Two that do not commute: means, square roots of covariances, and the distance of their flows."""
    g = torch.Generator().manual_seed(3)
    first, second = (torch.randn(4, 4, generator=g, dtype=torch.float64) for _ in range(2))
    roots = [torch.linalg.cholesky(a @ a.T) for a in (first, second)]
    roots = [torch.linalg.svd(r) for r in roots]
    roots = [u @ s.diag() @ u.T for u, s, _ in roots]
    means = [torch.zeros(4, dtype=torch.float64), torch.arange(4).double()]
    truth = math.sqrt(float((means[1] - means[0]).square().sum() + (roots[1] - roots[0]).square().sum()))
    return means, roots, truth


def test_flows_of_two_gaussians_in_closed_form():
    """x = mean + C^½ n ends the flow from infinite noise: PFD² = |m1 - m2|² + |C1^½ - C2^½|²."""
    means, roots, truth = gaussians()
    noise = torch.randn(40_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = [images((m + noise @ r.T).reshape(-1, 1, 2, 2)) for m, r in zip(means, roots, strict=True)]
    score = pfd(*ends, resamples=100)
    assert score.value == pytest.approx(truth, rel=0.01) and score.low < truth < score.high
    as_features = [Features(e.keys, e.values.flatten(1), "identity") for e in ends]
    assert pfd(*as_features, resamples=100) == score
    with pytest.raises(FarfieldError, match="one descriptor"):
        pfd(as_features[0], Features(ends[1].keys, ends[1].values.flatten(1), "other"))
    with pytest.raises(FarfieldError, match="at least 40"):
        pfd(*ends, resamples=10)


def test_its_interval_holds_the_truth_as_often_as_it_says():
    means, roots, truth = gaussians()
    held = 0
    for trial in range(200):
        noise = torch.randn(100, 4, generator=torch.Generator().manual_seed(trial), dtype=torch.float64)
        ends = [images((m + noise @ r.T)[:, :, None, None]) for m, r in zip(means, roots, strict=True)]
        score = pfd(*ends, resamples=100, seed=trial)
        held += score.low <= truth <= score.high
    assert 0.88 <= held / 200 <= 0.99
