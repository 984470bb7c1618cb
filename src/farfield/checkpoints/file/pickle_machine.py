"""The opcodes of a pickle, carried out on data alone: nothing is imported, and nothing of the file is called.

What they do is as ``pickletools`` of the standard library documents it (protocols 0 to 5). Where an unpickler would import a
name, this machine writes down a `Name`; where it would call it, a `Made`.

An opcode takes a few bytes of the file, but can refer back to a value of any size. So each takes from the file's budget
before it is carried out: a step and its own memory, each value that it takes from the stack a few bytes, and what code of
ours gets to see, `_show`, as much as that code could do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from farfield.checkpoints.file.key import collisions, is_key
from farfield.checkpoints.file.pickle_values import NAMES, VALUES, Reader
from farfield.checkpoints.file.stored import Made, Name
from farfield.checkpoints.file.vocabulary import Vocabulary

PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules that Python 3 calls otherwise."""

Persistent = Callable[[Any], Any]
"""What a persistent id stands for, given by the container that the pickle lies in."""


class Machine:
    """One pickle: a stack, the marks in it, and a memo. A method for each opcode, by its name in ``pickletools``."""

    def __init__(self, reader: Reader, words: Vocabulary, persistent: Persistent | None) -> None:
        self.file, self.reader, self.words, self.persistent = reader.file, reader, words, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []  # a list: a file could choose places that collide in a dictionary
        self.memoized = 0
        self.places: dict[int, int] = {}  # of what is made, by id: where in the memo it stands
        self.interned: dict[str, Name] = {}

    def run(self) -> Any:
        """The value that the pickle stands for; the reader is left behind its end."""
        while (code := self.reader.number("<B")) != ord("."):
            self.file.spend(_COSTS.get(code, _STEP), 1)
            if code in VALUES:
                self.stack.append(VALUES[code](self.reader))
            elif code in _STEPS:
                _STEPS[code](self)
            elif code in NAMES:
                raise self.file.refused(f"its pickle uses {NAMES[code]}, which no weights need")
            else:
                raise self.file.damaged(f"byte {code:#04x} at {self.reader.at - 1} means nothing in a pickle")
        value = self._pop()
        if self.stack or self.marks:
            raise self.file.damaged("its pickle ends with values left over")
        return value

    # the stack

    def _pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.file.damaged("its pickle takes more values than it has")
        return self.stack.pop()

    def _marked(self) -> list[Any]:
        if not self.marks:
            raise self.file.damaged("its pickle goes back to a mark that it did not set")
        at = self.marks.pop()
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def _top(self) -> Any:
        value = self._pop()
        self.stack.append(value)
        return value

    # containers

    def op_mark(self) -> None:
        self.marks.append(len(self.stack))

    def op_empty_dict(self) -> None:
        self.stack.append({})

    def op_empty_list(self) -> None:
        self.stack.append([])

    op_empty_set = op_empty_list

    def op_dict(self) -> None:
        values = self._marked()
        self.stack.append({})
        self._set_all(values)

    def op_list(self) -> None:
        self.stack.append(self._marked())

    op_frozenset = op_list

    def op_tuple(self) -> None:
        values = self._marked()
        self.file.spend(16 * len(values))
        self.stack.append(tuple(values))

    def op_tuple1(self) -> None:
        self.stack.append((self._pop(),))

    def op_tuple2(self) -> None:
        second, first = self._pop(), self._pop()
        self.stack.append((first, second))

    def op_tuple3(self) -> None:
        third, second, first = self._pop(), self._pop(), self._pop()
        self.stack.append((first, second, third))

    def op_append(self) -> None:
        value = self._pop()
        self._extend([value])

    def op_appends(self) -> None:
        self._extend(self._marked())

    op_additems = op_appends

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list | Made):
            raise self.file.damaged("its pickle appends to what is no list")
        self.file.spend(16 * len(values))
        (target.items if isinstance(target, Made) else target).extend(values)

    def op_setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_all([key, value])

    def op_setitems(self) -> None:
        self._set_all(self._marked())

    def _set_all(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict | Made) or len(values) % 2:
            raise self.file.damaged("its pickle sets items of what is no dictionary")
        self.file.spend(60 * len(values))
        into = target.pairs if isinstance(target, Made) else target
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not is_key(key):
                raise self.file.refused(f"a dictionary in it has a key of type {type(key).__name__}, or a huge one")
            if not isinstance(key, str):
                self.file.spend(steps=collisions(key, len(into)))
            into[key] = value

    # the memo

    def op_pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self._pop()

    def op_pop_mark(self) -> None:
        self._marked()

    def op_dup(self) -> None:
        self.stack.append(self._top())

    def _put(self, place: int) -> None:
        value, new = self._top(), place + 1 - len(self.memo)
        if place < 0:
            raise self.file.damaged("its pickle remembers something before its first place")
        if new > 0:
            self.file.spend(9 * new)  # a list grows by an eighth
            self.memo.extend([_NOTHING] * new)
        self.memoized += self.memo[place] is _NOTHING
        self.memo[place] = value
        if isinstance(value, Made):
            self.places[id(value)] = place

    def _get(self, place: int) -> None:
        if not 0 <= place < len(self.memo) or self.memo[place] is _NOTHING:
            raise self.file.damaged("its pickle refers back to what is not there")
        self.stack.append(self.memo[place])

    def op_memoize(self) -> None:
        self._put(self.memoized)

    def op_put(self) -> None:
        self._put(self.reader.parsed(int))

    def op_binput(self) -> None:
        self._put(self.reader.number("<B"))

    def op_long_binput(self) -> None:
        self._put(self.reader.number("<I"))

    def op_get(self) -> None:
        self._get(self.reader.parsed(int))

    def op_binget(self) -> None:
        self._get(self.reader.number("<B"))

    def op_long_binget(self) -> None:
        self._get(self.reader.number("<I"))

    # frames

    def op_proto(self) -> None:
        protocol = self.reader.number("<B")
        if protocol > 5:
            raise self.file.damaged(f"its pickle is of protocol {protocol}, of 0 to 5")

    def op_frame(self) -> None:
        size, left = self.reader.number("<Q"), len(self.reader.data) - self.reader.at
        if size > left:
            raise self.file.damaged(f"a frame of its pickle is {size} bytes long where {left} are left")

    # names, and what they would be called for

    def _named(self, module: Any, qualified: Any) -> None:
        if not isinstance(module, str) or not isinstance(qualified, str):
            raise self.file.refused("its pickle makes up a name from what is no text")
        name = f"{PYTHON_2.get(module, module)}.{qualified}"
        if name not in self.words:
            raise self.file.refused(f"it refers to {name[:120]!r}, which no weights need")
        if name in self.words.values:
            self.stack.append(self.words.values[name])
        else:
            self.stack.append(self.interned.setdefault(name, Name(name)))

    def op_global(self) -> None:
        self._named(*(self.reader.decoded(self.reader.line()) for _ in range(2)))

    def op_stack_global(self) -> None:
        qualified, module = self._pop(), self._pop()
        self._named(module, qualified)

    def _show(self, values: Any) -> int:
        """Take from the budget that code of ours goes through a value, and through each that it holds.

        Everything of a length that such code may look at is two levels deep at most.

        Returns:
            What a copy of all of it would take, in bytes.
        """
        self.file.spend(steps=_length(values))
        copy = 0
        for part in values if isinstance(values, tuple | list) else (values,):
            self.file.spend(steps=_length(part))
            copy += len(part) if isinstance(part, str) else 120 * len(part) if isinstance(part, dict | list) else 0
        return copy

    def _call(self, what: Any, arguments: Any) -> None:
        if not isinstance(what, Name) or not isinstance(arguments, tuple):
            raise self.file.refused("its pickle calls what is no name")
        known = self.words.calls.get(what.name)
        if known:
            self.file.spend(self._show(arguments))
        self.stack.append(known(self.file, arguments) if known else Made(what.name, arguments))

    def op_reduce(self) -> None:
        arguments, what = self._pop(), self._pop()
        self._call(what, arguments)

    op_newobj = op_reduce

    def op_newobj_ex(self) -> None:
        if self._pop() != {}:
            raise self.file.refused("its pickle makes an object from named arguments")
        self.op_reduce()

    def op_obj(self) -> None:
        values = self._marked()
        if not values:
            raise self.file.damaged("its pickle makes an object of nothing")
        self._call(values[0], tuple(values[1:]))

    def op_inst(self) -> None:
        self._named(*(self.reader.decoded(self.reader.line()) for _ in range(2)))
        what = self.stack.pop()
        self._call(what, tuple(self._marked()))

    def op_build(self) -> None:
        state, target = self._pop(), self._top()
        self._show(state)
        if isinstance(target, dict) and isinstance(state, dict) and set(state) <= {"_metadata"}:
            return  # versions of the modules, that torch hangs on a state dict
        if not isinstance(target, Made) or target.state is not None:
            raise self.file.refused("its pickle gives a state to what has none")
        parts = state if isinstance(state, tuple) else (state,)
        if any(isinstance(k, str) and k.startswith("__") for part in parts if isinstance(part, dict) for k in part):
            raise self.file.refused("its pickle overrides how an object behaves")
        target.state = state
        known = self.words.builds.get(target.name)
        if known:
            self.stack[-1] = known(self.file, target)
            place = self.places.get(id(target))
            if place is not None and self.memo[place] is target:  # later references see the outcome, too
                self.memo[place] = self.stack[-1]

    def op_binpersid(self) -> None:
        if self.persistent is None:
            raise self.file.refused("its pickle refers to something outside of it (a persistent id)")
        persistent_id = self._pop()
        self._show(persistent_id)
        self.stack.append(self.persistent(persistent_id))


_STEPS: dict[int, Callable[[Machine], None]] = {
    code: getattr(Machine, f"op_{name.lower()}")
    for code, name in NAMES.items()
    if hasattr(Machine, f"op_{name.lower()}")
}

_STEP = 16
_COSTS = {
    code: _STEP + cost
    for cost, names in (
        (40, "BININT BININT2 BINFLOAT MARK"),
        (64, "INT FLOAT GET TUPLE TUPLE1 TUPLE2 TUPLE3"),
        (104, "EMPTY_LIST LIST EMPTY_SET FROZENSET"),
        (128, "PUT BINPUT LONG_BINPUT MEMOIZE"),
        (232, "EMPTY_DICT DICT"),
        (256, "GLOBAL STACK_GLOBAL PERSID BINPERSID"),
        (480, "REDUCE NEWOBJ NEWOBJ_EX OBJ INST"),
    )
    for code, name in NAMES.items()
    if name in names.split()
}
"""Memory that an opcode may take in CPython, in bytes; what depends on a length is added where that is read."""


_NOTHING = object()
"""At a place of the memo where nothing was put."""


def _length(value: Any) -> int:
    """Steps that it takes to go through a value once; of text, a step goes through more."""
    if isinstance(value, dict | list | tuple):
        return len(value)
    return len(value) >> 6 if isinstance(value, str) else 0
