"""Values that note which parts of them are read: a metadata payload, regions, curation, artifacts.

They are a dict, a list, a curation and entries of a listing, so that functions written for those
work unchanged. C code that reads a dict or a list directly is not seen part by part: a value of
which no part was seen to be read counts as read as a whole.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from kymflow_zarr.engine.curation.document import Curation
from kymflow_zarr.engine.results.inputs import pointer_to
from kymflow_zarr.engine.rois.values import Roi
from kymflow_zarr.formats.json import TYPE_KEY
from kymflow_zarr.types import ArtifactInfo

_CURATION: Final = frozenset({"verdict", "note", "history"})
# Methods that read all of a dict or a list.
_OF_DICT: Final = (
    "__iter__", "__reversed__", "__len__", "__eq__", "__ne__", "__or__", "__ror__", "__repr__",
    "keys", "values", "items", "popitem", "copy",
)  # fmt: skip
_OF_LIST: Final = (
    "__reversed__", "__contains__", "__eq__", "__ne__", "__add__", "__mul__", "__rmul__",
    "__repr__", "copy", "index", "count", "pop", "sort",
)  # fmt: skip


def _reading_all(method: Any) -> Any:
    """Return a method of dict or list that notes that everything is read."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        self._read_whole()
        return method(self, *args, **options)

    return call


class ReadDict(dict[Any, Any]):
    """A mapping of a metadata payload that notes which keys are read.

    Parameters
    ----------
    values : mapping
        The decoded values.
    raw : mapping
        The same as JSON.
    pointer : str
        JSON Pointer of the mapping in the payload.
    note : callable
        Called with the JSON Pointer of each value that is read.
    """

    def __init__(
        self,
        values: Mapping[Any, Any],
        raw: Mapping[str, Any],
        pointer: str,
        note: Callable[[str], None],
    ) -> None:
        super().__init__(values)
        self._raw = raw
        self._pointer = pointer
        self._note = note
        self._inner: dict[Any, ReadDict] = {}
        self._seen = False

    def unread(self) -> Iterator[str]:
        """Yield the pointers of the mappings that were returned and never looked into."""
        if not self._seen:
            yield self._pointer
        for inner in self._inner.values():
            yield from inner.unread()

    def _read(self, key: Any) -> None:
        self._seen = True
        if isinstance(key, str):
            self._note(self._pointer + pointer_to(key))
        else:
            self._read_whole()

    def _read_whole(self) -> None:
        self._seen = True
        self._note(self._pointer)

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key) if super().__contains__(key) else None
        raw = self._raw.get(key) if isinstance(key, str) else None
        if type(value) is dict and isinstance(raw, Mapping) and TYPE_KEY not in raw:
            self._seen = True
            inner = ReadDict(value, raw, self._pointer + pointer_to(key), self._note)
            self._inner[key] = inner
            super().__setitem__(key, inner)
            return inner
        if isinstance(value, ReadDict):
            return value
        self._read(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or a default."""
        if not super().__contains__(key):
            self._read(key)
            return default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key from the mapping in memory and return its value, or a default."""
        self._read(key)
        return super().pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key; set it in memory to a default if there is none."""
        self._read(key)
        return super().setdefault(key, default)

    def __contains__(self, key: object) -> bool:
        self._read(key)
        return super().__contains__(key)

    def __deepcopy__(self, memo: Any) -> Any:
        self._read_whole()
        return {key: copy.deepcopy(value, memo) for key, value in super().items()}

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._read_whole()
        return dict, (dict(super().items()),)


class ReadRegions(list[Roi]):
    """The regions of an image; it notes which of them are read.

    Parameters
    ----------
    rois : sequence of Roi
    note : callable
        Called with the position of each region that is read, and with None if the number of
        regions is.
    note_all : callable
        Called if all regions are read.
    """

    def __init__(
        self,
        rois: Sequence[Roi],
        note: Callable[[int | None], None],
        note_all: Callable[[], None],
    ) -> None:
        super().__init__(rois)
        self._note_read = note
        self._note_all = note_all
        self.seen = False

    def _read_whole(self) -> None:
        self.seen = True
        self._note_all()

    def _note(self, position: int | None) -> None:
        self.seen = True
        self._note_read(position)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, int) and position >= 0:
            self._note(position)
        else:
            self._read_whole()
        regions = super().__getitem__(position)
        return list(regions) if isinstance(position, slice) else regions

    def __len__(self) -> int:
        self._note(None)
        return super().__len__()

    def __iter__(self) -> Iterator[Roi]:
        # The number of regions is read at the end only, by loops that go so far.
        for position in range(super().__len__()):
            self._note(position)
            yield super().__getitem__(position)
        self._note(None)

    def __reversed__(self) -> Iterator[Roi]:
        self._note(None)
        return super().__reversed__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._read_whole()
        return list, (list(super().copy()),)


for _base, _class, _names in ((dict, ReadDict, _OF_DICT), (list, ReadRegions, _OF_LIST)):
    for _name in _names:
        setattr(_class, _name, _reading_all(getattr(_base, _name)))


class ReadCuration(Curation):
    """The curation of an image; it notes which of verdict, note and history are read."""

    def __getattribute__(self, name: str) -> Any:
        if name in _CURATION:
            object.__getattribute__(self, "_note")(name)
        return super().__getattribute__(name)


def read_curation(curation: Curation, note: Callable[[str], None]) -> ReadCuration:
    """Return a curation that calls `note` with each of its parts that is read."""
    read = ReadCuration.__new__(ReadCuration)
    for name in _CURATION:
        object.__setattr__(read, name, getattr(curation, name))
    object.__setattr__(read, "_note", note)
    return read


class ReadArtifactInfo(ArtifactInfo):
    """An artifact in a listing that notes when its size is read, which changes with its content.

    Parameters
    ----------
    info : ArtifactInfo
    note : callable
        Called each time the size is read.
    """

    __slots__ = ("_note",)

    def __init__(self, info: ArtifactInfo, note: Callable[[], None]) -> None:
        super().__init__(info.name, info.kind, info.key, info.size_bytes)
        object.__setattr__(self, "_note", note)

    def __getattribute__(self, name: str) -> Any:
        if name == "size_bytes":
            object.__getattribute__(self, "_note")()
        return object.__getattribute__(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArtifactInfo, (self.name, self.kind, self.key, self.size_bytes)
