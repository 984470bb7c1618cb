"""All measures count: whether new images can be told from held-out ones is not said by the one that came out well."""

import pytest
import torch

from farfield.audit.field import compare_fields
from farfield.audit.standing import standing
from farfield.command.measures import CopiedParts, FieldMeasures, LocalCopies, Measures, Novelty, Standing, StandingRow
from farfield.command.result import from_json, to_json
from farfield.core.score import Score, relation
from farfield.present import verdict
from farfield.present.headline import headline
from farfield.present.measured import measured


def around(value: float, half: float = 0.1) -> Score:
    return Score(value, 50, value - half, value + half)


def test_intervals_that_meet_overlap():
    assert relation(around(0.0), around(0.3)) == "below" and relation(around(0.3), around(0.0)) == "above"
    assert relation(around(0.0, 0.1), Score(0.2, 50, 0.1, 0.3)) == "overlapping"  # they touch
    assert relation(None, around(0)) is None and relation(Score(0.0, 5), around(0)) is None


MEASURES = {
    "pixels": {
        "samples": Measures(kernel_distance=around(0.0), coverage=around(0.3), density=Score(0.0, 5)),
        "real": Measures(kernel_distance=around(0.05), coverage=around(0.8), density=around(1.0)),
        "base": Measures(kernel_distance=around(9.0)),
    },
    "model": {
        "samples": Measures(kernel_distance=around(0.5), coverage=around(0.7)),
        "real": Measures(kernel_distance=around(0.0), coverage=around(0.8)),
    },
}
NEWS = {
    "pixels": Novelty(
        threshold=1.0, copies=around(0.6), copies_floor=around(0.05), duplicates=around(0.1), duplicates_floor=None
    )
}


def test_every_descriptor_and_the_copies_count():
    found = standing(MEASURES, NEWS, local_copies=LocalCopies(samples=around(0.2), floor=around(0.2)))
    told = {(row.measure, row.space): row.stands for row in found.rows}
    assert told == {
        ("kernel_distance", "pixels"): "overlapping",
        ("coverage", "pixels"): "below",
        ("kernel_distance", "model"): "above",
        ("coverage", "model"): "overlapping",
        ("copies", "pixels"): "above",
        ("copies", "quarters"): "overlapping",
    }
    assert (found.compared, found.apart) == (6, 3)


def test_the_same_seeds_without_the_network_stand_beside():
    control = Measures(kernel_distance=around(0.9), coverage=around(0.75), density=Score(0.0, 5))
    with_control = {**MEASURES, "pixels": {**MEASURES["pixels"], "control": control}}
    found = standing(with_control)
    assert (found.compared, found.apart) == (4, 2) and (found.control.compared, found.control.apart) == (2, 1)
    said = headline(50, "hubble", found, with_control)
    assert "pass for held-out hubble by 2 of 4 measures, the same seeds without the network by 1 of 2;" in said
    assert standing(with_control, same_size=False).control.compared == 1  # coverage depends on how many there are
    assert standing(MEASURES).control is None and "without the network" not in headline(50, "x", standing(MEASURES), {})


def test_copies_of_parts_count_at_each_scale():
    parts = [
        CopiedParts(scale="whole", space="pixels", samples=around(0.0), floor=around(0.0)),
        CopiedParts(scale="cells", space="whitened units", samples=around(0.5), floor=around(0.0)),
        CopiedParts(scale="cells", space="pixels", samples=around(0.5)),
    ]
    found = standing({}, local_copies=LocalCopies(samples=around(0.2), floor=around(0.9), parts=parts))
    assert [(row.space, row.stands) for row in found.rows] == [
        ("whole in pixels", "overlapping"), ("cells in whitened units", "above")
    ]  # fmt: skip
    assert verdict.standing(found, "dust")[0].startswith(
        "1 of 2 measures tells the new images from held-out dust: higher copies (cells in whitened units)."
    )


def test_the_null_of_a_classifier_is_no_measure():
    ours, real = Measures(c2st=around(0.9), c2st_null=around(0.5)), Measures(c2st=around(0.5), c2st_null=around(0.5))
    sets = {"pixels": {"samples": ours, "real": real}}
    assert [(row.measure, row.stands) for row in standing(sets).rows] == [("c2st", "above")]
    assert standing(sets, same_size=False).compared == 0  # it grows with the sets
    assert verdict.told({"pixels": {"samples": ours.but(density=around(1)), "real": real}}) == [
        "In pixels features C2ST 0.90 [0.80, 1.00] (real images: 0.50), by chance up to 0.60; density 1.00 [0.90, 1.10]; "
        "coverage –."
    ]


def test_what_grows_with_the_set_is_compared_between_sets_of_one_size_only():
    found = standing(MEASURES, same_size=False)
    assert {row.measure for row in found.rows} == {"kernel_distance"} and found.compared == 2


def test_nothing_held_out_is_nothing_compared():
    alone = Novelty(threshold=1.0, copies=around(1), copies_floor=None)
    assert standing({"pixels": {"samples": MEASURES["pixels"]["samples"]}}, {"pixels": alone, "few": Novelty()}) == (
        Standing(compared=0, apart=0, rows=[])
    )
    assert to_json({"few": Novelty(), "one": alone}) == {
        "few": {}, "one": {"threshold": 1.0, "copies": to_json(around(1)), "copies_floor": None}
    }  # fmt: skip


@pytest.mark.parametrize(("channels", "scale"), [(1, 1.0), (1, 2.0), (2, 2.0)])
def test_physical_measures_count(channels, scale):
    def fields(seed):
        g = torch.Generator().manual_seed(seed)
        return torch.randn(24, channels, 8, 8, generator=g, dtype=torch.float64).exp()

    told = compare_fields(generated=scale * fields(0), real=fields(1), repetitions=200)
    found = standing({}, fields=from_json(FieldMeasures, to_json(told)))
    assert found.compared == 8 * channels  # two spectra, two distances of the pixels, four moments
    apart = {row.measure for row in found.rows if row.stands != "overlapping"}
    if scale == 1:
        assert not apart  # one law
    else:  # twice as bright: everything but the shape of the distribution
        assert apart == {"spectrum", "wasserstein", "ks", "mean", "variance"}
        assert {row.space for row in found.rows} == (
            {"fields"} if channels == 1 else {"fields, channel 1", "fields, channel 2"}
        )


def test_the_page_leads_with_all_of_them():
    found = standing(MEASURES, NEWS)
    assert verdict.standing(found, "hubble") == [
        "3 of 5 measures tell the new images from held-out hubble: higher copies (pixels); higher kernel distance (model); "
        "lower coverage (pixels). The others do not, which does not make the two equal."
    ]
    assert verdict.measured_tiles(found, MEASURES, NEWS)[0][1] == "3 of 5"
    row = StandingRow(measure="ks", space="fields", stands="overlapping")
    (same,) = verdict.standing(Standing(compared=4, apart=0, rows=[row]), "dust")
    assert same.startswith("None of 4 measures tells the new images from")
    row = StandingRow(measure="ks", space="fields", stands="above")
    assert verdict.standing(Standing(compared=1, apart=1, rows=[row]), "dust") == [
        "1 of 1 measure tells the new images from held-out dust: Kolmogorov–Smirnov distance of the pixels beyond chance "
        "(fields)."
    ]


def test_one_sentence_is_made_of_all_measures_and_of_the_copies():
    few = {"pixels": NEWS["pixels"].but(copies=Score(0.02, 50, 0.0, 0.1))}
    head = headline(50, "hubble", standing(MEASURES, few), MEASURES, few)
    assert head == (
        "The 50 new images pass for held-out hubble by 3 of 5 measures; 1 of 50 is nearly a copy (of real images 5.0\u202f%); "
        "fewer kinds than real ones (coverage 0.30, real 0.80)."
    )
    none = {"pixels": NEWS["pixels"].but(copies=Score(0.0, 20, 0.0, 0.1))}
    alike = {"model": MEASURES["model"]}
    head = headline(20, "dust", standing(alike, none), alike, none)
    assert "by 2 of 3 measures, though so few can tell little; none of 20 is nearly a copy; no fewer kinds" in head
    assert headline(1, "dust", None, {}) == "Whether the new image passes for dust could not be measured."


def test_the_parts_that_are_copied_more_than_real_ones_are_in_it():
    parts = [
        CopiedParts(scale="whole", space="pixels", samples=Score(0.5, 40, 0.4, 0.6), floor=around(0.0)),
        CopiedParts(scale="cells", space="pixels", samples=around(0.5), floor=around(0.1)),
        CopiedParts(scale="quarters", space="pixels", samples=around(0.6), floor=around(0.5)),
    ]
    local = LocalCopies(samples=around(0.6), floor=around(0.5), parts=parts)
    head = headline(40, "dust", standing({}, local_copies=local), {}, {}, local)
    said = "20 of 40 new images are nearly copies (of real images 0 %) and 50 % of their cells are copies, of real images' "
    head = head.replace("\u202f", " ")
    assert head.startswith(said)  # they come first


def test_a_distance_below_zero_is_explained_where_it_stands():
    sets = {
        "pixels": {"samples": Measures(kernel_distance=around(-0.02)), "real": Measures(kernel_distance=around(0.0))}
    }
    assert verdict.NEGATIVE in verdict.distances(sets, "dust", True)[0]
    assert verdict.measured_tiles(None, sets)[0][3].endswith("; below 0 by chance")
    (section,) = measured(sets, True)
    assert section.tables[0].note == verdict.NEGATIVE
    assert verdict.NEGATIVE not in verdict.distances(MEASURES, "dust", True)[0]
