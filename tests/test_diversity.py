"""How many kinds of image a set holds: values known in advance, and intervals that cover."""

import math

import pytest
import torch

from farfield.audit.diversity import GROUPS, cluster_distance, vendi_score
from farfield.command.measures import Measures
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError
from farfield.study.bench.measure import compare


def features(values):
    x = torch.as_tensor(values, dtype=torch.float64)
    return Features(tuple(f"{i:05d}" for i in range(len(x))), x, "tests")


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("x", "truth"), [(torch.ones(7, 3), 1), (torch.eye(9), 9), (torch.eye(4).repeat(6, 1), 4)])
def test_vendi_counts_directions(x, truth):
    """n copies 1, n orthogonal ones n, m equal groups m; whatever their lengths and however they are turned."""
    turned = x.double() @ torch.linalg.qr(normal(x.shape[1], x.shape[1], 1)).Q
    lengths = 0.5 + normal(len(x), 1, 2).abs()
    assert vendi_score(features(turned * lengths)).value == pytest.approx(truth, rel=1e-9)


def test_vendi_is_the_entropy_of_the_matrix_of_cosines():
    """By the n × n matrix, with more features than images and with fewer."""
    for n, d in ((12, 40), (40, 12)):
        u = torch.nn.functional.normalize(normal(n, d, n))
        weights = torch.linalg.eigvalsh(u @ u.T / n).clamp(min=1e-300)
        entropy = -float((weights * weights.log()).sum())
        found = vendi_score(features(u))
        assert found.value == pytest.approx(math.exp(entropy), rel=1e-9)
        assert 1 <= found.low < found.value < found.high <= n and found.n == n


@pytest.mark.parametrize(("n", "d"), [(GROUPS + 14, 8), (24, 48)])
def test_the_interval_of_vendi_covers_the_mean(n, d):
    found = [vendi_score(features(normal(n, d, seed))) for seed in range(60)]
    mean = sum(s.value for s in found) / 60
    assert sum(s.low <= mean <= s.high for s in found) >= 50


def test_clusters_of_two_and_of_three():
    """About (0, 0) a pair 2 apart, about (100, 0) a triangle of sides 3, 4, 5; one alone about (0, 100) counts for nothing."""
    examples = features([[0, 0], [100, 0], [0, 100], [100, 100]])
    made = [[0, 1], [0, -1], [100, 0], [103, 0], [100, 4], [0, 101]]
    found = cluster_distance(examples=examples, generated=features(made))
    assert found.value == pytest.approx((2 + 4) / 2) and found.n == 2 and found.low == 0  # nothing is nearer than 0
    assert cluster_distance(examples=examples, generated=features(examples.values)) is None
    copies = cluster_distance(examples=examples, generated=features(examples.values.repeat(3, 1)))
    assert (copies.value, copies.low, copies.high, copies.n) == (0, 0, 0, 4)


def test_what_has_no_variety_to_tell():
    with pytest.raises(FarfieldError, match="at least 2"):
        vendi_score(features([[1.0, 0.0]]))
    with pytest.raises(FarfieldError, match="direction"):
        vendi_score(features([[1.0, 0.0], [0.0, 0.0]]))
    dark = compare(features(normal(9, 3, 0)), {"samples": features(torch.zeros(9, 3))})["samples"]
    assert dark.vendi is None and dark.clusters.value == 0 and dark.kernel_distance


def test_images_gather_about_examples_where_there_are_any():
    """A sampler that repeats two examples has two clusters of copies; about its references it has as many or fewer."""
    references, examples = features(normal(40, 6, 0)), features(normal(10, 6, 1))
    copies = features(examples.values[:2].repeat(8, 1) + 1e-6 * normal(16, 6, 2))
    about = compare(references, {"samples": copies}, examples)["samples"]
    assert about.clusters.n == 2 and about.clusters.value < 1e-5 and 1.5 < about.vendi.value < 2.001
    fresh = compare(references, {"samples": features(normal(16, 6, 3))}, examples)["samples"]
    assert fresh.clusters.value > 1 and fresh.vendi.value > 4 and isinstance(fresh, Measures)
