"""Names and what they mean, shown a line each."""

from __future__ import annotations


class Listed(dict[str, str]):
    """A dictionary that prints as a list."""

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:<{width}}  {about}" for name, about in self.items())

    __repr__ = __str__


class Text(str):
    """A text that shows itself as it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
