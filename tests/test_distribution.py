"""Distribution scores against closed forms, conventions that catch swapped arguments, and other people's libraries."""

import math

import pytest
import torch

from farfield.audit import coverage, distribution
from farfield.audit.coverage import prdc
from farfield.audit.distribution import frechet_distance, frechet_distances, kernel_difference, kernel_distance
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError
from farfield.core.interval import Z95, halve, proportion, share

ALL = (frechet_distance, kernel_distance, prdc)


def normal(n, d, seed, scale=1.0, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64) * torch.as_tensor(scale, dtype=torch.float64) + shift


def exactly(mean, covariance, n=400, seed=0):
    """Points whose sample mean and covariance ARE the given ones."""
    x = normal(n, len(mean), seed)
    x = x - x.mean(0)
    whitener = torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return x @ whitener @ torch.linalg.cholesky(covariance).T + mean


def diagonal(*values):
    return torch.diag(torch.tensor(values, dtype=torch.float64))


ZERO, ONE = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
TURN = torch.linalg.qr(normal(3, 3, 9)).Q


@pytest.mark.parametrize(
    ("first", "second", "truth"),
    [
        ((ZERO, diagonal(1, 1, 1)), (ZERO, diagonal(4, 4, 4)), 3.0),
        ((ZERO, diagonal(1, 4, 9)), (ZERO, diagonal(4, 1, 16)), 3.0),
        ((ZERO, TURN @ diagonal(1, 4, 9) @ TURN.T), (ONE, TURN @ diagonal(4, 1, 16) @ TURN.T), 6.0),
        ((ZERO, diagonal(2, 3, 4)), (0.5 * ONE, diagonal(2, 3, 4)), 0.75),
    ],
    ids=["isotropic", "commuting", "commuting and turned", "shift"],
)
def test_frechet_of_gaussians(first, second, truth):
    x, y = exactly(*first, seed=1), exactly(*second, n=300, seed=2)
    assert frechet_distance(real=x, generated=y, halves=0).value == pytest.approx(truth, abs=1e-10)
    assert frechet_distance(real=y, generated=x, halves=0).value == pytest.approx(truth, abs=1e-10)


def test_frechet_of_covariances_that_do_not_commute():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(5, 5, 1), normal(5, 5, 2)
    a, b = a @ a.T + torch.eye(5), b @ b.T + torch.eye(5)
    root = scipy_linalg.sqrtm((a @ b).numpy())
    zero = torch.zeros(5, dtype=torch.float64)
    found = frechet_distance(real=exactly(zero, a), generated=exactly(zero, b, seed=3), halves=0).value
    assert found == pytest.approx(float(a.trace() + b.trace()) - 2 * root.trace().real, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(50, 8), (20, 64), (5, 64)])
def test_frechet_of_one_set_is_zero_and_never_negative(n, d):
    x = normal(n, d, 0)
    again = x[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    for score in (frechet_distance(real=x, generated=x), frechet_distance(real=x, generated=again)):
        assert 0 <= score.value < 1e-9
    apart = frechet_distance(real=x, generated=normal(n, d, 2))
    assert 0 <= apart.low < apart.value < apart.high and math.isfinite(apart.high)


def test_frechet_extrapolation_takes_the_bias_away():
    truth = 16 * 0.5**2
    found = [
        frechet_distances(real=normal(200, 16, seed), generated=normal(200, 16, 100 + seed, 1.5), halves=30)
        for seed in range(20)
    ]
    plain, extrapolated = torch.tensor([[finite.value, limit.value] for finite, limit in found]).T
    assert plain.mean() > truth + 1.0
    assert abs(extrapolated.mean() - truth) < 3 * extrapolated.std() / math.sqrt(20) + 0.05


def test_frechet_of_singular_halves_has_no_limit():
    x, y = normal(40, 16, 0), normal(40, 16, 1)
    assert frechet_distances(real=x, generated=y)[0] == frechet_distance(real=x, generated=y)
    assert frechet_distances(real=x, generated=y)[1] is not None
    assert frechet_distances(real=x[:33], generated=y)[1] is None  # 16 vectors of 16 entries
    with pytest.raises(FarfieldError, match="at least 20"):
        frechet_distances(real=x, generated=y, halves=10)


def test_frechet_of_halves_is_that_of_whole_sets(monkeypatch):
    for x, y in ((normal(60, 9, 0), normal(44, 9, 1, 1.3)), (normal(60, 9, 0) * torch.arange(9), normal(44, 9, 1))):
        found = frechet_distances(real=x, generated=y, halves=20)
        with monkeypatch.context() as patched:
            patched.setattr("farfield.audit.distribution._frechet_of_half", distribution._frechet)
            for quick, exact in zip(found, frechet_distances(real=x, generated=y, halves=20), strict=True):
                assert vars(quick) == pytest.approx(vars(exact), rel=1e-9)


def test_kernel_distance_of_gaussians():
    a = torch.tensor([1.0, 0.5, 1.5, 1.0])
    truth = 3 * ((a**4).sum() + 4 - 2 * (a**2).sum()).item() / 16
    found = torch.tensor(
        [kernel_distance(real=normal(300, 4, s), generated=normal(300, 4, 50 + s, a)).value for s in range(40)]
    )
    assert abs(found.mean() - truth) < 3 * found.std() / math.sqrt(40)
    assert found.mean() > 5 * found.std() / math.sqrt(40)  # the check above says something
    isotropic = torch.tensor(
        [kernel_distance(real=normal(300, 8, s), generated=normal(200, 8, 50 + s, 1.5)).value for s in range(40)]
    )
    assert abs(isotropic.mean() - 3 * (1 - 1.5**2) ** 2 / 8) < 3 * isotropic.std() / math.sqrt(40)


def test_kernel_distance_is_unbiased():
    found = torch.tensor(
        [kernel_distance(real=normal(30, 5, s), generated=normal(20, 5, 1000 + s)).value for s in range(300)]
    )
    assert abs(found.mean()) < 3 * found.std() / math.sqrt(300)
    assert (found < 0).any()


def test_kernel_distance_jackknife_is_leaving_one_out():
    x, y = normal(12, 3, 0), normal(9, 3, 1, 1.5)
    keep = lambda v, i: torch.cat([v[:i], v[i + 1 :]])  # noqa: E731
    left_x = torch.tensor([kernel_distance(real=keep(x, i), generated=y).value for i in range(12)])
    left_y = torch.tensor([kernel_distance(real=x, generated=keep(y, i)).value for i in range(9)])
    variance = 11 * left_x.var(correction=0) + 8 * left_y.var(correction=0)
    score = kernel_distance(real=x, generated=y)
    assert score.high - score.value == pytest.approx(1.96 * math.sqrt(variance), rel=1e-3)


def test_kernel_difference_of_pairs():
    """The difference of two kernel distances; of one set twice exactly 0; its variance leaves a pair or a real row out."""
    x, y = normal(12, 3, 0), normal(9, 3, 1, 1.5)
    z = 0.9 * y + 0.2 * normal(9, 3, 2)
    keep = lambda v, i: torch.cat([v[:i], v[i + 1 :]])  # noqa: E731
    apart = lambda r, a, b: kernel_distance(real=r, generated=b).value - kernel_distance(real=r, generated=a).value  # noqa: E731
    score = kernel_difference(real=x, generated=y, control=z)
    assert score.value == pytest.approx(apart(x, y, z)) and score.n == 9
    left_x = torch.tensor([apart(keep(x, i), y, z) for i in range(12)])
    left_y = torch.tensor([apart(x, keep(y, i), keep(z, i)) for i in range(9)])
    variance = 11 * left_x.var(correction=0) + 8 * left_y.var(correction=0)
    assert score.high - score.value == pytest.approx(1.96 * math.sqrt(variance), rel=1e-3)
    same = kernel_difference(real=x, generated=y, control=y)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    turned = kernel_difference(real=x, generated=z, control=y)
    assert (turned.value, turned.low) == pytest.approx((-score.value, -score.high))
    with pytest.raises(FarfieldError, match="a pair for each seed"):
        kernel_difference(real=x, generated=y, control=z[:8])
    keyed = [Features(keys, v, "d") for keys, v in (("abc", x[:3]), ("pqr", y[:3]), ("rqp", z[:3].flip(0)))]
    by_key = kernel_difference(real=keyed[0], generated=keyed[1], control=keyed[2])
    assert by_key.value == pytest.approx(apart(x[:3], y[:3], z[:3]))


def test_kernel_difference_covers_the_truth_and_is_narrower_than_apart():
    """Of N(0, I) against scales a and b, made from the same numbers: 3 ((b² − 1)² − (a² − 1)²) / d."""
    a, b, d, inside, widths = 1.2, 1.4, 4, 0, []
    truth = 3 * ((b**2 - 1) ** 2 - (a**2 - 1) ** 2) / d
    for seed in range(200):
        x, y = normal(60, d, seed), normal(50, d, 1000 + seed)
        score = kernel_difference(real=x, generated=a * y, control=b * y)
        inside += score.low <= truth <= score.high
        ends = [kernel_distance(real=x, generated=scale * y) for scale in (a, b)]
        widths.append((score.high - score.low) / math.hypot(*(end.high - end.low for end in ends)))
    assert 170 <= inside <= 200  # 190 expected
    assert sum(widths) / len(widths) < 0.85


def test_equal_and_far_sets():
    x, far = normal(100, 5, 0), normal(100, 5, 1, shift=1e3)
    same = prdc(real=x, generated=x)
    assert same.precision.value == same.recall.value == same.coverage.value == 1
    assert same.density.value == pytest.approx(6 / 5)  # each ball holds its own centre and k others
    assert all(score.value == 0 for score in prdc(real=x, generated=far))


def test_collapsed_generator_is_precise_and_recalls_nothing():
    x = normal(200, 5, 0)
    collapsed = x[:1].expand(200, -1)
    precision, recall, density, coverage = prdc(real=x, generated=collapsed)
    assert precision.value == 1
    assert recall.value <= 1 / 200
    assert density.value > 1 / 5 and coverage.value < 0.2
    spread = prdc(real=x, generated=normal(200, 5, 1, scale=0.2))
    assert spread.precision.value == 1 and spread.recall.value < 0.3


def test_density_and_coverage_of_equal_laws():
    """Naeem et al. 2020: mean density 1, mean coverage 1 - (n-1)…(n-k) / ((n+m-1)…(n+m-k)), whatever the law."""
    n, m, k = 60, 40, 5
    pairs = [prdc(real=normal(n, 3, s), generated=normal(m, 3, 500 + s), halves=0)[2:] for s in range(300)]
    truth = 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    for values, mean in zip(zip(*pairs, strict=True), (1.0, truth), strict=True):
        found = torch.tensor([v.value for v in values])
        assert abs(found.mean() - mean) < 3 * found.std() / math.sqrt(300)


def test_manifolds_agree_with_sklearn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = normal(150, 6, 0), normal(120, 6, 1, 0.8, 0.3)

    def radii(v, k):
        return neighbors.NearestNeighbors(n_neighbors=k + 1).fit(v.numpy()).kneighbors(v.numpy())[0][:, k]

    across = torch.cdist(x, y).numpy()
    precision, recall, density, coverage = prdc(real=x, generated=y)
    assert precision.value == pytest.approx((across <= radii(x, 3)[:, None]).any(0).mean())
    assert recall.value == pytest.approx((across <= radii(y, 3)[None]).any(1).mean())
    inside = across <= radii(x, 5)[:, None]
    assert density.value == pytest.approx(inside.sum(0).mean() / 5)
    assert coverage.value == pytest.approx(inside.any(1).mean())


def test_kernel_distance_agrees_with_sklearn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = normal(40, 6, 0), normal(30, 6, 1, 1.3)
    within = [pairwise.polynomial_kernel(v.numpy(), degree=3, gamma=1 / 6, coef0=1) for v in (x, y)]
    across = pairwise.polynomial_kernel(x.numpy(), y.numpy(), degree=3, gamma=1 / 6, coef0=1)
    truth = sum((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in within) - 2 * across.mean()
    assert kernel_distance(real=x, generated=y).value == pytest.approx(truth, rel=1e-10)


@pytest.mark.filterwarnings("ignore")
def test_distances_agree_with_torchmetrics():
    pytest.importorskip("torchmetrics")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1).double()

    g = torch.Generator().manual_seed(0)
    real = torch.randn(64, 3, 2, 2, generator=g)
    generated = 1.4 * torch.randn(64, 3, 2, 2, generator=g) + 0.2
    fid = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=64, normalize=True)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(generated, real=False)
    a, b = real.flatten(1).double(), generated.flatten(1).double()
    assert frechet_distance(real=a, generated=b).value == pytest.approx(float(fid.compute()), rel=1e-6)
    assert kernel_distance(real=a, generated=b).value == pytest.approx(float(kid.compute()[0]), rel=1e-5)


def covered(make, score, truth, times):
    scores = [score(*make(seed)) for seed in range(times)]
    return sum(s.low <= truth <= s.high for s in scores) / times


def test_intervals_hold_what_they_should():
    """95 % of them; a little more where the docstrings say so."""

    def frechet(x, y):
        return frechet_distances(real=x, generated=y, halves=40)[1]

    def kernel(x, y):
        return kernel_distance(real=x, generated=y)

    apart = lambda s: (normal(100, 4, s), normal(100, 4, 9000 + s, 1.5))  # noqa: E731
    alike = lambda s: (normal(100, 4, s), normal(80, 4, 9000 + s))  # noqa: E731
    assert 0.9 <= covered(apart, frechet, 1.0, 100) <= 1.0
    assert 0.9 <= covered(alike, frechet, 0.0, 100) <= 1.0
    assert 0.89 <= covered(apart, kernel, 3 * 1.25**2 / 4, 300) <= 0.99
    assert 0.93 <= covered(alike, kernel, 0.0, 300) <= 1.0
    shifted = lambda s: (normal(100, 4, s), normal(100, 4, 9000 + s, shift=0.4))  # noqa: E731
    means = [[s.value for s in prdc(real=x, generated=y, halves=0)] for x, y in map(shifted, range(20000, 20200))]
    found = [prdc(real=x, generated=y) for x, y in map(shifted, range(80))]
    for truth, scores in zip(torch.tensor(means).mean(0).tolist(), zip(*found, strict=True), strict=True):
        assert sum(s.low <= truth <= s.high for s in scores) >= 72


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(60, 5, 0), normal(50, 5, 1, 1.2)
    whole = [str(f(real=x, generated=y)) for f in ALL]
    monkeypatch.setattr("farfield.audit.vectors.BLOCK", 256)
    assert [str(f(real=x, generated=y)) for f in ALL] == whole


@pytest.mark.parametrize("spare", [20, 0])
def test_intervals_are_those_of_halves_looked_at_one_by_one(monkeypatch, spare):
    monkeypatch.setattr("farfield.audit.coverage.SPARE", spare)  # without spare neighbours many are searched again
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn((60, 5), generator=g).double(), 1.2 * torch.randn((41, 5), generator=g).double()
    x[:20] = x[20:40]
    parts, found = halve(60, 41, 3, 8, 0), []
    assert parts.first.sum(1).tolist() == [60] + 8 * [30] and parts.second.sum(1).tolist() == [41] + 8 * [20]
    for first, second in zip(parts.first, parts.second, strict=True):
        a, b = x[first], y[second]
        here, across, there = torch.cdist(a, a), torch.cdist(a, b), torch.cdist(b, b)
        ball_a, ball_b = here.kthvalue(4, 1).values + 1e-6, there.kthvalue(4, 1).values + 1e-6
        inside = across <= ball_a[:, None]
        precision, recall = inside.any(0).double().mean(), (across <= ball_b).any(1).double().mean()
        found.append([precision, recall, inside.double().mean() * len(a) / 3, inside.any(1).double().mean()])
    found = torch.tensor(found, dtype=torch.float64)
    scores = prdc(real=x, generated=y, ball_k=3, halves=8)
    values, spread = found[0].tolist(), parts.variance(found)
    for i in (0, 1, 3):
        expected = share(values[i], 41 if i == 0 else 60, spread[i])
        assert vars(scores[i]) == pytest.approx(vars(expected))
    assert scores[2].value == pytest.approx(values[2])
    assert scores[2].high - values[2] == pytest.approx(Z95 * math.sqrt(spread[2]))


def test_large_sets_are_thinned_for_their_intervals(monkeypatch):
    x, y = normal(600, 3, 0), normal(600, 3, 1, shift=0.3)
    halves = prdc(real=x, generated=y)
    monkeypatch.setattr("farfield.core.interval.LARGE", 50)  # so few that each part is searched by itself
    thinned = prdc(real=x, generated=y)
    for one, other in zip(thinned, halves, strict=True):
        assert one.value == pytest.approx(other.value)
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.6)


@pytest.mark.parametrize("ks", [(3, 5), (5, 3)])
def test_parts_searched_by_themselves_are_those_of_one_search(ks):
    x, y = normal(90, 4, 0), normal(70, 4, 1, 1.2)
    parts = halve(90, 70, 5, 6, 0)
    parts.first[1:, 24:] = parts.second[1:, 24:] = False
    assert torch.allclose(coverage._by_part(x, y, parts, ks), coverage._together(x, y, parts, ks))


def test_proportion_is_wilsons():
    score = proportion(0, 10)
    assert (score.value, score.low) == (0, 0) and score.high == pytest.approx(0.2775, abs=1e-4)
    score = proportion(5, 10)  # tabulated: 0.2366, 0.7634
    assert (score.low, score.high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    with pytest.raises(FarfieldError, match="0 of 0"):
        proportion(0, 0)


@pytest.mark.parametrize("score", ALL)
def test_what_cannot_be_compared_is_refused(score):
    keys = tuple(map(str, range(20)))
    x = normal(20, 4, 0)
    with pytest.raises(FarfieldError, match="one descriptor"):
        score(real=Features(keys, x, "pixels"), generated=Features(keys, x, "model"))
    with pytest.raises(FarfieldError, match="one length"):
        score(real=x, generated=normal(20, 5, 0))
    with pytest.raises(FarfieldError, match="at least"):
        score(real=x, generated=x[:1])
    with pytest.raises(FarfieldError, match="finite"):
        score(real=x, generated=x / 0)
    with pytest.raises(TypeError):
        score(x, x)
    same = score(real=Features(keys, x, "pixels"), generated=Features(keys, x, "pixels"))
    assert str(same) == str(score(real=x, generated=x))
