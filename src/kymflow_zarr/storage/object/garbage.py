"""Delete objects that no head names any more, a week after they were first found so."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.storage.object.heads import CHANGES, HEADS, decode_head
from kymflow_zarr.storage.object.requests import Objects

GRACE_S: Final = 7 * 86_400.0
"""Longer than any reader reads from a head that it has, and any writer stages."""
MARKS: Final = f"{layout.INDEX}/garbage.json"
_BATCH: Final = 1000


def collect(bucket: Objects, *, dry_run: bool, grace_s: float = GRACE_S) -> list[str]:
    """Delete objects that were named by no head now and `grace_s` before; return their names.

    The first call only notes which ones no head names, in ``index/garbage.json``.

    Parameters
    ----------
    bucket : Objects
    dry_run : bool
        Return the names, and change nothing.
    grace_s : float
    """
    unnamed = _unnamed(bucket)
    since = _marks(bucket)
    now = _clock(bucket)
    due = [name for name in unnamed if name in since and now - since[name] >= grace_s]
    if dry_run:
        return due
    for first in range(0, len(due), _BATCH):
        bucket.delete(due[first : first + _BATCH])
    left = {name: since.get(name, now) for name in sorted({*unnamed} - {*due})}
    if left != since:
        bucket.put(MARKS, msgspec.json.encode({"document": "garbage", "since": left}))
    return due


def _unnamed(bucket: Objects) -> list[str]:
    # List before reading heads: what is put meanwhile is not in the list.
    names = [item.name for item in bucket.list_below("")]
    needed: set[str] = {layout.GROUP}
    for name in names:
        stored = bucket.get(name) if name.startswith(f"{HEADS}/") else None
        if stored is None:
            continue
        head = decode_head(stored[0], where=f"{bucket.address}/{name}")
        states = [head.state]
        if head.pending is not None:
            states.append(head.pending.then)
            needed.add(f"{CHANGES}/{head.pending.change}.json")
        for state in states:
            needed |= {e.object for e in (state.files or {}).values() if e.object is not None}
            if state.files is not None:
                scope = name.removeprefix(f"{HEADS}/").removesuffix(".json")
                needed.add(f"{scope}/{layout.GROUP}")
    own_prefixes = (f"{HEADS}/", f"{layout.INDEX}/")
    return [name for name in names if name not in needed and not name.startswith(own_prefixes)]


def _marks(bucket: Objects) -> dict[str, float]:
    stored = bucket.get(MARKS)
    try:
        document: Any = {} if stored is None else msgspec.json.decode(stored[0])
        return msgspec.convert(document.get("since", {}), dict[str, float])
    except (msgspec.DecodeError, msgspec.ValidationError, AttributeError):
        return {}  # Derived data: the grace begins again.


def _clock(bucket: Objects) -> float:
    """Return the time by the store's clock, in seconds since 1970."""
    name = f"probe/{uuid.uuid4().hex}"
    bucket.put(name, b"")
    try:
        return max(item.modified_s for item in bucket.list_below("probe/") if item.name == name)
    finally:
        bucket.delete([name])
