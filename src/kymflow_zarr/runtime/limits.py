"""Limits for untrusted files and queries, and a memory budget for work on pixels."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import re
import time
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from kymflow_zarr.errors import ArgumentError, LimitExceededError
from kymflow_zarr.runtime.scopes import Guard, Scoped, Turn

ENVIRONMENT: Final = "KYMFLOW_ZARR_LIMITS"
_UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_NUMBER: Final = re.compile(r"(\d+)\s*(?:([KMGT])i?B?)?", re.IGNORECASE)
_WORDS: Final = {"json_depth": "deep", "array_chunks": "chunks", "tiff_pages": "pages"}
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS: Final = b"[]{}"
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_GZIP: Final = zlib.MAX_WBITS | 16
_PIECE_BYTES: Final = 64 << 20
# Deflate packs at most 258 bytes into two bits: https://zlib.net/zlib_tech.html
_MOST_PACKED: Final = 1032


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits for one file, one array, or one query.

    Parameters
    ----------
    json_bytes : int
        Size of one JSON document.
    json_depth : int
        Nesting depth of a JSON document.
    gzip_bytes : int
        Unpacked size of one gzip file.
    table_bytes : int
        Size of one Parquet file in memory, according to its metadata of rows and pages.
    array_bytes : int
        Size of data that must be in memory at once: a Zarr array that is loaded whole, a chunk
        of another program's array, an ``.npy`` file, a page of a compressed TIFF.
    array_chunks : int
        Number of chunks of one array that is loaded whole.
    image_bytes : int
        Size of the pixels of one TIFF image that is compressed, or stored with gaps.
    tiff_pages : int
        Number of pages of one TIFF file.
    sql_seconds : int
        Time limit of one SQL query.
    worker_seconds : int
        Time that a call waits for one result of a given executor.
    """

    json_bytes: int = 512 << 20
    json_depth: int = 500
    gzip_bytes: int = 8 << 30
    table_bytes: int = 32 << 30
    array_bytes: int = 32 << 30
    array_chunks: int = 1_000_000
    image_bytes: int = 1 << 40
    tiff_pages: int = 1_000_000
    sql_seconds: int = 86_400
    worker_seconds: int = 86_400


class _Undo:
    """Restores the limits at the end of a ``with`` block."""

    def __init__(self, before: Limits | None) -> None:
        self._before = before

    def __enter__(self) -> Limits:
        return get_limits()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        _current = self._before


# One for the whole process, since the threads that read chunks must see it.
_current: Limits | None = None


def get_limits() -> Limits:
    """Return the current limits.

    Raises
    ------
    ArgumentError
        If the environment variable ``KYMFLOW_ZARR_LIMITS`` is not a list of limits.
    """
    global _current
    if _current is None:
        _current = _from_environment(os.environ.get(ENVIRONMENT, ""))
    return _current


def set_limits(**changes: int) -> _Undo:
    """Change limits, for the whole process and all of its threads.

    Parameters
    ----------
    **changes : int
        Fields of :class:`Limits`; the others stay as they are.

    Returns
    -------
    context manager
        Optional to use. In a ``with`` statement it restores the previous limits at the end.

    Raises
    ------
    ArgumentError
        If there is no limit of that name, or a value is not a positive integer.

    Examples
    --------
    >>> with set_limits(array_bytes=200 * 2**30):
    ...     get_limits().array_bytes
    214748364800
    """
    global _current
    before = get_limits()
    _current = _changed(before, changes, where="set_limits")
    return _Undo(before)


def check_limit(name: str, size: int, what: str, *, where: str | None) -> None:
    """Raise LimitExceededError if `size` exceeds the limit `name`.

    Parameters
    ----------
    name : str
        A field of :class:`Limits`.
    size : int
        The amount that the file needs.
    what : str
        Subject and verb of the message: ``"the array takes"``.
    where : str, optional
        The file.
    """
    limit = getattr(get_limits(), name)
    if size > limit:
        unit = "bytes" if name.endswith("_bytes") else _WORDS[name]
        raise LimitExceededError(
            f"{what} {size} {unit}, more than the limit {name} = {limit}",
            where=where,
            hint="It is damaged or hostile, unless you know better; if you do, call "
            f"kymflow_zarr.set_limits({name}=...), or set {ENVIRONMENT}={name}=...",
        )


def check_json(data: bytes, *, where: str | None) -> None:
    """Raise LimitExceededError if a JSON document is too large or too deep to be parsed."""
    check_limit("json_bytes", len(data), "the JSON document has", where=where)
    # The first estimate also counts brackets inside strings, and is a hundred times faster. If
    # they distort it downwards, the parser's own limit still holds.
    if _depth(data, enough=get_limits().json_depth) > get_limits().json_depth:
        depth = _depth(_STRING.sub(b"", data))
        check_limit("json_depth", depth, "the JSON document nests lists or objects", where=where)


def loads_json(data: bytes, *, where: str | None, repeated: set[str] | None = None) -> Any:
    """Return the value of a JSON document.

    Parameters
    ----------
    data : bytes
    where : str, optional
        Its name for errors.
    repeated : set of str, optional
        Gets the keys that occur twice in one object. The last value of such a key counts.

    Raises
    ------
    LimitExceededError
        If it is too large or too deep.
    ValueError
        If it is not JSON.
    """
    check_json(data, where=where)

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if repeated is not None and len(value) < len(pairs):
            counts = collections.Counter(key for key, _ in pairs)
            repeated.update(key for key, count in counts.items() if count > 1)
        return value

    try:
        return json.loads(data, object_pairs_hook=None if repeated is None else as_dict)
    except RecursionError as error:
        raise LimitExceededError(
            f"the JSON document nests lists or objects {_depth(_STRING.sub(b'', data))} deep, "
            f"more than Python can follow here; the limit json_depth = {get_limits().json_depth}",
            where=where,
        ) from error


def gunzip(data: bytes, *, where: str | None, size: int | None = None) -> bytes:
    """Return the unpacked content of all members of a gzip file.

    Parameters
    ----------
    data : bytes
    where : str, optional
        Its name for errors.
    size : int, optional
        The size that the content should have, if that is known: it is unpacked several times as
        fast then. Content of another size is returned, too.

    Raises
    ------
    LimitExceededError
        If it exceeds ``gzip_bytes``; no more than that is unpacked.
    ValueError
        If it is not a gzip file, is damaged or truncated.
    """
    limit = get_limits().gzip_bytes
    if size is not None and size <= min(limit, _MOST_PACKED * len(data)):
        import imagecodecs

        # Damage, and other sizes, are for the slow way to report.
        with contextlib.suppress(imagecodecs.DeflateError, ValueError):
            content = bytes(imagecodecs.gzip_decode(data, out=size + 1))
            if len(content) == size:
                return content
    pieces: list[bytes] = []
    unpacked = 0
    rest = data
    try:
        while True:
            member = zlib.decompressobj(wbits=_GZIP)
            while not member.eof:
                piece = member.decompress(rest, min(_PIECE_BYTES, limit + 1 - unpacked))
                rest = member.unconsumed_tail
                if not piece and not rest and not member.eof:
                    raise ValueError("it was cut off")
                pieces.append(piece)
                unpacked += len(piece)
                check_limit(
                    "gzip_bytes", unpacked, "the gzip file unpacks to at least", where=where
                )
            # RFC 1952 allows several members in a row; tape writers pad with zeros.
            rest = member.unused_data.lstrip(b"\0")
            if not rest:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _depth(data: bytes, *, enough: int = 0) -> int:
    brackets = data.translate(None, _NOT_BRACKETS)
    if len(brackets) <= enough:
        return 0
    deepest = depth = 0
    for run in re.finditer(rb"[\[{]+|[\]}]+", brackets):
        length = run.end() - run.start()
        depth += length if brackets[run.start()] in b"[{" else -length
        deepest = max(deepest, depth)
    return deepest


def _changed(limits: Limits, changes: Mapping[str, Any], *, where: str) -> Limits:
    known = [field.name for field in dataclasses.fields(Limits)]
    for name, value in changes.items():
        if name not in known:
            raise ArgumentError(
                f"there is no limit {name!r}", where=where, hint=f"There are {', '.join(known)}."
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name} must be a positive integer, not {value!r}", where=where)
    return dataclasses.replace(limits, **changes)


def _from_environment(text: str) -> Limits:
    changes = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        match = _NUMBER.fullmatch(value.strip())
        if match is None:
            raise ArgumentError(
                f"{part!r} is not of the form name=number",
                where=ENVIRONMENT,
                hint="Write it as array_bytes=64GiB,json_depth=1000.",
            )
        changes[name.strip()] = int(match[1]) << _UNITS[(match[2] or "").upper()]
    return _changed(Limits(), changes, where=ENVIRONMENT)


# For blocks with their chunks and encoded files; see docs/ingest.md.
PIXELS_BYTES: Final = 384 << 20
_POLL_S: Final = 0.005


class MemoryBudget:
    """An amount of memory that threads share; a thread that needs more than is left waits.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Release everything, in a forked child, which has none of the reserving threads."""
        self.queue: list[Turn] = []
        self.held: list[weakref.ref[Reservation]] = []

    def reserve(self, size: int) -> Reservation:
        """Reserve memory for a ``with`` block; more than the whole budget is reserved alone."""
        return Reservation(self, min(size, self._size))

    def fits(self, size: int) -> bool:
        """Return True if that much is left."""
        if size <= self._left():
            return True
        for ref in list(self.held):
            holder = ref()
            if holder is not None and not holder.is_live():
                holder.end()
        return size <= self._left()

    def _left(self) -> int:
        return self._size - sum(r.size for ref in list(self.held) if (r := ref()) is not None)


class Reservation(Scoped):
    """A part of a budget; see :meth:`MemoryBudget.reserve`."""

    def __init__(self, budget: MemoryBudget, size: int) -> None:
        self._budget = budget
        self.size = size

    def begin(self) -> None:
        """Wait until there is enough."""
        # In order of arrival: otherwise small requests could starve a large one.
        with Guard(self._budget.queue):
            while not self._budget.fits(self.size):
                time.sleep(_POLL_S)
            self._budget.held.append(weakref.ref(self))

    def end(self) -> None:
        """Give it back; may be called again."""
        with contextlib.suppress(ValueError):
            self._budget.held.remove(weakref.ref(self))


pixels_memory: Final = MemoryBudget(PIXELS_BYTES)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pixels_memory.reset)
