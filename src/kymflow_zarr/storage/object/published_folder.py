"""A dataset that was published: read where nothing can be listed.

The files of an image are known from its list of checksums, and the images from the index.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.errors import StorageError
from kymflow_zarr.schema.checksums import FileSum, parse_checksums
from kymflow_zarr.storage.interface import UNKNOWN_VERSION, OpenFile, Stat, check_key
from kymflow_zarr.storage.object.heads import number_of, scope_of
from kymflow_zarr.storage.object.requests import Host, ObjectRanges, traffic_of
from kymflow_zarr.storage.object.storage import ObjectStorage
from kymflow_zarr.storage.read_only import ReadOnlyStorage
from kymflow_zarr.storage.traffic import Traffic


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


class PublishedFolder(ReadOnlyStorage):
    """A copy of a dataset's folder (format version 2) on a host.

    Parameters
    ----------
    host : Host
    """

    def __init__(self, host: Host) -> None:
        self.bucket = host
        self.location = host.address

    def __reduce__(self) -> tuple[Any, ...]:
        return PublishedFolder, (self.bucket,)

    def traffic(self) -> Traffic:
        """Return the requests to the store or host so far."""
        return traffic_of(self.bucket)

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""
        stored = self.bucket.get(check_key(key))
        return None if stored is None else stored[0]

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[OpenFile | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""
        stored = self.bucket.head(check_key(key))
        yield None if stored is None else ObjectRanges(self.bucket, key, stored[0])

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
