import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.unseen.prior import PRIORS, DiagonalPrior, IsotropicPrior, LowRankPrior, fit_prior

F64 = torch.float64


def correlated(n, d=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=F64) / math.sqrt(d)
    return 2.0 + torch.randn(n, d, generator=g, dtype=F64) @ mix, mix.T @ mix


@pytest.mark.parametrize("name", list(PRIORS))
@pytest.mark.parametrize("n", [2, 3, 40])
def test_density_is_that_of_the_law_that_is_sampled(name, n):
    """log_prob against torch.distributions with the covariance measured from the prior's own definition."""
    z = correlated(n)[0].reshape(n, 3, 4)
    prior = fit_prior(name, z)
    draws = prior.sample([generator(s) for s in range(30000)]).flatten(1)
    law = torch.distributions.MultivariateNormal(draws.mean(0), draws.T.cov())
    points = z[:2]
    assert torch.allclose(prior.log_prob(points), law.log_prob(points.flatten(1)), atol=0.35, rtol=0.02)
    assert draws.dtype == F64 and torch.allclose(draws.mean(0), z.flatten(1).mean(0), atol=0.05)


def test_isotropic_is_the_maximum_of_its_own_likelihood_and_low_rank_gains_on_correlated_data():
    z, _ = correlated(400)
    best = IsotropicPrior.fit(z)
    for factor in (0.9, 1.1):
        assert float(best.log_prob(z).sum()) > float(IsotropicPrior(best.mean, best.scale * factor).log_prob(z).sum())
    held = correlated(400, seed=1)[0]
    assert (
        float(LowRankPrior.fit(z).log_prob(held).mean())
        > float(DiagonalPrior.fit(z).log_prob(held).mean())
        > float(best.log_prob(held).mean()) - 0.5
    )


def test_shrinkage_equals_scikit_learn():
    from sklearn.covariance import ledoit_wolf

    for n in (5, 30, 200):
        z, _ = correlated(n)
        prior = LowRankPrior.fit(z)
        ours = prior.basis @ (prior.variances - prior.residual).diag() @ prior.basis.T + prior.residual * torch.eye(
            12, dtype=F64
        )
        theirs, _ = ledoit_wolf((z - z.mean(0)).numpy(), assume_centered=True)
        assert torch.allclose(ours * (n - 1) / n, torch.from_numpy(theirs), atol=1e-10)


def test_ppca_equals_scikit_learn():
    from sklearn.decomposition import PCA

    z, _ = correlated(50)
    prior = LowRankPrior.fit_ppca(z, 4)
    ours = prior.basis @ (prior.variances - prior.residual).diag() @ prior.basis.T + prior.residual * torch.eye(
        12, dtype=F64
    )
    assert torch.allclose(ours, torch.from_numpy(PCA(4).fit(z.numpy()).get_covariance()), atol=1e-10)
    assert torch.allclose(
        prior.log_prob(z), torch.from_numpy(PCA(4).fit(z.numpy()).score_samples(z.numpy())), atol=1e-8
    )


def test_fitted_laws_approach_the_truth():
    z, covariance = correlated(20000)
    prior = LowRankPrior.fit(z)
    fitted = prior.basis @ (prior.variances - prior.residual).diag() @ prior.basis.T + prior.residual * torch.eye(
        12, dtype=F64
    )
    assert torch.allclose(fitted, covariance, atol=0.05)


@pytest.mark.parametrize("name", list(PRIORS))
def test_draws_depend_on_their_own_seed(name):
    prior = fit_prior(name, correlated(5)[0])
    together = prior.sample([generator(s, "sampler") for s in (3, 4, 5)])
    assert torch.allclose(prior.sample([generator(5, "sampler")]), together[[2]], atol=1e-13)


def test_one_example_and_unknown_names_are_refused():
    with pytest.raises(FarfieldError, match="at least 2 examples, found 1"):
        fit_prior("isotropic", torch.zeros(1, 4))
    with pytest.raises(FarfieldError, match="prior 'vae'"):
        fit_prior("vae", torch.zeros(3, 4))
    with pytest.raises(FarfieldError, match="rank 3"):
        LowRankPrior.fit_ppca(torch.randn(3, 9), 3)
