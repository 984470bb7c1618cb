"""Posterior means of patches: where the windows are whole images or the data are Gaussian, what they must be is known."""

from __future__ import annotations

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.diffusion.exact import EmpiricalDenoiser
from farfield.unseen import patches as module
from farfield.unseen.patches import Patches

SIGMAS = torch.tensor([0.4, 1.0, 3.0], dtype=torch.float64)


def draw(n: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_whole_windows_without_shifts_are_the_empirical_denoiser():
    y, x = draw(5, 2, 6, 7), draw(3, 2, 6, 7, seed=1)
    (means,) = Patches(y, [14], reach=0, bandwidth=0)(x, SIGMAS)
    torch.testing.assert_close(means, EmpiricalDenoiser(y)(x, SIGMAS), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("block", "windows"), [(1, (3, 5)), (2, (2, 6)), (3, (3, 4))])
def test_means_are_those_of_the_definition(block, windows, monkeypatch):
    """Pixel by pixel, in plain loops; also when few patches are looked at at once."""
    y, x, reach, h = draw(5, 2, 6, 7), draw(3, 2, 6, 7, seed=1), 1, 0.1
    exclude = torch.tensor([[0, 3], [-1, -1], [2, 2]])  # two examples, none, and one
    patches = Patches(y, windows, reach, h, block)
    got = patches(x, SIGMAS, exclude=exclude)
    monkeypatch.setattr(module, "CELLS", 200)
    torch.testing.assert_close(patches(x, SIGMAS, exclude=exclude), got, rtol=0, atol=1e-12)
    padded = torch.nn.functional.pad(y, (reach,) * 4, "replicate")
    for k, window in enumerate(windows):
        margin = window - block
        for b in range(3):
            for u in ((0, 0), (3, 2), (5, 6)):
                rows, columns = (
                    slice(max(0, v // block * block - margin // 2), v // block * block + block + (margin + 1) // 2)
                    for v in u
                )
                total, weight = torch.zeros(2, dtype=torch.float64), 0.0
                for j in (j for j in range(5) if j not in exclude[b].tolist()):
                    for down in range(3):
                        for right in range(3):
                            shifted = padded[j, :, down : down + 6, right : right + 7]
                            energy = (x[b] - shifted)[:, rows, columns].square().sum() / 2 / (SIGMAS[b] ** 2 + h**2)
                            total += (-energy).exp() * shifted[:, u[0], u[1]]
                            weight += float((-energy).exp())
                torch.testing.assert_close(got[k, b, :, u[0], u[1]], total / weight, rtol=0, atol=1e-9)


def test_one_example_gives_that_example_at_every_level():
    y = draw(1, 1, 5, 5)
    means = Patches(y, [1, 3, 10], reach=0)(draw(4, 1, 5, 5, seed=1), torch.tensor(2.0))
    torch.testing.assert_close(means, y.expand(3, 4, 1, 5, 5), rtol=0, atol=1e-12)


def test_of_white_gaussian_data_a_pixel_wide_window_is_the_wiener_filter():
    y, x = draw(4000, 1, 3, 3), draw(50, 1, 3, 3, seed=1)
    for sigma in (0.5, 1.0, 2.0):
        (means,) = Patches(y, [1], reach=1, bandwidth=0)(x, torch.tensor(sigma))
        assert float((means - x / (1 + sigma**2)).square().mean()) < 0.01 * float(
            (x - x / (1 + sigma**2)).square().mean()
        )


def test_rows_do_not_know_of_each_other():
    patches, x = Patches(draw(6, 1, 6, 6), [3, 12], block=2), draw(4, 1, 6, 6, seed=1)
    together = patches(x, torch.tensor(1.0))
    apart = torch.cat([patches(row[None], torch.tensor(1.0)) for row in x], 1)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)


def test_an_example_is_left_out_with_all_its_symmetric_images():
    y, x = draw(3, 1, 6, 6), draw(1, 1, 6, 6, seed=1)
    turned = Patches(torch.cat([y, y.rot90(1, (-2, -1))]), [3, 12], copies=2)
    others = torch.cat([y[[0, 2]], y[[0, 2]].rot90(1, (-2, -1))])
    left_out = turned(x, torch.tensor(1.0), exclude=torch.tensor([1]))
    torch.testing.assert_close(left_out, Patches(others, [3, 12])(x, torch.tensor(1.0)), rtol=0, atol=1e-12)
    with pytest.raises(FarfieldError, match="3 images; expected a multiple of the 2 copies"):
        Patches(y, [3], copies=2)


def test_patches_of_all_turns_commute_with_turning():
    y, x = draw(4, 1, 8, 8), draw(2, 1, 8, 8, seed=1)
    for block, windows in ((1, (3, 5)), (2, (4, 10))):
        patches = Patches(torch.cat([y.rot90(k, (-2, -1)) for k in range(4)]), windows, block=block, copies=4)
        turned = patches(x.rot90(1, (-2, -1)), torch.tensor(0.7))
        torch.testing.assert_close(turned, patches(x, torch.tensor(0.7)).rot90(1, (-2, -1)), rtol=0, atol=1e-9)


def test_what_cannot_be_is_refused():
    for bad in ({"windows": []}, {"windows": [1], "block": 2}, {"windows": [3], "reach": -1}):
        with pytest.raises(FarfieldError, match="windows at least as large as a block"):
            Patches(draw(2, 1, 4, 4), **bad)
