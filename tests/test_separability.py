import math

import pytest
import torch
from scipy.stats import binom

from farfield.core.discriminant import projections, shrinkage
from farfield.core.error import FarfieldError
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.unseen.inversion import invert
from farfield.unseen.separability import separability


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(n, m, d, distance=0.0, seed=0):
    a, b = normal(n + m, d, seed=seed).split([n, m])
    b = b.clone()
    b[:, 0] += distance
    return a, b


def bayes_accuracy(apart, covariance):
    """The best accuracy on two Gaussians of one covariance C, their means d apart: Φ(√(dᵀ C⁻¹ d) / 2)."""
    distance = math.sqrt(float(apart @ torch.linalg.solve(covariance, apart)))
    return 0.5 * math.erfc(-distance / math.sqrt(8))


def test_two_isotropic_gaussians_reach_the_bayes_accuracy():
    """Φ(D / 2s) from 300 + 300 points in 3 dimensions, on average, and within the 95 % interval mostly."""
    best = bayes_accuracy(torch.tensor([3.0, 0.0, 0.0]), 1.5**2 * torch.eye(3))
    assert best == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))))
    found = [
        separability(*(1.5 * t for t in pair(300, 300, 3, 2.0, seed)), permutations=1, seed=seed) for seed in range(8)
    ]
    assert sum(f.accuracy.low <= best <= f.accuracy.high for f in found) >= 6
    assert sum(f.accuracy.value for f in found) / 8 == pytest.approx(best, abs=0.02)


def test_the_same_gaussian_gives_chance_though_training_is_perfect():
    found = separability(*pair(100, 100, 3000))
    assert found.train_accuracy == 1.0
    assert found.accuracy.low <= 0.5 <= found.accuracy.high
    assert found.p_value > 0.05 and found.null == pytest.approx(0.5, abs=0.02) and 0.52 < found.null_high < 0.62


@pytest.mark.parametrize(("n", "m", "d"), [(20, 20, 60), (15, 30, 200)])
def test_p_values_of_one_law_are_uniform(n, m, d):
    """Rejections at 5, 20 and 50 % over 200 repetitions, each within binomial bounds."""
    p = torch.tensor([separability(*pair(n, m, d, seed=s), permutations=19, seed=s).p_value for s in range(200)])
    for level in (0.05, 0.2, 0.5):
        count = int((p <= level + 1e-9).sum())
        # Accuracies have few values and ties count against the given labels: fewer rejections than the level, not more.
        assert binom.ppf(1e-4, 200, 0.75 * level) <= count <= binom.ppf(1 - 1e-4, 200, level)


def test_a_difference_far_below_the_dimension_is_found():
    found = separability(*pair(100, 100, 3072, 6.0))
    assert found.p_value == pytest.approx(1 / 101) and found.accuracy.low > found.null_high


def test_sets_of_different_size_keep_a_fair_threshold():
    """One mean follows its noise four times as far as the other; both sets' hits must still be balanced."""
    found = separability(*pair(30, 120, 3000, 8.0))
    assert found.accuracy.value > 0.7 and found.p_value < 0.02


def test_scores_are_those_of_ridge_and_of_shrinkage_lda():
    """scikit-learn's Ridge on labels ±1, refitted without each point in turn, and its LDA with the same shrinkage."""
    from sklearn.covariance import ledoit_wolf
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge

    a, b = pair(14, 22, 50, 1.5)
    x = torch.cat([a, b])
    y = torch.cat([torch.ones(14), -torch.ones(22)]).double()
    order = torch.randperm(36, generator=torch.Generator().manual_seed(1))
    train, test = order[:28], order[28:]
    scores, left_out = projections(x @ x.T, train, test, y[:, None], 50)
    centred = x[train] - x[train].mean(0)
    ridge = shrinkage(centred @ centred.T, 50)
    weight = ledoit_wolf(centred.numpy(), assume_centered=True)[1]
    assert ridge == pytest.approx(28 * weight * float(centred.square().sum()) / 28 / 50 / (1 - weight), rel=1e-6)
    model = Ridge(alpha=ridge).fit(x[train].numpy(), y[train].numpy())
    intercept = float(y[train].mean())
    assert torch.allclose(scores[:, 0], torch.from_numpy(model.predict(x[test].numpy())) - intercept, atol=1e-10)
    for i in range(0, 28, 5):
        rest = torch.cat([train[:i], train[i + 1 :]])
        model = Ridge(alpha=ridge).fit(x[rest].numpy(), y[rest].numpy())
        expected = model.predict(x[train[i : i + 1]].numpy())[0] - float(y[rest].mean())
        assert float(left_out[i, 0]) == pytest.approx(expected, abs=1e-10)
    within = torch.cat([x[train][y[train] == s] - x[train][y[train] == s].mean(0) for s in (1, -1)])
    average = float(within.square().sum()) / 28 / 50
    # (1 − r) S + r tr S / d is S + λ / n up to a factor when r tr S / d / (1 − r) = λ / n.
    r = ridge / 28 / (ridge / 28 + average)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=r).fit(x[train].numpy(), y[train].numpy())
    projected = torch.stack([x[test] @ torch.from_numpy(lda.coef_[0]), scores[:, 0]])
    assert float(torch.corrcoef(projected)[0, 1]) == pytest.approx(1.0, abs=1e-9)


def test_answers_hang_on_neither_rotation_nor_scale_nor_which_set_is_first():
    a, b = pair(30, 24, 80, 2.0)
    first = separability(a, b)
    rotation = torch.linalg.qr(normal(80, 80, seed=3)).Q
    assert separability(2 + 7 * a @ rotation, 2 + 7 * b @ rotation) == first
    assert separability(a.reshape(30, 5, 4, 4), b.reshape(24, 5, 4, 4)) == first
    swapped = separability(b, a)
    assert swapped.accuracy.value == pytest.approx(first.accuracy.value)
    assert swapped.train_accuracy == first.train_accuracy
    assert separability(a, b, seed=1).accuracy.value == pytest.approx(first.accuracy.value, abs=0.15)


def test_domains_in_the_latents_of_a_gaussian_model_have_the_closed_form():
    """N(m, C₂) under the flow of the model N(µ, C) is N(µ + A(m − µ), A C₂ Aᵀ); A is linear, so the Bayes
    accuracy in the latents is that of the images, and inverted draws reach it."""
    d, low, high = 4, 0.02, 20.0
    mixing = normal(d, d, seed=5)
    covariance = mixing @ mixing.T / d + 0.05 * torch.eye(d, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(covariance)
    model = GaussianDenoiser(normal(d, seed=6), vectors, values, schedule=ContinuousSchedule(low, high))
    stretch = ((model.variances + high**2) / (model.variances + low**2) / (1 + high**2)).sqrt()
    push = model.basis @ torch.diag(stretch) @ model.basis.T
    root = normal(d, d, seed=7) / 2
    domain = root @ root.T + 0.05 * torch.eye(d, dtype=torch.float64)
    factor = torch.linalg.cholesky(domain)
    one, two = normal(d, seed=8), normal(d, seed=8) + torch.tensor([0.7, 0.0, -0.4, 0.0])
    images = bayes_accuracy(two - one, domain)
    latents = bayes_accuracy(push @ (two - one), push @ domain @ push.T)
    assert images == pytest.approx(latents, abs=1e-9) and 0.6 < images < 0.95
    sigmas = torch.logspace(math.log10(high), math.log10(low), 61, dtype=torch.float64)
    a, b = (invert(model, m + normal(500, d, seed=s) @ factor.T, sigmas) for m, s in ((one, 9), (two, 10)))
    mean = (model.mean / math.sqrt(1 + high**2)) + push @ (one - model.mean)
    assert torch.allclose(a.mean(0), mean, atol=5 * float(a.std(0).max()) / math.sqrt(500))
    found = separability(a, b, permutations=19)
    assert found.accuracy.low <= latents <= found.accuracy.high and found.p_value == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("a", "b", "options", "says"),
    [
        (torch.ones(9, 4), torch.ones(20, 4), {}, "at least 10"),
        (torch.ones(20, 4), torch.ones(20, 5), {}, "one shape"),
        (torch.ones(20, 4), torch.full((20, 4), torch.inf), {}, "NaN or infinity"),
        (torch.zeros(20, 4), torch.zeros(20, 4), {}, "the same"),
        (torch.ones(20, 4), torch.ones(20, 4), {"folds": 1}, "2 folds"),
    ],
)
def test_bad_input_is_named(a, b, options, says):
    with pytest.raises(FarfieldError, match=says):
        separability(a, b, **options)
