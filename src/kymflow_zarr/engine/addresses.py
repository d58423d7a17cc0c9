"""Open or create datasets in memory, in object stores, behind HTTP, and in shared folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load
from kymflow_zarr.engine.opening import (
    check_durability,
    check_mode,
    create_dataset,
    dataset_path,
    read_document,
    refuse_nested,
    write_root,
)
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetExistsError,
    DatasetNotFoundError,
    SchemaValidationError,
    extra_module,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.shares.detect import is_shared_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from kymflow_zarr.schema.base import DatasetDocument
    from kymflow_zarr.storage.object.bucket import Bucket
    from kymflow_zarr.storage.object.requests import Objects
    from kymflow_zarr.types import Durability, Mode, StrPath

_STORES: Final = frozenset({"s3", "s3a", "gs", "az", "adl", "abfs", "abfss"})
_HTTP: Final = frozenset({"http", "https"})
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_OWN: Final = frozenset({layout.IMAGES, layout.TABLES, layout.INDEX, layout.SOURCE_FILES,
                         layout.QUARANTINE, "heads", "changes", "leases", "probe",
                         "staged"})  # fmt: skip


def is_address(path: object) -> bool:
    """Return True if a path names a place that is no folder and that this package knows."""
    match = _SCHEME.match(path) if isinstance(path, str) else None
    return match is not None and match[1].lower() in _STORES | _HTTP | {"memory"}


def create_empty(
    path: StrPath,
    document: DatasetDocument,
    *,
    attributes: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> None:
    """Create a dataset with a given document at a path or an address where none is."""
    if is_address(path):
        open_address(str(path), "w-", options, (document, attributes))
    elif shared:
        open_shared(dataset_path(path), "w-", "full", (document, attributes))
    else:
        create_dataset(dataset_path(path), document, attributes=attributes, durability="full")


def open_address(
    address: str,
    mode: Mode,
    options: Mapping[str, Any] | None,
    new: tuple[DatasetDocument, Mapping[str, Any]] | None = None,
) -> tuple[Storage, DatasetDocument]:
    """Open or create the dataset at an address, according to `mode`.

    Parameters
    ----------
    address : str
    mode : {"r", "r+", "a", "w", "w-"}
    options : mapping, optional
    new : (DatasetDocument, mapping), optional
        Document and further attributes of a dataset to create.

    Raises
    ------
    ArgumentError, DatasetNotFoundError, DatasetExistsError, SchemaValidationError
        See :class:`kymflow_zarr.ZarrDataset`.
    MissingDependencyError
        If obstore is not installed.
    """
    check_mode(mode)
    writable = mode != "r"
    scheme = address.partition("://")[0].lower()
    if scheme == "memory":
        from kymflow_zarr.storage.memory import named_storage

        return _opened(named_storage(address, writable=writable), mode, new=new)
    if scheme in _HTTP:
        if mode != "r":
            raise ArgumentError(
                f"datasets behind {scheme}:// are read only, and the mode is {mode!r}",
                where=address,
                hint='Open it with mode="r".',
            )
        from kymflow_zarr.storage.object.http import WebFolder

        return _published(WebFolder(address))
    bucket = open_bucket(address, options)
    from kymflow_zarr.storage.object.storage import ObjectStorage

    storage = ObjectStorage(bucket, writable=writable)
    if load(storage, layout.GROUP) is None and bucket.get(layout.GROUP) is not None:
        # A folder that was copied into the bucket.
        if mode == "r":
            return _published(bucket)
        raise SchemaValidationError(
            "this is a copy of a dataset in a folder, or another Zarr group, and such are only "
            f"read here, not opened with mode={mode!r}",
            where=address,
            hint='Open it with mode="r", or copy it with `kymflow-zarr copy`.',
        )
    return _opened(storage, mode, bucket, new)


def open_shared(
    path: Path,
    mode: Mode,
    durability: Durability,
    new: tuple[DatasetDocument, Mapping[str, Any]] | None = None,
) -> tuple[Storage, DatasetDocument]:
    """Open or create the dataset in a folder that several hosts share, according to `mode`.

    Raises
    ------
    ArgumentError, DatasetNotFoundError, DatasetExistsError, SchemaValidationError
        See :class:`kymflow_zarr.ZarrDataset`.
    """
    check_mode(mode)
    check_durability(durability)
    from kymflow_zarr.storage.object.storage import ObjectStorage
    from kymflow_zarr.storage.shares.folder import SharedFolder

    bucket = SharedFolder(path, durable=durability == "full")
    if not is_shared_dataset(path):
        if path.exists() and not path.is_dir():
            raise SchemaValidationError("this is a file, not a dataset's folder", where=str(path))
        if (path / layout.GROUP).is_file():
            raise ArgumentError(
                "there is a dataset, or another Zarr group, that is not made for several hosts, "
                "and shared=True makes none so",
                where=str(path),
                hint="Copy it: kymflow-zarr copy --shared SOURCE TARGET.",
            )
        refuse_nested(path)
    return _opened(ObjectStorage(bucket, writable=mode != "r"), mode, bucket, new)


def open_bucket(address: str, options: Mapping[str, Any] | None) -> Bucket:
    """Return the bucket at an address.

    Raises
    ------
    MissingDependencyError
        If obstore is not installed.
    """
    scheme = address.partition(":")[0]
    extra_module("obstore", extra="remote", needs=f"{scheme}:// needs the package obstore")
    from kymflow_zarr.storage.object.bucket import Bucket

    return Bucket(address, options)


def _published(bucket: Objects) -> tuple[Storage, DatasetDocument]:
    """Open a dataset on a web host, in either layout."""
    from kymflow_zarr.storage.object.published_folder import PublishedFolder, PublishedObjects

    objects = PublishedObjects(bucket, writable=False)
    storage = objects if load(objects, layout.GROUP) is not None else PublishedFolder(bucket)
    return storage, read_document(storage)


def _opened(
    storage: Storage,
    mode: Mode,
    bucket: Objects | None = None,
    new: tuple[DatasetDocument, Mapping[str, Any]] | None = None,
) -> tuple[Storage, DatasetDocument]:
    exists = load(storage, layout.GROUP) is not None
    if exists and mode == "w-":
        raise DatasetExistsError(
            "there is a dataset already",
            where=storage.location,
            hint='Open it with mode="a", or choose another address.',
        )
    if exists and mode == "w":
        with storage.lock("dataset", "top"), storage.transaction("") as transaction:
            for key in (layout.GROUP, *sorted(_OWN)):
                transaction.remove(key)
        exists = False
    if exists:
        return storage, read_document(storage)
    if mode in ("r", "r+"):
        raise DatasetNotFoundError(
            "there is no dataset", where=storage.location, hint='mode="a" would create one.'
        )
    foreign = sorted(set(bucket.top_names()) - _OWN) if bucket is not None else []
    if foreign:
        raise SchemaValidationError(
            f"the address holds no kymflow_zarr dataset, but {', '.join(foreign[:3])}",
            where=storage.location,
            hint="Choose an address at which nothing is.",
        )
    storage.create()
    with storage.lock("dataset", "top"):
        if load(storage, layout.GROUP) is None:
            return storage, write_root(storage, *(new or ()))
    return storage, read_document(storage)
