"""The whole pipeline where every number is known, and the round trip of the real model."""

import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.schedule import ContinuousSchedule, karras
from farfield.unseen.inversion import convergence, decode, from_latent, invert, round_trip, to_latent
from farfield.unseen.prior import LowRankPrior

F64 = torch.float64


def orthonormal(d, seed):
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=F64)).Q


def test_a_foreign_gaussian_through_a_frozen_model_has_the_closed_form_law():
    """Data N(m2, C2), model N(m, C): latents are N(m + A (m2 - m), A C2 Aᵀ); a prior fitted to them, sampled and decoded
    gives N(m2, C2) back. All of it against the closed form, within the sampling error of n = 4,000."""
    d, n, low, high = 5, 4000, 0.02, 20.0
    model = GaussianDenoiser(
        torch.linspace(-1, 1, d, dtype=F64),
        orthonormal(d, 0),
        torch.tensor([2.0, 1.0, 0.5, 0.2, 0.05], dtype=F64),
        schedule=ContinuousSchedule(low, high),
    )
    mean, root = (
        2 * torch.ones(d, dtype=F64),
        orthonormal(d, 1) @ torch.tensor([1.5, 0.8, 0.4, 0.3, 0.1], dtype=F64).diag() @ orthonormal(d, 2),
    )
    data = mean + torch.randn(n, d, generator=torch.Generator().manual_seed(3), dtype=F64) @ root.T
    covariance = root @ root.T
    sigmas = karras(60, low, high)

    latents = invert(model, data, sigmas, "midpoint")
    stretch = model.basis @ ((model.variances + high**2) / (model.variances + low**2)).sqrt().diag() @ model.basis.T
    unit = math.sqrt(1 + high**2)
    expected = (model.mean + (data - model.mean) @ stretch.T) / unit
    assert float((latents - expected).norm() / expected.norm()) < 2e-3  # the solver's error; the law itself below
    law = stretch @ covariance @ stretch.T / unit**2
    fitted = LowRankPrior.fit(latents)
    assert torch.allclose(
        fitted.mean,
        (model.mean + stretch @ (mean - model.mean)) / unit,
        atol=5 * math.sqrt(float(law.diagonal().max()) / n),
    )

    drawn = fitted.sample([generator(s, "sampler") for s in range(n)])
    samples = decode(model, drawn, sigmas, "midpoint")
    error = 5 / math.sqrt(n)
    assert torch.allclose(samples.mean(0), mean, atol=error * float(covariance.diagonal().max().sqrt()) * 1.5)
    assert float((samples.T.cov() - covariance).norm() / covariance.norm()) < 2 * error


def test_decode_undoes_invert(gaussian):
    x = gaussian.mean + torch.randn(4, 6, dtype=F64)
    sigmas = gaussian.schedule.sigmas(400)
    assert float((decode(gaussian, invert(gaussian, x, sigmas, "midpoint"), sigmas, "midpoint") - x).abs().max()) < 1e-3
    assert torch.allclose(from_latent(to_latent(x, sigmas[0]), sigmas[0]), x)


def test_the_models_own_samples_have_its_law(gaussian):
    """From N(0, I) latents at sigma 10 the known initial mismatch is mean/σ: compare with the law pushed through exactly."""
    n, sigmas = 4000, gaussian.schedule.sigmas(80)
    x = generate(gaussian, list(range(n)), sigmas, "midpoint")
    v, top, low = gaussian.variances, sigmas[0], sigmas[-1]
    shrink = ((v + low**2) / (v + top**2)).sqrt() * v / (v + low**2)
    expected = gaussian.mean - (gaussian.mean @ gaussian.basis * shrink) @ gaussian.basis.T
    spread = shrink * (1 + top**2).sqrt()
    assert torch.allclose(x.mean(0), expected, atol=0.15)
    assert torch.allclose(((x - expected) @ gaussian.basis).std(0), spread, rtol=0.06, atol=1e-6)


def test_certificate_sees_the_error_of_the_latent(gaussian, flow):
    """The error estimated from k against 2k steps is the true one to a quarter, for solvers of order 1 and 2."""
    x = gaussian.mean + torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    truth = to_latent(flow(gaussian, x, 0.02, 10.0), torch.tensor(10.0))
    for solver in ("euler", "midpoint", "heun"):
        coarse, fine = (invert(gaussian, x, gaussian.schedule.sigmas(k), solver) for k in (60, 120))
        actual = (coarse - truth).norm(dim=1) / truth.norm(dim=1)
        assert torch.allclose(convergence(coarse, fine, solver).error, actual, rtol=0.25)


def test_round_trip_measures_are_their_definitions():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    off = images.clone()
    off[1] += 0.1
    trip = round_trip(images, off)
    assert float(trip.psnr[1]) == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-4)
    assert float(trip.max_error[1]) == pytest.approx(0.1, abs=1e-6) and float(trip.max_error[0]) == 0
    assert float(trip.ssim[0]) == pytest.approx(1.0) and float(trip.ssim[1]) < 1


def test_the_real_model_returns_real_images(cifar):
    from farfield.data.image import load_images

    images = load_images("hubble", cifar.shape, limit=4).values.double()
    sigmas = cifar.schedule.sigmas(20)
    back = decode(cifar, invert(cifar, images, sigmas), sigmas)
    assert float(round_trip(images, back).psnr.median()) > 38


def test_batches_do_not_change_an_image(cifar):
    """Float32 convolutions may differ in the last bits between batch sizes; no more than that may show."""
    sigmas = cifar.schedule.sigmas(6)
    seeds = [3, 1, 4, 15, 9]
    whole = generate(cifar, seeds, sigmas)
    for i, seed in enumerate(seeds):
        assert float((generate(cifar, [seed], sigmas)[0] - whole[i]).abs().max()) < 1e-3


def test_a_convolutional_model_takes_other_sizes(cifar):
    """64 × 48 pixels through the 32 × 32 model and back: no clipping, no cropping, no rounding on the way."""
    from skimage.data import retina
    from skimage.transform import resize

    pixels = resize(retina(), (64, 48), anti_aliasing=True)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] * 2 - 1
    sigmas = cifar.schedule.sigmas(12, 2.0)
    back = decode(cifar, invert(cifar, images, sigmas), sigmas)
    assert float(round_trip(images, back).psnr) > 40


def test_wrong_shapes_are_refused(gaussian):
    with pytest.raises(FarfieldError, match="this model takes \\(6,\\)"):
        invert(gaussian, torch.zeros(2, 5), gaussian.schedule.sigmas(4))
