"""The section on physical fields says what the numbers say, and draws what is there."""

import pytest
import torch

from farfield.audit.field import compare_fields
from farfield.command.measures import FieldCounts, FieldMeasures, FieldSets, Spectrum, Worst
from farfield.command.result import from_json, to_json
from farfield.core.score import Score
from farfield.present.field import section
from farfield.present.plot import svg


def clouds(n, seed, channels=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, 16, 16, generator=g, dtype=torch.float64).cumsum(-1).mul(0.2).exp()


def comparison(scale=1.0, channels=1):
    found = compare_fields(generated=scale * clouds(12, 0, channels), real=clouds(10, 1, channels), repetitions=100)
    return from_json(FieldMeasures, to_json(found))


def shown(**sets):
    """The one section that there is."""
    (found,) = section(FieldSets(**{"unit": "", **sets}))
    return found


def told(worst, chance, k=3, ratio=None):
    """A comparison of which only the spectrum is known."""
    ks = [float(i) for i in range(1, 17)]
    values = [Score(1.0, 40, 0.9, 1.1)] * 16
    ratios = [*values[: k - 1], Score(1 + worst if ratio is None else ratio, 40, 0.9, 1.1), *values[k:]]
    at = Worst(k=float(k), value=worst, n=40, low=0.0, high=1.0, chance=chance)
    spectrum = Spectrum(k=ks, generated=values, real=values, ratio=ratios, worst=at, resolved=(2, 16))
    counts = FieldCounts(generated=40, real=40)
    return FieldMeasures(n=counts, shape=[1, 32, 32], window="hann", spectrum=spectrum)


def test_the_lead_says_how_far_and_where():
    found = shown(samples=told(0.08, 0.05), real=told(0.031, 0.06, k=9))
    assert found.lead == (
        "The power spectrum of the samples stays within 8.0\u202f% of held-out between k = 2 and 16; worst at "
        "k = 3 (0.094 per pixel). "
        "That is more than chance gives (up to 5.0\u202f%)."
    )
    assert found.paragraphs[0] == (
        "The power spectrum of other held-out fields stays within 3.1\u202f% of held-out between k = 2 and 16; worst at "
        "k = 9 (0.28 per pixel). "
        "That is no more than chance gives (up to 6.0\u202f%)."
    )


def test_a_large_gap_is_said_as_a_factor():
    assert "is at worst 4.2 times held-out's between k = 2 and 16, at k = 5" in shown(samples=told(3.2, 0.1, 5)).lead
    assert "is at worst 0.12 times held-out's" in shown(samples=told(0.88, 0.1, ratio=0.12)).lead


def test_everything_that_was_measured_is_shown():
    samples, real = comparison(1.5), comparison()
    found = shown(samples=samples, real=real, unit="K km/s")
    assert found.anchor == "fields" and len(found.charts) == 2
    spectra, laws = (chart.figure for chart in found.charts)
    assert len(spectra.axes) == 4 and len(laws.axes) == 2  # positive fields: of the logarithm too
    left, right = spectra.axes[:2]
    lines = {line.get_label(): line for line in left.lines}
    assert set(lines) == {"held-out", "samples", "other held-out"}
    stored = samples.spectrum
    assert list(lines["samples"].get_ydata()) == [s.value for s in stored.generated]
    assert list(lines["held-out"].get_ydata()) == [s.value for s in stored.real]
    ratio = next(line for line in right.lines if line.get_label() == "samples")
    assert list(ratio.get_xdata()) == stored.k[1:]  # resolved scales only
    assert "K km/s" in svg(laws) and "held-out" in svg(laws) and "<script" not in svg(spectra)
    moments, distances = found.tables
    assert moments.columns == ["", "samples", "other held-out", "held-out"] and len(moments.rows) == 8
    means = samples.moments["mean"], real.moments["mean"]
    assert moments.rows[0][1:] == [means[0].generated, means[1].generated, means[1].real]
    assert " ± " in moments.rows[4][1]
    assert [row[0].split(",")[0] for row in distances.rows] == [
        "power spectrum", "power spectrum of the logarithm", "pixels", "pixels",
    ]  # fmt: skip
    assert distances.rows[2][1] == samples.pixels.wasserstein
    assert distances.rows[2][4] == real.pixels.chance.wasserstein
    said = [
        found.lead,
        *found.paragraphs,
        *(cell for t in found.tables for cell in (t.title, *t.columns)),
        svg(laws),
        svg(spectra),
    ]
    assert not any("examples" in text for text in said)  # none is shown here: both sets of real fields were held out
    assert "from 2 to the Nyquist wavenumber 8" in found.details[0][1] and "Hann" in found.details[0][1]


def test_each_channel_has_its_own():
    found = shown(samples=comparison(channels=2))
    assert [c.label.split(":")[0] for c in found.charts] == ["Channel 1", "Channel 1", "Channel 2", "Channel 2"]
    assert found.lead.startswith("Channel 1: the power spectrum of the samples")
    assert len(found.tables) == 4 and found.tables[0].columns == ["", "samples", "held-out"]


def test_what_has_no_number_is_left_out():
    assert section(None) == [] and section(FieldSets(unit="", left_out={"samples": "too few"})) == []
    only = shown(real=comparison())
    assert only.lead.startswith("The power spectrum of other held-out fields")
    gaps = to_json(comparison())
    gaps["spectrum"]["ratio"][3] = None
    gaps["spectrum"]["generated"][3] = {"value": None, "n": 10, "low": None, "high": None}
    gaps["moments"]["kurtosis"]["per_field"]["generated"] = {"mean": None, "sd": None}
    figure = shown(samples=from_json(FieldMeasures, gaps)).charts[0].figure
    line = next(x for x in figure.axes[1].lines if x.get_label() == "samples")
    assert 4.0 not in line.get_xdata() and 5.0 in line.get_xdata()


@pytest.mark.parametrize("key", ["spectrum", "pixels", "profile", "moments"])
def test_a_part_alone_makes_a_section(key):
    whole = comparison()
    alone = FieldMeasures(n=whole.n, shape=whole.shape, window=None, **{key: getattr(whole, key)})
    found = shown(samples=alone)
    assert [len(found.charts), len(found.tables)] == {
        "spectrum": [1, 1], "pixels": [1, 1], "profile": [1, 0], "moments": [0, 1],
    }[key]  # fmt: skip


def test_scales_are_in_the_unit_of_the_header():
    found = shown(samples=told(0.08, 0.05), unit="cm-2", pixel=0.5, pixel_unit="arcsec")
    assert "worst at k = 3 (0.094 per pixel, waves of 5.3 arcsec)" in found.lead  # 32 pixels of 0.5 in 3 waves
    assert "(cm⁻²)²" in svg(found.charts[0].figure)
    drawn = shown(samples=comparison(), unit="", pixel=2.0, pixel_unit="arcsec").charts[1].figure
    assert "arcsec" in svg(drawn) and drawn.axes[1].lines[0].get_xdata()[-1] > 12
