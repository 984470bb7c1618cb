"""Classes of new images: a classifier is as sure as the laws allow, of blends it is not, and nothing is made of no classes."""

import math

import pytest
import torch
from PIL import Image
from tiny import farfield, make_model

from farfield.audit.labelled import Classifier, _left_out, sureness
from farfield.core.artifact import Features, Images, read_json
from farfield.core.error import FarfieldError
from farfield.study.bench.domain import Domain
from farfield.study.bench.labels import Labels

pytestmark = pytest.mark.usefixtures("few_views")


def two(n: int, apart: float, seed: int, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Two unit Gaussians in turns, their means ``apart`` along the first axis about 0."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(n) % 2
    x[:, 0] += apart * (labels - 0.5)
    return x, labels


def below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def test_it_is_as_right_and_as_sure_as_the_posterior_of_two_gaussians():
    """log p/(1 − p) = δ x is Gaussian of mean ± δ²/2 and variance δ²: sure where it passes ± log 9."""
    apart, (x, labels) = 3.0, two(600, 3.0, 0)
    real, real_labels = two(2000, 3.0, 1)
    blends = 0.2 * two(200, 0.0, 2)[0]
    found = sureness(examples=x, labels=labels, real=real, real_labels=real_labels, samples=blends)
    middle, edge = apart**2 / 2, math.log(9)
    sure = below((middle - edge) / apart) + below((-middle - edge) / apart)
    assert found.accuracy.value == pytest.approx(below(apart / 2), abs=0.02)
    assert found.real.value == pytest.approx(sure, abs=0.06)
    assert found.samples.value < 0.02 and found.classes == 2 and found.commonest == 0.5


def test_what_samples_teach_is_tried_on_real_images():
    """As right as examples where they follow the same law; as often wrong where their classes are exchanged."""
    (x, labels), (real, real_labels), (made, of) = two(600, 3.0, 0), two(2000, 3.0, 1), two(600, 3.0, 2)
    known = {"examples": x, "labels": labels, "real": real, "real_labels": real_labels, "samples": made}
    taught = sureness(**known, sample_labels=of).taught
    assert taught is not None and taught.n == 2000 and taught.value == pytest.approx(below(1.5), abs=0.02)
    assert sureness(**known, sample_labels=1 - of).taught.value == pytest.approx(1 - taught.value, abs=1e-3)
    assert sureness(**known, sample_labels=of.where(of == 1, -1)).taught is None is sureness(**known).taught


def test_no_relation_is_no_confidence():
    x, labels = two(60, 0.0, 0, d=200)
    told = Classifier.fit(x, labels).probabilities(two(300, 0.0, 1, d=200)[0])
    assert float((told.amax(1) > 0.9).double().mean()) < 0.05
    with pytest.raises(FarfieldError, match="at least two classes"):
        Classifier.fit(x, torch.zeros(60, dtype=torch.long))


def test_what_is_left_out_is_what_a_fit_without_it_says():
    x, labels = two(12, 2.0, 0)
    y, ridge = torch.nn.functional.one_hot(labels).double(), 0.7
    z = x - x.mean(0)
    values, vectors = torch.linalg.eigh(z @ z.T)
    shrunk = values.clamp(min=0) / (values.clamp(min=0) + ridge)
    found = _left_out(vectors, shrunk, vectors.T @ (y - y.mean(0)), y, y.mean(0))
    rest = torch.arange(12) != 5
    a, b = x[rest] - x[rest].mean(0), y[rest] - y[rest].mean(0)
    weights = torch.linalg.solve(a.T @ a + ridge * torch.eye(3, dtype=torch.float64), a.T @ b)
    torch.testing.assert_close(found[5], y[rest].mean(0) + (x[5] - x[rest].mean(0)) @ weights)


def test_names_that_each_begin_otherwise_are_no_classes(tmp_path):
    keys = tuple(f"k{i}" for i in range(20))
    features = Features(keys, torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), "d")
    every = {key: i for i, key in enumerate(keys)}
    assert Labels({"examples": every, "references": every}).sure(features, features, features) is None
    halves = {key: i % 2 for i, key in enumerate(keys)}
    found = Labels({"examples": halves, "references": halves}).sure(features, features, features)
    assert found is not None and found.classes == 2 and found.accuracy.n == 20
    domain = Domain(Images(keys, torch.zeros(20, 3, 8, 8)), {}, 20)
    assert Labels.read("hubble", None, domain) == Labels({})  # nothing held out


def test_expand_says_how_sure_one_is_of_classes_in_folders(tmp_path):
    for name, shade in (("dark", 40), ("light", 215)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            noise = torch.randint(-30, 30, (16, 16, 3), generator=torch.Generator().manual_seed(i)).numpy()
            Image.fromarray((shade + noise).astype("uint8")).save(tmp_path / "images" / name / f"{name}{i}.png")
    options = ("--examples", 12, "-n", 4, "--steps", 2, "--sigma", 5, "--candidates", 1, "--descriptor", "pixels", "-q")
    outcome = farfield("expand", make_model(tmp_path / "model"), tmp_path / "images", *options, "-o", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    found = read_json(tmp_path / "run" / "summary.json")["labels"]["pixels"]
    assert (
        found["classes"] == 2
        and found["accuracy"]["value"] == found["real"]["value"] == 1
        and found["samples"]["n"] == 4
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert 'id="labels"' in page and "is more than 0.9 sure of" in page
