"""Weights under the names that their network gives them, whatever trained it had put around it.

Parallel training, compilation and checkpointing leave a word of theirs in the names of what they wrap, anywhere in these;
frameworks keep the network, and its average, as an attribute of something larger, beside other things. Both are taken off
here, for every family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from farfield.checkpoints.file.stored import Stored, states

T = TypeVar("T")

WRAPPERS: Final = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
)
"""Words of DataParallel, ``torch.compile``, FSDP, activation checkpointing and Fabric; no network here has parts of such name."""
COUNT: Final = "n_averaged"
"""What ``torch.optim.swa_utils`` keeps beside the network that it averages."""
_MOST: Final = 8
"""Networks that are looked at in one state dict."""


def bare(state: Mapping[str, T]) -> dict[str, T]:
    """A state dict without the words of wrappers; as it is where two names would become one."""
    plain = {without(name): value for name, value in state.items()}
    return plain if len(plain) == len(state) else dict(state)


def without(name: str) -> str:
    """A name without the words of wrappers."""
    return ".".join(word for word in name.split(".") if word not in WRAPPERS)


def alone(state: Mapping[str, T]) -> dict[str, T]:
    """The state dict of one network, without the words of wrappers and without what all of its names begin with."""
    plain = bare(state)
    while len({name.partition(".")[0] for name in plain}) == 1 < len(plain) and all("." in name for name in plain):
        plain = {name.partition(".")[2]: value for name, value in plain.items()}
    return plain


def networks(root: Any, marks: Sequence[str]) -> dict[str, dict[str, Stored]]:
    """The networks in a file that have all of these names, by their places; ``""`` is the whole file.

    Args:
        marks: names of weights, the first of them found nowhere else.
    """
    by_place: dict[str, dict[str, Stored]] = {}
    for place, state in states(root):
        named = bare(state)
        prefixes = [name.removesuffix(marks[0]) for name in named if name.endswith(marks[0])]
        held = [p for p in prefixes[:_MOST] if p == "" or p.endswith(".") if all(p + mark in named for mark in marks)]
        for prefix in held:
            within = [other for other in held if len(other) > len(prefix)]
            where = ".".join(part for part in (without(place), prefix.rstrip(".")) if part)
            by_place[where] = {
                name.removeprefix(prefix): value
                for name, value in named.items()
                if name.startswith(prefix) and not name.startswith(tuple(within)) and name != COUNT
            }
    return by_place
