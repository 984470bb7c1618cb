"""GL and the ratio test: copies are all found, new images of the law pass at the calibrated rate, order changes nothing."""

import pytest
import torch

from farfield.audit.authenticity import authenticity
from farfield.audit.generalization import distinct, generalization, ratio_test
from farfield.audit.search import neighbours
from farfield.audit.similarity import unit
from farfield.audit.threshold import calibrate
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.schedule import ContinuousSchedule


def named(values, prefix="k", descriptor="test"):
    return Features(tuple(f"{prefix}{i:05d}" for i in range(len(values))), values, descriptor)


def features(n, seed, d=32, prefix="k"):
    return named(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), prefix)


def shuffled(artifact, seed=0):
    order = torch.randperm(len(artifact), generator=torch.Generator().manual_seed(seed)).tolist()
    return artifact.select([artifact.keys[i] for i in order])


def gl(samples, training, threshold, held_out=None):
    references = unit(training)
    held = None if held_out is None else neighbours(unit(held_out), references)
    return generalization(neighbours(unit(samples), references), threshold, held)


def test_copies_score_0_and_new_images_1_less_the_rate():
    training, held_out, fresh = features(2000, 0), features(1000, 1), features(4000, 2)
    calibrated = calibrate(neighbours(unit(held_out), unit(training)).similarity, 0.05)
    new = gl(samples=fresh, training=training, threshold=calibrated.value, held_out=held_out)
    assert 1 - calibrated.rate_high - 0.01 < new.score.value < 1 - calibrated.rate_low + 0.01
    assert new.held_out.value == pytest.approx(0.05, abs=2e-3) and new.held_out.n == 1000
    assert new.memorized.value == pytest.approx(1 - new.score.value) and new.memorized.n == 4000
    copies = gl(samples=shuffled(training), training=training, threshold=1 - 1e-12)
    assert copies.score.value == 0 and copies.memorized.value == 1 and copies.held_out is None


def test_nearest_training_images_are_named():
    training = features(300, 0, prefix="t")
    picked = shuffled(training)
    near = Features(tuple(f"s{i}" for i in range(300)), 3 * picked.values, "test")  # a cosine knows no length
    found = neighbours(unit(near), unit(training))
    assert found.keys == near.keys and found.nearest_keys == picked.keys and (found.similarity > 1 - 1e-9).all()


def test_equals_the_full_matrix_of_cosines_in_any_order():
    samples, training = features(200, 0, 5), features(300, 1, 5, "t")
    a, b = (f.values.double() / f.values.double().norm(dim=1, keepdim=True) for f in (samples, training))
    best = (a @ b.T).max(1)
    found = neighbours(unit(samples), unit(training))
    assert torch.allclose(found.similarity, best.values, atol=1e-6)
    assert found.nearest_keys == tuple(training.keys[i] for i in best.indices)
    threshold = float(best.values.quantile(0.3))
    one = gl(samples=samples, training=training, threshold=threshold)
    assert one.score.value == pytest.approx(0.3, abs=0.005)
    assert one == gl(samples=shuffled(samples), training=shuffled(training, 1), threshold=threshold)


def test_samples_and_training_images_swapped_are_another_score():
    training = features(50, 0)
    collapsed = named(training.values[:1].repeat(40, 1), "s")
    assert gl(samples=collapsed, training=training, threshold=0.99).score.value == 0
    assert gl(samples=training, training=collapsed, threshold=0.99).score.value == pytest.approx(49 / 50)


def test_the_empirical_denoiser_memorizes_and_the_gaussian_generalizes(gaussian: GaussianDenoiser):
    """The same seeds, solver and law: the one's images are training images, the other's are new."""
    g = torch.Generator().manual_seed(1)
    scale = gaussian.variances.sqrt()
    draws = [gaussian.mean + (torch.randn(n, 6, generator=g).double() * scale) @ gaussian.basis.T for n in (300, 999)]
    training, held_out = named(draws[0], "t"), named(draws[1], "h")
    schedule = ContinuousSchedule(0.02, 10.0)
    sigmas = schedule.sigmas(24)
    seeds = range(400)
    memory = named(generate(EmpiricalDenoiser(draws[0], schedule), seeds, sigmas))
    law = named(generate(gaussian, seeds, sigmas))
    threshold = calibrate(neighbours(unit(held_out), unit(training)).similarity, 0.05).value
    assert 0.9 < gl(samples=law, training=training, threshold=threshold).score.value < 0.99
    assert gl(samples=memory, training=training, threshold=threshold).score.value < 0.01
    copied = ratio_test(samples=memory, training=training).memorized.value
    floor = ratio_test(samples=held_out, training=training).memorized.value
    assert copied > 0.99 and floor < 0.15 > ratio_test(samples=law, training=training).memorized.value
    assert authenticity(neighbours(memory, training), training).value < 0.01


def test_ratio_by_hand():
    training = named(torch.tensor([[0.0], [4.0], [100.0]]), "t")
    samples = named(torch.tensor([[0.9], [1.1], [-1.9], [-2.1], [4.0], [2.0]]), "s")
    found = ratio_test(samples=samples, training=training)
    assert found.ratio.tolist() == pytest.approx([0.9 / 3.1, 1.1 / 2.9, 1.9 / 5.9, 2.1 / 6.1, 0, 1])
    assert found.memorized.value == 0.5 and found.memorized.n == 6 and found.duplicates == 0
    assert found.nearest_keys[:5] == ("t00000",) * 4 + ("t00001",)


def test_a_training_image_that_stands_twice_hides_no_copy():
    training = named(torch.tensor([[0.0], [4.0], [-0.0], [4.0], [100.0]]), "t")
    samples = named(torch.tensor([[0.9], [4.0], [2.0]]), "s")
    assert distinct(training) == [0, 1, 4]
    once = ratio_test(samples=samples, training=training)
    assert once.memorized.value == pytest.approx(2 / 3) and once.duplicates == 2
    twice = ratio_test(samples=samples, training=training, kept=list(range(5)))
    assert twice.memorized.value == 0 and twice.ratio.tolist() == [1, 1, 1] and twice.duplicates == 0


def test_errors():
    x = features(5, 0)
    with pytest.raises(FarfieldError, match="cosine from -1 to 1"):
        gl(samples=x, training=x, threshold=60)
    with pytest.raises(FarfieldError, match="one descriptor"):
        gl(samples=x, training=named(x.values, descriptor="other"), threshold=0.6)
    with pytest.raises(FarfieldError, match=r"shape \[0, 32\]"):
        gl(samples=named(x.values[:0]), training=x, threshold=0.6)
    with pytest.raises(FarfieldError, match="between 0 and 1"):
        ratio_test(samples=x, training=x, ratio=3)
    with pytest.raises(FarfieldError, match="at least 2 images that differ, found 1"):
        ratio_test(samples=x, training=named(x.values[:1].repeat(5, 1)))
    with pytest.raises(FarfieldError, match="one descriptor"):
        ratio_test(samples=x, training=named(x.values, descriptor="other"))
    alone = gl(samples=x, training=named(x.values[:1]), threshold=0.99)
    assert alone.memorized.value == 0.2  # one training image is one that can be copied
