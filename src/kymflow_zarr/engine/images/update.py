"""Update an image to its changed source files: pixels, artifacts and provenance.

Artifacts that a user has edited since are detected by their digests and left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import load, load_image, utc_now
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.images.draft import RecordWriter, set_pixels
from kymflow_zarr.engine.images.pixels import replacement_target
from kymflow_zarr.engine.images.pyramid import updated_ome
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import ArtifactNotFoundError, CorruptDataError
from kymflow_zarr.schema.axes import array_dimension_names
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import (
    AxisDocument,
    ImageDocument,
    SourceFileDocument,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import Axis


class RecordUpdate(RecordWriter):
    """Changes to one image that :meth:`commit` applies in one step; a context manager.

    The caller holds the lock of the image, in a ``with`` statement of its own: after Ctrl-C a
    generator could keep holding it.

    Parameters
    ----------
    storage : Storage
    image_id : str
    """

    def __init__(self, storage: Storage, image_id: str) -> None:
        super().__init__(layout.image_prefix(image_id))
        self._storage = storage
        self._image_id = image_id
        self._change = Change(storage, layout.image_prefix(image_id))
        self._arrays = ArrayArtifacts(storage, self._prefix)
        self.document: ImageDocument = load_image(storage, image_id)
        self._has_new_axes = False
        self._new_ome: tuple[dict[str, Any] | None] | None = None  # Of new pixels.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._change.__exit__(kind, error, trace)

    def digest_of(self, key: str) -> str | None:
        """Return the current SHA-256 of an artifact, None if there is none."""
        return digest_of_artifact(self._storage, self._prefix, key)

    def is_edited(self, key: str, ingested: Mapping[str, str]) -> bool:
        """Return True if an artifact has changed since ingest wrote it.

        Parameters
        ----------
        key : str
            Below the record.
        ingested : mapping of str to str
            Digests of the artifacts that ingest wrote, by key.
        """
        return self.digest_of(key) != ingested.get(key)

    def kept_files(self) -> list[tuple[SourceFileDocument, bytes]]:
        """Return the source files that the record stores, except damaged ones, with their bytes."""
        files = []
        for file in self.document.source_files:
            if file.kept_as is not None:
                with contextlib.suppress(ArtifactNotFoundError, CorruptDataError):
                    key = f"{self._prefix}/{file.kept_as}"
                    files.append((file, read_source_file(self._storage, key)))
        return files

    def write(self, key: str, data: bytes) -> str:
        """Put bytes at a key below the record; return their SHA-256."""
        if self._storage.read(f"{self._prefix}/{key}") != data:
            self._change.write(key, data)
        return digest_of_bytes(data)

    def find(self, key: str) -> bytes | None:
        """Return what a key below the record holds after the commit, None for nothing."""
        return self._change.find(key)

    @property
    def sums(self) -> Mapping[str, FileSum]:
        """Size and digest of each file written so far, by key below the record."""
        return self._change.sums

    def save_array(self, name: str, array: object) -> tuple[str, str]:
        """Save an array artifact; return its key below the record and its SHA-256."""
        key = layout.array_artifact_prefix(name)
        return key, self._arrays.save(self._change, name, array, axes=None, chunks=None)

    def set_axes(self, axes: Sequence[Axis]) -> bool:
        """Change quantities, units and steps of the axes; the pixels stay.

        Returns
        -------
        bool
            False if the array would need other dimension names; nothing is changed then.
        """
        earlier = self.document.axis_values()
        if array_dimension_names(axes) != array_dimension_names(earlier):
            return False
        self.document.axes = [AxisDocument.of(axis) for axis in axes]
        self.document.updated_utc = utc_now()
        self._has_new_axes = True
        return True

    def commit(self, files: Sequence[SourceFileDocument]) -> None:
        """Set the source files of the image, and commit all changes."""
        self.document.source_files = list(files)
        ome = self._current_ome() if self._new_ome is None else self._new_ome[0]
        self._change.write_group("", self.document.to_group(ome=ome))
        self._change.commit()

    def set_pixels(
        self,
        array: object,
        *,
        axes: tuple[Axis, ...],
        channel_names: Sequence[str] | None,
        of_earlier_pixels: Mapping[str, str],
    ) -> None:
        """Replace the pixels.

        Parameters
        ----------
        array : array_like
        axes : tuple of Axis
        channel_names : sequence of str, optional
        of_earlier_pixels : mapping of str to str
            Digests, by key, of the artifacts that were computed from the previous pixels.
        """
        document, ome = set_pixels(
            self._image_id, self.document, array,
            replacement_target(self._storage, self._change, "", self.document.pixels),
            axes=axes, channel_names=channel_names,
        )  # fmt: skip
        document.earlier_artifacts = {**document.earlier_artifacts, **of_earlier_pixels}
        self._new_ome = (ome,)

    def _current_ome(self) -> dict[str, Any] | None:
        raw = load(self._storage, f"{self._prefix}/{layout.GROUP}") or {}
        ome: dict[str, Any] | None = raw.get("attributes", {}).get("ome")
        if not self._has_new_axes:
            return ome
        return updated_ome(self.document, ome)


def digest_of_artifact(storage: Storage, prefix: str, key: str) -> str | None:
    """Return the SHA-256 of an artifact of the image at `prefix`, None if there is none."""
    if key.startswith(f"{layout.ANALYSIS_ARRAYS}/"):
        name = layout.decode_name(key.removeprefix(f"{layout.ANALYSIS_ARRAYS}/"))
        try:
            arrays = ArrayArtifacts(storage, prefix)
            return None if name is None else arrays.document(name).pixels.sha256
        except ArtifactNotFoundError:
            return None
    data = storage.read(f"{prefix}/{key}")
    return None if data is None else digest_of_bytes(data)
