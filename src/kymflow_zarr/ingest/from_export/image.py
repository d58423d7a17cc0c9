"""Rebuild one image from the files of an exported folder and commit it as one transaction."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import dump
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images.draft import RecordDraft, write_array_artifact
from kymflow_zarr.engine.images.pixels import Below
from kymflow_zarr.errors import (
    CorruptDataError,
    KymflowZarrError,
    SourceFileError,
    StorageError,
    UnsupportedDataError,
)
from kymflow_zarr.formats.array.npy import decode_npy
from kymflow_zarr.formats.array.write import array_layout
from kymflow_zarr.formats.gzip import gzip_bytes
from kymflow_zarr.ingest.from_export.files import (
    ArrayEntry,
    ArtifactEntry,
    ExportedFiles,
    ImageEntry,
    PixelsEntry,
    SourceEntry,
)
from kymflow_zarr.ingest.sources.tiff.integrity import (
    check_image_size,
    check_ome,
    check_page_chain,
    check_stored_bytes,
)
from kymflow_zarr.runtime.limits import pixels_memory
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import ArtifactKind, Axis

if TYPE_CHECKING:
    import pandas as pd


# Above this a TIFF is decoded into a temporary file and not into memory.
_WHOLE_IMAGE_BYTES: Final = 256 << 20


def read_pixels(place: Path, entry: ImageEntry, pixels: PixelsEntry) -> np.ndarray[Any, Any]:
    """Return the pixels of an exported image, dimensions in the order of the image.

    Parameters
    ----------
    place : Path
        The TIFF, or the ``.npy`` of an image without pixels.
    entry : ImageEntry
    pixels : PixelsEntry
        States the order of the file's dimensions.

    Raises
    ------
    SourceFileError
        If they cannot be read, or differ from the image in shape or dtype.
    """
    shape = tuple(entry.shape)
    if place.suffix == ".npy":
        array = read_array(place.read_bytes(), where=pixels.file)
    else:
        order = _order(entry, pixels)
        filed = tuple(shape[i] for i in order)
        array = _read_tiff(place, where=pixels.file)
        # TIFF readers drop dimensions of length 1.
        if _without_ones(array.shape) == _without_ones(filed):
            array = array.reshape(filed).transpose(np.argsort(order))
    if array.shape != shape or array.dtype.newbyteorder("=") != np.dtype(entry.dtype):
        raise SourceFileError(
            f"the file holds {array.dtype.name} {array.shape}, the image was {entry.dtype} {shape}",
            where=pixels.file,
        )
    return array


def _order(entry: ImageEntry, pixels: PixelsEntry) -> list[int]:
    names = [axis.name for axis in entry.axes]
    if (
        pixels.axes is None
        or sorted(pixels.axes) != sorted(names)
        or len(names) != len(entry.shape)
    ):
        raise SourceFileError(
            f"the manifest gives the image the axes {names} and the file {pixels.axes}",
            where=pixels.file,
        )
    return [names.index(name) for name in pixels.axes]


def _read_tiff(place: Path, *, where: str) -> np.ndarray[Any, Any]:
    import tifffile

    try:
        with tifffile.TiffFile(place) as tif:
            check_page_chain(tif, where=where)
            check_ome(tif, where=where)
            series = tif.series[0]
            if series.is_multifile:
                raise SourceFileError("the TIFF takes its pixels from other files", where=where)
            check_image_size(series, where=where)
            check_stored_bytes(series, where=where)
            large = math.prod(series.shape) * series.dtype.itemsize > _WHOLE_IMAGE_BYTES
            return np.asanyarray(tif.asarray(out="memmap" if large else None))
    except KymflowZarrError:
        raise
    except Exception as error:
        raise SourceFileError(f"the TIFF cannot be read: {error!r}", where=where) from error


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def read_array(data: bytes, *, where: str) -> np.ndarray[Any, Any]:
    """Return the array of a ``.npy`` file; raise SourceFileError if it is not one."""
    try:
        return decode_npy(data, where=where)
    except CorruptDataError as error:
        raise SourceFileError(error.what, where=where) from error


def chunks_to_ask_for(
    array: np.ndarray[Any, Any], chunks: list[int] | None, *, axes: Sequence[Axis] | None
) -> list[int] | None:
    """Return the chunk shape to request, None if it was chosen by default."""
    chosen = array_layout(array, axes=axes, chunks=None).chunk_shape
    return None if chunks == list(chosen) else chunks


def artifact_bytes(kind: ArtifactKind, data: bytes, *, where: str) -> bytes:
    """Return the bytes of an artifact as a dataset stores them.

    Parameters
    ----------
    kind : {"json", "parquet", "csv_gz"}
    data : bytes
        The artifact itself, or the CSV of a data frame that CSV holds without loss.
    where : str
        Path of the file; a name in ``.csv`` marks a CSV.

    Raises
    ------
    SourceFileError, CorruptDataError
        If it cannot be read.
    """
    if not where.endswith(".csv"):
        # Import only artifacts that can be decoded.
        artifacts.decode(kind, data, where=where)
        return data
    stored = artifacts.encode(kind, _read_csv(data, where=where), where=where)
    if kind == "csv_gz" and gzip.decompress(stored) != data:
        # Another program wrote this CSV: its values are those that pandas parses.
        return gzip_bytes(data)
    return stored


def read_frame(data: bytes, *, where: str) -> pd.DataFrame:
    """Return the data frame of an exported CSV or Parquet file; errors as above."""
    if where.endswith(".csv"):
        return _read_csv(data, where=where)
    frame: pd.DataFrame = artifacts.decode("parquet", data, where=where)
    return frame


def _read_csv(data: bytes, *, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        # Parse it exactly as the export did when it checked that the CSV is lossless.
        return pd.read_csv(io.BytesIO(data))
    except (ValueError, OverflowError) as error:
        raise SourceFileError(f"is no readable CSV: {error}", where=where) from error


@dataclass
class ExportedImage:
    """The import of one exported image.

    Parameters
    ----------
    dataset : OpenDataset
    files : ExportedFiles
    image_id : str
    entry : ImageEntry
    pixels : PixelsEntry
    notes : list of str
        Remarks for the report that do not prevent the import.
    left_out : list of (str, str)
        Files of the export that could not be imported, and why.
    """

    dataset: OpenDataset
    files: ExportedFiles
    image_id: str
    entry: ImageEntry
    pixels: PixelsEntry
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    # Maps digests of artifacts in the exported dataset to those in this one.
    _digests: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    @property
    def paths(self) -> list[str | None]:
        """Paths of all files that the image may be made of."""
        entry = self.entry
        paths: list[str | None] = [self.pixels.file]
        for artifact in entry.artifacts:
            paths += [artifact.file, artifact.csv]
        paths += [array.file for array in entry.arrays]
        for source in entry.source_files:
            paths += [source.file, source.frame]
        return paths

    def add(self) -> None:
        """Add the image.

        Raises
        ------
        SourceFileError
            If its pixels cannot be read, or have changed since the export.
        KymflowZarrError
            If the dataset cannot hold it.
        """
        entry = self.entry
        size = self.files.place(self.pixels.file).stat().st_size
        with (
            # Once in the file and once in memory.
            pixels_memory.reserve(2 * size),
            self.dataset.new_record(self.image_id) as draft,
        ):
            pixels, axes = self._read_pixels(), [axis.value() for axis in entry.axes]
            draft.set_pixels(
                pixels,
                axes=axes,
                chunks=chunks_to_ask_for(pixels, entry.chunks, axes=axes),
                channel_names=entry.channel_names,
            )
            for time in (entry.created_utc, entry.updated_utc):
                _check_time(time)
            draft.set_times(created_utc=entry.created_utc, updated_utc=entry.updated_utc)
            for artifact in entry.artifacts:
                self._carry(artifact.file, partial(self._artifact, draft, artifact))
            if entry.arrays:
                group = f"{layout.ANALYSIS_ARRAYS}/{layout.GROUP}"
                draft.write(group, dump(plain_group_document()))
            for array in entry.arrays:
                self._carry(array.file, partial(self._array, draft, array))
            # Write them after the artifacts, since they refer to the artifacts' digests.
            draft.set_source_files(list(self._sources(draft)))
            draft.set_earlier_artifacts(self._translated(entry.earlier_artifacts))
            draft.commit()

    def _read_pixels(self) -> Any:
        path = self.pixels.file
        intact = self.files.is_intact(path)
        array = read_pixels(self.files.place(path), self.entry, self.pixels)
        if not intact:
            self._changed(path)
        return array

    def _carry(self, path: str, take: Callable[[], None]) -> None:
        """Import one file; note one that cannot be read, and go on with the image."""
        try:
            take()
        except StorageError:
            raise  # A full disk has nothing to do with the file: stop.
        except KymflowZarrError as error:
            self.left_out.append((path, str(error)))

    def _changed(self, path: str) -> None:
        self.notes.append(f"{path} was changed since the export and is taken as it is now")

    def _claim(self, key: str, path: str) -> None:
        """Refuse an artifact that the manifest, which may have been edited, names twice."""
        if key in self._written:
            raise SourceFileError("the manifest has two files for the same thing", where=path)
        self._written.add(key)

    def _artifact(self, draft: RecordDraft, entry: ArtifactEntry) -> None:
        key = layout.artifact_key(entry.kind, entry.name)
        data, intact = self.files.read(entry.file)
        stored = artifact_bytes(entry.kind, data, where=entry.file)
        self._claim(key, entry.file)
        draft.write(key, stored)
        if intact:
            self._digests[key] = (entry.sha256, digest_of_bytes(stored))
        else:
            self._changed(entry.file)
        if entry.csv is not None and entry.csv != entry.file:
            note = csv_note(self.files, entry.csv, entry.file)
            self.notes.extend(() if note is None else (note,))

    def _array(self, draft: RecordDraft, entry: ArrayEntry) -> None:
        _check_time(entry.updated_utc)
        prefix = layout.array_artifact_prefix(entry.name)
        data, intact = self.files.read(entry.file)
        array = read_array(data, where=entry.file)
        self._claim(prefix, entry.file)

        written = None
        if layout.labels_prefix(entry.name) is not None:
            # An array of such a name need not be a label image.
            with contextlib.suppress(UnsupportedDataError):
                name = entry.name.partition("/")[2]
                written = draft.save_labels(name, array, updated_utc=entry.updated_utc)
        if written is None:
            written = write_array_artifact(
                entry.name,
                array,
                Below(draft.staged, prefix),
                axes=entry.axes,
                chunks=chunks_to_ask_for(array, entry.chunks, axes=None),
                updated_utc=entry.updated_utc,
            )
        if intact:
            self._digests[prefix] = (entry.sha256, written.sha256)
        else:
            self._changed(entry.file)

    def _sources(self, draft: RecordDraft) -> Iterator[SourceFileDocument]:
        for entry in self.entry.source_files:
            document = entry.document()
            document.feeds = self._translated(document.feeds)
            if entry.file is not None:
                try:
                    data = source_bytes(self.files, entry)
                    if document.kept_as not in self._written:
                        draft.write(_kept_key(document), gzip_bytes(data))
                        self._written.add(_kept_key(document))
                except SourceFileError as error:
                    document.kept_as = None
                    self.left_out.append((entry.file, str(error)))
            else:
                document.kept_as = None
            self._frame(draft, document, entry.frame)
            yield document

    def _frame(self, draft: RecordDraft, document: SourceFileDocument, path: str | None) -> None:
        """Import the skeleton of a TIFF if it is unchanged since the export."""
        key, document.frame_as = document.frame_as, None
        if key is None or path is None:
            return
        try:
            data, intact = self.files.read(path)
            if not intact:
                raise SourceFileError("it was changed since the export: it is not kept", where=path)
            self._claim(_checked(key, path), path)
        except SourceFileError as error:
            self.left_out.append((path, str(error)))
            return
        draft.write(key, gzip_bytes(data))
        document.frame_as = key

    def _translated(self, digests: Mapping[str, str]) -> dict[str, str]:
        """Return digests of artifacts, translated to those of this dataset.

        A data frame imported from CSV may be encoded in other bytes; without the translation it
        would count as edited.
        """
        translated = {}
        for key, digest in digests.items():
            before, now = self._digests.get(key, (None, ""))
            translated[key] = now if digest == before else digest
        return translated


def csv_note(files: ExportedFiles, csv: str, exact: str) -> str | None:
    """Return a note if a CSV differs from the exact file beside it, which is the one imported."""
    try:
        if files.is_intact(csv):
            return None
    except SourceFileError as error:
        return f"{error}; {exact} beside it was taken"
    return f"{csv} was changed since the export and not taken: {exact} beside it was"


def source_bytes(files: ExportedFiles, entry: SourceEntry) -> bytes:
    """Return the bytes of a kept source file.

    Raises
    ------
    SourceFileError
        If they do not match the digest.
    """
    data, intact = files.read(entry.file or "")
    if not intact or digest_of_bytes(data) != entry.sha256:
        raise SourceFileError(
            "the source file was changed since it was read: it is not kept", where=entry.file
        )
    return data


def _kept_key(document: SourceFileDocument) -> str:
    return _checked(document.kept_as or "", document.path)


def _checked(key: str, where: str) -> str:
    if not layout.is_source_file_key(key):
        raise SourceFileError(f"{key!r} is no key of a kept source file", where=where)
    return key


def _check_time(text: str) -> None:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        raise SourceFileError(f"{text!r} in the manifest is no time") from None
