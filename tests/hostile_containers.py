"""Containers that are not what they say: tensors beyond their storages, archives, old files and headers that lie."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import Any

from forge import MAGIC, Call, Global, Outside, loaded, pickled, storage, tensor, torch_old, torch_zip, zipped


def tensors() -> dict[str, bytes]:
    """Tensors that do not lie on their storages, of sixteen bytes."""
    four, floats = storage(4), Global("torch", "FloatStorage")
    wrong: dict[str, Any] = {
        "10^12 numbers": tensor(four, (10**12,), (1,)),
        "10^12 numbers by standing still": tensor(four, (10**6, 10**6), (0, 0)),
        "more numbers than an integer holds": tensor(four, (2**40, 2**40), (0, 0)),
        "no numbers, but 2^70 rows": tensor(four, (0, 2**70), (1, 1)),
        "one too many": tensor(four, (5,), (1,)),
        "a step too far": tensor(four, (2, 2), (3, 1)),
        "an offset too far": tensor(four, (2,), (1,), 3),
        "a negative step": tensor(four, (2,), (-1,), 3),
        "a negative offset": tensor(four, (2,), (1,), -1),
        "a negative size": tensor(four, (-1, -4), (1, 1)),
        "a huge step": tensor(four, (2,), (2**62,)),
        "a size that is no integer": tensor(four, (2.0,), (1,)),
        "a size that is a truth": tensor(four, (True,), (1,)),
        "a size that is a list": tensor(four, [2], [1]),
        "a size without a step": tensor(four, (2, 2), (1,)),
        "a thousand dimensions": tensor(four, (1,) * 1000, (1,) * 1000),
        "no storage": tensor({"data": b"abc"}, (1,), (1,)),
        "a storage that is a tensor": tensor(tensor(four, (1,), (1,)), (1,), (1,)),
        "a storage of more than there is": tensor(storage(5), (4,), (1,)),
        "a storage of less than there is": tensor(storage(3), (3,), (1,)),
        "a storage of other numbers": tensor(storage(4, kind=Global("torch", "DoubleStorage")), (4,), (1,)),
        "a storage of 2^62 numbers": tensor(storage(1 << 62), (4,), (1,)),
        "a storage of minus four": tensor(storage(-4), (4,), (1,)),
        "a storage of a truth": tensor(storage("4"), (4,), (1,)),
        "a storage that is not there": tensor(storage(4, "9"), (4,), (1,)),
        "a storage out of the archive": tensor(storage(4, "../../../etc/passwd"), (4,), (1,)),
        "a storage of no kind": tensor(storage(4, kind=Global("collections", "OrderedDict")), (4,), (1,)),
        "a view of a storage": tensor(storage(4, told=(("1", 0, 2),)), (2,), (1,)),
        "a persistent id of two parts": tensor(Outside(("storage", floats)), (4,), (1,)),
        "a persistent id that is a number": tensor(Outside(7), (4,), (1,)),
        "a parameter of nothing": Call(Global("torch._utils", "_rebuild_parameter"), ()),
        "a tensor of nothing": Call(Global("torch._utils", "_rebuild_tensor_v2"), ()),
        "a kind of its own": Call(
            Global("torch._tensor", "_rebuild_from_type_v2"),
            (Global("torch._utils", "_rebuild_parameter"), Global("builtins", "dict"), (), {}),
        ),
        "a storage loaded from bytes": tensor(loaded(torch_old(storage(1))), (1,), (1,)),
    }
    size = 1 << 20
    many = [tensor(storage(size), (size,), (1,), 0) for _ in range(40)]
    return {
        **{kind: torch_zip({"w": value}, {"0": bytes(16)}) for kind, value in wrong.items()},
        "forty on one storage": torch_zip({"w": many}, {"0": bytes(4 * size)}),
    }


def archives() -> dict[str, bytes]:
    """Zip archives that lead elsewhere, explode, or whose directory lies."""
    good = torch_zip({"w": tensor(storage(4), (4,), (1,))}, {"0": bytes(16)})
    pkl, bomb = ("archive/data.pkl", pickled({"w": 1})), bytes(20 << 20)

    def lie(mark: bytes, at: int, form: str, value: int, which: int = 0) -> bytes:
        place = -1
        for _ in range(which + 1):
            place = good.index(mark, place + 1)
        changed = bytearray(good)
        struct.pack_into(form, changed, place + at, value)
        return bytes(changed)

    entry, local, end = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
    return {
        "a bomb": zipped([("archive/data.pkl", bomb)], zipfile.ZIP_DEFLATED),
        "a bomb beside the pickle": zipped([pkl, ("archive/data/0", bomb)], zipfile.ZIP_DEFLATED),
        "compressed": zipped([pkl], zipfile.ZIP_BZIP2),
        "a name that leads out": zipped([pkl, ("archive/../../../tmp/x", b"x")]),
        "a name from the root": zipped([pkl, ("/etc/cron.d/x", b"x")]),
        "a name with backslashes": zipped([pkl, ("archive\\..\\x", b"x")]),
        "links": zipped([pkl, ("archive/data/0", b"/etc/passwd")], mode=0o120777),
        "a member twice": zipped([pkl, ("archive/data/0", b"a"), ("archive/data/0", b"b")]),
        "two pickles": zipped([pkl, ("other/data.pkl", pickled({}))]),
        "encrypted": lie(entry, 8, "<H", 1),
        "a method that there is not": lie(entry, 10, "<H", 99),
        "a member of 4 GB": lie(entry, 24, "<I", 0xFFFFFFF0),
        "a member of sizes elsewhere": lie(entry, 24, "<I", 0xFFFFFFFF),
        "a member beyond the end": lie(entry, 42, "<I", 0x7FFFFFFF),
        "a member on another": lie(entry, 42, "<I", 0, 1),
        "two lengths of a name": lie(entry, 28, "<H", 0xFFFF),
        "another name where it lies": lie(local, 30, "<B", ord("x")),
        "a longer name where it lies": lie(local, 26, "<H", 9000),
        "a directory of 65,000 members": lie(end, 10, "<H", 65_000),
        "a directory of one member": lie(end, 10, "<H", 1),
        "a directory beyond the end": lie(end, 16, "<I", 0x7FFFFFFF),
        "a directory of 4 GB": lie(end, 12, "<I", 0xFFFFFFF0),
        "a directory without a mark": lie(entry, 0, "<I", 0),
        "no end": good[:-22] + bytes(22),
        "nothing": b"PK\x05\x06" + bytes(18),
        "a hundred thousand members of nothing": _many_members(),
        "a program of TorchScript": zipped([pkl, ("archive/constants.pkl", b"N."), ("archive/code/a.py", b"")]),
        "numbers of another machine": zipped([pkl, ("archive/byteorder", b"big")]),
        "something behind the pickle": zipped([("archive/data.pkl", pickled({}) + b"N.")]),
        "pictures": zipped([("a/1.png", b"\x89PNG"), ("a/2.png", b"\x89PNG")]),
        "arrays": zipped([("images.npy", b"\x93NUMPY")]),
    }


def _many_members() -> bytes:
    """A directory of 46 bytes and a name for each of very many members that are one."""
    local = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 0, 0)
    entry = b"PK\x01\x02" + bytes(42)
    n = 60_000
    return local + entry * n + b"PK\x05\x06" + struct.pack("<4xHHIIH", n, n, 46 * n, len(local), 0)


def old_files() -> dict[str, bytes]:
    """Old torch files whose parts do not fit each other."""
    on, four = {"w": tensor(storage(4), (4,), (1,))}, ("0", 4, bytes(16))
    good = torch_old(on, [four])
    return {
        "another magic number": good.replace(MAGIC.to_bytes(10, "little"), (MAGIC + 1).to_bytes(10, "little")),
        "nothing but the magic number": pickled(MAGIC),
        "a call in its magic": pickled(MAGIC) + pickled(Call(Global("os", "system"), ("true",))) + good,
        "a call in its keys": torch_old(on, [four], Call(Global("os", "system"), ("true",))),
        "no keys": torch_old(on, [four], []),
        "keys that are a number": torch_old(on, [four], 5),
        "a key too many": torch_old(on, [four, ("1", 4, bytes(16))]),
        "a key twice": torch_old(on, [four, four]),
        "keys of another kind": torch_old(on, [four], [{}]),
        "a key that is a number": torch_old(on, [four], ["0", 5]),
        "a count too large": torch_old(on, [("0", 1 << 60, bytes(16))]),
        "a count below nothing": torch_old(on, [("0", -4, bytes(16))]),
        "another count": torch_old(on, [("0", 3, bytes(16))]),
        "no numbers": torch_old(on, [("0", 4, b"")]),
        "two sizes of a storage": torch_old([on, tensor(storage(2), (2,), (1,))], [four]),
        "a storage of 10^12": torch_old({"w": tensor(storage(10**12), (10**12,), (1,))}, [("0", 10**12, bytes(16))]),
        "a view": torch_old({"w": tensor(storage(4, told=(("1", 0, 2),)), (2,), (1,))}, [four]),
        "numbers of another machine": b"".join(map(pickled, (MAGIC, 1001, {"little_endian": False}, {}, []))),
    }


def inner_storages() -> dict[str, bytes]:
    """Bare pickles whose storages are none."""

    def around(content: Any) -> bytes:
        return pickled({"ema": tensor(loaded(content), (1,), (1,))}, 4)

    one = [("0", 1, bytes(4))]
    bomb = zipped([("archive/data.pkl", bytes(20 << 20))], zipfile.ZIP_DEFLATED)
    deep = torch_old(storage(1), one)
    for _ in range(30):
        deep = torch_old(loaded(deep))
    same = b"\x80\x04" + pickled(torch_old(storage(1), one), 4)[2:-1] + b"\x94"
    repeated = same + b"(" + b"ctorch.storage\n_load_from_bytes\nh\x00\x85R" * 20_000 + b"l."
    return {
        "not bytes": around(5),
        "no bytes": around(b""),
        "nonsense": around(b"nonsense"),
        "a dictionary": around(torch_old({"a": 1})),
        "a tensor": around(torch_old(tensor(storage(1), (1,), (1,)), one)),
        "storages in storages": around(deep),
        "a bomb": around(bomb),
        "a new file of a call": around(torch_zip(Call(Global("os", "system"), ("true",)))),
        "a storage that is cut": around(torch_old(storage(4), [("0", 4, bytes(9))])),
        "a storage that lies": around(torch_old(storage(1 << 40), [("0", 1 << 40, bytes(8))])),
        "the same twenty thousand times": repeated.replace(b"h\x00\x85R", b"h\x01\x85R"),
    }


def safetensors() -> dict[str, bytes]:
    """safetensors files whose header lies."""

    def file(header: Any, data: bytes = bytes(16)) -> bytes:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(raw)) + raw + data

    def one(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
        return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}

    other = {"v": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}
    return {
        "a header of 2^63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
        "a header of a gigabyte": struct.pack("<Q", 1 << 30) + b"{}" + bytes(100),
        "a header of three megabytes": file({"__metadata__": {"a": "b" * (3 << 20)}}, b""),
        "a header that is no JSON": file(b"{nonsense"),
        "a header that is deep": file(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        "numbers on others": file({**one(), **other}),
        "numbers beyond the end": file(one(shape=[8], offsets=[0, 32])),
        "numbers from behind": file(one(offsets=[16, 0])),
        "numbers from below": file(one(offsets=[-16, 0])),
        "10^12 numbers": file(one(shape=[10**12])),
        "more numbers than an integer holds": file(one(shape=[2**40, 2**40])),
        "numbers of no kind": file(one("F99")),
        "a shape of words": file(one(shape=["four"])),
        "numbers that nobody has": file(one(), bytes(40)),
        "no numbers": file(one(), b""),
    }
