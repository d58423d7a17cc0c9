"""What was computed once and may be asked for again: no more bytes of it than agreed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

__all__ = ["Kept"]

T = TypeVar("T")
_MAX_BYTES: Final = 2**27


class Kept:
    """Values by key; the one that was not asked for the longest goes first.

    Parameters
    ----------
    max_bytes : int
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """Return the value of a key, made if there is none.

        Parameters
        ----------
        key : hashable
            Names all that the value depends on.
        make : callable
        size : callable
            Returns how many bytes a value takes.
        """
        with self._guard:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
                value: T = found[0]
                return value
        value = make()
        n_bytes = size(value)
        with self._guard:
            if n_bytes <= self.max_bytes and key not in self._values:
                self._values[key] = (value, n_bytes)
                self.n_bytes += n_bytes
                while self.n_bytes > self.max_bytes:
                    _, (_, gone) = self._values.popitem(last=False)
                    self.n_bytes -= gone
        return value
