"""An image that remembers what was read of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import CurrentImage, parsed
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images.pixels import level_of, levels_of, load_level, open_pixels
from kymflow_zarr.engine.results.inputs import (
    ABSENT,
    ImageState,
    State,
    input_document,
    property_state,
    region_form,
    result_state,
    state_of,
)
from kymflow_zarr.engine.results.lineage import KEY, ResultId
from kymflow_zarr.engine.results.result import ResultInput, inputs_of
from kymflow_zarr.engine.results.views import ReadArtifactInfo, ReadDict, ReadRegions, read_curation
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError, ReadOnlyError
from kymflow_zarr.schema.artifacts.lineage import InputDocument, InputKind
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import (
    ARTIFACT_SUFFIXES,
    ArtifactInfo,
    ArtifactKind,
    Axis,
    ImageBounds,
    Level,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import zarr

    from kymflow_zarr.engine.curation.document import Curation
    from kymflow_zarr.engine.results.result import Result
    from kymflow_zarr.engine.rois.planes import RoiReader
    from kymflow_zarr.engine.rois.values import Roi
    from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument


class ReadingImage(StoredImage):
    """A stored image that remembers what is read of it, with the digest of what was read.

    It changes nothing: methods that write raise ReadOnlyError. What would be different after
    each result, such as the revision, raises ArgumentError.

    Parameters
    ----------
    storage : Storage
    image_id : str
    own : ResultId, optional
        The result that is being computed, which cannot be read.
    """

    def __init__(self, storage: Storage, image_id: str, own: ResultId | None = None) -> None:
        super().__init__(storage, image_id)
        self._snapshot = self._current = CurrentImage(storage, image_id)
        self._own = None if own is None else own.label
        self._read: dict[tuple[str, str], InputDocument] = {}
        self._payload_bytes: bytes | None = None
        self._payloads: list[ReadDict] = []
        self._regions: list[ReadRegions] = []
        self._state: ImageState | None = None
        self._selection: str | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a record that remembers what is read cannot be sent to another process; "
            "send its pixels or values"
        )

    def inputs(self) -> list[InputDocument]:
        """Return what was read until now."""
        for payload in self._payloads:
            for pointer in payload.unread():
                self._note_metadata(pointer)
        for regions in self._regions:
            if not regions.seen:
                self._note_regions()
        return list(self._read.values())

    def result_inputs(self) -> tuple[ResultInput, ...]:
        """Return what was read until now, as users see it."""
        return inputs_of(self.inputs())

    # What was read

    def _note(self, kind: InputKind, key: str, state: State, selection: str | None = None) -> None:
        known = self._read.get((kind, key))
        # Of pixels, two parts that were read are told as all of them.
        if known is not None and known.selection != selection:
            selection = None
        self._read[kind, key] = input_document(kind, key, state, selection)

    @property
    def _now(self) -> ImageState:
        """The state of the documents, each read once, so that digest and value agree."""
        if self._state is None:
            self._state = ImageState(self.storage, self.image_id)
            self._state.document = self._current.document
        return self._state

    def _note_property(self, name: str) -> None:
        if ("property", name) not in self._read:
            self._note("property", name, property_state(self._current.document, name))

    def _note_metadata(self, pointer: str) -> None:
        if ("metadata", pointer) not in self._read:
            self._note("metadata", pointer, self._now.of("metadata", pointer))

    def _note_region(self, position: int | None) -> None:
        ids = self._now.region_ids()
        if position is None:
            self._note("regions", "ids", state_of(ids))
            return
        self._note("regions", str(position), self._now.of("regions", str(position)))
        if position >= len(ids):
            return
        roi_id = ids[position]
        if ids.count(roi_id) == 1 and isinstance(roi_id, int):
            self._note("region", str(roi_id), self._now.of("region", str(roi_id)))
        else:  # Such a region cannot be told from others by its id.
            self._note_metadata("/rois")

    def _note_regions(self) -> None:
        self._note_region(None)
        for position in range(len(self._now.region_ids())):
            self._note_region(position)

    def _note_artifact(self, key: str, name: str, sha256: str | None) -> None:
        self._refuse_own(name)
        self._note("artifact", key, State(sha256), self._selection)

    def _refuse_own(self, name: str) -> None:
        if name == self._own:
            raise ArgumentError(
                f"{name!r} is the result that is being computed",
                where=self.prefix,
                hint="Read it under another name: a result cannot be made of itself.",
            )

    def _refuse(self, what: str) -> NoReturn:
        raise ArgumentError(
            f"{what} changes with each result that is saved",
            where=self.prefix,
            hint="Read what the result is made of instead.",
        )

    # The image

    def document(self) -> ImageDocument:
        """Return the document; all of it is an input."""
        self._note_property("document")
        return self._current.document

    def snapshot(self) -> StoredImage:
        """Return the image itself, which has a fixed document."""
        return self

    def has_new_pixels(self) -> bool:
        """Return False: the document is fixed."""
        return False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        self._note_property("shape")
        return tuple(self._current.document.pixels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the pixels, in native byte order."""
        import numpy as np

        self._note_property("dtype")
        return np.dtype(self._current.document.pixels.dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the pixels."""
        return len(self.shape)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The true axes with their calibration, one per dimension."""
        self._note_property("axes")
        return self._current.document.axis_values()

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, None if not set."""
        self._note_property("channel_names")
        return self._current.document.channel_names

    @property
    def created_utc(self) -> str:
        """When the image was added: ISO 8601, UTC."""
        self._note_property("created_utc")
        return self._current.document.created_utc

    @property
    def updated_utc(self) -> str:
        """When its pixels were last written: ISO 8601, UTC."""
        self._note_property("updated_utc")
        return self._current.document.updated_utc

    @property
    def source(self) -> SourceFileDocument | None:
        """The file that the image was ingested from, None if none."""
        self._note_property("source_files")
        return copy.copy(self._current.document.source)

    @property
    def source_files(self) -> list[SourceFileDocument]:
        """All files that the image and its artifacts were ingested from."""
        self._note_property("source_files")
        return [copy.copy(file) for file in self._current.document.source_files]

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk, in pixels."""
        self._note_pixels(None)
        return tuple(self._current.document.pixels.chunks)

    @property
    def pixels_sha256(self) -> str:
        """SHA-256 of the stored pixels, as the format defines it."""
        self._note_pixels(None)
        return self._current.document.pixels.sha256

    def get_image_bounds(self) -> ImageBounds:
        """Return ``{"width", "height", "num_slices"}``, in pixels and planes."""
        from kymflow_zarr.engine.rois.planes import ImagePlanes

        return ImagePlanes(self.axes, self.shape).bounds

    def list_earlier_artifacts(self) -> list[str]:
        """Refuse: what the list says is what lineage is for."""
        self._refuse("the list of earlier artifacts")

    # Pixels

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the pixels, the full resolution first."""
        self._note_pixels(None)
        return levels_of(self._current.document)

    def _note_pixels(self, selection: str | None, sha256: str | None = None) -> None:
        self._note("pixels", "", State(sha256 or self._current.document.pixels.sha256), selection)

    def load_array(self, selection: object = ..., *, level: int = 0) -> np.ndarray[Any, Any]:
        """Return the pixels, or a selection of them, at a level of the pyramid."""
        current = copy.copy(self._current)
        pixels = load_level(self.storage, self.prefix, current, level, selection)
        # Read again if they were replaced meanwhile: the digest is that of what was read.
        read = _text_of(selection) if level == 0 else None
        self._note_pixels(read, current.document.pixels.sha256)
        return pixels

    def open_array(self, *, level: int = 0) -> zarr.Array[Any]:
        """Return the pixels at a level of the pyramid, lazy and read-only."""
        self._note_pixels(None)
        return open_pixels(self.storage, self.prefix, level_of(self._current.document, level))

    def _reader(self) -> RoiReader:
        from kymflow_zarr.engine.rois.planes import ImagePlanes, RoiReader

        return RoiReader(
            ImagePlanes(self.axes, self.shape), self.open_array, self.load_array_artifact
        )

    # Artifacts

    def _load(self, kind: ArtifactKind, name: str) -> Any:
        key = layout.artifact_key(kind, name)
        if key == KEY:
            self._refuse("the document of all results")
        if key == layout.artifact_key("json", layout.METADATA):
            return self._load_payload()
        where = f"{self.prefix}/{key}"
        data = self.storage.read(where)
        self._note_artifact(key, name, None if data is None else digest_of_bytes(data))
        if data is None:
            return super()._load(kind, name)  # It raises the error.
        return artifacts.decode(kind, data, where=where)

    def load_artifact(self, name: str, kind: ArtifactKind | None = None) -> Any:
        """Return the artifact of a name, of any kind or of the given one."""
        if kind is None:
            # Which of them is returned depends on the others that are there.
            for each in ARTIFACT_SUFFIXES:
                key = layout.artifact_key(each, name)
                self._note_artifact(key, name, self._now.artifact(key))
        return super().load_artifact(name, kind)

    def _load_payload(self) -> Any:
        try:
            value = self._metadata()
        except ArtifactNotFoundError:
            self._note_metadata("")
            raise
        raw = self._now.payload
        if not isinstance(value, dict) or not isinstance(raw, dict):
            self._note_metadata("")
            return value
        payload = ReadDict(value, raw, "", self._note_metadata)
        self._payloads.append(payload)
        return payload

    def _metadata(self) -> Any:
        """Return the metadata payload; all that is read of it is of the same bytes."""
        where = f"{self.prefix}/{layout.artifact_key('json', layout.METADATA)}"
        data = self._payload_bytes
        if data is None:
            data = self.storage.read(where)
        if data is None:
            return super()._load("json", layout.METADATA)  # It raises the error.
        value = artifacts.decode("json", data, where=where)
        if self._payload_bytes is None:
            self._now.payload = parsed(data, where)
            self._payload_bytes = data
        return value

    def list_artifacts(self) -> list[ArtifactInfo]:
        """Return the artifacts that are no results; one whose size is read is an input."""
        there = self._now.plain_artifacts()
        self._note("artifacts", "", state_of(there))
        infos: list[ArtifactInfo] = []
        for info in super().list_artifacts():
            key = info.key[len(self.prefix) + 1 :]
            if key in there:
                note = partial(self._note_artifact, key, info.name, self._now.artifact(key))
                infos.append(ReadArtifactInfo(info, note))
        return infos

    def list_array_artifacts(self) -> list[str]:
        """Return the names of the array artifacts that are no results."""
        there = self._now.plain_artifacts()
        self._note("artifacts", "", state_of(there))
        names = super().list_array_artifacts()
        return [name for name in names if layout.array_artifact_prefix(name) in there]

    def list_labels(self) -> list[str]:
        """Return the names of the label images, sorted."""
        self._note("artifacts", "", state_of(self._now.plain_artifacts()))
        return super().list_labels()

    def load_array_artifact(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array artifact."""
        while True:
            before = self._note_array(name)
            array = super().load_array_artifact(name)
            if self._note_array(name) == before:
                return array

    def open_array_artifact(self, name: str) -> zarr.Array[Any]:
        """Return an array artifact as a lazy, read-only :class:`zarr.Array`."""
        self._note_array(name)
        return super().open_array_artifact(name)

    def _note_array(self, name: str) -> str | None:
        try:
            digest = self._arrays.document(name).pixels.sha256
        except ArtifactNotFoundError:
            digest = None
        self._note_artifact(layout.array_artifact_prefix(name), name, digest)
        return digest

    # Regions and curation

    def load_rois(self) -> list[Roi]:
        """Return the regions of the image, in the order of the metadata payload."""
        try:
            rois = self._rois_of(self._metadata())
        except ArtifactNotFoundError:
            rois = []
        regions = ReadRegions(rois, self._note_region, self._note_regions)
        self._regions.append(regions)
        return regions

    def region(self, roi_id: int) -> Roi:
        """Return the region of an id.

        Raises
        ------
        ArgumentError
            If the image has none.
        """
        from kymflow_zarr.engine.rois.values import roi_from_dict

        self._note("region", str(roi_id), self._now.of("region", str(roi_id)))
        raw = self._now.region(str(roi_id))
        if raw is None:
            raise ArgumentError(f"the image has no region {roi_id}", where=self.prefix)
        return roi_from_dict(region_form(raw))

    @property
    def revision(self) -> str:
        """Refuse: it changes with each result."""
        self._refuse("the revision of an image")

    def curation(self) -> Curation:
        """Return the verdict, the note and the history of edits."""

        def note(name: str) -> None:
            self._note("curation", name, self._now.of("curation", name))

        return read_curation(super().curation(), note)

    # Results and tables

    def results(self, name: str | None = None) -> list[Result]:  # noqa: ARG002
        """Refuse: the list changes with each result."""
        self._refuse("the list of results")

    def result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> Result:
        """Return a result: of its variants the one that counts, unless one is named."""
        try:
            result = super().result(name, roi=roi, channel=channel, variant=variant)
        except ArtifactNotFoundError:
            label = ResultId(name, roi, channel, variant).label
            self._note("result", label, ABSENT)
            raise
        label = result.result_id.label
        self._refuse_own(label)
        self._note("result", label, result_state(self._now.results.get(label)))
        return result

    def load_result(self, key: str, part: Mapping[str, Any] | None) -> Any:
        """Return the value of a result, which is an input already, as its id and state."""
        self._selection = None if part is None else "results"
        try:
            return super().load_result(key, part)
        finally:
            self._selection = None

    def explain(
        self,
        name: str,
        *,
        roi: int | None = None,  # noqa: ARG002
        channel: int | None = None,  # noqa: ARG002
        variant: str | None = None,  # noqa: ARG002
    ) -> str:
        """Refuse: the text says what is out of date now."""
        self._refuse(f"the explanation of {name!r}")

    def load_table(self, name: str) -> pd.DataFrame:
        """Return a table of the dataset."""
        from kymflow_zarr.engine.tables import Tables
        from kymflow_zarr.formats.dataframe.parquet import decode_parquet

        data, key = Tables(self.storage).read(name)
        self._note("table", name, State(digest_of_bytes(data)))
        return decode_parquet(data, where=key)

    # Writing

    def lock(self) -> AbstractContextManager[None]:
        """Refuse: functions return what is to be saved."""
        raise ReadOnlyError(
            "a record that remembers what is read changes nothing",
            where=self.prefix,
            hint="Return the value from the function, and the result is saved.",
        )


def _text_of(selection: object) -> str | None:
    """Return a selection as Python would write it, None if it is everything."""
    if selection is ... or selection == ():
        return None
    parts = selection if isinstance(selection, tuple) else (selection,)
    texts = []
    for part in parts:
        if isinstance(part, slice):
            start, stop = ("" if x is None else str(x) for x in (part.start, part.stop))
            step = "" if part.step is None else f":{part.step}"
            texts.append(f"{start}:{stop}{step}")
        else:
            texts.append("..." if part is ... else str(part))
    return ", ".join(texts)
