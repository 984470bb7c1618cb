"""Which pixels hold no measurement: the one rule for the masks that lie beside the data.

Without being asked, a plane is used only where a standard says what it means:

* planes of bits whose header names the bits (``MP_BAD`` = 0 … of LSST and HSC): a pixel with one of BAD_BITS is masked,
  one that is merely ``DETECTED`` is not;
* ``DQ`` (data quality; HST, JWST, Gemini): 0 is good. A flag of JWST or Roman need not make a pixel bad, so there it is
  their bit 0, ``DO_NOT_USE``; elsewhere any bit;
* weights (``WHT``, ``WEIGHT``, ``IVAR``, ``INVVAR``): a pixel without a positive weight has not been seen;
* the transparency mask of a TIFF: 0 lies outside.

Any other array called ``mask`` is left alone and said to be there, because nobody can tell what it means: 1 is a bad pixel
for one, a valid one for another, and a tumour for a third. `--field-mask` says what to do instead: ``none``; ``NAME``
masks where that array is not 0; ``NAME:valid`` where it is 0; ``NAME:SAT,CR`` or ``NAME:1,3`` where it has one of these bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from farfield.core.error import FarfieldError

NAMES = ("mask", "masks")
BAD_BITS = ("BAD", "SAT", "CR", "NO_DATA", "INTRP", "SUSPECT", "UNMASKEDNAN")
WEIGHTS = ("WHT", "WEIGHT", "IVAR", "INVVAR")

Where = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Plane:
    """An array beside the data: its names, how it is read, and what the file says of its meaning.

    ``bits`` are numbers of bits by their name; ``quality`` is the bit of a DQ plane that says bad (None: it is no DQ
    plane, -1: any); ``inside`` says that 0 is outside.
    """

    names: tuple[str, ...]
    read: Callable[[], np.ndarray]
    bits: Mapping[str, int] = field(default_factory=dict)
    quality: int | None = None
    inside: bool = False

    @property
    def name(self) -> str:
        return self.names[0]

    def rule(self) -> tuple[str, Where] | None:
        """What is masked by a standard, in words and as a function; None where none applies."""
        if bad := [name for name in BAD_BITS if name in self.bits]:
            return f"{self.name} {', '.join(bad)}", _any_bit([self.bits[name] for name in bad])
        if self.quality is not None and self.quality >= 0:
            return f"{self.name} DO_NOT_USE", _any_bit([self.quality])
        if self.quality is not None:
            return f"{self.name} not 0", _marked
        if self.name.upper() in WEIGHTS:
            return f"{self.name} 0", lambda plane: ~(plane > 0)
        return (f"{self.name} 0", _clear) if self.inside else None

    def asked(self, how: str, path: Path) -> tuple[str, Where]:
        """The rule that the user gives: ``""``, ``valid``, or names or numbers of bits."""
        if how in ("", "valid"):
            return f"{self.name} {'0' if how else 'not 0'}", _clear if how else _marked
        named = {name.lower(): bit for name, bit in self.bits.items()}
        wanted = [b.strip().lower() for b in how.split(",")]
        bits = [named[b] if b in named else int(b) if b.isdecimal() and int(b) < 64 else -1 for b in wanted]
        if -1 in bits:
            known = f"'valid', numbers of bits from 0 to 63, or {', '.join(self.bits) or 'names, of which it has none'}"
            raise FarfieldError(f"{path}: --field-mask {self.name}:{how}: expected {known}")
        return f"{self.name} {how}", _any_bit(bits)


@dataclass
class Tally:
    """What is masked, and what lies beside without being used, over the files of a source."""

    values: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    beside: dict[str, Counter[bool]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.values += other.values
        self.gaps.update(other.gaps)
        for name, count in other.beside.items():
            self.beside.setdefault(name, Counter()).update(count)
        self.notes.update(other.notes)

    def lines(self) -> list[str]:
        """What is to be said before the run."""
        lines = list(self.notes)
        if self.gaps:
            causes = "; ".join(f"{cause}: {n / self.values:.2%}" for cause, n in self.gaps.items())
            lines.append(f"{self.gaps.total() / self.values:.2%} of the values are masked ({causes})")
        for name, count in self.beside.items():
            share = f"it is not 0 in {count[True] / max(1, count.total()):.2%}"
            lines.append(
                f"an array {name} lies beside the data and is not used ({share}), because 1 may mean bad, valid or an "
                f"object: --field-mask {name} masks where it is not 0, --field-mask {name}:valid where it is 0"
            )
        return lines


def find_masks(
    values: np.ndarray, planes: Sequence[Plane], asked: str | None, path: Path, tally: Tally
) -> list[tuple[np.ndarray, str]]:
    """Where ``values`` are to be masked and why, by the rule of this file; what is passed over goes into ``tally``.

    Raises:
        FarfieldError: the mask that is asked for is not there, or has another shape than the data.
    """
    if asked == "none":
        return []
    if asked not in (None, "auto"):
        plane, how = _named(planes, asked, path)
        cause, where = plane.asked(how, path)
        array = plane.read()
        if (fitted := _fitted(where(array), values.shape)) is None:
            raise FarfieldError(
                f"{path}: --field-mask {asked}: it has shape {array.shape}, the data {values.shape}; expected the same, "
                "without leading axes, or without the channels"
            )
        return [(fitted, cause)]
    masks = []
    for plane in planes:
        if (rule := plane.rule()) is not None:
            fitted = _fitted(rule[1](plane.read()), values.shape)
            if fitted is None:
                tally.notes[f"{plane.name} has another shape than the data and is not used"] = None
            else:
                masks.append((fitted, rule[0]))
        elif plane.name.rpartition("/")[2].lower() in NAMES:
            marked = plane.read() != 0
            fitted = _fitted(marked, values.shape)
            gone = np.isnan(values)
            if fitted is None or not (gone[fitted].all() or gone[~fitted].all()):  # else it says what NaN says already
                tally.beside[plane.name] = Counter({True: int(marked.sum()), False: int((~marked).sum())})
    return masks


def _named(planes: Sequence[Plane], asked: str, path: Path) -> tuple[Plane, str]:
    """The plane that is asked for, and what stands behind its name."""
    for name, how in ((asked, ""), (asked.rpartition(":")[0], asked.rpartition(":")[2])):
        for plane in planes:
            if name.lower() in (n.lower() for n in plane.names):
                return plane, how
    names = ", ".join(plane.name for plane in planes) or "none"
    raise FarfieldError(f"{path}: --field-mask {asked}: expected an array of that name beside the data, found {names}")


def _fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A mask at the shape of the data, which may have further axes before it, or the channels behind it."""
    while mask.ndim > 2 and mask.shape[0] == 1 and mask.shape != shape[-mask.ndim :]:
        mask = mask[0]
    if mask.shape == shape[len(shape) - mask.ndim :]:
        return np.broadcast_to(mask, shape)
    if mask.shape == shape[:-1]:
        return np.broadcast_to(mask[..., None], shape)
    if mask.shape == (*shape[:-3], *shape[-2:]):
        return np.broadcast_to(mask[..., None, :, :], shape)
    return None


def _any_bit(bits: Sequence[int]) -> Where:
    chosen = np.uint64(sum(1 << bit for bit in bits))
    return lambda plane: (plane.astype(np.int64).view(np.uint64) & chosen) != 0


def _marked(plane: np.ndarray) -> np.ndarray:
    return plane != 0


def _clear(plane: np.ndarray) -> np.ndarray:
    return plane == 0
