"""`farfield distances`: the measures of the audit room, of generated images beside real ones."""

import json

import pytest
import torch

import farfield as front
from farfield.audit.descriptor import describe
from farfield.audit.distribution import kernel_distance
from farfield.audit.named import open_descriptor
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data.picture import as_shown
from farfield.study.bench.domain import Split
from tests.tiny import farfield, make_images

QUIET = {"quiet": True, "descriptors": "copy"}


def test_they_are_those_of_the_audit_room():
    """The kernel distance of the same rows; real images are told from noise and not from each other."""
    images = front.open_images("digits", limit=120)
    real, more = images.select(images.keys[:60]), images.select(images.keys[60:])
    found = front.distances(real=real, generated=more, **QUIET).measures["copy"]
    noise = Images(more.keys, 0.5 * torch.randn(more.values.shape).clamp(-2, 2))
    far = front.distances(real=real, generated=noise, **QUIET).measures["copy"]
    descriptor, parts = open_descriptor("copy"), Split(n=60).held(real.keys)

    def features(some):
        return describe(descriptor, Images(some.keys, as_shown(some.values)), 64)

    expected = kernel_distance(real=features(real.select(parts["references"])), generated=features(more))
    assert found["samples"].kernel_distance.value == pytest.approx(expected.value, rel=1e-5)
    assert far["samples"].kernel_distance.value > 4 * max(found["samples"].kernel_distance.value, 1e-3)
    assert far["real"] == found["real"]


def test_a_command_with_its_page(tmp_path):
    real, made = make_images(tmp_path / "real", 20), make_images(tmp_path / "made", 6, 12, 12, first=50)
    done = farfield("distances", real, made, "--descriptor", "copy", "-o", tmp_path / "run", "-q")
    assert done.code == 0 and "pass for held-out real by" in done.out, done.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["generated"]["n"] == 6 and set(summary["measures"]["copy"]) == {"samples", "real"}
    assert "16×16 → 12×12" in " ".join(summary["reading"])  # real images at the size of the generated ones
    assert "real to real" in (tmp_path / "run" / "report.html").read_text()


def test_too_few_are_refused_or_have_no_floor(tmp_path):
    few, made = make_images(tmp_path / "few", 6), make_images(tmp_path / "made", 5, first=50)
    found = front.distances(few, made, **QUIET)
    assert set(found.measures["copy"]) == {"samples"} and "no floor" in found.notes[0]
    with pytest.raises(FarfieldError, match="expected at least 4 generated images, found 3"):
        front.distances(few, make_images(tmp_path / "three", 3), **QUIET)
