"""Sets of images that are read block by block say what the same images in memory say, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import make_images
from torch import Tensor

from farfield.audit.blocks import nearest_in_blocks
from farfield.audit.generalization import distinct, ratio_test
from farfield.audit.pixels import Pixels
from farfield.audit.reproducibility import mean_absolute_differences, pfd
from farfield.audit.search import nearest
from farfield.audit.similarity import repaired, similarity, unit
from farfield.command.audit import Audit
from farfield.core.artifact import Artifact, Features, Images
from farfield.core.error import FarfieldError, MachineError
from farfield.data.image_set import ImageSet
from farfield.study.audit.audit import audit
from farfield.study.audit.gl import RawPixels


def random(n: int, seed: int, shape: tuple[int, ...] = (3, 5, 4)) -> Tensor:
    return torch.randint(256, (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def named(values: Tensor) -> list[tuple[str, Tensor]]:
    return [(f"{i:03d}", value) for i, value in enumerate(values)]


@pytest.fixture
def blocks_of_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read block by block comes in blocks of seven images, and from a file."""
    monkeypatch.setattr("farfield.data.image_set.HELD", 100)
    for module in ("similarity", "reproducibility", "generalization", "blocks"):
        monkeypatch.setattr(f"farfield.audit.{module}.at_once", lambda shape, entries=0: 7)


@pytest.mark.parametrize("held", [0, 200, 1 << 20])
def test_what_is_read_is_what_was_put_in(held: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("farfield.data.image_set.HELD", held)
    values = random(40, 0)
    found = ImageSet.of(named(values))
    expected = Images(found.keys, values.float() / 127.5 - 1)
    assert torch.equal(found.images().values, expected.values) and found.shape == expected.shape == (3, 5, 4)
    assert found.digest() == expected.digest()
    assert torch.equal(torch.cat([part.values for part in found.parts(9)]), expected.values)
    some = ["007", "008", "003", "039", "009"]
    assert found.select(some).images().keys == tuple(some)
    assert torch.equal(found.select(some).images().values, expected.select(some).values)
    assert found.select(some).select(["039"]).digest() == expected.select(["039"]).digest()
    assert torch.equal(found.at(torch.tensor([3, 3, 0])), expected.values[[3, 3, 0]])
    assert (
        found.renamed([f"n{k}" for k in found.keys]).select(["n005"]).digest()
        == expected.select(["005"]).renamed(["n005"]).digest()
    )


def test_floats_keep_their_precision_whenever_they_come():
    bytes_, floats = random(5, 0), torch.randn(4, 3, 5, 4)
    mixed = [*named(bytes_), *((f"f{i}", value) for i, value in enumerate(floats)), ("last", bytes_[0])]
    found = ImageSet.of(mixed).images().values
    expected = torch.cat([bytes_.float() / 127.5 - 1, floats, bytes_[:1].float() / 127.5 - 1])
    assert torch.equal(found, expected)


def test_what_is_no_set_is_refused():
    with pytest.raises(FarfieldError, match="at least one, found none"):
        ImageSet.of([])
    with pytest.raises(FarfieldError, match=r"\[3, 5, 4\] \(a\) and \[1, 5, 4\] \(b\)"):
        ImageSet.of([("a", random(1, 0)[0]), ("b", random(1, 0, (1, 5, 4))[0])])
    with pytest.raises(FarfieldError, match=r"unique, \['a'\]"):
        ImageSet.of([("a", random(1, 0)[0])] * 2)
    with pytest.raises(FarfieldError, match="no row for the keys"):
        ImageSet.of(named(random(2, 0))).select(["absent"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
@pytest.mark.parametrize("n", [1, 400])
def test_a_full_disk_is_one_clear_line(n: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda held: open("/dev/full", "w+b"))  # noqa: SIM115
    with pytest.raises(MachineError, match=r"no room for the pixels .* \(No space left on device\).* set TMPDIR"):
        ImageSet.of(named(random(n, 0)))


def test_neighbours_found_in_blocks_are_those_of_the_whole(blocks_of_seven: None):
    values = random(50, 1, (2,)).float() // 16  # many at equal distances
    known = Features(tuple(map(str, range(50))), values, "test")
    queries = Features(tuple(map(str, range(24))), random(24, 2, (2,)).float() // 16, "test")
    for k in (1, 4, 50):
        for found, expected in zip(nearest_in_blocks(queries, known, k), nearest(queries, known, k), strict=True):
            assert torch.equal(found, expected)
    own = torch.arange(50)
    for found, expected in zip(
        nearest_in_blocks(known, known, 3, exclude=own), nearest(known, known, 3, exclude=own), strict=True
    ):
        assert torch.equal(found, expected)
    kept = torch.tensor([0, 5, 6, 7, 8, 30, 49])
    distances, rows = nearest_in_blocks(queries, known, 2, kept=kept)
    expected, places = nearest(queries, values[kept], 2)
    assert torch.equal(distances, expected) and torch.equal(rows, kept[places])
    with pytest.raises(FarfieldError, match="expected 1 to 7 neighbours among 7"):
        nearest_in_blocks(queries, known, 8, kept=kept)


def test_scores_of_sets_are_those_of_images_in_memory(blocks_of_seven: None):
    first, second = random(30, 3), random(30, 4)
    second[3], first[11] = first[3], first[2]
    sets = [ImageSet.of(named(values)) for values in (first, second)]
    images = [one.images() for one in sets]
    assert torch.equal(mean_absolute_differences(*sets), mean_absolute_differences(*images))
    assert pfd(*sets, resamples=40) == pfd(*images, resamples=40)
    assert repaired(sets[0]).images().keys == repaired(images[0]).keys
    flat = [Features(one.keys, one.values.flatten(1), "raw pixels") for one in images]
    assert distinct(sets[0]) == distinct(flat[0]) and len(distinct(sets[0])) == 29
    ratios = ratio_test(samples=RawPixels(sets[1]), training=RawPixels(sets[0]))
    kept = torch.tensor(distinct(flat[0]))
    distances, rows = nearest(flat[1].values, flat[0].values[kept], 2)
    assert torch.equal(ratios.ratio, distances[:, 0] / distances[:, 1]) and ratios.duplicates == 1
    assert ratios.nearest_keys == tuple(flat[0].keys[kept[i]] for i in rows[:, 0])
    units = [unit(one).values.double() for one in flat]
    assert torch.equal(similarity(*flat), 1 - (units[0] - units[1]).square().sum(1) / 2)


def test_pixels_are_whitened_on_blocks_as_on_the_whole(monkeypatch: pytest.MonkeyPatch):
    """Sums and triangles are added up in another order, so to rounding only."""
    found = ImageSet.of(named(random(90, 5, (1, 4, 4))))
    whole = Pixels.fit(found.images())
    monkeypatch.setattr("farfield.audit.pixels.at_once", lambda shape: 7)
    parts = Pixels.fit(found)
    assert parts.name == whole.name
    assert torch.allclose(parts.mean, whole.mean, rtol=0, atol=1e-14)
    assert torch.allclose(parts.basis, whole.basis, rtol=0, atol=1e-12)


def test_an_audit_reads_no_more_at_once_of_a_larger_training_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of 120 training images never more than a block: neither pixels nor features."""
    for place in ("study.audit.evidence.MEASURED", "study.audit.evidence.SCANNED"):
        monkeypatch.setattr(f"farfield.{place}", 20)
    for module in ("audit.generalization", "audit.blocks", "audit.authenticity", "study.audit.gl"):
        monkeypatch.setattr(f"farfield.{module}.at_once", lambda shape, entries=0: 20)
    monkeypatch.setattr("farfield.data.image_set.BLOCK", 20 * 3 * 16 * 16)
    made: list[int] = []
    check = Artifact.__post_init__
    monkeypatch.setattr(Artifact, "__post_init__", lambda self: (made.append(len(self)), check(self))[1])
    for name, n, start in (("samples", 20, 2000), ("heldout", 20, 1000), ("train", 120, 0)):
        make_images(tmp_path / name, n, first=start)
    settings = Audit.of(
        subject=str(tmp_path / "samples"),
        train=str(tmp_path / "train"),
        heldout=str(tmp_path / "heldout"),
        threshold=0.5,
        batch_size=2,
        device="cpu",
    )
    found = audit(settings, tmp_path / "run", quiet=True)
    assert found.training.n == 120 and found.ratio_test and found.ratio_test.space == "pixels"
    assert 20 <= max(made) <= 32  # 16 features make a shard, and whole shards are put together
