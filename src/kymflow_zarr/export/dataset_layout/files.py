"""Write images, tables and source files of a dataset as files of the export."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.images.artifacts import decode
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import (
    ArtifactNotFoundError,
    CorruptDataError,
    KymflowZarrError,
    TableNotFoundError,
)
from kymflow_zarr.export.dataset_layout.places import (
    ArtifactPlace,
    array_place,
    artifact_places,
    frame_places,
    image_folder,
    pixels_place,
    source_places,
    table_place,
)
from kymflow_zarr.export.foreign import OwnFiles, left_out
from kymflow_zarr.export.manifest import describe_image
from kymflow_zarr.export.report import ExportKind
from kymflow_zarr.export.staging_area import (
    StagingArea,
    add_bytes,
    add_dataframe,
    made_from,
    numpy_writer,
)
from kymflow_zarr.runtime.limits import pixels_memory
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_of_bytes

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ImagePlan",
    "SourceFilePlan",
    "TablePlan",
    "source_file_bytes",
    "write_frame",
    "write_source_file",
]


class TablePlan:
    """The files of one table.

    Parameters
    ----------
    reading : Reading
    name : str
    """

    kind: ClassVar[ExportKind] = "table"

    def __init__(self, reading: Reading, name: str) -> None:
        self.label = name
        self._reading = reading
        self._place = table_place(name)

    @property
    def paths(self) -> list[str]:
        """Paths of all files it may write."""
        return list(self._place.paths)

    def owns(self, path: str) -> bool:
        """Return True if a file of an earlier export belongs to this part."""
        return path in self._place.paths

    def write(self, area: StagingArea) -> dict[str, Any]:
        """Write the files and return the table's entry for the manifest."""
        place = self._place
        data = self._reading.storage.read(place.key)
        if data is None:
            raise TableNotFoundError("the table was deleted meanwhile", where=place.key)
        described = add_dataframe(area, place, data)
        return {"name": place.name, **described}


@dataclass(frozen=True, slots=True)
class SourceFilePlan:
    """A source file that belongs to no single image, and its path in the export.

    Parameters
    ----------
    reading : Reading
    document : SourceFileDocument
    path : str, optional
        None if its bytes are not kept.
    """

    reading: Reading
    document: SourceFileDocument
    path: str | None
    kind: ClassVar[ExportKind] = "source_file"

    @property
    def label(self) -> str:
        """Its label in progress and reports."""
        return self.document.path

    @property
    def paths(self) -> list[str]:
        """Paths of all files it may write."""
        return [] if self.path is None else [self.path]

    def owns(self, path: str) -> bool:
        """Return True if a file of an earlier export belongs to this part."""
        return path == self.path

    def write(self, area: StagingArea) -> dict[str, Any]:
        """Write the file and return its entry for the manifest."""
        return write_source_file(area, self.reading.storage, "", self.document, self.path)


def write_source_file(
    area: StagingArea,
    storage: Storage,
    prefix: str,
    document: SourceFileDocument,
    path: str | None,
) -> dict[str, Any]:
    """Write a source file byte for byte, and return its entry for the manifest.

    Parameters
    ----------
    area : StagingArea
    storage : Storage
    prefix : str
        Key of the record, with a slash at its end; empty for the dataset itself.
    document : SourceFileDocument
    path : str, optional
        Path in the export; None if its bytes are not in the dataset.

    Raises
    ------
    CorruptDataError
        If the stored bytes are damaged, or do not match the file's digest.
    ArtifactNotFoundError
        If they are missing.
    """
    described: dict[str, Any] = msgspec.to_builtins(document)
    if path is None:
        return described | {"file": None}
    origin = made_from("source", document.sha256)
    if area.holds(path, origin):
        area.keep(path)
        return described | {"file": path}
    data = source_file_bytes(storage, f"{prefix}{document.kept_as}", document)
    add_bytes(area, path, origin, data)
    return described | {"file": path}


def write_frame(
    area: StagingArea,
    storage: Storage,
    prefix: str,
    document: SourceFileDocument,
    path: str,
) -> None:
    """Write the skeleton of a TIFF; parameters and errors as for `write_source_file`."""
    origin = made_from("tiff frame", document.sha256)
    if area.holds(path, origin):
        area.keep(path)
        return
    key = f"{prefix}{document.frame_as}"
    add_bytes(area, path, origin, read_source_file(storage, key))


def source_file_bytes(storage: Storage, key: str, document: SourceFileDocument) -> bytes:
    """Return the bytes of a source file at a key of the dataset.

    Raises
    ------
    CorruptDataError
        If they are damaged, or are not those of the file.
    ArtifactNotFoundError
        If they are missing.
    """
    data = read_source_file(storage, key, size=document.size_bytes)
    if digest_of_bytes(data) != document.sha256:
        raise CorruptDataError("the kept source file is not the one that was read", where=key)
    return data


# Smaller images are loaded as a whole, larger ones plane by plane.
WHOLE_IMAGE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """The files of one image.

    Parameters
    ----------
    reading : Reading
    record : StoredImage
    include_tiff : bool
    """

    reading: Reading
    record: StoredImage
    include_tiff: bool
    kind: ClassVar[ExportKind] = "image"

    @property
    def storage(self) -> Storage:
        """The storage of the dataset."""
        return self.reading.storage

    @property
    def label(self) -> str:
        """Its label in progress and reports."""
        return self.record.image_id

    def owns(self, path: str) -> bool:
        """Return True if a file of an earlier export belongs to this part."""
        return path.startswith(f"{image_folder(self.record.image_id)}/")

    @property
    def paths(self) -> list[str]:
        """Paths of all files it may write."""
        image_id = self.record.image_id
        document = load_image(self.storage, image_id)
        paths = [path for place in self._artifacts() for path in place.paths]
        paths += [array_place(image_id, name) for name in self.record.list_array_artifacts()]
        if self.include_tiff:
            paths.append(pixels_place(image_id, empty=0 in document.pixels.shape))
        sources = self._sources(document)
        paths += [path for _, path in sources if path is not None]
        return [*paths, *frame_places(image_folder(image_id), document.source_files).values()]

    def _artifacts(self) -> list[ArtifactPlace]:
        return artifact_places(self.record.image_id, self.record.list_artifacts())

    def _sources(self, document: ImageDocument) -> list[tuple[SourceFileDocument, str | None]]:
        return source_places(image_folder(self.record.image_id), document.source_files)

    def write(self, area: StagingArea) -> dict[str, Any]:
        """Write the files and return the image's entry for the manifest."""
        prefix = f"{layout.image_prefix(self.record.image_id)}/"
        document = load_image(self.storage, self.record.image_id)
        pixels = None
        if self.include_tiff:
            document, pixels = self._write_pixels(area, document)
        described = {
            **describe_image(document),
            "pixels": pixels,
            "artifacts": [],
            "arrays": [self._write_array(area, n) for n in self.record.list_array_artifacts()],
            "source_files": [
                write_source_file(area, self.storage, prefix, file, path)
                for file, path in self._sources(document)
            ],
        }
        for place in self._artifacts():
            try:
                described["artifacts"].append(self._write_artifact(area, place))
            except KymflowZarrError as error:
                if not OwnFiles(self.storage, prefix.rstrip("/")).lack(place.key):
                    raise
                described.setdefault("left_out", []).append(left_out(error))
        frames = frame_places(image_folder(self.record.image_id), document.source_files)
        for number, path in frames.items():
            file = document.source_files[number]
            write_frame(area, self.storage, prefix, file, path)
            described["source_files"][number]["frame"] = path
        return described

    # Pixels ----------------------------------------------------------------------------

    def _write_pixels(
        self, area: StagingArea, document: ImageDocument
    ) -> tuple[ImageDocument, dict[str, Any]]:
        from kymflow_zarr.export.tiff.display import display_of
        from kymflow_zarr.export.tiff.write import tiff_axes, tiff_kind, write_tiff

        image_id = self.record.image_id
        empty = 0 in document.pixels.shape
        path = pixels_place(image_id, empty=empty)
        origin = made_from("pixels", image_id, describe_image(document), document.pixels.sha256)
        if area.holds(path, origin):
            area.keep(path)
        else:
            with pixels_memory.reserve(min(pixel_bytes(document), WHOLE_IMAGE_BYTES)):
                array = self._open(document)
                now = load_image(self.storage, image_id)
                axes, names = document.axis_values(), document.channel_names
                if now.pixels == document.pixels and empty:
                    area.add(path, origin, numpy_writer(array))
                elif now.pixels == document.pixels:
                    display = display_of(self.storage, image_id)
                    area.add(
                        path,
                        origin,
                        lambda file: write_tiff(
                            file, array, axes, names, name=image_id, display=display
                        ),
                    )
            if now.pixels != document.pixels:
                # Another process replaced the pixels between the two reads.
                return self._write_pixels(area, now)
        if empty:
            return document, {"file": path, "format": "npy"}
        placed = tiff_axes(document.axis_values())
        return document, {
            "file": path,
            "format": tiff_kind(
                document.axis_values(), tuple(document.pixels.shape), _dtype(document)
            ),
            "axes": [axis.name for axis in placed.axes],
            "shape": [document.pixels.shape[i] for i in placed.order],
        }

    def _open(self, document: ImageDocument) -> Any:
        large = pixel_bytes(document) > WHOLE_IMAGE_BYTES
        return self.record.open_array() if large else self.record.load_array()

    # Artifacts -------------------------------------------------------------------------

    def _write_artifact(self, area: StagingArea, place: ArtifactPlace) -> dict[str, Any]:
        data = self.storage.read(place.key)
        if data is None:
            raise ArtifactNotFoundError("the artifact was deleted meanwhile", where=place.key)
        digest = digest_of_bytes(data)
        described: dict[str, Any] = {"name": place.name, "kind": place.kind, "sha256": digest}
        if place.plain is not None:
            return described | add_dataframe(area, place, data)
        # Export only artifacts that can be decoded.
        decode(place.kind, data, where=place.key)
        add_bytes(area, place.exact, made_from("verbatim", digest), data)
        return described | {"file": place.exact}

    def _write_array(self, area: StagingArea, name: str) -> dict[str, Any]:
        arrays = ArrayArtifacts(self.storage, layout.image_prefix(self.record.image_id))
        path = array_place(self.record.image_id, name)
        document = arrays.document(name)
        origin = made_from("array", document.pixels.sha256)
        if area.holds(path, origin):
            area.keep(path)
        else:
            area.add(path, origin, numpy_writer(arrays.load(name)))
        return {
            "name": name,
            "file": path,
            "axes": document.axes,
            "chunks": document.pixels.chunks,
            "updated_utc": document.updated_utc,
            "sha256": document.pixels.sha256,
        }


def pixel_bytes(document: ImageDocument) -> int:
    """Return the size in memory of an image's pixels."""
    return math.prod(document.pixels.shape) * _dtype(document).itemsize


def _dtype(document: ImageDocument) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(document.pixels.dtype)
