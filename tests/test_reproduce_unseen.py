"""The experiments `unseen` and `inverse` of `farfield reproduce`, in the smallest."""

from __future__ import annotations

import math

import pytest
from tiny import farfield, summary

from farfield.command.analyse import (
    AnalyseResult,
    Bandwidth,
    Check,
    InDomain,
    Interference,
    KeptShare,
    LevelChecks,
    LevelSeparated,
    Stop,
    Walk,
    WayKept,
)
from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.result import to_json
from farfield.core.artifact import write_json
from farfield.core.score import Score
from farfield.study.reproduce import inverse, settings, unseen
from farfield.study.reproduce.plan import Plan


def test_rank_correlation_and_the_orders_that_reach_it():
    assert unseen.rank_correlation([1, 2, 3, 4], [10, 20, 30, 400]) == (pytest.approx(1.0), pytest.approx(1 / 24))
    assert unseen.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == (pytest.approx(-1.0), pytest.approx(1.0))
    found, chance = unseen.rank_correlation([1, 2, 3], [5, 5, 9])  # ranks 1.5, 1.5, 3
    assert found == pytest.approx(math.sqrt(3) / 2) and chance == pytest.approx(1 / 3)  # the orders with 9 last
    found, chance = unseen.rank_correlation([1, 2, 3], [5, 5, 5])
    assert math.isnan(found) and chance == 1


def analysed(gap: float, kept: list[float]) -> AnalyseResult:
    """An analysis of which the experiment reads a gap, a band, the last level's tests, and a walk."""

    def near(value: float) -> Score:
        return Score(value, 8, value - 0.1, value + 0.1)

    facts = SourceFacts(source="given", n=8)
    told = {"train_accuracy": 1.0, "null": 0.5, "null_high": 0.6, "bayes": None}
    check = {"statistic": 0.0, "expected": 0.0, "low": -1.0, "high": 1.0, "says": "mean: 0"}
    levels = [KeptShare(sigma=2.0**i, kept=near(value)) for i, value in enumerate(kept)]
    stops = [Stop(centre=centre, at=0.5, drift=near(drift)) for centre, drift in (("mean", 0.1), ("origin", 0.4))]
    return AnalyseResult(
        model=ModelFacts(name="model", digest="0", shape=[1, 8, 8]),
        examples=facts,
        in_domain=InDomain(source=None, n=8, kind="its own samples"),
        levels=[level.sigma for level in levels],
        steps=4,
        down_steps=4,
        solver="heun",
        latent_certificate=[],
        normality=[LevelChecks(sigma=4.0, checks=[Check(name="a", p_value=p, **check) for p in (0.5, 0.001)])],
        geometry=[],
        separability=[LevelSeparated(sigma=4.0, accuracy=near(0.9), p_value=0.01, **told)],
        interference=Interference(
            descriptor="model", floor=near(0), recognised=near(1), decoded=4, keys=[], curves=[], gap=near(gap)
        ),
        bandwidth=Bandwidth(
            ways=[WayKept(way="eta", at=0.5, levels=levels, highest_kept=2.0)], recommended=2.0, eta=0.5, search=[], searched=None
        ),
        symmetry=None,
        walk=Walk(sigma=4.0, pairs=[["a", "b"]], stops=stops),
    )  # fmt: skip


@pytest.mark.parametrize("wider", [True, False])
def test_the_band_of_domains_is_read_in_the_order_of_their_gaps(tmp_path, wider):
    """Four domains whose bands grow with their gaps are the 1 of 24 orders that says so; any other order is no evidence."""
    gaps = {"hubble": 0.4, "retina": 0.1, "grass": 0.2, "digits": 0.9}
    plan = Plan(tmp_path)
    for step in unseen.steps(plan):
        name = step.folder.name
        if name in gaps and step.words[0] == "analyse":
            kept = gaps[name] if wider else 1 - gaps[name]
            write_json(step.folder / "summary.json", to_json(analysed(gaps[name], [1.0, kept])))
    domains = {step.folder.name: step for step in unseen.steps(plan) if step.words[0] == "analyse"}
    found = {name: step.result(AnalyseResult) for name, step in domains.items()}
    outcome = unseen.of_domains(found)
    assert [line.name.partition(",")[0] for line in outcome.panels[0].ours] == ["retina", "grass", "hubble", "digits"]
    assert outcome.panels[1].ours[0].x == sorted(gaps.values())
    assert any("wider band" in line for line in (outcome.agrees if wider else outcome.differs))
    assert "hubble 1 of 2" in " ".join(outcome.differs)  # of the tests for a Gaussian one rejects
    rows = {row.name: row.ours for row in outcome.rows}
    assert rows["digits: kept up to σ"].value == 2.0
    assert rows["digits: drift half-way between examples, about the origin"].value == 0.4


def test_restorations_of_two_networks_are_read_with_their_chance(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "LENGTHS", {"unet": "64", "dit": "64"})
    monkeypatch.setattr(inverse, "FEW", ("--limit", "2", "-n", "2", "--steps", "2", "--descriptor", "pixels"))
    monkeypatch.setattr(inverse, "SMALL", {"mask": ("--mask", "2,2,6,6")})
    done = farfield("reproduce", "inverse", "-o", tmp_path / "run", "-q")
    assert done.code == 0, done.err
    outcome = summary(tmp_path / "run")["experiments"][0]["outcome"]
    own = summary(tmp_path / "run" / "inverse" / "copies")["against"]
    same, other = outcome["panels"][0]["ours"]
    assert same["y"][1] == own["pfd"] and other["y"][1] == own["pfd_chance"] and len(same["y"]) == 2
    assert len(outcome["agrees"]) + len(outcome["differs"]) == 2 and isinstance(Score(**same["y"][0]), Score)
