"""Names of a room that are imported when they are first asked for.

A room offers all its names at its door. Reading one image takes few of them, and each file of
the others takes time that everyone would wait for whose program begins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def late(room: str, files: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a room.

    Parameters
    ----------
    room : str
        Its dotted name.
    files : mapping of str to tuple of str
        Which file of the room has which names.
    """
    home = {name: file for file, names in files.items() for name in names}

    def getattr_(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found: object = getattr(import_module(f"{room}.{home[name]}"), name)
        setattr(sys.modules[room], name, found)  # It is not asked for again.
        return found

    return getattr_
