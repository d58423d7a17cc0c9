"""A dataset that was published: read where nothing can be listed.

The files of an image are known from its list of checksums, and the images from the index.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import StorageError
from kymflow_zarr.schema.base import decodable
from kymflow_zarr.schema.checksums import FileSum, parse_checksums
from kymflow_zarr.storage.interface import UNKNOWN_VERSION, OpenFile, Stat, check_key
from kymflow_zarr.storage.object.heads import TOP, number_of, scope_of
from kymflow_zarr.storage.object.requests import Host, ObjectRanges, traffic_of
from kymflow_zarr.storage.object.storage import ObjectStorage
from kymflow_zarr.storage.read_only import ReadOnlyStorage
from kymflow_zarr.storage.traffic import Traffic
from kymflow_zarr.storage.versioned_cache import VersionedCache

# Of a file of many chunks the index is at its end, 16 bytes for each; a small file is in it whole.
_TAIL_BYTES: Final = 64 << 10
_CACHED_BYTES: Final = 8 << 20
_MOST_TO_CACHE: Final = 64


def indexed_images(host: Host) -> dict[str, int]:
    """Return folder and version of each image in the index of a dataset.

    Raises
    ------
    StorageError
        If the dataset was published without an index, or it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = f"{host.address}/{layout.MANIFEST}"
    stored = host.get(layout.MANIFEST)
    if stored is None:
        raise StorageError(
            "the dataset was published without its index, and the host lists no files",
            where=where,
            hint="Call ds.update_manifest() on the dataset, and publish it again.",
        )
    try:
        table = pq.read_table(pa.BufferReader(stored[0]), columns=["image_id", "changed_ns"])
        ids: list[Any] = table["image_id"].to_pylist()
        versions: list[Any] = table["changed_ns"].to_pylist()
        folders = [layout.image_prefix(image_id).partition("/")[2] for image_id in ids]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StorageError("the index is damaged", where=where) from error
    return dict(zip(folders, versions, strict=True))


class _Cached(NamedTuple):
    """Size of a file, and its last bytes."""

    size: int
    data: bytes

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return len(self.data)


class _Array(msgspec.Struct):
    path: str
    sha256: str


class _Levels(msgspec.Struct):
    levels: list[_Array] = []


class _Image(msgspec.Struct):
    pixels: _Array
    pyramid: _Levels | None = None


class _Attributes(msgspec.Struct):
    kymflow_zarr: _Image


class _Group(msgspec.Struct):
    attributes: _Attributes


def _array_digests(document: bytes | None) -> dict[str, str]:
    """Return path and digest of each array of pixels that the document of an image names."""
    try:
        group = msgspec.json.decode(document or b"", type=decodable(_Group))
    except (msgspec.MsgspecError, RecursionError):
        return {}
    image = group.attributes.kymflow_zarr
    levels = [] if image.pyramid is None else image.pyramid.levels
    return {array.path: array.sha256 for array in [image.pixels, *levels]}


class _Reading(threading.local):
    """What this thread has read of an image since it read the image's document."""

    def __init__(self) -> None:
        self.begins("", None)

    def begins(self, scope: str, document: bytes | None) -> None:
        """Note the document of an image, which was read just now."""
        self.scope, self.document = scope, document or b""
        self.arrays = _array_digests(document)
        self.digests: dict[str, bytes] = {}
        self.to_cache: dict[str, _Cached] = {}

    def is_again(self, scope: str, document: bytes | None) -> bool:
        """Return True if this is the document that was read before the files were."""
        return (scope, document) == (self.scope, self.document)

    def reads(self, key: str, file: _Cached | None, *, describes: bool) -> None:
        """Note a file, and whether it describes an array, so that it is read again and again."""
        is_whole = file is not None and len(file.data) == file.size
        # Of more than two files the digest is not asked for.
        is_asked = is_whole and len(self.digests) < 2
        self.digests[key] = hashlib.sha256(file.data).digest() if file and is_asked else b""
        if file is not None and describes and len(self.to_cache) < _MOST_TO_CACHE:
            self.to_cache[key] = file

    def version(self, key: str) -> Stat | None:
        """Return a version of the pixels of the image, None if the file is no part of them."""
        scope, rel = scope_of(key)
        first = rel.partition("/")[0]
        if scope != self.scope or all(first != path.partition("/")[0] for path in self.arrays):
            return None
        return Stat(0, number_of(hashlib.sha256(self.document).hexdigest()))

    @property
    def is_one_state(self) -> bool:
        """True if the files are an array, whole, and its digest is that of the document."""
        if len(self.digests) != 2:
            return False
        (group, first), (chunk, second) = self.digests.items()
        folder = group.removesuffix(f"/{layout.GROUP}")
        wanted = self.arrays.get(folder.removeprefix(f"{self.scope}/"))
        digest = hashlib.sha256(first + second).hexdigest()
        return wanted == digest and chunk.startswith(f"{folder}/")


class PublishedFolder(ReadOnlyStorage):
    """A copy of a dataset's folder (format version 2) on a host.

    Parameters
    ----------
    host : Host
    """

    def __init__(self, host: Host) -> None:
        self.bucket = host
        self.location = host.address
        self._reading = _Reading()
        self._cache: VersionedCache[_Cached] = VersionedCache(self, _CACHED_BYTES)

    def __reduce__(self) -> tuple[Any, ...]:
        return PublishedFolder, (self.bucket,)

    def traffic(self) -> Traffic:
        """Return the requests to the store or host so far."""
        return traffic_of(self.bucket)

    @property
    def reads_states(self) -> bool:  # type: ignore[override]
        """True if what this thread read of an image has the digest that its document names.

        Only an array in one file is read whole, so only of it the digest is known; of others
        the document is read again.
        """
        return self._reading.is_one_state

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""
        scope, rel = scope_of(check_key(key))
        if rel == layout.GROUP and scope != TOP:
            stored = self.bucket.get(key)
            data = None if stored is None else stored[0]
            if self._reading.is_again(scope, data):
                self._cache_files()
            self._reading.begins(scope, data)
            return data
        found = self._file(key, self._whole, describes=rel.endswith(f"/{layout.GROUP}"))
        return None if found is None else found.data

    def _whole(self, key: str) -> _Cached | None:
        stored = self.bucket.get(key)
        return None if stored is None else _Cached(len(stored[0]), stored[0])

    def _tail(self, key: str) -> _Cached | None:
        found = self.bucket.tail(key, _TAIL_BYTES)
        return None if found is None else _Cached(*found)

    def _file(
        self, key: str, ask: Callable[[str], _Cached | None], *, describes: bool
    ) -> _Cached | None:
        """Return a file; what describes pixels is cached for as long as their image's document."""
        found = self._cache.get(self._reading.version(key), key)
        if found is None:
            found = ask(key)
        self._reading.reads(key, found, describes=describes)
        if self.reads_states:
            self._cache_files()
        return found

    def _cache_files(self) -> None:
        """Cache what describes an array, once the files that were read are of one state."""
        for key, file in self._reading.to_cache.items():
            self._cache.put(self._reading.version(key), key, file)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[OpenFile | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""
        found = self._file(check_key(key), self._tail, describes=True)
        yield None if found is None else ObjectRanges(self.bucket, key, *found)

    def stat(self, key: str) -> Stat | None:
        """Return size and version of the file or folder at a key, None if there is none."""
        stored = self.bucket.head(check_key(key)) if key and not _is_image(key) else None
        if stored is not None:
            return Stat(stored[0], number_of(stored[1]))
        stored = self.bucket.head(f"{key}/{layout.GROUP}".lstrip("/"))
        if stored is not None:
            return Stat(0, number_of(stored[1]))
        return Stat(0, UNKNOWN_VERSION) if self._below(key) else None

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key."""
        return not key or self.bucket.head(f"{check_key(key)}/{layout.GROUP}") is not None or bool(
            self._below(key)
        )  # fmt: skip

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key."""
        if prefix == layout.IMAGES:
            return list(indexed_images(self.bucket))
        return [name for name, is_folder in self._names(prefix).items() if is_folder]

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""
        names = set(self._names(prefix))
        if prefix == layout.IMAGES:
            names |= indexed_images(self.bucket).keys()
        return sorted(names)

    def versions(self, prefix: str, file: str = "") -> dict[str, int]:  # noqa: ARG002
        """Return name and version of each folder that :meth:`children` names."""
        if prefix == layout.IMAGES:
            return indexed_images(self.bucket)
        return dict.fromkeys(self.children(prefix), UNKNOWN_VERSION)

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys."""
        file_sums = self._below(prefix)
        if prefix in ("", layout.IMAGES):
            for folder in indexed_images(self.bucket):
                file_sums |= self._below(f"{layout.IMAGES}/{folder}")
        for key in sorted(file_sums, key=lambda key: key.split("/")):
            yield key, Stat(file_sums[key].size_bytes, number_of(file_sums[key].sha256))

    def _names(self, prefix: str) -> dict[str, bool]:
        names: dict[str, bool] = {}
        for key in self._below(prefix):
            name, _, below = key[len(prefix) :].lstrip("/").partition("/")
            names[name] = bool(below)
        return names

    def _below(self, prefix: str) -> dict[str, FileSum]:
        """Return the files that the list of checksums of an image, or of the top, has there."""
        scope, rel = scope_of(f"{check_key(prefix)}/x" if prefix else "x")
        base = f"{scope}/" if rel != f"{prefix}/x" and prefix else ""
        key = f"{base}{layout.CHECKSUMS}"
        data = self.read(key)
        if data is None:
            return {}
        files = parse_checksums(data, where=f"{self.location}/{key}")
        start = f"{prefix}/" if prefix else ""
        return {
            base + name: file_sum
            for name, file_sum in files.items()
            if (base + name).startswith(start)
        }

    def close(self) -> None:
        """Close the connections to the host."""
        self.bucket.close()

    def settled(self) -> Any:
        """Return a predicate that is False: a host may change what it serves."""
        return lambda _: False


class PublishedObjects(ObjectStorage):
    """A dataset of format version 3 on a host that lists nothing."""

    def _image_versions(self) -> dict[str, int]:
        return indexed_images(self.bucket)


def _is_image(key: str) -> bool:
    folder, _, name = key.partition("/")
    return folder == layout.IMAGES and name != layout.GROUP and "/" not in name
