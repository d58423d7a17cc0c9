"""Hints for errors about unknown names: the closest one, or what exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kymflow_zarr.types import ARTIFACT_SUFFIXES

# Comparing takes a few microseconds per name.
_MAX_COMPARED: Final = 5000
_CUTOFF: Final = 0.75


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """Return the beginning of a hint that names what exists, or an empty str.

    Parameters
    ----------
    name : object
        The requested name; only a str is compared.
    known : sequence of str
        The names that exist.
    """
    if not isinstance(name, str):
        return "Names are text: use str(...). "
    meant = _closest(str.__str__(name), known)
    return "" if meant is None else f"Did you mean {meant!r}? "


def _closest(name: str, known: Sequence[str]) -> str | None:
    bare = next(
        (name.removesuffix(end) for end in ARTIFACT_SUFFIXES.values() if name.endswith(end)), name
    )
    for wanted in (name, bare):
        same = [other for other in known if other.casefold() == wanted.casefold()]
        if same:
            return same[0]
    begins = [other for other in known if name and other.startswith(name)]
    if len(begins) == 1:
        return begins[0]
    import difflib  # Only needed for errors.

    close = difflib.get_close_matches(bare, known[:_MAX_COMPARED], n=1, cutoff=_CUTOFF)
    return close[0] if close else None
