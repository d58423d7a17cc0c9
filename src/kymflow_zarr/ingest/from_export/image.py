"""One image of an exported folder, put together again and committed in one step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import dump
from kymflow_zarr.engine.images.draft import RecordDraft, write_array_artifact
from kymflow_zarr.errors import KymflowZarrError, SourceFileError, StorageError
from kymflow_zarr.formats.gzip import gzip_bytes
from kymflow_zarr.ingest.from_export.files import (
    ArrayEntry,
    ArtifactEntry,
    ExportedFiles,
    ImageEntry,
    PixelsEntry,
    SourceEntry,
)
from kymflow_zarr.ingest.from_export.values import (
    artifact_bytes,
    chunks_to_ask_for,
    read_array,
    read_pixels,
)
from kymflow_zarr.runtime.memory_budget import pixels_memory
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.local.files import digest_of_bytes

__all__ = ["ExportedImage", "source_bytes"]


@dataclass
class ExportedImage:
    """An image of an export on its way into a dataset.

    Parameters
    ----------
    dataset : OpenDataset
    files : ExportedFiles
    image_id : str
    entry : ImageEntry
    pixels : PixelsEntry
    notes : list of str
        What was noticed and does not keep anything out.
    left_out : list of (str, str)
        Files of the export that could not be taken in, and why.
    """

    dataset: OpenDataset
    files: ExportedFiles
    image_id: str
    entry: ImageEntry
    pixels: PixelsEntry
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    # Digests of artifacts as the old dataset had them, and as this one has them.
    _digests: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    @property
    def paths(self) -> list[str | None]:
        """The files that it may be made of."""
        entry = self.entry
        found: list[str | None] = [self.pixels.file]
        for artifact in entry.artifacts:
            found += [artifact.file, artifact.csv]
        found += [array.file for array in entry.arrays]
        for source in entry.source_files:
            found += [source.file, source.frame]
        return found

    def add(self) -> None:
        """Add the image.

        Raises
        ------
        SourceFileError
            If its pixels cannot be read, or are not those of the image any more.
        KymflowZarrError
            If the dataset cannot hold it.
        """
        entry = self.entry
        size = self.files.place(self.pixels.file).stat().st_size
        with (
            # As they are in the file, and in memory.
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
            # After the artifacts, of whose digests they speak.
            draft.set_source_files(list(self._sources(draft)))
            draft.set_earlier_artifacts(self._translated(entry.earlier_artifacts))
            draft.commit()

    def _read_pixels(self) -> Any:
        path = self.pixels.file
        intact = self.files.is_intact(path)
        found = read_pixels(self.files.place(path), self.entry, self.pixels)
        if not intact:
            self._changed(path)
        return found

    def _carry(self, path: str, take: Callable[[], None]) -> None:
        """Take one file in; one that cannot be read does not keep the image out."""
        try:
            take()
        except StorageError:
            raise  # A full disk is no fault of the file.
        except KymflowZarrError as error:
            self.left_out.append((path, str(error)))

    def _changed(self, path: str) -> None:
        self.notes.append(f"{path} was changed since the export and is taken as it is now")

    def _claim(self, key: str, path: str) -> None:
        """Refuse what the manifest, which others may have edited, names twice."""
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

        written = write_array_artifact(
            entry.name,
            array,
            axes=entry.axes,
            chunks=chunks_to_ask_for(array, entry.chunks, axes=None),
            write=lambda key, part: draft.put(f"{prefix}/{key}", part),
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
        """Take in what a TIFF is beside its pixels, if it is as it was exported."""
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
        """Return digests of artifacts with those replaced that this dataset has others for.

        A frame that came as CSV may be other bytes now, and must not look edited for that.
        """
        found = {}
        for key, digest in digests.items():
            before, now = self._digests.get(key, (None, ""))
            found[key] = now if digest == before else digest
        return found


def csv_note(files: ExportedFiles, csv: str, exact: str) -> str | None:
    """Return what is to be said of a CSV beside the file that is taken, if anything is."""
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
        If they are not those that the digest is of.
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
