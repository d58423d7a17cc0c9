"""What a caller may have meant by a name that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kymflow_zarr import layout

# Comparing takes some microseconds for each name.
_MAX_COMPARED: Final = 5000
_CUTOFF: Final = 0.75


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """Return the beginning of a hint, which names what is there, or nothing.

    Parameters
    ----------
    name : object
        What was asked for; names are str.
    known : sequence of str
        What there is.
    """
    if not isinstance(name, str):
        return "Names are text: use str(...). "
    meant = _closest(str.__str__(name), known)
    return "" if meant is None else f"Did you mean {meant!r}? "


def _closest(name: str, known: Sequence[str]) -> str | None:
    bare = next(
        (name.removesuffix(end) for end in layout.SUFFIXES.values() if name.endswith(end)), name
    )
    for wanted in (name, bare):
        same = [other for other in known if other.casefold() == wanted.casefold()]
        if same:
            return same[0]
    begins = [other for other in known if name and other.startswith(name)]
    if len(begins) == 1:
        return begins[0]
    import difflib  # Only who mistypes waits for it.

    close = difflib.get_close_matches(bare, known[:_MAX_COMPARED], n=1, cutoff=_CUTOFF)
    return close[0] if close else None
