"""Subspaces found in samples, against closed forms: distances, PCA, clustering, and the low-rank model."""

from __future__ import annotations

import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator as seeded
from farfield.diffusion.exact import molrg
from farfield.manifold.low_rank_model import denoising_loss, fit
from farfield.manifold.molrg import draw_law, random_basis
from farfield.manifold.subspace import (
    cluster,
    complete,
    distance,
    from_labels,
    k_subspaces,
    match,
    pca,
    recovery_error,
)

F64 = torch.float64


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_distance_of_planes_at_known_angles():
    angles = torch.tensor([0.3, 1e-7], dtype=F64)
    u = torch.eye(6, dtype=F64)[:, :2]
    v = torch.zeros(6, 2, dtype=F64)
    v[[0, 1], [0, 1]], v[[2, 3], [0, 1]] = angles.cos(), angles.sin()
    assert distance(u, v) == pytest.approx(float(angles.sin().square().mean().sqrt()), rel=1e-12)
    turned = v @ torch.linalg.qr(torch.randn(2, 2, dtype=F64)).Q
    assert distance(v, turned) < 1e-14
    frobenius = torch.linalg.matrix_norm(u @ u.T - v @ v.T)
    assert distance(u, v) == pytest.approx(float(frobenius) / 2, rel=1e-9)
    assert distance(u, torch.eye(6, dtype=F64)[:, 2:5]) == pytest.approx(1.0)


def test_matching_undoes_a_permutation():
    truth = list(draw_law(20, [2, 3, 3], 0, orthogonal=False).bases)
    order = [2, 0, 1]
    found = [truth[i] for i in order]
    assert match(found, truth) == [1, 2, 0]
    assert float(recovery_error(found, truth).max()) < 1e-12
    with pytest.raises(FarfieldError, match="expected 3"):
        recovery_error(found[:2], truth)


@pytest.mark.parametrize("count", [1, 4, 6, 7, 20])
def test_pca_finds_the_subspace_exactly_from_as_many_samples_as_dimensions(count: int):
    law = draw_law(30, [7], 0)
    found = pca(law.draw([count], 1)[0], 7)
    missing = max(0, 7 - count)
    frobenius = torch.linalg.matrix_norm(found @ found.T - law.bases[0] @ law.bases[0].T)
    assert float(frobenius) == pytest.approx(math.sqrt(missing), abs=1e-9)
    assert distance(found, law.bases[0]) == pytest.approx(math.sqrt(missing / (7 + min(count, 7))), abs=1e-9)


def test_missing_directions_filled_outside_double_the_squared_error():
    """sqrt(2 (d - N)): filled with directions orthogonal to the true subspace."""
    law = draw_law(30, [7, 7], 0)
    found = pca(law.draw([4, 0], 1)[0], 7)
    filled = torch.cat([found, law.bases[1][:, :3]], 1)
    frobenius = torch.linalg.matrix_norm(filled @ filled.T - law.bases[0] @ law.bases[0].T)
    assert float(frobenius) == pytest.approx(math.sqrt(2 * 3), rel=1e-9)
    random = complete(found, 7, generator(0))
    assert torch.allclose(random.T @ random, torch.eye(7, dtype=F64), atol=1e-12)
    assert math.sqrt(3 / 7) * 0.7 < distance(random, law.bases[0]) <= math.sqrt(3 / 7)
    # of random fillings: 1 - N/d - (d - N)²/(d (n - N)) on average
    squares = [distance(complete(found, 7, generator(s)), law.bases[0]) ** 2 for s in range(200)]
    assert sum(squares) / 200 == pytest.approx(1 - 4 / 7 - 9 / (7 * 26), abs=0.01)


def test_orthogonal_subspaces_are_clustered_from_a_few_samples_each():
    law = draw_law(48, [7, 7, 7], 0)
    samples, labels = law.draw([7, 7, 7], 0)
    found = cluster(samples, 3)
    assert all(len(set(found[labels == k].tolist())) == 1 for k in range(3))
    assert len(set(found.tolist())) == 3
    assert float(recovery_error(from_labels(samples, found, [7, 7, 7]), law.bases).max()) < 1e-9


def test_k_subspaces_finds_two_subspaces_that_are_not_orthogonal():
    law = draw_law(12, [2, 3], 1, orthogonal=False)
    samples, _ = law.draw([40, 40], 0)
    assert float(recovery_error(k_subspaces(samples, [2, 3], 0), law.bases).max()) < 1e-9


def test_the_loss_is_that_of_the_exact_denoiser_of_its_bases():
    """By brute force: levels and noise as they are, through `diffusion.exact`."""
    law = draw_law(10, [2, 3], 0, orthogonal=False)
    samples, _ = law.draw([3, 3], 0)
    bases = draw_law(10, [2, 3], 7, orthogonal=False).bases
    u = torch.cat(bases, 1)[None]
    ours = torch.stack([denoising_loss(u, [2, 3], samples, generator(s), (0.5, 2.0)) for s in range(200)])
    g, model = generator(0), molrg(bases)
    x0 = samples.repeat(10_000, 1)
    sigma = 0.5 * 4 ** torch.rand(len(x0), generator=g, dtype=F64)
    x = x0 + sigma[:, None] * torch.randn(x0.shape, generator=g, dtype=F64)
    error = (model(x, sigma) - x0).square().sum(1)
    allowed = 5 * (float(error.std()) / len(error) ** 0.5 + float(ours.std()) / 200**0.5)
    assert float(ours.mean()) == pytest.approx(float(error.mean()), abs=allowed)
    assert allowed < 0.07 * float(error.mean())


def test_the_loss_has_the_gradient_of_noise_in_all_directions():
    """Noise is drawn in the span of the bases alone; the part of it outside must change no gradient."""
    samples, _ = draw_law(6, [2, 2], 0).draw([2, 2], 0)
    bases = [random_basis(6, 2, generator(s)).requires_grad_() for s in (1, 2)]
    u = torch.cat([b.detach() for b in bases], 1)[None].requires_grad_()
    draws = 500
    ours = sum(denoising_loss(u, [2, 2], samples, generator(s), (1.0, 1.0 + 1e-9)) for s in range(draws)) / draws
    (mine,) = torch.autograd.grad(ours.sum(), u)
    g = generator(9)
    x0 = samples.repeat(30_000, 1)
    x = x0 + torch.randn(x0.shape, generator=g, dtype=F64)
    p = [x @ b for b in bases]
    weights = torch.softmax(torch.stack([q.square().sum(1) for q in p], 1) / 4, 1)
    answer = sum(weights[:, [k]] * (p[k] @ bases[k].T) for k in range(2)) / 2
    theirs = torch.autograd.grad((answer - x0).square().sum(1).mean(), bases)
    for k, basis in enumerate(bases):
        project = torch.eye(6, dtype=F64) - basis.detach() @ basis.detach().T
        a, b = project @ mine[0, :, 2 * k : 2 * k + 2], project @ theirs[k]
        assert float((a - b).norm() / b.norm()) < 0.1


def test_one_subspace_is_learnt_as_pca_says():
    law = draw_law(16, [3], 0)
    samples = law.draw([9], 0)[0]
    found = fit(samples, [3], 0, starts=1)
    assert distance(found.bases[0], pca(samples, 3)) < 1e-5
    few = law.draw([2], 0)[0]
    basis = fit(few, [3], 0, starts=1).bases[0]
    assert float((few - few @ basis @ basis.T).norm() / few.norm()) < 1e-5
    assert distance(basis, law.bases[0]) > 0.3


def test_the_low_rank_model_keeps_what_clustering_found_at_as_many_samples_as_dimensions():
    law = draw_law(24, [4, 4], 0)
    for count, low, high in ((3, 0.3, 0.8), (4, 0.0, 0.1)):
        samples, _ = law.draw([count, count], 0)
        start = from_labels(samples, cluster(samples, 2), [4, 4])
        found = fit(samples, [4, 4], 0, start=start, steps=100)
        assert low <= float(recovery_error(found.bases, law.bases).mean()) <= high
        for basis in found.bases:
            assert torch.allclose(basis.T @ basis, torch.eye(4, dtype=F64), atol=1e-10)


def test_from_random_bases_two_subspaces_are_found_in_many_samples_and_the_best_start_is_kept():
    law = draw_law(16, [2, 3], 0)
    samples, _ = law.draw([60, 60], 0)
    found = fit(samples, [2, 3], 0, starts=8)
    assert float(recovery_error(found.bases, law.bases).mean()) < 0.1
    u = torch.cat(found.bases, 1)[None]
    again = float(denoising_loss(u, [2, 3], samples, seeded(0, "low-rank-loss")))
    assert again == pytest.approx(min(found.losses), rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit(torch.zeros(0, 4), [2], 0), "expected samples"),
        (lambda: fit(torch.randn(3, 4), [5], 0), "from 1 to n"),
        (lambda: fit(torch.randn(3, 4), [2], 0, steps=0), "at least one"),
        (lambda: distance(torch.eye(3)[:, :0], torch.eye(3)[:, :0]), "not both empty"),
    ],
)
def test_what_cannot_be_fitted_is_refused(make, message):
    with pytest.raises(FarfieldError, match=message):
        make()
