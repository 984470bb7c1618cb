"""Mixtures of low-rank Gaussians: their law against its closed form, and `farfield molrg` end to end."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny import Outcome, farfield, summary

from farfield.command.molrg import Molrg
from farfield.core.error import FarfieldError
from farfield.diffusion.exact import molrg as exact_molrg
from farfield.manifold.molrg import draw_law
from farfield.manifold.vector_network import VectorNetwork
from farfield.study.manifold.molrg_network import energy_inside, picture_shape, score
from farfield.study.manifold.molrg_recovery import empty_error, transition

F64 = torch.float64
TINY = ("--n", 8, "--dimension", "2", "--per-class", 20, "--seeds", 2, "--starts", 0, "--points", 2)
NETWORK = ("--network-counts", "2", "--length", "1k", "--sigmas", "0.1,3", "--ratios", "0.5,1")


def run_molrg(out: Path, *options: object) -> Outcome:
    return farfield("molrg", *TINY, *NETWORK, "--device", "cpu", "-q", "-o", out, *options)


def test_samples_have_the_covariance_of_the_law():
    law = draw_law(6, [2, 3], 0, noise=0.3)
    values, labels = law.draw([4_000, 4_000], 1)
    for k, basis in enumerate(law.bases):
        rows = values[labels == k]
        expected = basis @ basis.T + 0.09 * torch.eye(6, dtype=F64)
        assert torch.allclose(rows.T @ rows / len(rows), expected, atol=0.12)
        assert float(rows.mean(0).abs().max()) < 0.08


def test_subspaces_are_orthonormal_and_orthogonal_to_each_other_where_asked():
    law = draw_law(12, [3, 4, 2], 0)
    side = torch.cat(law.bases, 1)
    assert torch.allclose(side.T @ side, torch.eye(9, dtype=F64), atol=1e-12)
    free = draw_law(12, [3, 4], 0, orthogonal=False)
    assert float((free.bases[0].T @ free.bases[1]).abs().max()) > 0.1


def test_fewer_samples_are_the_beginning_of_more_whatever_the_other_class():
    law = draw_law(9, [2, 2], 0, noise=0.1)
    few, many = law.draw([3, 1], 5)[0], law.draw([8, 8], 5)[0]
    assert torch.allclose(few[:3], many[:3], atol=1e-12)
    assert torch.allclose(few[3], many[8], atol=1e-12)
    assert not torch.allclose(few, law.draw([3, 1], 6)[0])


def test_the_exact_denoiser_is_the_one_of_the_bases_and_takes_the_noise_in():
    law = draw_law(10, [3, 2], 0, weights=[3, 1])
    x = torch.randn(4, 10, dtype=F64)
    same = exact_molrg(law.bases, torch.tensor([0.75, 0.25]))
    assert torch.allclose(law.denoiser()(x, torch.tensor(0.7)), same(x, torch.tensor(0.7)), atol=1e-12)
    noisy = draw_law(10, [3], 0, noise=0.5)
    covariance = noisy.bases[0] @ noisy.bases[0].T + 0.25 * torch.eye(10, dtype=F64)
    gain = covariance @ torch.linalg.inv(covariance + 0.49 * torch.eye(10, dtype=F64))
    assert torch.allclose(noisy.denoiser()(x, torch.tensor(0.7)), x @ gain.T, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw_law(10, [6, 6], 0), "that fit"),
        (lambda: draw_law(10, [], 0), "at least one"),
        (lambda: draw_law(10, [11], 0, orthogonal=False), "that fit"),
        (lambda: draw_law(10, [2, 2], 0, weights=[1, 0]), "positive"),
        (lambda: draw_law(10, [2], 0, noise=-1), "at least 0"),
        (lambda: draw_law(10, [2, 2], 0).draw([3], 0), "samples per class"),
        (lambda: draw_law(10, [2, 2], 0).draw([0, 0], 0), "not all 0"),
        (lambda: Molrg(share=1.0), "--share 1.0: expected a number, above 0"),
        (lambda: Molrg(ratios=(0.0,)), "above 0"),
        (lambda: Molrg(sigmas=()), "at least one level"),
        (lambda: Molrg(length=3), "at least a batch of 512"),
        (lambda: picture_shape("unet", 47), "square picture"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(FarfieldError, match=message):
        make()


def test_the_published_setting_is_a_picture_of_three_channels():
    assert picture_shape("unet", 48) == (3, 4, 4)
    assert picture_shape("unet", 64) == (1, 8, 8)
    assert picture_shape("mlp", 47) == (47, 1, 1)


def test_the_transition_is_the_first_ratio_from_which_on_half_of_the_seeds_succeed():
    ratios = [0.5, 1.0, 2.0, 4.0]
    errors = torch.tensor([[0.9, 0.9, 0.9], [0.01, 0.01, 0.5], [0.01, 0.5, 0.5], [0.0, 0.0, 0.0]])
    found = transition(ratios, errors)
    assert (found.value, found.n) == (4.0, 3)  # a success at 1 that is lost again at 2 does not count
    assert transition(ratios, errors[:, :1]).value == 1.0
    assert transition(ratios, torch.ones(4, 3)).value == math.inf


def test_empty_directions_have_the_closed_form_error():
    assert empty_error(1.0) == empty_error(3.0) == 0.0
    assert empty_error(4 / 7) == pytest.approx(math.sqrt(3 / 11))


def test_copies_are_not_new_and_fresh_samples_of_the_law_are():
    law = draw_law(24, [5, 5], 0)
    train = law.draw([40, 40], 0)[0]
    copies = train.repeat(3, 1) + 1e-4 * torch.randn(240, 24, dtype=F64)
    fresh = law.draw([150, 150], 3, "others")[0]
    copied, own = (score(law, train, made, 0, 0.01) for made in (copies, fresh))
    assert copied[0] == 0.0
    assert own[0] > 0.95
    assert own[3] == pytest.approx(1.0) == own[6]
    assert float(energy_inside(law, torch.randn(4000, 24, dtype=F64)).mean()) == pytest.approx(5 / 24, abs=0.1)


def test_the_vector_network_begins_at_zero_and_learns_the_level():
    torch.manual_seed(0)
    network = VectorNetwork(6, width=16, blocks=1)
    x, time = torch.randn(3, 6, 1, 1), torch.tensor([-1.0, 0.0, 1.0])
    assert torch.equal(network(x, time), torch.zeros_like(x))
    torch.nn.init.normal_(network.leave.weight)
    torch.nn.init.normal_(network.second[0].weight)
    same = network.requires_grad_(False)(x[:1].expand(3, -1, -1, -1), time).flatten(1)
    assert float((same[0] - same[1]).norm()) > 1e-3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "molrg"
    done = run_molrg(out)
    assert done.code == 0, done.err
    return out


def test_the_command_finds_the_transition_and_the_exact_ranks(run: Path):
    found = summary(run)
    methods = found["recovery"]["methods"]
    assert set(methods) == {"labels", "clustering", "k_subspaces", "low_rank"}
    for name in ("labels", "clustering", "low_rank"):
        assert methods[name]["transition"]["value"] == 1.0
        assert methods[name]["found"][0]["value"] == 0.0
    assert methods["labels"]["error"][0]["value"] == pytest.approx(found["recovery"]["expected"][0], abs=1e-9)
    assert [r["value"] for r in found["ranks"]["exact"]] == [2.0, 4.0]
    assert [r["value"] for r in found["ranks"]["low_rank"]] == [2.0, 4.0]
    assert len(found["ranks"]["network"]) == 2
    assert [c["per_class"] for c in found["networks"]] == [2, 20]
    page = (run / "report.html").read_text()
    assert "low-rank model, from the clusters" in page and "<svg" in page


def test_one_noisy_subspace_has_pca_and_the_low_rank_model(tmp_path: Path):
    one = ("--classes", 1, "--noise", 0.1, "--network", "none", "--starts", 1, "--ratios", "0.5,8", "--seeds", 1)
    done = run_molrg(tmp_path / "one", *one)
    assert done.code == 0, done.err
    found = summary(tmp_path / "one")
    assert set(found["recovery"]["methods"]) == {"labels", "low_rank_random"}
    assert found["recovery"]["expected"] is None and found["networks"] == []
    errors = [m["error"][1]["value"] for m in found["recovery"]["methods"].values()]
    assert 0 < max(errors) < 0.15


def test_bad_input_is_one_line(tmp_path: Path):
    for options, message in (
        (("--dimension", "2,2,2"), "expected one number, or 2"),
        (("--dimension", "5"), "that fit"),
        (("--network", "cnn"), "expected one of mlp, unet, none"),
        (("--network", "unet"), "square picture"),
        (("--length", "many"), "number of images"),
    ):
        done = run_molrg(tmp_path / "bad", *options)
        assert done.code == 2 and message in done.err, done.err
        assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_the_published_setting_has_its_transition_at_as_many_samples_as_dimensions(tmp_path: Path):
    """n 48, two subspaces of 7 dimensions, ten seeds."""
    done = farfield("molrg", "--network", "none", "--starts", 0, "--device", "cpu", "-q", "-o", tmp_path / "full")
    assert done.code == 0, done.err
    found = summary(tmp_path / "full")
    ratios, methods = found["setting"]["ratios"], found["recovery"]["methods"]
    for name in ("labels", "clustering", "low_rank"):
        at = methods[name]["transition"]
        assert (at["value"], at["low"], at["high"], at["n"]) == (1.0, 1.0, 1.0, 10)
        assert methods[name]["found"][ratios.index(6 / 7)]["value"] == 0.0
    assert methods["k_subspaces"]["transition"]["value"] > 1.0
    for model in ("exact", "low_rank"):
        ranks = dict(zip(found["setting"]["sigmas"], found["ranks"][model], strict=True))
        assert ranks[0.5]["value"] == 7.0 and ranks[10.0]["value"] == 14.0
