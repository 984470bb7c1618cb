"""A run folder: who may work in it, what is verified when it is read again, and what the disk may refuse."""

import errno
import json
import multiprocessing
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from farfield.core import disk
from farfield.core.artifact import Images, Latents, Store, read_kept, save, write_json, write_kept
from farfield.core.disk import PREFIX, beside, make_folder, sweep, write_bytes
from farfield.core.error import FarfieldError, FarfieldWarning, MachineError
from farfield.core.hold import Hold, lock
from farfield.core.state import StateFile
from farfield.study.bench.run import Run

KEYS = [f"k{i}" for i in range(5)]


def rows(keys, seed=0):
    return Images(tuple(keys), torch.stack([torch.full((1, 2, 2), float(seed + KEYS.index(k))) for k in keys]))


def begun(folder, n=1, **inputs):
    return Run(folder, "expand", {"n": n}, inputs, quiet=True)


def computed(run, count=None, beside=()):
    """The images of KEYS in shards of two, and which parts were worked on."""
    done = []

    def work(part, advance):
        done.append(part)
        for store in beside:
            store.write(KEYS.index(part[0]) // 2, rows(part, 10))
        return rows(part)

    return run.compute("images", Images, KEYS, 2, work, "working", beside=beside).read(), done


def flip(path, at=-3):
    content = bytearray(path.read_bytes())
    content[at] ^= 64
    path.write_bytes(content)


def test_a_run_is_of_one_request_and_of_one_content_of_its_inputs(tmp_path):
    run = begun(tmp_path / "run", examples=rows(KEYS))
    assert run.request == {"command": "expand", "n": 1, "examples_digest": rows(KEYS).digest()}
    begun(tmp_path / "run", examples=rows(KEYS))
    with pytest.raises(FarfieldError, match=r"other settings \(n was 1, now 2\)"):
        begun(tmp_path / "run", n=2, examples=rows(KEYS))
    with pytest.raises(FarfieldError, match=r"other data under the same names \(examples_digest was"):
        begun(tmp_path / "run", examples=rows(KEYS, seed=1))
    with pytest.raises(FarfieldError, match="heldout_digest"):  # begun by a version that did not note it
        begun(tmp_path / "run", examples=rows(KEYS), heldout=rows(KEYS))


def _race(folder, n, barrier, answers):
    barrier.wait()
    try:
        run = begun(folder, n=n)
        barrier.wait()  # hold it until the other has tried
        answers.put((n, run.request["n"], ""))
    except FarfieldError as error:
        answers.put((n, None, str(error)))
        barrier.wait()


@pytest.mark.parametrize("numbers", [(1, 2), (1, 1)])
def test_of_two_processes_that_begin_in_one_folder_one_wins(tmp_path, numbers):
    context = multiprocessing.get_context("fork")
    for attempt in range(4):
        barrier, answers = context.Barrier(2), context.SimpleQueue()
        both = [context.Process(target=_race, args=(tmp_path / str(attempt), n, barrier, answers)) for n in numbers]
        for process in both:
            process.start()
        found = [answers.get(), answers.get()]
        for process in both:
            process.join()
        (won,) = [n for n, got, _ in found if got is not None]
        (lost,) = [words for _, got, words in found if got is None]
        assert ("other settings" if numbers[0] != numbers[1] else "another process works in this run") in lost
        config = json.loads((tmp_path / str(attempt) / "config.json").read_text())
        assert config["request"]["n"] == won and not list((tmp_path / str(attempt)).glob(f"{PREFIX}*"))


def test_a_run_is_free_again_when_it_is_over_and_never_locks_its_own_process_out(tmp_path):
    run = begun(tmp_path)
    assert begun(tmp_path).folder == run.folder
    handle = os.open(tmp_path / "config.json", os.O_RDWR)
    assert lock(handle) is False
    del run
    assert lock(handle) is True
    os.close(handle)


@pytest.mark.parametrize("which", ["store", "beside"])
@pytest.mark.parametrize("damage", ["flip", "header", "cut", "empty", "swap", "gone", "kind"])
def test_a_damaged_shard_is_made_again_with_what_belongs_to_it(tmp_path, which, damage):
    run = begun(tmp_path)
    other = run.store("beside", Images)
    whole, done = computed(run, beside=[other])
    assert len(done) == 3
    before = {p: p.read_bytes() for p in tmp_path.rglob("shard-*")}
    folder = tmp_path / ("images" if which == "store" else "beside")
    path, next_one = folder / "shard-00000.safetensors", folder / "shard-00001.safetensors"
    expected = [("k0", "k1")]
    if damage == "flip":
        flip(path)
    elif damage == "header":
        flip(path, path.read_bytes().index(b"k1") + 1)
    elif damage in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    elif damage == "swap":
        path.write_bytes(next_one.read_bytes())
    elif damage == "kind":
        Store(folder, Latents).write(0, Latents(("k0", "k1"), torch.zeros(2, 1)))
    else:
        path.unlink()
    if damage == "gone":
        again, done = computed(run, beside=[other])
    else:
        with pytest.warns(FarfieldWarning, match="made again") as told:
            again, done = computed(run, beside=[other])
        assert len(told) == 1
    assert done == expected and torch.equal(again.values, whole.values)
    assert {p: p.read_bytes() for p in tmp_path.rglob("shard-*")} == before


def test_rows_divided_otherwise_are_made_again_and_shards_too_many_removed(tmp_path):
    run = begun(tmp_path)
    whole, _ = computed(run)
    with pytest.warns(FarfieldWarning) as told:
        found = run.compute("images", Images, KEYS, 4, lambda part, advance: rows(part), "working").read()
    assert found.keys == tuple(KEYS) and torch.equal(found.values, whole.values)
    assert sorted(str(w.message).rpartition(": ")[2] for w in told) == [
        "holds other rows; made again",
        "holds other rows; made again",
        "one shard too many; removed",
    ]


def test_shards_and_states_without_a_checksum_are_read_as_they_are(tmp_path):
    from safetensors.torch import save as packed

    header = {"kind": "images", "keys": ["a"]}
    (tmp_path / "old").mkdir()
    content = packed({"values": torch.ones(1, 1, 2, 2)}, metadata={"farfield": json.dumps(header)})
    (tmp_path / "old" / "shard-00000.safetensors").write_bytes(content)
    assert Store(tmp_path / "old", Images).whole(0, ["a"]) and len(Store(tmp_path / "old", Images).read()) == 1
    header = {"kind": "training", "settings": {}, "plain": {"step": 3}}
    (tmp_path / "state").write_bytes(packed({"w": torch.ones(2)}, metadata={"farfield": json.dumps(header)}))
    assert StateFile(tmp_path / "state", "training").read({})[0] == {"step": 3}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_digests_know_every_dtype_and_the_sigma(tmp_path, dtype):
    made = Latents(("a",), torch.ones(1, 3).to(dtype), sigma=0.1)
    save(made, tmp_path)
    assert Store(tmp_path, Latents).read().digest() == made.digest() != Latents(("a",), made.values, sigma=0.2).digest()
    assert Latents((), torch.empty(0, 3).to(dtype)).digest()


def test_a_flipped_bit_anywhere_in_a_state_is_found(tmp_path):
    path, tensors = tmp_path / "s", {"w": torch.arange(9.0), "b": torch.ones(())}
    file = StateFile(path, "training")
    assert file.resume({"seed": 1}) is None
    file.write({"seed": 1}, {"step": 1}, tensors)
    whole, found = path.read_bytes(), []
    for at in range(0, len(whole), 2):
        path.write_bytes(whole)
        flip(path, at)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            state = file.resume({"seed": 1})
        if state is None:
            found.append("damaged; made again" in str(told[0].message))
        else:  # what was hit is not read: a blank, or the name that the checksum has
            assert state[0] == {"step": 1} and all(torch.equal(state[1][k], v) for k, v in tensors.items())
    assert all(found) and len(found) > 0.9 * len(whole) / 2


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"sha256": "0", "value": 1}', b'{"sha256": 1}']
)
def test_json_that_is_kept_is_verified(tmp_path, text):
    path = tmp_path / "probe.json"
    assert read_kept(path) is None
    write_kept(path, [{"psnr": 30.25, "nan": float("nan")}])
    assert read_kept(path) == [{"psnr": 30.25, "nan": None}]
    write_json(path, [1, 2])  # of a version without checksums
    assert read_kept(path) == [1, 2]
    path.write_bytes(text)
    with pytest.warns(FarfieldWarning, match=r"probe\.json: damaged; made again"):
        assert read_kept(path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"a": "x"}', "[" * 100_000, "{"])
def test_a_damaged_cost_costs_only_the_cost(tmp_path, text):
    run = begun(tmp_path)
    with run.stage("a"):
        pass
    (tmp_path / "cost.json").write_text(text)
    with pytest.warns(FarfieldWarning, match=r"cost\.json: damaged"), run.stage("b"):
        pass
    assert list(run.cost()) == ["b"]


@pytest.mark.parametrize("text", ["", '{"request"', "[" * 100_000])
def test_the_advice_about_a_damaged_configuration_works(tmp_path, text):
    begun(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(FarfieldError, match="delete the whole folder"):
        begun(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    begun(tmp_path / "run")
    (tmp_path / "run" / "samples").mkdir()
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(FarfieldError, match="not empty and not a farfield run"):
        begun(tmp_path / "run")
    begun(tmp_path / "another")


def test_a_folder_that_is_deleted_under_a_run_stays_deleted(tmp_path):
    folder = tmp_path / "run"
    run = begun(folder)
    shutil.rmtree(folder)
    for write in (
        lambda: computed(run),
        lambda: save(rows(KEYS), folder / "examples"),
        lambda: write_json(folder / "summary.json", {}),
        lambda: make_folder(folder / "deep" / "er"),
        run.cost,
    ):
        with pytest.raises(MachineError, match="was deleted or replaced while a run worked in it"):
            write()
    assert not folder.exists()
    run = begun(folder)
    (folder / "config.json").unlink()  # and half of it
    with pytest.raises(MachineError, match="deleted"):
        computed(run)
    (folder / "config.json").write_text("{}")
    with pytest.raises(MachineError, match="replaced"):
        run.check()


def test_what_killed_processes_left_is_swept_and_what_lives_is_not(tmp_path):
    begun(tmp_path / "run")
    for place in (tmp_path / "run", tmp_path / "run" / "latents"):
        place.mkdir(exist_ok=True)
        (place / f"{PREFIX}dead").write_text("half")
    (tmp_path / "run" / f"{PREFIX}folder").mkdir()
    (tmp_path / "run" / f"{PREFIX}folder" / "weights").write_text("half")
    with beside(tmp_path / "run" / "latents" / "x") as one, beside(tmp_path / "run" / "model", folder=True) as two:
        begun(tmp_path / "run")
        assert sorted(p.name for p in (tmp_path / "run").rglob(f"{PREFIX}*")) == sorted([one.name, two.name])
    assert not list((tmp_path / "run").rglob(f"{PREFIX}*"))
    (tmp_path / f"{PREFIX}dead").write_text("")
    sweep(tmp_path)
    assert not list(tmp_path.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("moment", ["swept", "being swept"])
def test_what_is_swept_before_its_writer_has_locked_it_is_made_again(monkeypatch, tmp_path, folder, moment):
    waiting = [True]

    def locked(handle):
        if not waiting:
            return lock(handle)
        waiting.clear()
        if moment == "swept":
            sweep(tmp_path)
            return lock(handle)
        (path,) = tmp_path.glob(f"{PREFIX}*")
        other = os.open(path, os.O_RDONLY)  # the sweeper, between its lock and its removal
        assert lock(other)
        answer = lock(handle)
        path.rmdir() if folder else path.unlink()
        os.close(other)
        return answer

    monkeypatch.setattr(disk, "lock", locked)
    with beside(tmp_path / "x", folder=folder) as temporary:
        assert temporary.is_dir() if folder else temporary.is_file()
        sweep(tmp_path)
        assert temporary.exists() and not waiting
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, MachineError, "make room and give the same command again"),
        (errno.EDQUOT, MachineError, "make room"),
        (errno.EROFS, MachineError, "choose another place"),
        (errno.EIO, MachineError, "choose another place"),
        (errno.EACCES, FarfieldError, "choose another place"),
    ],
)
def test_what_the_disk_refuses_is_one_line_and_nothing_is_lost(tmp_path, monkeypatch, number, kind, advice):
    run = begun(tmp_path / "run")

    def full(handle):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(kind, match=advice) as caught:
        patch.setattr(disk.os, "fsync", full)
        computed(run)
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    assert not list((tmp_path / "run").rglob(f"{PREFIX}*"))
    assert computed(run)[0].keys == tuple(KEYS)


@pytest.mark.parametrize("name", ["d" * 300, "/".join(["d" * 200] * 25)])
def test_a_place_that_no_file_system_has_is_one_short_line(tmp_path, name):
    with pytest.raises(FarfieldError, match=r"File name too long.*choose another place") as caught:
        begun(tmp_path / name)
    assert len(str(caught.value)) < 400


def test_a_file_may_be_named_as_long_as_the_file_system_allows(tmp_path):
    write_bytes(tmp_path / ("x" * 251 + ".png"), b"1")
    with beside(tmp_path / ("y" * 255), folder=True) as temporary:
        os.replace(temporary, tmp_path / ("y" * 255))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_must_be_new_is_never_written_over(tmp_path, monkeypatch):
    assert write_bytes(tmp_path / "a", b"1", new=True) and not write_bytes(tmp_path / "a", b"2", new=True)
    assert (tmp_path / "a").read_bytes() == b"1" and [p.name for p in tmp_path.iterdir()] == ["a"]

    def no_links(*paths):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(disk.os, "link", no_links)
    assert write_bytes(tmp_path / "b", b"1", new=True) and (tmp_path / "b").read_bytes() == b"1"


def test_a_hold_that_is_gone_no_longer_watches(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    hold = Hold(tmp_path / "run" / "config.json", alone=False)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(MachineError):
        make_folder(tmp_path / "run")
    del hold
    make_folder(tmp_path / "run")
