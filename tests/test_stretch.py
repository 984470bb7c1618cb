"""The stretch: undone exactly, equal to its equation, and chosen by the stated rule."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import read_stretch

from farfield.core.artifact import write_json
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.data.stretch import KINDS, Channel, Stretch, fit_stretch

HSC = Path(__file__).resolve().parents[2] / "shared" / "data" / "hsc-wide-fits"


def values(seed: int = 0, n: int = 6, channels: int = 2, shift: float = 0.0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 1e21])[:channels].view(1, -1, 1, 1).double()
    return (torch.randn(n, channels, 8, 8, generator=g, dtype=torch.float64).mul(1.5).exp() + shift) * scale


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_undone_exactly_beyond_the_examples_too(kind):
    x = values()
    stretch = fit_stretch(kind, x)
    new = torch.cat([x, 30 * x, x / 30])
    back = stretch.inverse(stretch.forward(new))
    # beside 0, as much as the map's own numbers carry
    least = [c.softening if kind == "asinh" else 0 if kind == "log" else c.high - c.low for c in stretch.channels]
    size = torch.maximum(new.abs(), torch.tensor(least).double().view(1, -1, 1, 1))
    assert ((back - new).abs() <= 1e-12 * size).all()
    v = torch.linspace(-1.5, 1.5, 101, dtype=torch.float64).view(1, 1, -1).expand(1, 2, -1)
    assert torch.allclose(stretch.forward(stretch.inverse(v)), v, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_monotone_and_clips_nothing(kind):
    x = values()
    stretch = fit_stretch(kind, x)
    v = stretch.forward(x)
    order = x[:, 0].flatten().argsort()
    assert (v[:, 0].flatten()[order].diff() >= 0).all()
    if kind == "percentile":
        assert [round(float(np.mean(v[:, 0].numpy() < e)), 2) for e in (-1, 1)] == [0.01, 0.99]
    else:
        assert torch.allclose(v.amin((0, 2, 3)), torch.full((2,), -1.0).double(), atol=1e-12)
        assert torch.allclose(v.amax((0, 2, 3)), torch.full((2,), 1.0).double(), atol=1e-12)
    assert (stretch.forward(3 * x.amax((0, 2, 3), keepdim=True)) > 1).all()


def test_it_is_the_equation():
    x = values(shift=-0.5)[:, :1]
    flat = x.numpy().ravel()
    c = np.sort(flat)[len(flat) // 2 - 1]  # torch's median is the lower of the middle two
    s = 1.4826 * np.sort(np.abs(flat - c))[len(flat) // 2 - 1]
    u = np.arcsinh((flat - c) / s)
    assert np.allclose(
        fit_stretch("asinh", x).forward(x).numpy().ravel(), 2 * (u - u.min()) / np.ptp(u) - 1, atol=1e-13
    )
    u = np.log(values()[:, 0].numpy().ravel())
    found = fit_stretch("log", values()).forward(values())[:, 0].numpy().ravel()
    assert np.allclose(found, 2 * (u - u.min()) / np.ptp(u) - 1, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_does_not_matter(kind):
    x = values(channels=1)
    a, b = fit_stretch(kind, x).forward(x), fit_stretch(kind, 1e-20 * x).forward(1e-20 * x)
    assert torch.allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_are_no_data_and_stay_gaps(kind):
    x = values()
    gappy = torch.cat([x, torch.full_like(x[:1], torch.nan)])
    stretch = fit_stretch(kind, gappy)
    assert stretch == fit_stretch(kind, x)
    v = stretch.forward(gappy)
    assert torch.equal(v.isnan(), gappy.isnan()) and torch.equal(stretch.inverse(v).isnan(), gappy.isnan())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_kept_as_json_to_the_bit(tmp_path, kind):
    stretch = fit_stretch(kind, values(), unit="cm-2")
    write_json(tmp_path / "stretch.json", stretch.to_json())
    assert read_stretch(tmp_path / "stretch.json") == stretch
    assert json.loads((tmp_path / "stretch.json").read_text())["unit"] == "cm-2"


def test_auto_follows_the_stated_rule():
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(20, 1, 16, 16, generator=g, dtype=torch.float64)
    skewed = (1.5 * normal).exp()
    cases = {"linear": normal, "log": skewed, "asinh": skewed - 0.1}
    assert {kind: fit_stretch("auto", x).kind for kind, x in cases.items()} == {k: k for k in cases}
    assert fit_stretch("auto", -(normal.abs() ** 3)).kind == "asinh"
    assert fit_stretch("auto", 1e3 + skewed).kind == "asinh"  # a logarithm would do nothing
    assert fit_stretch("auto", torch.cat([normal + 9, skewed], 1)).kind == "log"  # one for all channels
    assert fit_stretch("auto", torch.cat([normal, skewed], 1)).kind == "asinh"
    assert fit_stretch("auto", torch.cat([skewed, skewed - 0.1], 1)).kind == "asinh"


def test_a_background_of_one_value_still_has_a_softening():
    x = torch.zeros(2, 1, 10, 10, dtype=torch.float64)
    x[0, 0, 0, :4] = torch.tensor([-1.0, 1.0, 2.0, 50.0])
    channel = fit_stretch("asinh", x).channels[0]
    assert channel.centre == 0 and channel.softening == pytest.approx(1.4826)


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        ("sqrt", values(), "stretch 'sqrt': expected auto, linear, log, asinh, percentile"),
        (
            "log",
            values(shift=-5.0),
            r"stretch log: expected values above 0, found -.* in a, b, c, …; use --stretch asinh",
        ),
        ("log", values() * 0 + torch.eye(8).double(), r"above 0, found 0 in"),
        ("linear", torch.full((2, 1, 4, 4), 7.0), "channel 0 of the examples is 7 throughout; expected a spread"),
        ("auto", torch.full((2, 1, 4, 4), torch.nan), "channel 0 of the examples is masked throughout"),
        ("percentile", torch.eye(40).view(1, 1, 40, 40) * (torch.arange(40) == 3), "percentiles 1 and 99 are both 0"),
    ],
)
def test_what_cannot_be_stretched_is_refused(kind, x, message):
    with pytest.raises(FarfieldError, match=message):
        fit_stretch(kind, x, keys="abcdef")


def test_new_values_that_cannot_be_stretched_are_named():
    stretch = fit_stretch("log", values())
    with pytest.raises(FarfieldError, match=r"found -1 in far; use --stretch asinh"):
        stretch.forward(torch.tensor([[[1.0], [1.0]], [[1.0], [-1.0]]]), ["near", "far"])
    with pytest.raises(NonFiniteError, match=r"inverse of the stretch: found NaN or infinity in row 0"):
        stretch.inverse(torch.full((1, 2, 1), 1e6))
    with pytest.raises(FarfieldError, match=r"expected \[n, 2, ...\] as fitted, found \[1, 3, 4\]"):
        stretch.forward(torch.ones(1, 3, 4))


def test_a_channel_keeps_its_numbers():
    stretch = Stretch("asinh", (Channel(-1.0, 1.0, 2.0, 0.5), Channel(0.0, 2.0)))
    x = torch.tensor([[[2.0], [np.sinh(1.0)]]])
    assert torch.allclose(stretch.forward(x), torch.zeros(1, 2, 1).double(), atol=1e-7)


@pytest.mark.skipif(not HSC.exists(), reason="development data")
def test_real_galaxies_are_spread_by_asinh():
    pytest.importorskip("astropy")
    from farfield.data.science import load_fields

    fields = load_fields(HSC, (3, 64, 64))
    stretch = fit_stretch("auto", fields.values)
    v = stretch.forward(fields.values)
    assert stretch.kind == "asinh" and v.std() > 5 * fit_stretch("linear", fields.values).forward(fields.values).std()
    softening = stretch.channels[0].softening
    assert ((stretch.inverse(v) - fields.values).abs() <= 1e-12 * fields.values.abs().clamp(min=softening)).all()
