"""One image of format version 1, carried over in one step and compared with what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.images import artifacts as artifacts_module
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.engine.images.pixels import open_pixels
from kymflow_zarr.errors import CorruptDataError, KymflowZarrError, UnsupportedDataError
from kymflow_zarr.legacy_v1.documents import unknown_v1_attributes
from kymflow_zarr.legacy_v1.migrate_sources import OldSources
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import ArrayLike

__all__ = ["KEPT_FILES", "OldImage", "carry", "difference", "read_image", "source_differs"]

KEPT_FILES: Final = "v1_files"
"""Folder, of an image or of the dataset, for files that version 2 has no place for."""
_KEPT_ATTRIBUTES: Final = "v1_attributes"
_BLOCK_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class OldImage:
    """An image of version 1, its arrays not yet read.

    Parameters
    ----------
    image_id : str
    document : ImageDocument
    pixels : ArrayLike
    files : dict of str to bytes
        What its record in version 2 holds beside arrays, by keys below the record.
    arrays : ArrayArtifacts
    source : SourceFileDocument, optional
        The TIFF that it came from.
    notes : tuple of str
        What was kept in another place.
    """

    image_id: str
    document: ImageDocument
    pixels: ArrayLike
    files: dict[str, bytes]
    arrays: ArrayArtifacts
    source: SourceFileDocument | None
    notes: tuple[str, ...]


def read_image(storage: V1Storage, image_id: str, sources: OldSources) -> OldImage:
    """Read an image of version 1.

    Raises
    ------
    KymflowZarrError
        If a document of it is broken, or a file cannot be read.
    """
    prefix = layout.image_prefix(image_id)
    document = load_image(storage, image_id)
    files: dict[str, bytes] = {}
    notes = []
    foreign = storage.foreign_files(image_id)
    for info in artifacts_module.listing(storage, prefix):
        try:
            files[info.key.removeprefix(f"{prefix}/")] = _artifact(storage, info.key)
        except (CorruptDataError, UnsupportedDataError) as error:
            foreign.append(storage.place(info.key))
            notes.append(f"the {info.kind} artifact {info.name!r} is not readable: {error.what}")
    folder = storage.place(prefix)
    for place in foreign:
        data = storage.files.read(place)
        if data is not None:
            files[f"{KEPT_FILES}/{place.removeprefix(f'{folder}/')}"] = data
    if foreign:
        notes.append(f"{len(foreign)} files without a place in version 2 kept below {KEPT_FILES}/")
    unknown = {
        place: attributes
        for place, attributes in storage.attributes(image_id).items()
        if unknown_v1_attributes(attributes)
    }
    if unknown:
        name = _KEPT_ATTRIBUTES
        while (key := layout.artifact_key("json", name)) in files:
            name += "_"
        files[key] = artifacts_module.encode("json", unknown, where=f"{prefix}/{key}")
        notes.append(f"attributes without a place in version 2 kept as the JSON artifact {name}")
    pixels = _Readable(open_pixels(storage, prefix, document.pixels), where=f"{folder}/data")
    arrays = ArrayArtifacts(storage, prefix)
    source = sources.file_of(image_id, files)
    return OldImage(image_id, document, pixels, files, arrays, source, tuple(notes))


def carry(old: OldImage, storage: Storage) -> None:
    """Add an image to a dataset of version 2.

    Raises
    ------
    KymflowZarrError
        If an array cannot be read, or version 2 does not hold its like.
    """
    document = old.document
    with RecordDraft(storage, old.image_id) as draft:
        draft.set_pixels(old.pixels, axes=document.axis_values())
        draft.set_times(created_utc=document.created_utc, updated_utc=document.updated_utc)
        draft.set_source_files([] if old.source is None else [old.source])
        for key, data in old.files.items():
            draft.write(key, data)
        for name in old.arrays.names():
            said = old.arrays.document(name)
            draft.save_array(
                name, old.arrays.load(name), axes=said.axes, updated_utc=said.updated_utc
            )
        draft.commit()


def difference(old: OldImage, storage: Storage) -> str | None:
    """Compare an image with the one of its id in a dataset of version 2.

    Returns
    -------
    str or None
        The first thing that is not equal, bit by bit; None if all is.

    Raises
    ------
    KymflowZarrError
        If one of them cannot be read.
    """
    prefix = layout.image_prefix(old.image_id)
    document = load_image(storage, old.image_id)
    for name in ("axes", "created_utc", "updated_utc"):
        before, now = getattr(old.document, name), getattr(document, name)
        if before != now:
            return f"{name}: {now} instead of {before}"
    if not _same(old.pixels, open_pixels(storage, prefix, document.pixels)):
        return "pixels"
    keys = {key for key, _ in storage.walk(f"{prefix}/{layout.ANALYSIS}")}
    artifacts = {info.key for info in artifacts_module.listing(storage, prefix)}
    for key in sorted(artifacts | keys | {f"{prefix}/{key}" for key in old.files}):
        if storage.read(key) != old.files.get(key.removeprefix(f"{prefix}/")):
            return key.removeprefix(f"{prefix}/")
    return _array_difference(old.arrays, ArrayArtifacts(storage, prefix))


def source_differs(old: OldImage, storage: Storage) -> bool:
    """Tell whether the image came from another TIFF, or another state of it, than recorded."""
    now = load_image(storage, old.image_id).source
    if now is None or old.source is None:
        return now is not old.source
    return any(
        getattr(now, name) != getattr(old.source, name)
        for name in ("path", "size_bytes", "mtime_ns")
    )


def _array_difference(old: ArrayArtifacts, new: ArrayArtifacts) -> str | None:
    if old.names() != new.names():
        return f"array artifacts: {new.names()} instead of {old.names()}"
    for name in old.names():
        before, now = old.document(name), new.document(name)
        if (before.axes, before.updated_utc) != (now.axes, now.updated_utc):
            return f"axes or time of the array artifact {name!r}"
        if not _same(old.load(name), new.load(name)):
            return f"array artifact {name!r}"
    return None


def _artifact(storage: Storage, key: str) -> bytes:
    data = storage.read(key)
    if data is None:
        raise CorruptDataError("the file has gone", where=key)
    return data if not key.endswith(".json") else _strict_json(data, key)


def _strict_json(data: bytes, key: str) -> bytes:
    """Return a JSON document as it is, or written anew if it is not strict JSON in UTF-8."""
    value = artifacts_module.decode("json", data, where=key)
    try:
        json.loads(data.decode(), parse_constant=_refuse)
    except ValueError:
        return artifacts_module.encode("json", value, where=key)
    return data


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # Python reads and writes NaN, which JSON has not.


class _Readable:
    """An array of version 1; a chunk that cannot be read is an error of ours."""

    def __init__(self, array: Any, *, where: str) -> None:
        self._array = array
        self._where = where
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = array.dtype

    def __getitem__(self, key: Any, /) -> Any:
        try:
            return self._array[key]
        except KymflowZarrError:
            raise
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise CorruptDataError(
                f"the pixels cannot be read: {error}",
                where=self._where,
                hint="Restore them from a copy of the dataset.",
            ) from error


def _same(one: ArrayLike, other: ArrayLike) -> bool:
    """Tell whether two arrays hold the same bits, whatever their byte order."""
    native = one.dtype.newbyteorder("=")
    if (tuple(one.shape), native) != (tuple(other.shape), other.dtype.newbyteorder("=")):
        return False
    blocks = _blocks(tuple(one.shape), native.itemsize)
    return all(_bits(one[block], native) == _bits(other[block], native) for block in blocks)


def _bits(block: Any, native: np.dtype[Any]) -> bytes:
    return np.asarray(block).astype(native, copy=False).tobytes()


def _blocks(shape: tuple[int, ...], item_size: int) -> Iterator[Any]:
    if not shape:
        yield ()
        return
    row_bytes = max(1, math.prod(shape[1:]) * item_size)
    rows = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)
