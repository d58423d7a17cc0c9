"""The few kinds of requests that a dataset in a store needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.traffic import Traffic


class Listed(NamedTuple):
    """Name, size in bytes and entity tag of an object, and when it was put, by the store's clock.

    The time is in seconds since 1970.
    """

    name: str
    size: int
    tag: str
    modified_s: float


class Host(Protocol):
    """What serves files by name; implementations inherit from it.

    Attributes
    ----------
    address : str
        Where the dataset is, without secrets.
    requests : dict of str to int
        How many requests of each kind were made.
    bytes_read, bytes_written : int
    """

    address: str
    requests: dict[str, int]
    bytes_read: int
    bytes_written: int

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and its entity tag, None if there is none."""

    def get_range(self, name: str, start: int, size: int) -> bytes | None:
        """Return bytes of an object, fewer at its end; None if there is no object."""

    def close(self) -> None:
        """Close connections; the next request opens a new one."""

    def head(self, name: str) -> tuple[int, str] | None:
        """Return size and entity tag of an object, None if there is none."""

    def tail(self, name: str, most: int) -> tuple[int, bytes] | None:  # noqa: ARG002
        """Return size and the last bytes of an object, None if there is none.

        At most `most` bytes; none where they would cost a request more than the size does.
        """
        found = self.head(name)
        return None if found is None else (found[0], b"")


def traffic_of(host: Host) -> Traffic:
    """Return the requests that were made to a host so far."""
    return Traffic(dict(host.requests), host.bytes_read, host.bytes_written)


class Objects(Host, Protocol):
    """What keeps objects, and heeds conditions.

    Attributes
    ----------
    replaces_if_unchanged : bool
        False if conditions are heeded of heads, and when an object is created, but a copy for
        viewers is replaced in any case.
    """

    replaces_if_unchanged: bool = True

    def list_below(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose names begin with a prefix that ends with a slash, or is empty.

        Each thousand of them is a request.
        """

    def top_names(self) -> list[str]:
        """Return the names at the top of the dataset's address."""

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Put an object, replacing one of that name."""

    def put_if(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put an object if its entity tag is still `tag`, or, with None, if there is none.

        Returns
        -------
        str or None
            The new entity tag; None if the condition did not hold, or the server says so.
        """

    def delete(self, names: list[str]) -> None:
        """Delete objects; those that are not there are no error."""


class AccessDeniedError(StorageError):
    """The store refused the credentials, or has got none."""


class ObjectRanges:
    """An object whose parts are read by ranges.

    Parameters
    ----------
    host : Host
    name : str
    size : int
        In bytes.
    tail : bytes, optional
        Its last bytes, if they are known.
    """

    def __init__(self, host: Host, name: str, size: int, tail: bytes = b"") -> None:
        self._host = host
        self._name = name
        self._tail = tail
        self.size = size

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end.

        Raises
        ------
        StorageError
            If the object was deleted or cut meanwhile.
        """
        size = min(size, self.size - start)
        if size <= 0:
            return b""
        known = start + len(self._tail) - self.size  # Where it begins in the tail.
        if known >= 0:
            return self._tail[known : known + size]
        data = self._host.get_range(self._name, start, size)
        if data is None:
            raise StorageError("the object of the file is not there any more", where=self._name)
        if len(data) != size:
            raise StorageError("the file changed while it was read", where=self._name)
        return data
