"""One stored image, to which its record forwards."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import CurrentImage, load_image
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArtifactNotFoundError,
    CorruptDataError,
    MetadataNotFoundError,
    RecordNotFoundError,
    SchemaValidationError,
    SourceNotFoundError,
    StorageError,
    TargetExistsError,
    UnsupportedDataError,
)
from kymflow_zarr.schema.checksums import FileSum, parse_checksums
from kymflow_zarr.storage.interface import Storage, retried
from kymflow_zarr.storage.read_only import readable_file
from kymflow_zarr.types import ArtifactInfo, ArtifactKind, Axis, ImageBounds, Level, StrPath

# Reading one image needs none of these, and each import takes time at start-up.
if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import zarr

    from kymflow_zarr.engine.curation.document import Curation, Edit
    from kymflow_zarr.engine.curation.editing import RecordEdit
    from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
    from kymflow_zarr.engine.results.image_results import ImageResults, Value
    from kymflow_zarr.engine.results.lineage import Params, ResultId
    from kymflow_zarr.engine.results.result import Result
    from kymflow_zarr.engine.rois.planes import ImagePlanes, RoiReader, RoiStatistics
    from kymflow_zarr.engine.rois.values import KnownRoi, MaskRoi, Roi
    from kymflow_zarr.schema.artifacts.lineage import InputDocument, ResultDocument
    from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument


class StoredImage:
    """A stored image; :class:`~kymflow_zarr.ZarrImageRecord` forwards to it and documents it.

    Parameters
    ----------
    storage : Storage
    image_id : str

    Attributes
    ----------
    storage : Storage
    image_id : str
    prefix : str
        Key of the image.
    """

    def __init__(self, storage: Storage, image_id: str) -> None:
        self.prefix = layout.image_prefix(image_id)  # Checks the id.
        self.image_id = str.__str__(image_id)
        self.storage = storage
        self._snapshot: CurrentImage | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredImage):
            return NotImplemented
        return (self.image_id, self.storage.location) == (other.image_id, other.storage.location)

    def __hash__(self) -> int:
        return hash((self.image_id, self.storage.location))

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredImage, (self.storage, self.image_id)

    def document(self) -> ImageDocument:
        """Return the document of the image, read now or from the snapshot."""
        if self._snapshot is None:
            return load_image(self.storage, self.image_id)
        return self._snapshot.document

    def snapshot(self) -> StoredImage:
        """Return the image with a fixed copy of its current document.

        A call that needs several properties takes a snapshot, so that the document is parsed
        once. Pixels and artifacts are still read when they are requested.
        """
        if self._snapshot is not None:
            return self
        image = StoredImage(self.storage, self.image_id)
        image._snapshot = CurrentImage(self.storage, self.image_id)
        return image

    def has_new_pixels(self) -> bool:
        """Return True if the pixels were replaced since this snapshot was taken."""
        if self._snapshot is None:
            return False
        before = self._snapshot.document.pixels
        now = copy.copy(self._snapshot).pixels()
        return (now.path, now.sha256) != (before.path, before.sha256)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        return tuple(self.document().pixels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the pixels, in native byte order."""
        import numpy as np

        return np.dtype(self.document().pixels.dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the pixels."""
        return len(self.document().pixels.shape)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The true axes with their calibration, one per dimension."""
        return self.document().axis_values()

    def get_axes(self) -> list[str]:
        """Return the names of the axes, one per dimension."""
        return [axis.name for axis in self.axes]

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, None if not set."""
        return self.document().channel_names

    @property
    def created_utc(self) -> str:
        """When the image was added: ISO 8601, UTC."""
        return self.document().created_utc

    @property
    def updated_utc(self) -> str:
        """When its pixels were last written: ISO 8601, UTC."""
        return self.document().updated_utc

    @property
    def source(self) -> SourceFileDocument | None:
        """The file that the image was ingested from (path, size, time, SHA-256), None if none."""
        return self.document().source

    @property
    def source_files(self) -> list[SourceFileDocument]:
        """All files that the image and its artifacts were ingested from."""
        return self.document().source_files

    def list_earlier_artifacts(self) -> list[str]:
        """Return the keys, relative to the dataset, of artifacts computed from earlier pixels."""
        from kymflow_zarr.engine.images.update import digest_of_artifact

        earlier = self.document().earlier_artifacts
        return [
            f"{self.prefix}/{key}"
            for key, digest in sorted(earlier.items())
            if digest_of_artifact(self.storage, self.prefix, key) == digest
        ]

    def get_image_bounds(self) -> ImageBounds:
        """Return ``{"width", "height", "num_slices"}``, in pixels and planes."""
        from kymflow_zarr.engine.rois.planes import ImagePlanes

        document = self.document()
        return ImagePlanes(document.axis_values(), tuple(document.pixels.shape)).bounds

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the pixels, the full resolution first."""
        from kymflow_zarr.engine.images.pixels import levels_of

        return levels_of(self.document())

    def load_array(self, selection: object = ..., *, level: int = 0) -> np.ndarray[Any, Any]:
        """Return the pixels, or a selection of them, at a level of the pyramid."""
        from kymflow_zarr.engine.images.pixels import load_level

        seen = self._snapshot
        current = CurrentImage(self.storage, self.image_id) if seen is None else copy.copy(seen)
        return load_level(self.storage, self.prefix, current, level, selection)

    @retried
    def build_pyramid(self) -> bool:
        """Add the levels of large planes if they are missing; return True if any were added."""
        from kymflow_zarr.engine.images.pyramid import plan_levels, rebuild_pyramid, write_image

        with self.lock(), self.change() as change:
            document = load_image(self.storage, self.image_id)
            planned = plan_levels(document.pixels.shape, document.axis_values())
            if document.current_pyramid is not None or not planned:
                return False
            rebuild_pyramid(self.storage, change, self.prefix, document)
            write_image(self.storage, change, self.prefix, document)
        # OME-Zarr: labels have as many levels as their image.
        for name in self.list_labels():
            # Labels of earlier pixels may have another shape.
            with contextlib.suppress(UnsupportedDataError):
                self.save_labels(name, self.load_labels(name))
        return True

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return all pixels, for ``np.asarray(record)``."""
        if copy is False:
            raise ArgumentError("the pixels of a record cannot be had without a copy", where="copy")
        array = self.load_array()
        return array if dtype is None else array.astype(dtype, copy=False)

    def open_array(self, *, level: int = 0) -> zarr.Array[Any]:
        """Return the pixels at a level of the pyramid, lazy and read-only."""
        from kymflow_zarr.engine.images.pixels import level_of, open_pixels

        while True:
            pixels = level_of(self.document(), level)
            try:
                return open_pixels(self.storage, self.prefix, pixels)
            except (StorageError, CorruptDataError):
                # If its document is unchanged, it was not replaced but is damaged.
                if level_of(self.document(), level).path == pixels.path:
                    raise

    @retried
    def save_array(
        self,
        arr: object,
        *,
        axes: str | Sequence[str | Axis] | None = None,
        chunks: int | Sequence[int] | None = None,
        channel_names: Sequence[str] | None = None,
        line_period_s: float | None = None,
        pixel_size_um: float | None = None,
    ) -> str:
        """Replace the pixels atomically: readers see either the old ones or the new ones."""
        from kymflow_zarr.engine.images.draft import set_pixels
        from kymflow_zarr.engine.images.from_xarray import is_data_array, labels_of
        from kymflow_zarr.engine.images.pixels import replacement_target
        from kymflow_zarr.formats.array.write import as_array

        self.storage.require_writable()
        if axes is None and is_data_array(arr):
            arr, axes, named = labels_of(arr)
            channel_names = named if channel_names is None else channel_names
        array = as_array(arr, what="image")
        with self.lock(), self.change() as change:
            old = load_image(self.storage, self.image_id)
            if axes is None and len(array.shape) == len(old.axes):
                axes = old.axis_values()
            if channel_names is None:
                channel_names = self._fitting_channel_names(old, array.shape, axes)
            document, ome = set_pixels(
                self.image_id, old, array,
                replacement_target(self.storage, change, "", old.pixels),
                axes=axes, chunks=chunks, channel_names=channel_names,
                line_period_s=line_period_s, pixel_size_um=pixel_size_um,
            )  # fmt: skip
            change.write_group("", document.to_group(ome=ome))
        return f"{self.prefix}/{document.pixels.path}"

    @staticmethod
    def _fitting_channel_names(
        old: ImageDocument, shape: Sequence[int], axes: str | Sequence[str | Axis] | None
    ) -> list[str] | None:
        """Return the previous channel names if the new pixels have as many channels."""
        from kymflow_zarr.schema.axes import channel_count, normalize_axes

        if old.channel_names is None:
            return None
        count = channel_count(normalize_axes(axes, len(shape)), tuple(shape))
        return old.channel_names if len(old.channel_names) == count else None

    @retried
    def save_metadata_objects(
        self, header: object = None, experiment: object = None, rois: object = None
    ) -> str:
        """Save the payload composed of three objects, and return its key."""
        from kymflow_zarr.schema.payload import payload_of

        self.storage.require_writable()
        # Two programs may each save a section at once; neither update may be lost.
        with self.lock():
            try:
                old = self.load_metadata_payload()
            except MetadataNotFoundError:
                old = {}
            return self.save_metadata_payload(payload_of(header, experiment, rois, old=old))

    # Artifacts

    @property
    def _arrays(self) -> ArrayArtifacts:
        from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts

        # Created on demand: most records of a large listing never need it.
        return ArrayArtifacts(self.storage, self.prefix)

    def save_json(self, name: str, obj: Any) -> str:
        """Save a JSON artifact."""
        return self._save("json", name, obj)

    def load_json(self, name: str) -> Any:
        """Return a JSON artifact."""
        return self._load("json", name)

    def save_df_parquet(self, name: str, df: pd.DataFrame) -> str:
        """Save a data frame as Parquet and return its key, ending in ``.parquet``."""
        return self._save("parquet", name, df)

    def load_df_parquet(self, name: str) -> pd.DataFrame:
        """Return a data frame saved with :meth:`save_df_parquet`; errors as `load_json`."""
        frame: pd.DataFrame = self._load("parquet", name)
        return frame

    def save_df_csv_gz(self, name: str, df: pd.DataFrame) -> str:
        """Save a data frame as gzipped CSV and return its key, ending in ``.csv.gz``."""
        return self._save("csv_gz", name, df)

    def load_df_csv_gz(self, name: str) -> pd.DataFrame:
        """Return a data frame saved with :meth:`save_df_csv_gz`; errors as `load_json`."""
        frame: pd.DataFrame = self._load("csv_gz", name)
        return frame

    def save_artifact(self, name: str, value: Any, kind: ArtifactKind) -> str:
        """Save an artifact of any kind and return its key."""
        return self._save(artifacts.require_kind(kind), name, value)

    def load_artifact(self, name: str, kind: ArtifactKind | None = None) -> Any:
        """Return the artifact of a name, of any kind or of the given one."""
        if kind is None:
            self.require_present()
            kind = artifacts.kind_of(self.storage, self.prefix, name)
        return self._load(artifacts.require_kind(kind), name)

    @retried
    def _save(self, kind: ArtifactKind, name: str, value: Any) -> str:
        self.storage.require_writable()
        key, data = self._encoded(kind, name, value)
        with self.lock(), self.change() as change:
            change.write(key, data)
        return f"{self.prefix}/{key}"

    def _encoded(self, kind: ArtifactKind, name: str, value: Any) -> tuple[str, bytes]:
        key = layout.artifact_key(kind, name)
        return key, artifacts.encode(kind, value, where=f"{self.prefix}/{key}")

    def lock(self) -> AbstractContextManager[None]:
        """Return the lock of the image.

        Callers use it in a ``with`` of their own: after Ctrl-C a generator could keep holding it.
        """
        self.storage.require_writable()
        return self.storage.lock(f"image:{self.image_id}")

    def change(self) -> Change:
        """Return a change of the image, whose lock the caller holds."""
        self.require_present()
        return Change(self.storage, self.prefix)

    def _load(self, kind: ArtifactKind, name: str) -> Any:
        try:
            return artifacts.load(self.storage, self.prefix, kind, name)
        except KeyError:
            self.require_present()
            raise

    def require_present(self) -> None:
        """Raise RecordNotFoundError if the image is not there any more."""
        if self.storage.stat(f"{self.prefix}/{layout.GROUP}") is None:
            raise RecordNotFoundError(
                f"there is no image {self.image_id!r} in the dataset any more",
                where=self.storage.location,
            )

    def list_artifacts(self) -> list[ArtifactInfo]:
        """Return name, kind, key and size of each JSON and data-frame artifact."""
        return list(artifacts.listing(self.storage, self.prefix))

    def list_analysis_keys(self) -> list[str]:
        """Return the keys, relative to the dataset, of the JSON and data-frame artifacts."""
        return [info.key for info in self.list_artifacts()]

    @retried
    def delete_analysis(self, suffixes: str | Iterable[str] | None = None) -> int:
        """Delete JSON and data-frame artifacts and return their number."""
        self.storage.require_writable()
        self.require_present()
        named = [suffixes] if isinstance(suffixes, str) else suffixes
        wanted = None if named is None else [suffix for suffix in named if suffix]
        own_documents = (layout.METADATA, layout.PROVENANCE, layout.CURATION, layout.LINEAGE)
        count = 0
        removed: set[str] = set()
        with self.lock(), self.change() as change:
            for info in self.list_artifacts():
                if wanted is None:
                    to_delete = info.name not in own_documents
                else:
                    to_delete = any(artifacts.is_named(info, suffix) for suffix in wanted)
                if to_delete:
                    key = info.key.removeprefix(f"{self.prefix}/")
                    change.remove(key)
                    removed.add(key)
                    count += 1
            self._forget_results(change, removed)
        return count

    @retried
    def save_array_artifact(
        self,
        name: str,
        arr: object,
        *,
        axes: Sequence[str] | None = None,
        chunks: int | Sequence[int] | None = None,
    ) -> str:
        """Save an N-D array, such as a mask, beside the image, replacing one of that name."""
        self.storage.require_writable()
        array, names = self._arrays.check(name, arr, axes=axes)
        with self.lock(), self.change() as change:
            self._arrays.save(change, name, array, axes=names, chunks=chunks)
        return f"{self.prefix}/{layout.array_artifact_prefix(name)}"

    @retried
    def save_labels(self, name: str, labels: object) -> str:
        """Save a label image as OME-Zarr has it, replacing one of that name; return its key."""
        from kymflow_zarr.engine.images.labels import check_labels

        self.storage.require_writable()
        layout.check_name(name, what="name of labels")
        with self.lock(), self.change() as change:
            image = load_image(self.storage, self.image_id)
            key = self._arrays.save_labels(change, name, check_labels(name, labels, image), image)
        return f"{self.prefix}/{key}"

    def save_roi_labels(self, name: str = "regions") -> str:
        """Draw the regions into a label image of the plane and save it; return its key."""
        import numpy as np

        from kymflow_zarr.engine.rois.values import KnownRoi

        reader = self._reader()
        drawn = np.zeros(reader.planes.plane_shape, np.int32)
        for roi in self.load_rois():
            if isinstance(roi, KnownRoi):
                if not 0 < roi.roi_id < 2**31:
                    raise UnsupportedDataError(
                        f"the region {roi.roi_id} cannot be a label, which is 1 to 2147483647",
                        where=self.prefix,
                        hint="Give it another roi_id with save_rois().",
                    )
                reader.draw(roi, drawn)
        return self.save_labels(name, drawn)

    def load_labels(self, name: str) -> np.ndarray[Any, Any]:
        """Return a label image."""
        return self.load_array_artifact(f"{layout.LABELS}/{name}")

    def list_labels(self) -> list[str]:
        """Return the names of the label images, sorted."""
        start = f"{layout.LABELS}/"
        return [name.removeprefix(start) for name in self._arrays.label_names()]

    def delete_labels(self, name: str) -> None:
        """Delete a label image; raise KeyError if there is none of that name."""
        self.delete_array_artifact(f"{layout.LABELS}/{name}")

    def load_array_artifact(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array artifact; errors as `load_json` and `load_array`."""
        try:
            return self._arrays.load(name)
        except KeyError:
            self.require_present()
            raise

    def open_array_artifact(self, name: str) -> zarr.Array[Any]:
        """Return an array artifact as a lazy, read-only :class:`zarr.Array`."""
        try:
            return self._arrays.open(name)
        except KeyError:
            self.require_present()
            raise

    def list_array_artifacts(self) -> list[str]:
        """Return the names of the array artifacts, sorted."""
        return self._arrays.names()

    @retried
    def delete_array_artifact(self, name: str) -> None:
        """Delete an array artifact; raise KeyError if there is none of that name."""
        with self.lock(), self.change() as change:
            self._arrays.delete(change, name)
            self._forget_results(change, {layout.array_artifact_prefix(name)})

    def _forget_results(self, change: Change, keys: set[str]) -> None:
        """Remove the results whose values a change deletes, unless they cannot be read."""
        from kymflow_zarr.engine.results.lineage import forget_values

        if keys:
            forget_values(self.storage, change, keys)

    def save_metadata_payload(self, payload: Mapping[str, Any]) -> str:
        """Save the canonical metadata payload and return its key."""
        if not isinstance(payload, Mapping):
            raise ArgumentTypeError(
                f"a metadata payload is a mapping, not {type(payload).__qualname__}"
            )
        return self._save("json", layout.METADATA, payload)

    def load_metadata_payload(self) -> dict[str, Any]:
        """Return the canonical metadata payload."""
        try:
            payload = self._load("json", layout.METADATA)
        except RecordNotFoundError:
            raise
        except KeyError:
            raise MetadataNotFoundError(
                f"the image {self.image_id!r} has no metadata payload",
                where=f"{self.prefix}/{layout.artifact_key('json', layout.METADATA)}",
                hint="save_metadata_payload() gives it one.",
            ) from None
        if not isinstance(payload, dict):
            raise SchemaValidationError(
                f"the metadata payload is of type {type(payload).__name__}, not a mapping",
                where=f"{self.prefix}/{layout.artifact_key('json', layout.METADATA)}",
                hint="save_metadata_payload() replaces it.",
            )
        return payload

    # Regions

    def load_rois(self) -> list[Roi]:
        """Return the regions of the image, in the order of the metadata payload."""
        try:
            return self._rois_of(self.load_metadata_payload())
        except MetadataNotFoundError:
            return []

    @retried
    def save_rois(self, rois: Iterable[Roi]) -> str:
        """Replace the regions in the metadata payload and return the payload's key."""
        from kymflow_zarr.engine.rois.values import MaskRoi, check_rois

        self.storage.require_writable()
        checked = check_rois(rois)
        with self.lock(), self.change() as change:
            planes = self._reader().planes
            for roi in checked:
                roi.check(planes.bounds, channels=planes.channels)
                if isinstance(roi, MaskRoi):
                    self._check_reference(roi, planes)
            self._write_rois(change, self._payload_or_none(), checked)
        return self._payload_key

    @retried
    def ingest_rois(self, path: StrPath) -> list[Roi]:
        """Add the regions of a file of ImageJ and return them."""
        from kymflow_zarr.engine.rois.imagej import decode_rois
        from kymflow_zarr.engine.rois.values import check_rois

        self.storage.require_writable()
        file = Path(path)
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            raise SourceNotFoundError("there is no such file", where=str(file)) from None
        with self.lock(), self.change() as change:
            payload = self._payload_or_none()
            rois = [] if payload is None else self._rois_of(payload)
            planes = self._reader().planes
            new = decode_rois(data, where=str(file), first_id=_next_id(rois))
            for roi in new:
                roi.check(planes.bounds, channels=planes.channels)
            self._write_rois(change, payload, check_rois([*rois, *new]))
        return new

    def export_rois(self, path: StrPath, *, rois: Iterable[Roi] | None = None) -> None:
        """Write regions as a ``.zip`` of ImageJ."""
        from kymflow_zarr.engine.rois.imagej import encode_rois
        from kymflow_zarr.engine.rois.values import check_rois

        listed = self.load_rois() if rois is None else check_rois(rois)
        data = encode_rois(listed, self.load_array_artifact, where=self.prefix)
        try:
            with Path(path).open("xb") as file:
                file.write(data)
        except FileExistsError:
            raise TargetExistsError(
                "there is such a file already", where=str(path), hint="Choose another name."
            ) from None

    @retried
    def save_mask(
        self,
        name: str,
        mask: object,
        *,
        roi_id: int | None = None,
        note: str = "",
        channel: int = 1,
        z: int = 0,
    ) -> MaskRoi:
        """Save a mask as an array artifact and add its region to the payload."""
        from kymflow_zarr.engine.rois.planes import check_mask_shape
        from kymflow_zarr.engine.rois.values import MaskRoi, check_rois

        self.storage.require_writable()
        import numpy as np

        array = np.asarray(mask)
        if array.dtype.kind not in "bui":
            raise UnsupportedDataError(
                f"a mask is of bool or whole numbers, not {array.dtype}",
                where=f"mask {name!r}",
                hint="Compare with a threshold first, as in mask > 0.5.",
            )
        with self.lock(), self.change() as change:
            planes = self._reader().planes
            check_mask_shape(name, array.shape, planes)
            payload = self._payload_or_none()
            rois = [] if payload is None else self._rois_of(payload)
            old = next((r for r in rois if isinstance(r, MaskRoi) and r.mask_ref == name), None)
            if roi_id is None:
                roi_id = _next_id(rois) if old is None else old.roi_id
            roi = MaskRoi(
                roi_id=roi_id, name=name, note=note, channel=channel, z=z, mask_ref=name,
                revision=0 if old is None else old.revision + 1,
                meta={} if old is None else _without_statistics(old.meta),
                extra={} if old is None else old.extra,
            )  # fmt: skip
            roi.check(planes.bounds, channels=planes.channels)
            new = check_rois([roi if other is old else other for other in rois])
            if old is None:
                new = check_rois([*new, roi])
            y, x = planes.plane_axes
            axes = [planes.axes[y].name, planes.axes[x].name]
            self._arrays.save(change, name, array.astype(np.bool_), axes=axes, chunks=None)
            self._write_rois(change, payload, new)
        return roi

    def _payload_or_none(self) -> dict[str, Any] | None:
        try:
            payload = self.load_metadata_payload()
        except MetadataNotFoundError:
            return None
        if not isinstance(payload, dict):
            raise SchemaValidationError(
                "the metadata payload is not a mapping",
                where=self._payload_key,
                hint="save_metadata_payload() replaces it.",
            )
        return payload

    def _write_rois(
        self, change: Change, payload: dict[str, Any] | None, rois: Iterable[Roi]
    ) -> None:
        if payload is None:
            from kymflow_zarr.schema.payload import payload_of

            payload = payload_of(None, None, None)
        payload["rois"] = [roi.to_dict() for roi in rois]
        change.write(*self._encoded("json", layout.METADATA, payload))

    @property
    def _payload_key(self) -> str:
        return f"{self.prefix}/{layout.artifact_key('json', layout.METADATA)}"

    def _rois_of(self, payload: object) -> list[Roi]:
        from kymflow_zarr.engine.rois.values import UnknownRoi, roi_from_dict

        entries = payload.get("rois") if isinstance(payload, Mapping) else payload
        if entries is None:
            return []
        if not isinstance(entries, list):
            raise SchemaValidationError(
                f"the regions are {type(entries).__name__}, not a list",
                where=f"{self._payload_key}: rois",
                hint="save_rois() replaces them.",
            )
        rois: list[Roi] = []
        for raw in entries:
            try:
                rois.append(roi_from_dict(raw))
            except ArgumentError as error:
                place = "" if error.where is None else f" ({error.where})"
                rois.append(UnknownRoi(raw, f"{error.what}{place}"))
        return rois

    def _check_reference(self, roi: MaskRoi, planes: ImagePlanes) -> None:
        from kymflow_zarr.engine.rois.planes import check_mask_shape

        try:
            document = self._arrays.document(roi.mask_ref)
        except KeyError as error:
            raise ArgumentError(
                f"mask_ref is {roi.mask_ref!r}, which is no array artifact of the image",
                where=f"roi {roi.roi_id}: mask_ref",
                hint="save_mask() saves a mask and its region.",
            ) from error
        check_mask_shape(roi.mask_ref, tuple(document.pixels.shape), planes)

    def roi_pixels(
        self,
        roi: KnownRoi,
        *,
        channel: int | Literal["all"] | None = None,
        z: int | Literal["all"] | None = None,
        at: Mapping[str, int] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Return the pixels of a region, reading only the part of the image that it covers."""
        return self._reader().pixels(roi, channel=channel, z=z, at=at)

    def roi_statistics(
        self,
        roi: KnownRoi,
        *,
        channel: int | Literal["all"] | None = None,
        z: int | Literal["all"] | None = None,
        at: Mapping[str, int] | None = None,
    ) -> RoiStatistics:
        """Return the statistics of the pixels of a region, over all selected planes together."""
        return self._reader().statistics(roi, channel=channel, z=z, at=at)

    def roi_statistics_by_plane(
        self,
        roi: KnownRoi,
        *,
        channel: int | Literal["all"] | None = "all",
        z: int | Literal["all"] | None = "all",
        at: Mapping[str, int] | None = None,
    ) -> list[RoiStatistics]:
        """Return the statistics of a region for each channel and plane separately."""
        return self._reader().statistics_by_plane(roi, channel=channel, z=z, at=at)

    def _reader(self) -> RoiReader:
        from kymflow_zarr.engine.images.pixels import open_pixels
        from kymflow_zarr.engine.rois.planes import ImagePlanes, RoiReader

        document = self.document()
        return RoiReader(
            ImagePlanes(document.axis_values(), tuple(document.pixels.shape)),
            lambda: open_pixels(self.storage, self.prefix, document.pixels),
            self.load_array_artifact,
        )

    # Curation

    @property
    def revision(self) -> str:
        """Digest, 64 hexadecimal digits, that changes when anything in the image changes."""
        data = self.storage.read(f"{self.prefix}/{layout.CHECKSUMS}")
        if data is None:
            self.require_present()
            files = self.storage.walk(self.prefix)
            data = json.dumps([[key, *stat] for key, stat in files]).encode()
        return hashlib.sha256(data).hexdigest()

    def curation(self) -> Curation:
        """Return the verdict, the note and the history of edits."""
        from kymflow_zarr.engine.curation.document import load_curation

        curation = load_curation(self.storage, self.prefix)
        if not curation.history:
            self.require_present()
        return curation

    def edit(
        self, who: str | None = None, expect: str | None = None, *, blind: Sequence[str] = ()
    ) -> AbstractContextManager[RecordEdit]:
        """Change verdict, note, regions and event types in one step."""
        # A late import: most programs edit nothing.
        from kymflow_zarr.engine.curation.editing import Editing

        return Editing(self, who, expect, blind)

    def undo(
        self,
        edit_id: str | None = None,
        *,
        who: str | None = None,
        expect: str | None = None,
        blind: Sequence[str] = (),
    ) -> Edit:
        """Undo an edit; the undo becomes an entry of the history, too."""
        with self.edit(who, expect, blind=blind) as edit:
            image = edit._image  # noqa: SLF001 - users see the edit, without its undo
            image.take_back(edit_id)
        return image.written[0]

    # Results

    @property
    def _results(self) -> ImageResults:
        from kymflow_zarr.engine.results.image_results import ImageResults

        return ImageResults(self)

    def save_result(
        self,
        name: str,
        value: Any,
        *,
        params: Mapping[str, Any] | None = None,
        program: str = "",
        version: str = "",
        inputs: Iterable[Any] | None = None,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
        error: str | None = None,
        seconds: float | None = None,
        keep: int = 0,
    ) -> Result:
        """Save a value with what it was made by and of, in one step."""
        from kymflow_zarr.engine.results.image_results import Value, declared_inputs, machine
        from kymflow_zarr.engine.results.lineage import Params, checked_id

        self.storage.require_writable()
        result_id = checked_id(name, roi, channel, variant)
        checked = Params.of(params)
        content = Value(self.storage, self.prefix, result_id.label, value)
        input_documents = declared_inputs(self._results.state(), inputs, roi)
        self.put_result(
            result_id, content, input_documents, checked, keep=keep, error=error, program=program,
            version=version, seconds=seconds, machine=machine(),
        )  # fmt: skip
        return next(r for r in self.results(name) if r.result_id == result_id)

    @retried
    def put_result(
        self,
        result_id: ResultId,
        value: Value,
        inputs: Iterable[InputDocument],
        params: Params,
        **facts: Any,
    ) -> ResultDocument:
        """Save a result with its value, in one step; see :meth:`ImageResults.save`."""
        with self.lock(), self.change() as change:
            return self._results.save(change, result_id, value, inputs, params, **facts)

    def result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> Result:
        """Return a result: of its variants the one that counts, unless one is named."""
        self.require_present()
        return self._results.find(name, roi, channel, variant)

    def load_result(self, key: str, part: Mapping[str, Any] | None) -> Any:
        """Return the value of a result by its key below the image, and its part of that."""
        from kymflow_zarr.engine.results.result import load_value

        return load_value(self, key, part)

    def results(self, name: str | None = None) -> list[Result]:
        """Return all results, or those of one name."""
        self.require_present()
        return self._results.all(name)

    def explain(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> str:
        """Return what a result was made by and made of, as a tree of lines."""
        from kymflow_zarr.engine.results.explain import explain

        return explain(self, self.result(name, roi=roi, channel=channel, variant=variant))

    @retried
    def choose_result(
        self,
        name: str,
        *,
        variant: str | None,
        roi: int | None = None,
        channel: int | None = None,
    ) -> None:
        """Mark a variant of a result as the one that counts."""
        from kymflow_zarr.engine.results.lineage import checked_id

        with self.lock(), self.change() as change:
            self._results.choose(change, checked_id(name, roi, channel, variant))

    @retried
    def accept_result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
        who: str | None = None,
    ) -> None:
        """Take a result as it is, although its inputs may have changed since."""
        from kymflow_zarr.engine.curation.document import name_of

        editor = name_of(who)
        with self.lock(), self.change() as change:
            self._results.accept(
                change, self.result(name, roi=roi, channel=channel, variant=variant), editor
            )

    @retried
    def delete_result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> None:
        """Delete a result with its value and its history."""
        with self.lock(), self.change() as change:
            result = self.result(name, roi=roi, channel=channel, variant=variant)
            self._results.delete(change, result)

    # Files as they are

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk, the unit of compression, in pixels."""
        return tuple(self.document().pixels.chunks)

    @property
    def pixels_sha256(self) -> str:
        """SHA-256 of the stored pixels, as the format defines it."""
        return self.document().pixels.sha256

    def file_sum(self, key: str) -> FileSum:
        """Return size and digest of a file of the image, from its list of checksums.

        Raises
        ------
        ArtifactNotFoundError
            If the list does not name the file, as no list of format version 1 does.
        """
        where = f"{self.prefix}/{layout.CHECKSUMS}"
        listed = self.storage.read(where)
        file_sum = None if listed is None else parse_checksums(listed, where=where).get(key)
        if file_sum is None:
            raise ArtifactNotFoundError(f"the image has no file {key!r}", where=self.prefix)
        return file_sum

    @contextlib.contextmanager
    def open_file(self, key: str) -> Iterator[io.BufferedReader]:
        """Open a file of the image that its list of checksums names; errors as `file_sum`."""
        self.file_sum(key)
        with self.storage.open(f"{self.prefix}/{key}") as file:
            if file is None:
                raise ArtifactNotFoundError(f"the file {key!r} is missing", where=self.prefix)
            yield readable_file(file)


def _describe(axis: Axis) -> str:
    if axis.step is None:
        return axis.name
    kind = f" ({axis.quantity})" if axis.name == "y" and axis.quantity == "time" else ""
    return f"{axis.name}{kind} {axis.step:.6g} {axis.unit or 'px'}"


def _without_statistics(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `meta` of a region without the statistics of its replaced mask."""
    return {key: value for key, value in meta.items() if not key.startswith("img_")}


def _next_id(rois: Iterable[Roi]) -> int:
    return 1 + max((roi.roi_id for roi in rois if isinstance(roi.roi_id, int)), default=0)
