"""However a file refers back to what is wide, reading it takes work in proportion to its size: counted, not timed."""

import random
import struct
from pathlib import Path

import pytest
import torch
from adversary import LOOKING, WIDE, calling, hard, kept, program, ref, text, wide
from forge import storage, tensor, torch_old, torch_zip
from guard import CONSTANT, LINES, open_all, watched

from farfield.checkpoints.file.mapped import WORK_BASE, WORK_TIMES
from farfield.checkpoints.file.stored import Stored, states
from farfield.checkpoints.file.tree import open_tree
from farfield.core.error import FarfieldError

KINDS = tuple(hard(1, 1))


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "model.pkl"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_referred_to_again_is_charged_again(file, kind):
    content = hard(900, 1000)[kind]
    file.write_bytes(content)
    seen = watched(lambda: open_all(file), memory=False, work=True)
    assert seen.said, kind
    assert 0 < seen.lines < LINES + 16 * len(content)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_is_read_where_it_is_no_more_than_its_size(file, kind):
    """What is refused above is how often, not what; but for numbers of 2⁶¹ and more as places, of which a list has no room."""
    file.write_bytes(hard(15, 40)[kind])
    if kind == "places of one hash":
        with pytest.raises(FarfieldError, match="times its size"):
            open_tree(file)
    else:
        assert open_tree(file).root is None


@pytest.mark.parametrize("word", LOOKING)
def test_every_word_pays_for_what_it_looks_at(file, word):
    """One that looked at, or copied, all of a wide value without paying would get through here."""
    width, count = 1000, 700
    values = wide(width)
    for kind in WIDE:
        for arguments in (ref(0), ref(0) * 2, ref(0) + text("latin1")):
            content = b"\x80\x02" + kept(values[kind], 0) + calling(word, arguments, count) + b"N."
            assert width * count > WORK_BASE + WORK_TIMES * len(content)
            file.unlink(missing_ok=True)
            file.write_bytes(content)
            with pytest.raises(FarfieldError):
                open_tree(file)


@pytest.mark.parametrize("seed", range(6))
def test_hard_programs(file, seed):
    content = program(random.Random(seed), 6_000)
    file.write_bytes(content)
    for work in (False, True):
        seen = watched(lambda: open_all(file), memory=not work, work=work)
        assert not seen.done
        assert seen.peak <= 4 * len(content) + CONSTANT and seen.lines <= LINES + 16 * len(content)


def test_a_piece_of_a_tensor_pays_for_all_that_it_is_spread_over(file):
    """Two numbers at the ends of a storage are read with all between them."""
    size = 50_000

    def held(count):
        return torch_zip([tensor(storage(size), (2,), (size - 1,)) for _ in range(count)], {"0": bytes(4 * size)})

    file.write_bytes(held(20))
    open_all(file)
    file.unlink()
    file.write_bytes(held(1000))
    with pytest.raises(FarfieldError, match="far more work"):
        open_tree(file)


def test_a_tensor_without_numbers_has_no_sides_that_overflow(file):
    file.write_bytes(torch_zip({"w": tensor(storage(4), (0, 2**47, 2**47), (1, 1, 1))}, {"0": bytes(16)}))
    with pytest.raises(FarfieldError, match="larger than any"):
        open_tree(file)


def test_truths_are_zero_or_not(file):
    from forge import Global

    kind = Global("torch", "BoolStorage")
    file.write_bytes(torch_zip({"w": tensor(storage(4, kind=kind), (4,), (1,))}, {"0": b"\0\x05\1\xff"}))
    truths = open_tree(file).root["w"].load()
    assert truths.tolist() == [False, True, True, True] and int(truths.sum()) == 3


def test_keys_of_an_old_file_are_looked_up_and_not_sorted(file):
    """A list of one-tuples of one long text, as keys: their texts would be thousands of copies of it."""
    old = torch_old({})
    keys = b"\x80\x02" + kept(text("a" * 100_000), 0) + b"](" + b"h\x00\x85" * 2_000 + b"e."
    file.write_bytes(old[: -len(b"\x80\x02]q\x00.")] + keys)
    seen = watched(lambda: open_all(file))
    assert "its storages are not those" in seen.said and seen.peak < 4 * len(keys) + CONSTANT


def test_a_memo_may_have_gaps(file):
    """The places are a pickler's to choose; what is put without one goes behind those that were."""
    file.write_bytes(b"\x80\x04]q\x05(K\x01r\x20\x00\x00\x00h\x05h\x20e.".replace(b"h\x05", b"K\x07"))
    assert open_tree(file).root == [1, 7, 1]
    file.unlink()
    file.write_bytes(b"\x80\x04](K\x01q\x00K\x02\x94h\x01h\x00e.")
    assert open_tree(file).root == [1, 2, 2, 1]


@pytest.mark.parametrize("code", [b"\x8c\x03\xed\xa0\x80", b"V\\ud800\n"])
def test_half_a_character_is_refused(file, code):
    file.write_bytes(b"\x80\x04}" + code + b"Ns.")
    with pytest.raises(FarfieldError, match=r"not UTF-8|not what its opcode says") as refusal:
        open_tree(file)
    str(refusal.value).encode()


@pytest.mark.parametrize("odd", ["\x1b[31m", "\r", "\u202e"])
def test_messages_about_names_print_as_one_clean_line(file, odd):
    for content in (
        b"c" + f"os{odd}\nsystem\n".encode().replace(b"\r", b"\r") + b".",
        torch_zip({"w": tensor(storage(4, f"9{odd}"), (4,), (1,))}, {"0": bytes(16)}),
        torch_zip({}, {f"../{odd}": b"x"}),
        torch_old({"w": tensor(storage(4, odd), (4,), (1,))}, [(odd, 4, b"")]),
    ):
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        with pytest.raises(FarfieldError) as refusal:
            open_tree(file)
        assert str(refusal.value).isprintable()


def test_what_safetensors_says_of_a_header_prints_as_one_clean_line(file):
    header = b'{"w":{"dtype":"F\\u001b[31m","shape":[4],"data_offsets":[0,16]}}'
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(FarfieldError, match="header does not describe it") as refusal:
        open_tree(file)
    assert str(refusal.value).isprintable()


def test_a_state_dict_that_stands_in_many_places_comes_once():
    state = {"w": Stored((1,), torch.float32, lambda: torch.zeros(1))}
    assert [place for place, _ in states({"net": state, "again": [state] * 1000, "ema": dict(state)})] == ["net", "ema"]
