"""A value that nothing shows by mistake: credentials, wherever they are kept."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Hidden(Generic[T]):
    """A value that no log, repr or exception shows."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value, for the one place that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "<hidden>"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a hidden value is not pickled")
