"""Pack a dataset into one file: a ZIP of stored entries, as RFC-9 of OME-Zarr asks (``.ozx``)."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import ArgumentError, StorageError
from kymflow_zarr.export.complete import complete_file, taken
from kymflow_zarr.export.subsets import subset
from kymflow_zarr.layout import GROUP, PACKED_SUFFIX
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress, StrPath

_PART_BYTES: Final = 16 << 20
# RFC-9: a JSON comment that says that documents come first, breadth first.
_COMMENT: Final = {"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}}


def pack(
    dataset: OpenDataset,
    path: StrPath,
    *,
    image_ids: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a dataset to one file; see :meth:`kymflow_zarr.ZarrDataset.pack`."""
    target = Path(path).expanduser().absolute()
    if target.suffix.casefold() != PACKED_SUFFIX:
        message = f"the name of a packed dataset ends in {PACKED_SUFFIX}"
        raise ArgumentError(message, where=str(target))
    if target.exists():
        raise taken(target)
    if image_ids is None:
        _write(dataset.storage.reader(), target, progress)
        return
    with tempfile.TemporaryDirectory(prefix=".pack-", dir=target.parent) as folder:
        chosen = Path(folder) / "chosen.zarr"
        subset(dataset, image_ids, chosen)
        with OpenDataset.open(chosen, "r") as part:
            _write(part.storage.reader(), target, progress)


def _write(storage: Storage, target: Path, progress: Progress | None) -> None:
    listed = dict(storage.walk(""))
    keys = sorted(listed, key=_order)
    with complete_file(target) as part:
        with part.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.comment = json.dumps(_COMMENT).encode()
                for done, key in enumerate(keys):
                    if progress is not None and done % 100 == 0:
                        progress(done, len(keys), key)
                    _add(archive, storage, key, listed[key].size)
            file.flush()
            os.fsync(file.fileno())
        if dict(storage.walk("")) != listed:
            raise StorageError(
                "the dataset was changed while it was packed",
                where=storage.location,
                hint="Pack it again when nobody writes to it.",
            )
    if progress is not None:
        progress(len(keys), len(keys), "")


def _order(key: str) -> tuple[bool, int, str]:
    """Return the sort key: documents first, the root's before those below it."""
    is_document = key.rpartition("/")[2] == GROUP
    return not is_document, key.count("/") if is_document else 0, key


def _add(archive: zipfile.ZipFile, storage: Storage, key: str, size: int) -> None:
    info = zipfile.ZipInfo(key)  # With a fixed time, so that equal datasets give equal files.
    info.external_attr = 0o644 << 16
    with storage.open(key) as source:
        if source is None:
            raise StorageError("the file is not there any more", where=key)
        large = size >= zipfile.ZIP64_LIMIT // 2
        with archive.open(info, "w", force_zip64=large) as entry:
            for start in range(0, source.size, _PART_BYTES):
                entry.write(source.read(start, _PART_BYTES))
