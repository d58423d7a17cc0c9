"""Where a dataset is published: a folder or a bucket."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from kymflow_zarr import layout
from kymflow_zarr.engine.addresses import is_address, open_bucket
from kymflow_zarr.errors import ArgumentError, SchemaValidationError, StorageError
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    from kymflow_zarr.storage.object.bucket import Bucket

_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


class Place(Protocol):
    """What files are published to, by their names."""

    location: str

    def names(self) -> list[str]:
        """Return the names at the top."""

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or replace it in one step."""

    def delete(self, names: list[str]) -> None:
        """Delete files; those that are not there are no error."""


class FolderPlace:
    """A folder that a web server serves, or that is uploaded.

    Parameters
    ----------
    path : Path
        Made with the first file.

    Raises
    ------
    SchemaValidationError
        If it is a file.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise SchemaValidationError(
                "this is a file, not a folder", where=str(path), hint="Choose another name."
            )
        self._path = path
        self.location = str(path)

    def names(self) -> list[str]:
        """Return the names in the folder, without those that systems put there."""
        try:
            return sorted(n for n in os.listdir(self._path) if not layout.is_litter(n))  # noqa: PTH208
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, None if there is none."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file beside, and replace an earlier one in one step."""
        path = self._path / name
        beside = path.with_name(f"{layout.TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                beside.write_bytes(data)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot write it: {error.strerror or error}",
                where=str(path),
                hint="What is there already stays. Publish again to go on.",
            ) from error

    def delete(self, names: list[str]) -> None:
        """Delete files, and folders that are empty then."""
        for name in names:
            path = self._path / name
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for folder in path.relative_to(self._path).parents[:-1]:
                    (self._path / folder).rmdir()


class BucketPlace:
    """A bucket that the web reads.

    Parameters
    ----------
    bucket : Bucket
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.location = bucket.address

    def names(self) -> list[str]:
        """Return the names at the top."""
        return self._bucket.top_names()

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an object, None if there is none."""
        stored = self._bucket.get(name)
        return None if stored is None else stored[0]

    def write(self, name: str, data: bytes) -> None:
        """Put an object with the type that a browser needs."""
        kind = _TYPES.get(os.path.splitext(name)[1], "application/octet-stream")  # noqa: PTH122
        # The page has one name, and each other file one that changes with its content.
        caching = "max-age=31536000, immutable" if is_immutable(name) else "no-cache"
        self._bucket.put(name, data, {"Content-Type": kind, "Cache-Control": caching})

    def delete(self, names: list[str]) -> None:
        """Delete objects; those that are not there are no error."""
        if names:
            self._bucket.delete(names)


def is_immutable(name: str) -> bool:
    """Return True if the content of a published file never changes under its name."""
    return (
        name.startswith(f"{layout.PUBLISHED_PAGE}/")
        and name != layout.PUBLISHED
        and not name.endswith(".txt")
    )


def place_of(target: StrPath, options: Mapping[str, Any] | None) -> Place:
    """Return the place that a path or an address names.

    Raises
    ------
    ArgumentError
        If nothing can be published there.
    """
    if not is_address(target):
        if options is not None:
            raise ArgumentError("storage_options are for buckets", where="storage_options")
        if "://" in str(target):
            raise ArgumentError("this is an address of no place that is known", where=str(target))
        return FolderPlace(Path(target))
    scheme = str(target).partition("://")[0].lower()
    if scheme in ("memory", "http", "https"):
        raise ArgumentError(
            f"nothing can be published to {scheme}://",
            where=str(target),
            hint="Publish to a folder or a bucket that a web server serves.",
        )
    return BucketPlace(open_bucket(str(target), options))
