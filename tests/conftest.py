"""Shared small truths: exact models whose every number is known."""

import os
from collections.abc import Iterator
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"  # of other libraries and of processes too; forked children (`fork`) need it

import pytest
import torch
from tiny import undrawn

from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule


@pytest.fixture
def gaussian() -> GaussianDenoiser:
    """An anisotropic Gaussian in 6 dimensions with a mean, known from 0.02 to 10."""
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64)).Q
    variances = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1, 0.0], dtype=torch.float64)
    mean = torch.randn(6, generator=g, dtype=torch.float64)
    return GaussianDenoiser(mean, basis, variances, schedule=ContinuousSchedule(0.02, 10.0))


@pytest.fixture
def flow():
    """The exact ODE flow of a `GaussianDenoiser` from one level to another."""

    def exact(model: GaussianDenoiser, x: torch.Tensor, s0: float, s1: float) -> torch.Tensor:
        stretch = ((model.variances + s1**2) / (model.variances + s0**2)).sqrt()
        centred = (x - model.mean) @ model.basis
        return model.mean + (centred * stretch) @ model.basis.T

    return exact


@pytest.fixture(scope="session")
def cifar():
    """The bundled model, frozen, in float32."""
    from farfield.checkpoints.load import load_denoiser

    return load_denoiser("cifar10-32")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Results of the tests should not hang on how many cores the machine has, nor one worker's threads on another's."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def no_power_failure() -> Iterator[None]:
    """No test pulls the plug, and a killed process loses nothing by it: to wait for the disk takes longer than a small run."""
    with patch("os.fsync", lambda handle: None):
        yield


@pytest.fixture(scope="module")
def without_the_page() -> Iterator[None]:
    """See `tiny.undrawn`."""
    with undrawn():
        yield


@pytest.fixture(scope="module")
def few_views() -> Iterator[None]:
    """A calibration looks at twice its examples a level, not at 200 noisy images: where no test asks how good it is."""
    with patch("farfield.study.unseen.calibration.VIEWS", 1), patch("farfield.study.unseen.gain.VIEWS", 1):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    """The same numbers in every run, whatever ran before or was made for this test: a failure can be had again."""
    torch.manual_seed(0)
