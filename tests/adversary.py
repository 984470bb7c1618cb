"""Pickles that would make a reader work hard: wide values, and a short piece that goes back to them over and over."""

from __future__ import annotations

import random
import struct

from forge import MAGIC, pickled, zipped

from farfield.checkpoints.file.torch_file import IN_PICKLE

POP = b"0"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def whole(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(word: str) -> bytes:
    module, _, last = word.rpartition(".")
    return b"c" + module.encode() + b"\n" + last.encode() + b"\n"


def ref(slot: int) -> bytes:
    return b"h" + bytes([slot])


def kept(code: bytes, slot: int) -> bytes:
    """A value that goes to a place of the memo and from the stack."""
    return code + b"q" + bytes([slot]) + POP


def chained(count: int) -> list[int]:
    """Numbers that come by the same places of a dictionary one after the other, as CPython looks for a free one."""
    size = 8
    while size * 2 // 3 <= count:
        size *= 2
    found, at = [], 0
    while len(found) < count:
        found.append(at)
        at = (5 * at + 1) % size
    return found


def tied(count: int) -> list[tuple[int, int]]:
    """Pairs of numbers with one hash: CPython's hash of a tuple (xxHash), solved for the second."""
    word, first, second, start = 1 << 64, 11400714785074694791, 14029467366897019727, 2870177450012600261

    def turned(value: int, by: int) -> int:
        return (value << by | value >> 64 - by) % word

    wanted, found, x = turned(0x123456789ABCDEF * pow(first, -1, word) % word, 33), [], 0
    while len(found) < count:
        x += 1
        y = (wanted - turned((start + x * second) % word, 31) * first) * pow(second, -1, word) % word
        y -= word if y >> 63 else 0
        if abs(y) < 1 << 60 and y != -1:
            found.append((x, y))
    return found


def wide(count: int) -> dict[str, bytes]:
    """Values of so many parts, by what they are."""
    numbers = b"".join(map(whole, chained(count)))
    pair = kept(text("k") + b"N\x86", 250)
    return {
        "dictionary": b"}(" + b"".join(text(f"k{i}") + b"N" for i in range(count)) + b"u",
        "dictionary of numbers": b"}(" + b"".join(whole(i) + b"N" for i in chained(count)) + b"u",
        "list": b"](" + b"N" * count + b"e",
        "list of numbers": b"](" + numbers + b"e",
        "list of pairs": pair + b"](" + ref(250) * count + b"e",
        "tuple": b"(" + b"K\x01" * count + b"t",
        "text": text("a" * 64 * count),
    }


WIDE = tuple(wide(1))

LOOKING = sorted({*IN_PICKLE.calls})
"""Words whose outcome code of ours computes."""


def calling(word: str, arguments: bytes, count: int) -> bytes:
    """Call a word so many times on what stands at the places that ``arguments`` put on the stack."""
    return kept(name(word), 251) + (ref(251) + b"(" + arguments + b"tR0") * count


def building(state: bytes, count: int, word: str = "argparse.Namespace") -> bytes:
    """Give so many new objects one state."""
    return kept(name(word), 251) + (ref(251) + b")R" + state + b"b0") * count


def hard(width: int, count: int) -> dict[str, bytes]:
    """Bare pickles that take ``width`` times ``count`` steps, if nobody counts them."""
    values = wide(width)
    chain, key = chained(3 * width), 9_000_000
    ties = [whole(a) + whole(b) + b"\x86" for a, b in tied(width)]
    letters = "a" * 64 * width
    state = kept(values["dictionary"], 0)
    told = {
        "one state of many objects": state + building(ref(0), count),
        "one state twice in a pair": state + building(ref(0) * 2 + b"\x86", count),
        "one dictionary copied": state + calling("collections.OrderedDict", ref(0), count),
        "pairs made a dictionary": kept(values["list of pairs"], 0) + calling("collections.Counter", ref(0), count),
        "one list made a set": kept(values["list"], 0) + calling("builtins.set", ref(0), count),
        "one size": kept(values["tuple"], 0) + calling("torch.Size", ref(0), count),
        "one text encoded": kept(values["text"], 0) + calling("_codecs.encode", ref(0) + text("latin1"), count),
        "keys of one hash": b"}(" + b"N".join(ties) + b"Nu0",
        "one key behind a chain of others": kept(b"}", 0)
        + ref(0)
        + b"("
        + b"".join(whole(k) + b"N" for k in chain)
        + b"u0"
        + kept(whole(key << 32), 1)
        + (ref(0) + ref(1) + b"Ns0") * count,
        "places of one hash": b"N" + b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(1, width)) + POP,
        "two long keys that are equal": b"}" + kept(text(letters), 0) + kept(text(letters), 1)
        + (ref(0) + b"Ns" + ref(1) + b"Ns") * count + POP,
    }  # fmt: skip
    return {kind: b"\x80\x02" + code + b"N." for kind, code in told.items()}


def program(chance: random.Random, size: int) -> bytes:
    """A file of about so many bytes: wide values, and moves on them that are valid for the most part, over and over."""
    count = max(8, chance.randrange(size) // 8)
    slots = {kind: i for i, kind in enumerate(WIDE)}
    used = chance.sample(WIDE, chance.randrange(1, 4))
    kinds = wide(count)
    code = b"".join(kept(kinds[kind] if kind in used else wide(8)[kind], slot) for kind, slot in slots.items())
    code += kept(b"}", EMPTY) + kept(b"]", EMPTY + 1) + kept(whole(chance.choice((1, -1, 1 << 59))), NUMBER)
    body = b"".join(move(chance, slots) for _ in range(chance.randrange(1, 4)))
    code += body * max(1, (size - len(code)) // len(body)) + b"N"
    code = b"\x80\x04" + (b"\x95" + struct.pack("<Q", len(code) + 1) if chance.random() < 0.2 else b"") + code + b"."
    match chance.randrange(8):
        case 0:
            return zipped([("a/data.pkl", code)])
        case 1:  # an old torch file
            return b"".join(map(pickled, (MAGIC, 1001, {}))) + code + pickled([])
        case 2:  # what a storage holds, loaded over and over
            held = kept(b"B" + struct.pack("<I", len(code)) + code, 0)
            return b"\x80\x04" + held + calling("torch.storage._load_from_bytes", ref(0), size // 8) + b"N."
    return code


EMPTY, NUMBER = 100, 102
"""Places in the memo where an empty dictionary and list, and a number, stand."""


def move(chance: random.Random, slots: dict[str, int]) -> bytes:
    """Opcodes that leave the stack as it was; ``slots`` are the places of the wide values."""
    any_ = lambda: ref(chance.choice((*slots.values(), EMPTY, EMPTY + 1, NUMBER)))  # noqa: E731
    of = lambda *kinds: ref(slots[chance.choice(kinds)])  # noqa: E731
    some = lambda: b"".join(any_() for _ in range(chance.randrange(1, 4)))  # noqa: E731
    dictionary = lambda: of("dictionary", "dictionary of numbers")  # noqa: E731
    key = chance.choice(
        (text("k1"), whole(chance.getrandbits(50)), ref(NUMBER), whole(5) * 2 + b"\x86", b"N", b"G" + bytes(8))
    )
    moves = (
        name("argparse.Namespace") + b")R" + any_() + b"b0",
        name("argparse.Namespace") + b")R" + dictionary() * 2 + b"\x86b0",
        name("collections.OrderedDict") + dictionary() + b"\x85R0",
        name("collections.OrderedDict") + of("list of pairs") + b"\x85R0",
        name("collections.OrderedDict") + b")R" + key + any_() + b"s0",
        name("builtins.frozenset") + of("list", "list of numbers", "list of pairs") + b"\x85R0",
        name("torch.Size") + of("tuple") + b"\x85R0",
        name("_codecs.encode") + of("text") + text("latin1") + b"\x86R0",
        name("pathlib.Path") + b"(" + some() + b"tR0",
        dictionary() + key + any_() + b"s0",
        dictionary() + b"(" + (key + any_()) * 3 + b"u0",
        ref(EMPTY) + key + any_() + b"s0",
        ref(EMPTY + 1) + b"(" + some() + b"e0",
        ref(EMPTY + 1) + any_() + b"a0",
        b"(" + some() + b"t0",
        b"(" + some() + b"l0",
        b"(" + some() + b"1",
        any_() + b"\x85\x85\x85" + b"20" + POP,
        any_() + b"r" + struct.pack("<I", chance.choice((103, 190, 3000))) + POP,
        any_() + b"p%d\n" % chance.choice((103, 191, 4000)) + POP,
        any_() + b"\x94" + POP,
        b"\x8b" + struct.pack("<i", 200) + bytes(199) + b"\x7f" + POP,
        b"L%dL\n" % 10**200 + POP,
        b"V" + rb"\u00e9" * 20 + b"\n" + POP,
        b"(" + some() + b"ibuiltins\nint\n0",
        b"(" + name("builtins.int") + some() + b"o0",
        text("collections") + text("OrderedDict") + b"\x93)R0",
    )
    wrong = (
        name(chance.choice(LOOKING)) + b"(" + some() + b"tR0",
        name("numpy.core.multiarray._reconstruct") + name("numpy.ndarray") + b"\x85R(" + some() + b"tb0",
        text("storage") + any_() + b"\x86Q0",
        any_() + any_() + b"\x93" + POP,
        any_() + b"p%d\n" % (2**61 - 1) + POP,
        b"\x8c\x03\xed\xa0\x80" + POP,  # half a character
    )
    return chance.choice(moves if chance.random() < 0.9 else wrong)
