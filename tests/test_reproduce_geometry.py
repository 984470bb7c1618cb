"""`farfield reproduce jacobian` and `molrg`: their numbers are those of their own runs, and of the closed form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import farfield, summary

from farfield.study.reproduce import jacobian, molrg


def test_the_rank_is_over_the_snr_and_a_share_of_the_dimensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jacobian, "MODEL", "digits-generalizing")
    monkeypatch.setattr(jacobian, "SMALL", "0.2,5")
    made = farfield("reproduce", "jacobian", "--data", "digits", "-q", "--device", "cpu", "-o", tmp_path / "run")
    assert made.code == 0, made.err
    outcome = summary(tmp_path / "run")["experiments"][0]["outcome"]
    trajectory, noised = outcome["panels"][0]["ours"]
    assert (trajectory["name"], noised["name"]) == ("trajectories", "noised images")
    for curve, folder in ((trajectory, "trajectory"), (noised, "noised")):
        own = summary(tmp_path / "run" / "jacobian" / folder)
        assert curve["x"] == [0.2, 5.0]
        assert [y["value"] for y in curve["y"]] == [
            one["rank"]["mean"]["value"] / 64 for one in reversed(own["levels"])
        ]
    assert outcome["panels"][0]["published"][0]["x"][0] == 0.01
    assert len(outcome["agrees"]) + len(outcome["differs"]) == 6


def test_the_exact_ranks_are_those_of_one_class_and_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(molrg, "DIMENSIONS", (6,))
    monkeypatch.setattr(molrg, "SIGMAS", "0.05,2,10")
    quick = ("--per-class", "20", "--length", "1k", "--seeds", "2", "--starts", "0", "--points", "2")
    monkeypatch.setattr(molrg, "SMALL", (*quick, "--ratios", "0.5,1", "--network-counts", "none"))
    made = farfield("reproduce", "molrg", "-q", "--device", "cpu", "-o", tmp_path / "run")
    assert made.code == 0, made.err
    outcome = summary(tmp_path / "run")["experiments"][0]["outcome"]
    assert [row["published"] for row in outcome["rows"]] == [6, 12, 1] and outcome["rows"][2]["ours"]["value"] == 1
    for d, panel in zip(molrg.DIMENSIONS, outcome["panels"], strict=True):
        exact = next(curve for curve in panel["ours"] if curve["name"] == "exact")
        assert exact["x"] == [0.1, 0.5, 20.0] and [exact["y"][i]["value"] for i in (0, 2)] == [2 * d, d]
        network = next(curve for curve in panel["ours"] if curve["name"] == "network")
        assert [row["ours"] for row in outcome["rows"][:2]] == [network["y"][2], network["y"][1]]
    assert any("rank is 12 far from the data and 6 near it" in line for line in outcome["agrees"])
