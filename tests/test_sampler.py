import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.unseen.geometry import norms
from farfield.unseen.patchwork import Mixing, patchwork, starts, turns
from farfield.unseen.prior import IsotropicPrior, fit_prior
from farfield.unseen.sampler import Limits, draw, gaussian, interpolation, perturbation

F64 = torch.float64


def domain(n=40, d=3000, seed=0):
    g = torch.Generator().manual_seed(seed)
    mean = torch.randn(d, generator=torch.Generator().manual_seed(77), dtype=F64) * 0.3
    return mean + 0.8 * torch.randn(n, d, generator=g, dtype=F64)


PROPOSALS = {
    "gaussian": lambda z: gaussian(fit_prior("isotropic", z)),
    "interpolation": lambda z: interpolation(z),
    "random t": lambda z: interpolation(z, t=(0.2, 0.5)),
    "published": lambda z: interpolation(z, centre=False),
    "to prior": lambda z: interpolation(z, partner=fit_prior("lowrank", z)),
    "perturbation": lambda z: perturbation(z, fit_prior("diagonal", z)),
}


@pytest.mark.parametrize("name", list(PROPOSALS))
def test_latent_k_depends_on_seed_k_alone(name):
    z = domain()
    proposal = PROPOSALS[name](z)
    whole = draw(proposal, [4, 5, 6, 7])
    again = draw(PROPOSALS[name](z), [6])
    assert torch.allclose(again.latents[0], whole.latents[2], atol=1e-12)
    assert not torch.allclose(whole.latents[0], whole.latents[1])


def test_centred_midpoints_keep_mean_norm_and_covariance_of_the_domain():
    z = domain(200)
    made = draw(interpolation(z), range(400)).latents
    assert float(norms(made).mean()) == pytest.approx(float(norms(z).mean()), rel=0.01)
    along = z.mean(0) / z.mean(0).norm()
    assert float((made @ along).mean()) == pytest.approx(float((z @ along).mean()), rel=0.03)
    stretched = draw(interpolation(z, centre=False), range(400)).latents
    assert float((stretched @ along).mean()) > 1.15 * float((z @ along).mean())


def test_interpolation_ends_are_the_examples():
    z = domain(5)
    for t in (0.0, 1.0):
        made = draw(interpolation(z, t=t), range(20)).latents
        assert all(float((z - m).norm(dim=1).min()) < 1e-9 for m in made)


def test_two_examples_suffice():
    z = domain(2)
    for name in PROPOSALS:
        assert bool(torch.isfinite(draw(PROPOSALS[name](z), range(3)).latents).all())


def test_limits_accept_the_law_they_come_from_and_refuse_others():
    z = domain(60)
    limits = Limits.of(z)
    assert sum(limits.accepts(v, z) for v in domain(50, seed=9)) >= 47
    too_wide = IsotropicPrior(z.mean(0), 1.2)

    assert not any(limits.accepts(v, z) for v in too_wide.sample([generator(s) for s in range(20)]))
    assert not limits.accepts(z.mean(0), z)
    assert not limits.accepts(-z[0], z)


def test_acceptance_is_reported_and_a_hopeless_prior_ends():
    z = domain()
    limits = Limits.of(z)
    good = draw(gaussian(fit_prior("isotropic", z)), range(10), lambda v: limits.accepts(v, z))
    assert good.acceptance > 0.8 and int(good.proposed.sum()) >= 10
    with pytest.raises(FarfieldError, match="none of 30 proposals"):
        draw(gaussian(IsotropicPrior(z.mean(0), 3.0)), range(10), lambda v: limits.accepts(v, z), most=30)


def test_refused_proposals_do_not_disturb_other_seeds():
    z = domain()
    picky = lambda v: float(v.sum()) > float(z.sum(1).mean())  # noqa: E731
    proposal = gaussian(fit_prior("isotropic", z))
    whole = draw(proposal, range(8), picky)
    assert whole.acceptance < 1
    assert torch.equal(draw(proposal, [7], picky).latents[0], whole.latents[7])


def test_bad_requests():
    with pytest.raises(FarfieldError, match="at least 2 examples"):
        interpolation(domain(1))
    for t in (1.5, -0.1, (0.5, 0.2), (0.5, 2.0)):
        with pytest.raises(FarfieldError, match="expected a place between two latents"):
            interpolation(domain(), t=t)
    with pytest.raises(FarfieldError, match="at least 4 examples"):
        Limits.of(domain(3))
    with pytest.raises(FarfieldError, match="at least one seed"):
        draw(interpolation(domain()), [])


def fields(reach, n=16, draws=150, side=(32, 32)):
    """The unit Gaussian fields behind patchworks: of one-hot examples both weights, and so the angle, can be read off."""
    z = torch.eye(n, dtype=F64)[:, :, None, None].expand(n, n, *side)
    made = draw(patchwork(z, reach=reach), range(draws)).latents - 1 / n
    found = []
    for latent in made:
        first, second = sorted(latent.flatten(1).amax(1).topk(2).indices.tolist())
        # m + (cos (e_i - m) + sin (e_j - m)) / length: the other channels all hold -(cos + sin) m / length
        rest = next(c for c in range(n) if c not in (first, second))
        angle = torch.atan2(latent[second] - latent[rest], latent[first] - latent[rest])
        found.append(torch.special.ndtri((angle * 2 / torch.pi).clamp(1e-12, 1 - 1e-12)))
    return torch.stack(found)


def test_the_field_behind_a_patchwork_is_a_unit_gaussian():
    quantiles = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=F64)
    torch.testing.assert_close(
        fields(1 / 16).flatten().quantile(quantiles), torch.special.ndtri(quantiles), rtol=0, atol=0.07
    )


@pytest.mark.parametrize("side", [(32, 32), (16, 64)])
@pytest.mark.parametrize("reach", [1 / 16, 1 / 8])
def test_a_patchwork_changes_over_its_reach(reach, side):
    h = fields(reach, side=side)
    width = reach * min(side)
    for r in (1, 2, 4):
        expected = torch.tensor(-(r**2) / (4 * width**2)).exp().item()
        for a, b in ((h[:, :, :-r], h[:, :, r:]), (h[:, :-r], h[:, r:])):
            assert float((a * b).mean()) == pytest.approx(expected, abs=0.08)
    assert abs(float((h[:, 0] * h[:, -1]).mean())) < 0.1  # no wrapping
    assert abs(float((h[:, :, 0] * h[:, :, -1]).mean())) < 0.1


@pytest.mark.parametrize(("n", "parents"), [(3, 2), (5, 2), (30, 2), (30, 4)])
def test_a_patchwork_keeps_the_length_of_the_law_with_few_examples_too(n, parents):
    g = torch.Generator().manual_seed(0)
    squares = []
    for _ in range(150):
        z = 0.7 * torch.randn(n, 1, 12, 12, generator=g, dtype=F64)
        made = draw(patchwork(z, parents=parents), range(4)).latents
        squares.append(((made - z.mean(0)) ** 2).mean())
    assert float(torch.stack(squares).mean().sqrt()) == pytest.approx(0.7, rel=0.03)


@pytest.mark.parametrize("parents", [2, 3, 5])
def test_a_patchwork_mixes_as_many_examples_as_it_is_told_to(parents):
    """Of one-hot examples its weights can be read off: their squares add up to one at every place, each has its share."""
    n = 200
    z = torch.eye(n, dtype=F64)[:, :, None, None].expand(n, n, 8, 8)
    made = draw(patchwork(z, parents=parents), range(60)).latents - 1 / n
    weights = made.topk(parents, 1).values
    assert made.topk(parents + 1, 1).values[:, -1].abs().max() < 0.02  # no other example is in it
    assert (weights.square().sum(1) - 1).abs().max() < 0.04
    shares = made.square().mean((2, 3)).topk(parents, 1).values
    assert float(shares.amax(1).mean()) < {2: 0.9, 3: 0.7, 5: 0.5}[parents]


def test_a_patchwork_of_more_than_there_are_takes_all():
    z = domain(n=3).reshape(3, 1, 1, -1)
    a, b = (draw(patchwork(z, parents=k), range(3)).latents for k in (3, 9))
    assert torch.equal(a, b)


def test_what_no_patchwork_can_be_made_of():
    with pytest.raises(FarfieldError, match="at least 2 latents"):
        patchwork(domain(n=5))
    with pytest.raises(FarfieldError, match="reach 0"):
        patchwork(torch.zeros(3, 1, 4, 4), reach=0)
    with pytest.raises(FarfieldError, match="at least 2 examples to mix"):
        patchwork(torch.zeros(3, 1, 4, 4), parents=1)


def test_every_example_has_its_turn():
    """Of each n seeds every example is each of the parents once; which, a seed decides alone, and of a block not the same."""
    for parents in (1, 2, 5):
        rows = turns(5, range(20), parents, "a")
        for block in rows.split(5):
            assert all(sorted(column.tolist()) == [*range(5)] for column in block.T)
        assert all(len(set(row)) == parents for row in rows.tolist())
        assert torch.equal(turns(5, [13], parents, "a")[0], rows[13])
        assert len({tuple(block.flatten().tolist()) for block in rows.split(5)}) > 1
        assert not torch.equal(turns(5, range(20), parents, "b"), rows)


def test_an_image_starts_from_an_example_or_from_several_mixed():
    x = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    made, of = starts(x, [3, 8], parents=1, reach=0.1, stream="a")
    assert torch.equal(made, x[of[:, 0]].double())
    made, of = starts(x, [3, 8], parents=3, reach=0.1, stream="a")
    assert torch.equal(made[1], Mixing(x, reach=0.1, parents=3)(of[1].tolist(), generator(8, "a")))
    others = [k for k in range(6) if k not in of[0].tolist()]
    changed = x.clone()
    changed[others] = changed[others].flip(0)  # of the others an image takes their mean alone
    torch.testing.assert_close(starts(changed, [3], parents=3, reach=0.1, stream="a")[0][0], made[0])
    assert starts(x[:2], [0], parents=4, reach=0.1, stream="a")[1].shape == (1, 2)
