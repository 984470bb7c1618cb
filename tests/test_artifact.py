import json

import pytest
import torch

from farfield.core.artifact import Features, Images, Latents, Score, Store, chunks, load, read_json, save, write_json
from farfield.core.error import FarfieldError


def latents(n=5, sigma=2.0):
    return Latents(tuple(f"k{i}" for i in range(n)), torch.randn(n, 1, 2, 2, dtype=torch.float64), sigma=sigma)


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    before = latents()
    save(before, tmp_path / "z")
    after = load(tmp_path / "z", Latents)
    assert after.keys == before.keys and after.sigma == 2.0 and after.values.dtype == torch.float64
    assert torch.equal(after.values, before.values)
    assert after.digest() == before.digest() != latents().digest()


def test_shards_join_in_the_order_of_the_list_whatever_order_they_came_in(tmp_path):
    whole = latents(7)
    store, parts = Store(tmp_path, Latents), chunks(whole.keys, 3)
    for i in (2, 0, 1):
        assert not store.has(i)
        store.write(i, whole.select(parts[i]))
    assert torch.equal(store.read().values, whole.values)


def test_rows_are_found_by_key():
    z = latents()
    assert torch.equal(z.select(["k3", "k0"]).values, z.values[[3, 0]])
    with pytest.raises(FarfieldError, match=r"no row for the keys \['nope'\]"):
        z.select(["nope"])


def test_keys_must_name_rows_one_to_one():
    with pytest.raises(FarfieldError, match="2 keys for 3 rows"):
        Images(("a", "b"), torch.zeros(3, 1, 1, 1))
    with pytest.raises(FarfieldError, match="more than once"):
        Images(("a", "a"), torch.zeros(2, 1, 1, 1))


def test_a_killed_write_leaves_nothing_that_is_read(tmp_path):
    save(latents(), tmp_path)
    (tmp_path / ".writing-abcshard-00001.safetensors").write_bytes(b"half")
    assert len(load(tmp_path, Latents)) == 5


def test_damage_and_mixed_kinds_are_named(tmp_path):
    save(latents(), tmp_path)
    with pytest.raises(FarfieldError, match=r"holds 'latents', expected 'images'"):
        load(tmp_path, Images)
    Store(tmp_path, Latents).write(1, latents(sigma=3.0).select(["k1"]))
    with pytest.raises(FarfieldError, match=r"disagree about \['sigma'\]"):
        load(tmp_path, Latents)
    shard = tmp_path / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(FarfieldError, match=r"shard-00000\.safetensors: not a shard"):
        load(tmp_path, Latents)
    with pytest.raises(FarfieldError, match="found none"):
        load(tmp_path / "absent", Features)


def test_json_keeps_scores_and_turns_nan_into_null(tmp_path):
    write_json(tmp_path / "s.json", {"a": Score(0.5, 10, 0.1, 0.9), "b": float("nan"), "c": (1, tmp_path)})
    found = read_json(tmp_path / "s.json")
    assert found["a"] == {"value": 0.5, "n": 10, "low": 0.1, "high": 0.9} and found["b"] is None and found["c"][0] == 1
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(FarfieldError, match="expected JSON"):
        read_json(tmp_path / "s.json")
    json.dumps(found, allow_nan=False)


def test_an_unwritable_place_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FarfieldError, match="cannot write here"):
        save(latents(), tmp_path / "file" / "below")
