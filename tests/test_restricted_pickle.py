"""Pickles are read as what they hold: plain data as Python's own reader does, anything else written down and never called."""

import argparse
import pickle
import pickletools
import struct
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.numpy_pickle import NUMPY
from farfield.checkpoints.file.restricted_pickle import read_pickle
from farfield.checkpoints.file.stored import Made, Name, Stored
from farfield.checkpoints.file.vocabulary import PLAIN
from farfield.core.error import FarfieldError

PROTOCOLS = range(6)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The value of a pickle, by way of a file."""
    path = tmp_path_factory.mktemp("pickle") / "file.pkl"

    def reader(raw: bytes):
        path.unlink(missing_ok=True)  # the last one may still be mapped
        path.write_bytes(raw)
        file = Mapped(path)
        value, end = read_pickle(file, file.data, PLAIN | NUMPY)
        assert end == len(raw)
        return value

    return reader


def plain(value):
    """A value as ours are: sets are lists, in the order in which pickles write them, and bytes may be a view."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(v) for v in value)
    if isinstance(value, list | set | frozenset):
        return [plain(v) for v in value]
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


keys = st.text(max_size=5) | st.integers(-100, 100) | st.none() | st.tuples(st.integers(0, 9), st.booleans())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(256**40), 256**40),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    st.binary(max_size=600),
    st.binary(max_size=20).map(bytearray),
    st.sets(st.integers(0, 1 << 40)),
    st.frozensets(st.text(max_size=3)),
    st.complex_numbers(allow_nan=False),
)
data = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=6),
        st.dictionaries(keys, inner, max_size=6).map(OrderedDict),
        inner.map(lambda one: [one, (one, one)]),
    ),
    max_leaves=20,
)


@given(value=data, protocol=st.sampled_from(PROTOCOLS), optimized=st.booleans())
@settings(max_examples=80, deadline=None, database=None)
def test_plain_data_is_read_as_python_reads_it(read, value, protocol, optimized):
    raw = pickle.dumps(value, protocol)
    raw = pickletools.optimize(raw) if optimized else raw
    assert repr(plain(read(raw))) == repr(plain(value))  # which tells True from 1, and -0.0 from 0.0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_known_types_become_what_they_are(read, protocol):
    counted = defaultdict(list, a=[1])
    value = [Counter("abca"), counted, OrderedDict(x=OrderedDict(y=1)), torch.Size([2, 3]), torch.float16]
    found = read(pickle.dumps(value, protocol))
    assert found == [{"a": 2, "b": 1, "c": 1}, {"a": [1]}, {"x": {"y": 1}}, (2, 3), torch.float16]
    assert all(type(found[i]) is dict for i in range(3)) and type(found[3]) is tuple


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["b1", "i1", "i8", "u1", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 0), (2, 3, 2)])
def test_arrays_become_tensors_in_the_file(read, protocol, dtype, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7 % 5, dtype)
    if len(shape) == 3:
        array = np.asfortranarray(array)
    first, second = read(pickle.dumps((array, array), protocol))
    assert isinstance(first, Stored) and first.shape == shape
    for found in (first.load(), second.load()):  # the second is a reference back, to what the first has become
        assert found.is_contiguous() and np.array_equal(found.numpy(), array) and found.numpy().dtype == array.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_of_numpy_become_numbers(read, protocol):
    values = [np.float64(0.1), np.float32(0.5), np.int64(-(2**40)), np.bool_(True), np.uint8(255)]
    found = read(pickle.dumps(values, protocol))
    assert found == [value.item() for value in values]
    assert [type(value) for value in found] == [type(value.item()) for value in values]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_objects_are_written_down_and_not_made(read, protocol):
    told = argparse.Namespace(batch=4, name="run")
    assert read(pickle.dumps(told, protocol)) == Made("argparse.Namespace", state={"batch": 4, "name": "run"})
    found = read(pickle.dumps([PurePosixPath("/a/b"), defaultdict(int)], protocol))
    assert found[0].name.endswith("PurePosixPath") and "".join(found[0].arguments).replace("/", "") == "ab"


def test_what_an_edm_pickle_would_call_is_written_down(read):
    """As EDM writes a network: a call with one dictionary, in which there is source; here it would end the interpreter."""
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": "Net", "state": {"size": 32}}
    inner = pickle.dumps(meta, 4)[2:-1].split(b"\x95", 1)[1][8:]  # without protocol, frame and end
    raw = b"\x80\x04ctorch_utils.persistence\n_reconstruct_persistent_obj\n" + inner + b"\x85R."
    assert read(raw) == Made("torch_utils.persistence._reconstruct_persistent_obj", (meta,))


def test_the_pieces_of_a_dictionary_like_object_are_kept(read):
    raw = b"\x80\x02cdnnlib.util\nEasyDict\n)\x81X\x01\x00\x00\x00aK\x05sX\x01\x00\x00\x00bNs."
    assert read(raw) == Made("dnnlib.util.EasyDict", pairs={"a": 5, "b": None})


def test_a_name_by_itself_stays_a_name(read):
    assert read(b"cbuiltins\nint\n.") == read(b"c__builtin__\nint\n.") == Name("builtins.int")


def test_state_dicts_may_carry_the_versions_of_their_modules(read):
    state = OrderedDict(weight=1)
    state._metadata = OrderedDict({"": {"version": 1}})
    assert read(pickle.dumps(state, 2)) == {"weight": 1}


def test_long_bytes_stay_in_the_file(read):
    raw = b"\x80\x04B" + struct.pack("<I", 1000) + bytes(1000) + b"."
    assert isinstance(read(raw), memoryview) and read(raw) == bytes(1000)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"N", "ends in the middle"),
        (b"", "an empty file"),
        (b".", "more values than it has"),
        (b"NN.", "left over"),
        (b"(N.", "left over"),
        (b"0.", "more values than it has"),
        (b"t.", "a mark that it did not set"),
        (b"h\x05.", "refers back to what is not there"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\xff.", "means nothing in a pickle"),
        (b"K", "ends in the middle"),
        (b"\x8c\x05abc.", "goes on for 5 bytes"),
        (b"\x8c\x02\xff\xfe.", "not UTF-8"),
        (b"\x8d" + struct.pack("<Q", 1 << 62) + b".", "goes on for"),
        (b"T" + struct.pack("<i", -5) + b".", "goes on for -5"),
        (b"\x95" + struct.pack("<Q", 100) + b"N.", "a frame"),
        (b"\x8b" + struct.pack("<i", 5000) + bytes(5000) + b".", "an integer in its pickle is 5000 bytes"),
        (b"I12x\n.", "not what its opcode says"),
        (b"Sabc\n.", "not what its opcode says"),
        (b"I" + b"1" * 2000 + b"\n.", "longer than 1024"),
        (b"]NNs.", "no dictionary"),
        (b"}(Nu.", "no dictionary"),
        (b"NNa.", "no list"),
        (b"}]Ns.", "a key of type list"),
        (b"}(K\x01K\x02K\x03t\x85K\x01s.", "a key of type tuple"),
        (b"](h\x00.", "refers back"),
        (b"]\x94h\x00a.", "contains itself"),
        (b"}\x94K\x01h\x00s.", "contains itself"),
        (b"]" * 300 + b"a" * 299 + b".", "nested or repeated beyond reason"),
        (b"N" + b"\x85" * 300 + b".", "nested or repeated beyond reason"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"N\x98.", "READONLY_BUFFER"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"P12\n.", "PERSID"),
        (b"NQ.", "a persistent id"),
        (b"K\x01K\x02\x93.", "from what is no text"),
        (b"N)R.", "calls what is no name"),
        (b"cbuiltins\nint\nNR.", "calls what is no name"),
        (b"cbuiltins\nint\n)R)R.", "calls what is no name"),
        (b"cbuiltins\nint\n)}K\x01K\x01s\x92.", "named arguments"),
        (b"(o.", "an object of nothing"),
        (b"NNb.", "a state to what has none"),
        (b"]}b.", "a state to what has none"),
        (b"}}X\x01\x00\x00\x00aNsb.", "a state to what has none"),
        (b"cargparse\nNamespace\n)R}b}b.", "a state to what has none"),
        (b"cargparse\nNamespace\n)R}X\x09\x00\x00\x00__class__Nsb.", "overrides how an object behaves"),
        (b"cos\nsystem\n.", "refers to 'os.system', which no weights need"),
        (b"c__builtin__\neval\n.", "refers to 'builtins.eval'"),
        (b"(iposix\nsystem\n.", "refers to 'posix.system'"),
        (b"\x8c\x0ccollections2\x8c\x01a\x93.", "refers to 'collections2.a'"),
        (b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "refers to 'collections.OrderedDict.__init__'"),
    ],
)
def test_what_no_data_needs_is_refused(read, raw, message):
    with pytest.raises(FarfieldError, match=message):
        read(raw)


def test_what_is_shared_a_thousandfold_is_refused(read):
    """Forty lists, each of the last one twice: small in memory, 2⁴⁰ values to whoever goes through them."""
    raw = b"]\x94" + b"".join(b"](h%ch%ce\x94" % (i, i) for i in range(40))
    with pytest.raises(FarfieldError, match="nested or repeated beyond reason"):
        read(b"(" + raw + b"t.")


@pytest.mark.parametrize("bomb", [b"}", b"]", b"(", b"K\x01\x94", b"h\x00)\x81", b"cbuiltins\nint\n)R"])
def test_a_file_may_not_take_many_times_its_size(read, bomb):
    with pytest.raises(FarfieldError, match="3 times its size in memory"):
        read(b"cbuiltins\nint\n\x94" + bomb * (1_200_000 // len(bomb)) + b".")


def test_the_message_names_the_file(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cos\nsystem\n.")
    file = Mapped(path)
    with pytest.raises(FarfieldError, match=r"model\.pkl: refused, .*os\.system.*Nothing in the file was run"):
        read_pickle(file, file.data, PLAIN)


def test_no_module_of_the_reader_can_call_what_a_file_names():
    """Their source has no way to get from a name to what it names."""
    import farfield.checkpoints.file as room

    folder = Path(room.__file__).parent
    ways = (
        "import pickle\n",
        "Unpickler",
        "__import__(",
        "import_module",
        "eval(",
        "exec(",
        "find_class",
        "torch.load(",
    )
    for name in (
        "pickle_machine",
        "key",
        "pickle_values",
        "restricted_pickle",
        "vocabulary",
        "torch_file",
        "numpy_pickle",
        "tree",
    ):
        source = (folder / f"{name}.py").read_text()
        assert [way for way in ways if way in source] == [], name
