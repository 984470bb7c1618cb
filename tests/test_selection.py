import pytest
import torch
from tiny import make_model

from farfield.checkpoints.load import load_denoiser
from farfield.command.expand import Sampler
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.study.unseen.proposal import Chooser, repeats
from farfield.unseen.selection import Witness, choose

F64 = torch.float64


def test_it_is_said_where_hardly_a_candidate_is_new():
    three = Sampler("patchwork", candidates=3)
    assert repeats(0.3, three) is None and repeats(0.3, Sampler(candidates=1)) is not None
    assert "of the seeds about 55% have none among 3" in repeats(0.82, three)
    assert "--parents 4" in repeats(0.82, three)
    assert "another --sampler" in repeats(0.82, Sampler("patchwork", candidates=3, parents=4))
    assert "another --sampler" in repeats(0.82, Sampler("gaussian", candidates=3))


def draws(n, mean, seed, d=8):
    return mean + torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_witness_is_its_definition():
    f, g, x = draws(6, 0.0, 0), draws(5, 1.0, 1), draws(3, 0.5, 2)
    s = f.std(0)
    width = torch.stack([(((a - b) / s) ** 2).sum() for i, a in enumerate(f) for b in f[:i]]).median()
    k = lambda a, b: (-(((a - b) / s) ** 2).sum() / width).exp()  # noqa: E731
    expected = torch.stack(
        [torch.stack([k(v, a) for a in f]).mean() - torch.stack([k(v, b) for b in g]).mean() for v in x]
    )
    assert torch.allclose(Witness.fit(f, g)(x), expected)


def test_witness_averages_to_the_squared_discrepancy():
    """mean over examples − mean over pilot is the biased MMD² of the two sets."""
    f, g = draws(200, 0.0, 0), draws(150, 0.4, 1)
    w = Witness.fit(f, g)
    a, b = (f - w.centre) / w.scale, (g - w.centre) / w.scale
    k = lambda p, q: (-(torch.cdist(p, q) ** 2) / w.width).exp().mean()  # noqa: E731
    assert float(w(f).mean() - w(g).mean()) == pytest.approx(float(k(a, a) + k(b, b) - 2 * k(a, b)), rel=1e-9)


def test_choosing_by_it_moves_candidates_towards_the_examples():
    """Candidates from a wrong mean: the chosen ones are nearer to the right one, on features not seen by the fit."""
    w = Witness.fit(draws(300, 0.0, 0), draws(300, 0.5, 1))
    candidates = draws(3000, 0.5, 2).reshape(1000, 3, 8)
    index = choose(w(candidates.flatten(0, 1)).reshape(1000, 3), torch.ones(1000, 3), 0.5)
    kept = candidates[torch.arange(1000), index]
    assert float(kept.mean()) < 0.35


def test_copies_are_chosen_only_where_nothing_is_new():
    witness = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    distance = torch.tensor([[0.9, 0.9, 0.9], [0.1, 0.9, 0.9], [0.1, 0.3, 0.2]])
    assert choose(witness, distance, 0.5).tolist() == [0, 1, 1]


def test_an_exact_copy_is_a_copy_even_where_examples_repeat_each_other():
    """Duplicates among the examples make the threshold 0."""
    assert choose(torch.tensor([[3.0, 2.0]]), torch.tensor([[0.0, 0.4]]), 0.0).tolist() == [1]


def test_constant_features_and_bad_shapes():
    f = draws(10, 0.0, 0)
    f[:, 0] = 2.0
    assert bool(torch.isfinite(Witness.fit(f, f)(f)).all())
    with pytest.raises(FarfieldError, match="witness"):
        Witness.fit(f, draws(4, 0.0, 1, d=3))


def test_a_copy_beyond_the_range_of_pictures_is_seen(tmp_path):
    """Fields of a percentile stretch reach beyond [-1, 1]; examples and candidates are judged as they are shown."""
    model = load_denoiser(str(make_model(tmp_path / "model")))
    g = torch.Generator().manual_seed(0)
    fields = 0.1 * torch.randn(9, 3, 16, 16, generator=g)
    fields[:, :, 6:10, 6:10] += 5.0  # a bright core
    examples, fresh = fields[:8], fields[8:]
    chooser = Chooser(model, Images(tuple("abcdefgh"), examples), Images(("p", "q"), fields[[8, 8]] * 0.9), 8)
    seeds = list(range(120))
    for i in range(8):
        first = chooser.choose([examples[[i]].expand(120, -1, -1, -1), fresh.expand(120, -1, -1, -1)], seeds) == 0
        # copies stay for as many seeds as real images resemble one another, drawn by lot, and for no others
        assert float(first.double().mean()) == pytest.approx(chooser.parts.usual, abs=0.15)
        assert not bool(first.all())
    again = chooser.choose([examples[[0]].expand(40, -1, -1, -1), fresh.expand(40, -1, -1, -1)], seeds[80:])
    assert ((again == 0) == first[80:]).all()  # the lot is the seed's own
