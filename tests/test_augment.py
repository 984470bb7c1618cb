"""Augmentation: exact where it can be, a smooth picture evaluated elsewhere, the published law of its moves."""

import cmath
import math

import pytest
import torch
from scipy import stats

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.diffusion.augment import Augment, Moves, moved


def moves(**chosen) -> Moves:
    """One image's moves; what is not chosen is zero."""
    none = {
        "mirror": False,
        "over": False,
        "scale": 0.0,
        "rotation": 0.0,
        "stretch": 0.0,
        "tilt": 0.0,
        "shift": [0.0, 0.0],
    }
    flips = ("mirror", "over")
    return Moves(
        **{
            name: torch.tensor([value], dtype=torch.bool if name in flips else torch.float64)
            for name, value in (none | chosen).items()
        }
    )


def smooth(right: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """A picture known everywhere, of about one wave in 20 pixels."""
    return torch.sin(0.3 * right + 0.1 * down) + torch.exp(-((right - 3) ** 2 + (down + 2) ** 2) / 40)


def pixels(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    return columns.expand(height, width), rows[:, None].expand(height, width)


def test_what_is_not_moved_keeps_its_bits():
    images = torch.randn(200, 2, 9, 12)
    after, told = Augment(0.1, mirror=0.3)(images, generator(0))
    same = (after == images).flatten(1).all(1)
    assert torch.equal(same, told.eq(0).all(1))
    assert 60 < int(same.sum()) < 140
    mirrored = told[:, 0].eq(1) & told[:, 1:].eq(0).all(1)
    over = told[:, 1].eq(1) & told.eq(0).sum(1).eq(8)
    assert mirrored.any() and torch.equal(after[mirrored], images[mirrored].flip(3))
    assert over.any() and torch.equal(after[over], images[over].flip(2))
    after, told = Augment(0, mirror=0)(images, generator(0))
    assert torch.equal(after, images) and not told.any()


def test_whole_shifts_move_pixels_and_reflect_at_the_border():
    x = torch.randn(1, 3, 6, 8, dtype=torch.float64)
    y = moved(x, moves(shift=[2.0, 0.0]))  # 2 · 8 / 8 pixels to the right
    torch.testing.assert_close(y, torch.cat([x[..., :2].flip(3), x[..., :-2]], dim=3))
    y = moved(x, moves(shift=[0.0, -8 / 6]))  # one up
    torch.testing.assert_close(y, torch.cat([x[..., 1:, :], x[..., -1:, :]], dim=2))


def test_quarter_turns_permute_pixels():
    x = torch.randn(1, 2, 7, 7, dtype=torch.float64)
    for quarters in (1, 2, -1):
        y = moved(x, moves(rotation=quarters * math.pi / 2))
        torch.testing.assert_close(y, x.rot90(quarters, (2, 3)))
    x = torch.randn(1, 1, 4, 6)
    torch.testing.assert_close(moved(x, moves(rotation=math.pi)), x.flip(2, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "chosen",
    [
        {"scale": 1.5},
        {"scale": -1.0},
        {"rotation": 0.4},
        {"stretch": 1.0},
        {"stretch": -1.2, "tilt": 1.1},
        {"shift": [0.21, -0.37]},
        {"over": True, "scale": 0.8, "rotation": 2.5, "stretch": 0.7, "tilt": -2.0, "shift": [0.2, 0.1]},
    ],
)
def test_a_smooth_picture_is_what_it_is_elsewhere(chosen):
    """Undo the moves, the last first, on complex coordinates: 1 is right, i is up."""
    right, down = pixels(32, 40)
    n = {"over": False, "scale": 0.0, "rotation": 0.0, "stretch": 0.0, "tilt": 0.0, "shift": [0.0, 0.0], **chosen}
    where = torch.complex(right, -down) - complex(n["shift"][0] * 40 / 8, -n["shift"][1] * 32 / 8)
    where = where * cmath.rect(1, -n["tilt"])
    where = torch.complex(where.real / 2 ** (n["stretch"] / 5), where.imag * 2 ** (n["stretch"] / 5))
    where = where * cmath.rect(1, n["tilt"] - n["rotation"]) / 2 ** (n["scale"] / 5)
    if n["over"]:
        where = where.conj()
    want = smooth(where.real, -where.imag)
    found = moved(smooth(right, down)[None, None], moves(**chosen))[0, 0]
    inside = (where.real.abs() < 20 - 4) & (where.imag.abs() < 16 - 4)
    assert inside.sum() > 200
    assert float((found - want)[inside].abs().max()) < 0.015  # of a range of 2.7; a twentieth of a pixel is more


def test_shrinking_averages_what_it_cannot_show():
    """A wave at 0.45 a pixel would come back as a coarse one."""
    wave = torch.cos(2 * math.pi * 0.45 * pixels(33, 33)[0])[None, None]
    shrunk = moved(wave, moves(scale=-3.0))  # to 0.68 a pixel
    assert float(shrunk[..., 8:-8].abs().max()) < 0.05
    flat = torch.full((1, 1, 9, 9), 0.3, dtype=torch.float64)
    torch.testing.assert_close(moved(flat, moves(scale=-6.0, rotation=1.0, shift=[9.0, -20.0])), flat)


def test_an_image_does_not_depend_on_its_batch():
    images = torch.randn(12, 1, 8, 8)
    augment = Augment(0.5)
    together, told = augment(images, [generator(k) for k in range(12)])
    for k in range(12):
        alone, alone_told = augment(images[k : k + 1], [generator(k)])
        torch.testing.assert_close(alone[0], together[k], rtol=1e-5, atol=1e-5)
        assert torch.equal(alone_told[0], told[k])
    assert torch.equal(augment(images, generator(3))[1][:5], augment(images[:5], generator(3))[1])


def test_moves_follow_the_published_law():
    u = torch.rand(200_000, 15, generator=generator(1), dtype=torch.float64)
    drawn = Augment(0.12).moves(u)
    assert float(drawn.mirror.double().mean()) == pytest.approx(0.5, abs=0.005)
    assert float(drawn.over.double().mean()) == pytest.approx(0.06, abs=0.003)
    for part in (drawn.scale, drawn.rotation, drawn.stretch, drawn.shift[:, 0], drawn.shift[:, 1]):
        assert float(part.ne(0).double().mean()) == pytest.approx(0.12, abs=0.004)
    assert torch.equal(drawn.shift[:, 0].ne(0), drawn.shift[:, 1].ne(0))
    assert float(drawn.tilt.ne(0).double().mean()) == pytest.approx(0.06, abs=0.003)
    assert float((drawn.scale.ne(0) & drawn.rotation.ne(0)).double().mean()) == pytest.approx(0.0144, abs=0.002)
    for part in (drawn.scale, drawn.stretch, drawn.shift.flatten()):
        assert stats.kstest(part[part.ne(0)], "norm").pvalue > 1e-3
    for part in (drawn.rotation, drawn.tilt):
        assert stats.kstest(part[part.ne(0)], "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-3


def test_what_the_network_is_told():
    numbers = moves(scale=1.5, rotation=0.3, stretch=-2.0, tilt=0.7, shift=[0.1, -0.2], mirror=True).as_vector()[0]
    want = [1, 0, 1.5, math.cos(0.3) - 1, math.sin(0.3), -2 * math.cos(0.7), -2 * math.sin(0.7), 0.1, -0.2]
    torch.testing.assert_close(numbers, torch.tensor(want, dtype=torch.float64))
    images = torch.rand(4, 1, 8, 8)
    after, told = Augment(1.0)(images, generator(0))
    assert (after.dtype, told.dtype, told.shape) == (torch.float32, torch.float32, (4, 9))
    empty, told = Augment()(images[:0], generator(0))
    assert empty.shape == (0, 1, 8, 8) and told.shape == (0, 9)


def test_bad_input():
    with pytest.raises(FarfieldError, match=r"probability 1\.2; expected 0 to 1"):
        Augment(1.2)
    with pytest.raises(FarfieldError, match="mirror -1"):
        Augment(mirror=-1)
    with pytest.raises(FarfieldError, match=r"\[B, C, H, W\]"):
        Augment()(torch.zeros(3, 8, 8), generator(0))
    with pytest.raises(FarfieldError, match="uint8"):
        Augment()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), generator(0))
    with pytest.raises(FarfieldError, match="2 generators for 3 images"):
        Augment()(torch.zeros(3, 1, 8, 8), [generator(0), generator(1)])
