"""One image of a dataset as users see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.types import ArtifactInfo, ArtifactKind, Axis, ImageBounds, Level, StrPath

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np
    import pandas as pd
    import xarray as xr
    import zarr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kymflow_zarr.check.report import VerifyLevel, VerifyReport
    from kymflow_zarr.engine.curation.document import Curation, Edit
    from kymflow_zarr.engine.curation.editing import RecordEdit
    from kymflow_zarr.engine.results.reading import ReadingImage
    from kymflow_zarr.engine.results.result import Result, ResultInput
    from kymflow_zarr.engine.rois.planes import RoiStatistics
    from kymflow_zarr.engine.rois.values import KnownRoi, MaskRoi, Roi
    from kymflow_zarr.schema.image import SourceFileDocument

R = TypeVar("R")


class ZarrImageRecord:
    """One image: its pixels, its metadata and its artifacts.

    Records come from :meth:`ZarrDataset.add_image`, :meth:`ZarrDataset.record` and
    iteration. A record is a handle: it reads from the dataset on each access, and so sees
    changes by other programs. Every method raises
    :class:`~kymflow_zarr.errors.RecordNotFoundError` (a KeyError) once the image is deleted,
    and every method that writes raises :class:`~kymflow_zarr.errors.ReadOnlyError` (a
    PermissionError) if the dataset was opened with mode ``"r"``.

    Attributes
    ----------
    image_id : str
    """

    def __init__(self, image: StoredImage) -> None:
        self._image = image

    if not TYPE_CHECKING:  # Otherwise type checkers would accept any attribute.

        def __getattr__(self, name: str) -> Any:
            # A method of 0.1 that belongs to the engine; the next release removes it.
            if name == "stored_file":
                from kymflow_zarr.storage.local.storage import local_path

                image = self._image
                return lambda key: local_path(image.storage, f"{image.prefix}/{key}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def image_id(self) -> str:
        """Id of the image."""
        return self._image.image_id

    def __repr__(self) -> str:
        axes = ", ".join(map(_describe, self.axes))
        artifacts = len(self.list_artifacts()) + len(self.list_array_artifacts())
        return (
            f"<ZarrImageRecord {self.image_id!r}: {self.dtype} {self.shape}, axes {axes}, "
            f"{artifacts} artifacts>"
        )

    def __eq__(self, other: object) -> bool:
        return self._image == other._image if isinstance(other, ZarrImageRecord) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._image)

    def _repr_html_(self) -> str:
        from kymflow_zarr.views.html import record_html

        return record_html(self._image)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        return self._image.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the pixels, in native byte order."""
        return self._image.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the pixels."""
        return self._image.ndim

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The true axes with their calibration, one per dimension."""
        return self._image.axes

    def get_axes(self) -> list[str]:
        """Return the names of the axes, one per dimension."""
        return self._image.get_axes()

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, None if not set."""
        return self._image.channel_names

    @property
    def created_utc(self) -> str:
        """When the image was added: ISO 8601, UTC."""
        return self._image.created_utc

    @property
    def updated_utc(self) -> str:
        """When its pixels were last written: ISO 8601, UTC."""
        return self._image.updated_utc

    @property
    def source(self) -> SourceFileDocument | None:
        """The file that the image was ingested from (path, size, time, SHA-256), None if none."""
        return self._image.source

    @property
    def source_files(self) -> list[SourceFileDocument]:
        """All files that the image and its artifacts were ingested from."""
        return self._image.source_files

    def list_earlier_artifacts(self) -> list[str]:
        """Return the keys, relative to the dataset, of artifacts computed from earlier pixels.

        A refresh lists them when it replaces pixels; saving an artifact again removes it.
        """
        return self._image.list_earlier_artifacts()

    def times_s(self, axis: str | None = None) -> np.ndarray[Any, Any] | None:
        """Return the time of each frame or line, in seconds.

        Where the times are not regular, they are those that the microscope's file states, kept in
        the array artifact ``axis_times/<axis>``; else multiples of the step of the axis. For
        an image of one's own, ``save_array_artifact("axis_times/t", times)`` sets them.

        Parameters
        ----------
        axis : str, optional
            Name of an axis of time; the last one by default.

        Returns
        -------
        ndarray of float64, shape (n,), or None
            None if no axis is time, or its step is not known in a unit of time.

        Raises
        ------
        ArgumentError
            If there is no such axis of time.
        SchemaValidationError
            If the times that are kept do not fit the axis.
        """
        from kymflow_zarr.engine.images.times import times_s

        return times_s(self._image, axis)

    def get_image_bounds(self) -> ImageBounds:
        """Return ``{"width", "height", "num_slices"}``, in pixels and planes.

        Width and height are the last two axes that are not channels; slices are the planes
        along ``z``, 1 without such an axis.
        """
        return self._image.get_image_bounds()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the pixels: the full resolution, then smaller versions of it.

        Images with planes of more than 4,194,304 (2**22) pixels have them, each with a quarter of
        the pixels of the one before, until a plane has at most 2,097,152 (2**21). Each pixel is the
        mean of four (rounded half to even; those that are NaN are left out). Images that were added
        by earlier versions have the first only until :meth:`ZarrDataset.build_pyramids`.

        Examples
        --------
        >>> import numpy as np
        >>> rec = ZarrDataset("experiment.zarr").add_image(np.zeros((40_000, 300), "uint16"))
        >>> [level.shape for level in rec.levels]
        [(40000, 300), (10000, 300), (2500, 300)]
        >>> rec.load_array(level=2).shape
        (2500, 300)
        """
        return self._image.levels

    def load_array(self, selection: object = ..., *, level: int = 0) -> np.ndarray[Any, Any]:
        """Return the pixels, or a selection of them.

        Parameters
        ----------
        selection : int, slice, Ellipsis, or a tuple of these, optional
            A NumPy basic index, such as ``np.s_[2, 0, :, 100:200]``. Only the chunks that it
            needs are read: a plane of a stack, or some lines of a kymograph, take a small part
            of the time of the whole image.
        level : int, optional
            A position in :attr:`levels`; the selection is one of that level's array.

        Returns
        -------
        ndarray
            With :attr:`dtype`. Its shape is that of the level, or with a selection that of the
            indexed array.

        Raises
        ------
        CorruptDataError
            If a stored file that is needed is missing or damaged.
        ArgumentError
            If the selection is out of bounds, or there is no such level (a ValueError).
        ArgumentTypeError
            If the selection has another type (a TypeError).

        Examples
        --------
        >>> import numpy as np
        >>> rec = ZarrDataset("experiment.zarr").add_image(np.zeros((1000, 38), "uint16"))
        >>> rec.load_array(np.s_[200:300]).shape
        (100, 38)
        """
        return self._image.load_array(selection, level=level)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return all pixels, for ``np.asarray(record)``.

        Raises
        ------
        ValueError
            If `copy` is False, since pixels are read from disk.
        """
        return self._image.__array__(dtype, copy)

    def open_array(self, *, level: int = 0) -> zarr.Array[Any]:
        """Return the pixels, or one of their :attr:`levels`, as a lazy :class:`zarr.Array`.

        It reads only what is indexed, and keeps up to 8 MiB of decoded chunks: open it once to
        page through an image. For a single part :meth:`load_array` with a selection is faster.
        To change pixels use :meth:`save_array`. An array that was opened before continues to
        read the old pixels until they are replaced once more or the image is deleted.
        """
        return self._image.open_array(level=level)

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
        """Replace the pixels atomically: readers see either the old ones or the new ones.

        Parameters
        ----------
        arr : array_like
            As for :meth:`ZarrDataset.add_image`.
        axes, channel_names
            If left out, those of the old pixels, if the number of dimensions (of channels) is
            the same.
        chunks, line_period_s, pixel_size_um
            As for :meth:`ZarrDataset.add_image`.

        Returns
        -------
        str
            Key of the array, relative to the dataset.

        Raises
        ------
        ArgumentError, UnsupportedDataError
            As for :meth:`ZarrDataset.add_image`; the old pixels stay.
        """
        return self._image.save_array(
            arr,
            axes=axes,
            chunks=chunks,
            channel_names=channel_names,
            line_period_s=line_period_s,
            pixel_size_um=pixel_size_um,
        )

    def save_metadata_objects(
        self, header: object = None, experiment: object = None, rois: object = None
    ) -> str:
        """Save the payload composed of three objects, and return its key.

        Other keys of an existing payload are kept, such as an acquisition time for which a
        header class has no field.

        Parameters
        ----------
        header, experiment : object, optional
            An object with `to_dict()`, a dataclass or a mapping. None keeps the section.
        rois : object, optional
            An object with `to_list()`, or a sequence of the above. None keeps the section.

        Raises
        ------
        ArgumentTypeError
            If an object is none of these.
        """
        return self._image.save_metadata_objects(header, experiment, rois)

    def verify(
        self, *, level: VerifyLevel = "full", executor: Executor | None = None
    ) -> VerifyReport:
        """Check every file of the image against its checksum; see :meth:`ZarrDataset.verify`.

        Raises
        ------
        ArgumentError
            If the level is unknown.
        """
        from kymflow_zarr.check.verify.dataset import verify_image

        return verify_image(self._image.storage, self.image_id, level=level, executor=executor)

    def load_metadata_objects(self) -> tuple[Any, Any, Any]:
        """Return header, experiment metadata and ROIs as objects of the package `kymflow`.

        Raises
        ------
        MissingDependencyError
            If `kymflow` cannot be imported (an ImportError).
        MetadataNotFoundError
            If the image has no payload.
        """
        from kymflow_zarr.adapters.kymflow import load_metadata_objects

        return load_metadata_objects(self._image)

    # Artifacts

    def save_json(self, name: str, obj: Any) -> str:
        """Save a JSON artifact.

        Parameters
        ----------
        name : str
            Any Unicode; ``/`` nests names.
        obj : object
            Nested dicts and lists of None, bool, int, float (NaN and infinities too), str,
            bytes, dates, times, paths, dataclasses, NumPy scalars and arrays. Tuples come
            back as lists, dataclasses as dicts and enums as their values; everything else
            comes back equal.

        Returns
        -------
        str
            Key of the artifact, relative to the dataset, ending in ``.json``.

        Raises
        ------
        UnsupportedDataError
            If a part of `obj` cannot be stored; names the place. Nothing is written.
        InvalidNameError
            If the name is not valid on every file system.
        """
        return self._image.save_json(name, obj)

    def load_json(self, name: str) -> Any:
        """Return a JSON artifact.

        Raises
        ------
        ArtifactNotFoundError
            If there is none of that name (a KeyError).
        CorruptDataError
            If its file is damaged.
        """
        return self._image.load_json(name)

    def save_df_parquet(self, name: str, df: pd.DataFrame) -> str:
        """Save a data frame as Parquet and return its key, ending in ``.parquet``.

        Index, dtypes, column order and missing values come back equal.

        Raises
        ------
        UnsupportedDataError
            If Parquet cannot store a column (complex, mixed objects); names it. Nothing is
            written.
        InvalidNameError
            If the name is not valid on every file system.
        """
        return self._image.save_df_parquet(name, df)

    def load_df_parquet(self, name: str) -> pd.DataFrame:
        """Return a data frame saved with :meth:`save_df_parquet`; errors as `load_json`."""
        return self._image.load_df_parquet(name)

    def save_df_csv_gz(self, name: str, df: pd.DataFrame) -> str:
        """Save a data frame as gzipped CSV and return its key, ending in ``.csv.gz``.

        For programs that cannot read Parquet; dtypes are stored in the gzip header. Errors as
        for :meth:`save_df_parquet`, which supports more types and is smaller.
        """
        return self._image.save_df_csv_gz(name, df)

    def load_df_csv_gz(self, name: str) -> pd.DataFrame:
        """Return a data frame saved with :meth:`save_df_csv_gz`; errors as `load_json`."""
        return self._image.load_df_csv_gz(name)

    def save_artifact(self, name: str, value: Any, kind: ArtifactKind) -> str:
        """Save an artifact of any kind, replacing one of that kind and name.

        `save_json`, `save_df_parquet` and `save_df_csv_gz` do the same, each for its kind.

        Parameters
        ----------
        name : str
            Name, which may nest with ``/``.
        value : object
            What the kind holds: JSON values or a :class:`pandas.DataFrame`.
        kind : {"json", "parquet", "csv_gz"}

        Returns
        -------
        str
            The key of its file, relative to the dataset.

        Raises
        ------
        ArgumentError
            If there is no such kind (a ValueError).
        UnsupportedDataError
            If the value would not come back equal.
        """
        return self._image.save_artifact(name, value, kind)

    def load_artifact(self, name: str, kind: ArtifactKind | None = None) -> Any:
        """Return an artifact of any kind.

        Parameters
        ----------
        name : str
        kind : {"json", "parquet", "csv_gz"}, optional
            Needed where artifacts of several kinds have the name.

        Raises
        ------
        ArtifactNotFoundError
            If there is none of that name and kind (a KeyError).
        ArgumentError
            If there are several, or there is no such kind (a ValueError).
        CorruptDataError
            If its file is damaged.
        """
        return self._image.load_artifact(name, kind)

    def list_artifacts(self) -> list[ArtifactInfo]:
        """Return name, kind, key and size of each JSON and data-frame artifact."""
        return self._image.list_artifacts()

    def list_analysis_keys(self) -> list[str]:
        """Return the keys, relative to the dataset, of the JSON and data-frame artifacts."""
        return self._image.list_analysis_keys()

    def delete_analysis(self, suffixes: str | Iterable[str] | None = None) -> int:
        """Delete JSON and data-frame artifacts and return their number.

        Parameters
        ----------
        suffixes : str or iterable of str, optional
            Ends of keys or names (``".parquet"``, ``"velocity_events/events"``). None
            deletes all but the metadata payload, the provenance and the curation, which are
            deleted only by name (``"metadata.json"``, ``"provenance"``).
        """
        return self._image.delete_analysis(suffixes)

    def save_array_artifact(
        self,
        name: str,
        arr: object,
        *,
        axes: Sequence[str] | None = None,
        chunks: int | Sequence[int] | None = None,
    ) -> str:
        """Save an N-D array, such as a mask, beside the image, replacing one of that name.

        Parameters
        ----------
        name : str
            Any Unicode, including ``/``.
        arr : array_like
            Any shape; dtypes as for :meth:`ZarrDataset.add_image`.
        axes : sequence of str, optional
            One name per dimension.
        chunks : int or sequence of int, optional
            Shape of a chunk.

        Returns
        -------
        str
            Key of the array artifact's group, relative to the dataset.

        Raises
        ------
        UnsupportedDataError
            If Zarr does not support the dtype.
        ArgumentError
            If axes or chunks do not fit; nothing is written.
        """
        return self._image.save_array_artifact(name, arr, axes=axes, chunks=chunks)

    def save_labels(self, name: str, labels: object) -> str:
        """Save a label image, such as segmented cells, that OME-Zarr viewers lay over the image.

        It is stored as OME-Zarr has labels, and is the array artifact ``labels/<name>`` too, which
        it replaces. Large ones get levels, each value the most frequent of four.

        Parameters
        ----------
        name : str
        labels : array_like
            Whole numbers, 0 where there is no object, of the shape of the image without its
            channels, or of its stack or plane. Bool is stored as uint8.

        Returns
        -------
        str
            Its key, relative to the dataset.

        Raises
        ------
        UnsupportedDataError
            If they are no whole numbers, have another shape, or OME-Zarr cannot express the image.
        InvalidNameError
            If the name is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> rec = ZarrDataset("experiment.zarr").add_image(np.zeros((64, 48), "uint16"))
        >>> cells = np.zeros((64, 48), "int32")
        >>> cells[10:20, 5:15] = 1
        >>> _ = rec.save_labels("cells", cells)
        >>> rec.list_labels()
        ['cells']
        """
        return self._image.save_labels(name, labels)

    def save_roi_labels(self, name: str = "regions") -> str:
        """Draw the regions into a label image of the plane and save it; return its key.

        Each pixel has the ``roi_id`` of the last region that covers it, 0 where there is none.
        Regions of all channels and planes of a stack are drawn. The labels do not follow later
        changes of the regions.

        Raises
        ------
        UnsupportedDataError
            If an id is not 1 to 2147483647; otherwise as for :meth:`save_labels`.
        """
        return self._image.save_roi_labels(name)

    def load_labels(self, name: str) -> np.ndarray[Any, Any]:
        """Return a label image; errors as `load_array_artifact`."""
        return self._image.load_labels(name)

    def list_labels(self) -> list[str]:
        """Return the names of the label images, sorted."""
        return self._image.list_labels()

    def delete_labels(self, name: str) -> None:
        """Delete a label image; raise KeyError if there is none of that name."""
        self._image.delete_labels(name)

    def load_array_artifact(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array artifact; errors as `load_json` and `load_array`."""
        return self._image.load_array_artifact(name)

    def open_array_artifact(self, name: str) -> zarr.Array[Any]:
        """Return an array artifact as a lazy, read-only :class:`zarr.Array`.

        It reads only what is indexed; errors as `load_array_artifact`.
        """
        return self._image.open_array_artifact(name)

    def list_array_artifacts(self) -> list[str]:
        """Return the names of the array artifacts, sorted."""
        return self._image.list_array_artifacts()

    def delete_array_artifact(self, name: str) -> None:
        """Delete an array artifact; raise KeyError if there is none of that name."""
        return self._image.delete_array_artifact(name)

    def save_metadata_payload(self, payload: Mapping[str, Any]) -> str:
        """Save the canonical metadata payload and return its key.

        Parameters
        ----------
        payload : mapping
            ``version``, ``header``, ``experiment_metadata``, ``rois``; other keys are kept.

        Raises
        ------
        ArgumentTypeError
            If it is not a mapping.
        UnsupportedDataError
            As for :meth:`save_json`.
        """
        return self._image.save_metadata_payload(payload)

    def load_metadata_payload(self) -> dict[str, Any]:
        """Return the canonical metadata payload.

        Raises
        ------
        MetadataNotFoundError
            If the image has none (a FileNotFoundError).
        """
        return self._image.load_metadata_payload()

    # Regions

    def load_rois(self) -> list[Roi]:
        """Return the regions of the image, in the order of the metadata payload.

        Older forms are read as well. An image without a payload has no regions. A region of
        an unknown kind, or a damaged one, is an ``UnknownRoi``: its ``roi_type`` is
        ``"unknown"``, its ``error`` says what is wrong, its ``raw`` is its value in the
        payload, and `save_rois` writes that back unchanged.

        Raises
        ------
        SchemaValidationError
            If the regions in the payload are not a list.
        """
        return self._image.load_rois()

    def save_rois(self, rois: Iterable[Roi]) -> str:
        """Replace the regions in the metadata payload and return the payload's key.

        Everything else in the payload stays; an image without one gets one.

        Parameters
        ----------
        rois : iterable of regions
            All regions of the image, of any kind; an UnknownRoi is written back unchanged.

        Raises
        ------
        ArgumentTypeError
            If a value is not a region.
        ArgumentError
            If a region extends beyond the image, if its mask does not exist or does not have
            the shape of the plane, or if two have the same id; names the region and the field.
        """
        return self._image.save_rois(rois)

    def ingest_rois(self, path: StrPath) -> list[Roi]:
        """Add the regions of a ``.roi`` or ``.zip`` file of ImageJ, with the next free ids.

        Needs the extra ``rois``. Rectangles, ovals, lines, polylines, polygons and points become
        regions of these kinds. Others, such as composites, are kept as they are: they are an
        ``UnknownRoi``, and `export_rois` writes them back.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        list of regions
            Those that were added.

        Raises
        ------
        SourceNotFoundError
            If there is no such file.
        SourceFileError
            If it is not a file of regions.
        ArgumentError
            If a region extends beyond the image; names the region and the field.
        MissingDependencyError
            If roifile is not installed.
        """
        return self._image.ingest_rois(path)

    def export_rois(self, path: StrPath, *, rois: Iterable[Roi] | None = None) -> None:
        """Write regions to a new ``.zip`` file that ImageJ opens in its ROI Manager.

        Needs the extra ``rois``. A mask is written as a composite.

        Parameters
        ----------
        path : str or Path
            Must not exist.
        rois : iterable of regions, optional
            All regions of the image by default.

        Raises
        ------
        TargetExistsError
            If the path exists (a FileExistsError).
        UnsupportedDataError
            If a region is of an unknown kind.
        MissingDependencyError
            If roifile is not installed.
        """
        self._image.export_rois(path, rois=rois)

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
        """Save a mask as an array artifact and add its region to the payload.

        Parameters
        ----------
        name : str
            Name of the array artifact and of the region. A mask of that name is replaced: its
            region keeps its id and gets the next revision number.
        mask : array_like of bool or int
            Shape of the plane, (height, width); true, or not 0, inside. It is stored as bool.
        roi_id : int, optional
            None takes the id of the replaced region, or the next free one.
        note : str, optional
        channel : int, optional
            From 1.
        z : int, optional
            Plane along ``z``, from 0.

        Returns
        -------
        MaskRoi

        Raises
        ------
        UnsupportedDataError
            If the mask is neither bool nor integer.
        ArgumentError
            If it does not have the shape of the plane, if channel or plane do not exist, or if
            another region has the id. Nothing is written.
        """
        return self._image.save_mask(name, mask, roi_id=roi_id, note=note, channel=channel, z=z)

    def roi_pixels(
        self,
        roi: KnownRoi,
        *,
        channel: int | Literal["all"] | None = None,
        z: int | Literal["all"] | None = None,
        at: Mapping[str, int] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Return the pixels of a region, reading only the part of the image that it covers.

        Parameters
        ----------
        roi : region of a known kind
        channel : int or "all", optional
            From 1; that of the region by default.
        z : int or "all", optional
            Plane along ``z``, from 0; that of the region by default.
        at : mapping of str to int, optional
            Positions along other axes, from 0, such as ``{"t": 3}``; all if left out.

        Returns
        -------
        numpy.ndarray
            With the dtype of the image. For a rectangle, rows and columns are the last two axes,
            preceded, in the image's order, by the axes along which all positions are selected.
            For a mask, a polygon or an ellipse, the pixels inside it, row by row, are along the
            last axis; for a line, one pixel for each step from its start to its end; for points,
            the pixel that each lies in.

        Raises
        ------
        ArgumentError
            If the region or an argument lies outside of the image; names the field.
        ArtifactNotFoundError
            If the mask does not exist.
        """
        return self._image.roi_pixels(roi, channel=channel, z=z, at=at)

    def roi_statistics(
        self,
        roi: KnownRoi,
        *,
        channel: int | Literal["all"] | None = None,
        z: int | Literal["all"] | None = None,
        at: Mapping[str, int] | None = None,
    ) -> RoiStatistics:
        """Return the statistics of the pixels of a region, over all selected planes together.

        Pixels that are NaN or infinite are ignored. One plane is in memory at a time.

        Parameters
        ----------
        roi, channel, z, at
            As for :meth:`roi_pixels`.

        Raises
        ------
        UnsupportedDataError
            If the pixels are complex.
        ArgumentError, ArtifactNotFoundError
            As for :meth:`roi_pixels`.
        """
        return self._image.roi_statistics(roi, channel=channel, z=z, at=at)

    def roi_statistics_by_plane(
        self,
        roi: KnownRoi,
        *,
        channel: int | Literal["all"] | None = "all",
        z: int | Literal["all"] | None = "all",
        at: Mapping[str, int] | None = None,
    ) -> list[RoiStatistics]:
        """Return the statistics of a region for each channel and plane separately.

        Parameters
        ----------
        roi, channel, z, at
            As for :meth:`roi_pixels`, but all channels and planes by default; None takes that
            of the region.

        Returns
        -------
        list of RoiStatistics
            In the order of the pixels; `channel`, `z` and `at` identify the plane.

        Raises
        ------
        UnsupportedDataError, ArgumentError, ArtifactNotFoundError
            As for :meth:`roi_statistics`.
        """
        return self._image.roi_statistics_by_plane(roi, channel=channel, z=z, at=at)

    # Curation

    @property
    def revision(self) -> str:
        """Digest, 64 hexadecimal digits, that changes when anything in the image changes.

        It is the SHA-256 of the image's list of checksums, which each write of this package
        updates. For an image without one, which another program wrote, it is computed from
        names, sizes and times of the files.
        """
        return self._image.revision

    def curation(self) -> Curation:
        """Return the verdict, the note and the history of edits.

        Raises
        ------
        FormatVersionError
            If a newer version of this package wrote them.
        SchemaValidationError
            If they are damaged.
        """
        return self._image.curation()

    def edit(
        self, who: str | None = None, expect: str | None = None
    ) -> AbstractContextManager[RecordEdit]:
        """Change verdict, note, regions and event types in one step.

        The image stays locked while the block runs. At its end all changes are written as one
        commit and one entry of the history; nothing is written if the block raises or no value
        changed.

        Parameters
        ----------
        who : str, optional
            Name for the history; the user of the operating system if left out.
        expect : str, optional
            The :attr:`revision` that the changes are based on.

        Yields
        ------
        RecordEdit

        Raises
        ------
        EditConflictError
            If the image has another revision, or was written to in another way inside the
            block. Nothing is written.
        ReadOnlyError
            If the dataset was opened with mode ``"r"``.
        """
        return self._image.edit(who, expect)

    def undo(
        self, edit_id: str | None = None, *, who: str | None = None, expect: str | None = None
    ) -> Edit:
        """Undo an edit; the undo becomes an entry of the history, too.

        Parameters
        ----------
        edit_id : str, optional
            Any edit, including an undo. If left out, the last edit that is neither an undo nor
            undone.
        who, expect : str, optional
            As for :meth:`edit`.

        Returns
        -------
        Edit
            The new entry.

        Raises
        ------
        ArgumentError
            If there is no such edit, or it is undone already.
        EditConflictError
            If a value that it changed has changed since; names it. Nothing is written.
        """
        return self._image.undo(edit_id, who=who, expect=expect)

    # Results

    def save_result(
        self,
        name: str,
        value: Any,
        *,
        params: Mapping[str, Any] | None = None,
        program: str = "",
        version: str = "",
        inputs: Iterable[str | Mapping[str, Any]] | ZarrImageRecord | None = None,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
        error: str | None = None,
        seconds: float | None = None,
        keep: int = 0,
    ) -> Result:
        """Save a value that another program computed, with what it was made by and of.

        Value and lineage are written in one step. A result of the same name, region, channel
        and variant is replaced.

        Parameters
        ----------
        name : str
            Name of the result; ``/`` nests. The value is the artifact of that name.
        value : DataFrame, ndarray, or what :meth:`save_json` takes
            None where nothing was found: computed and empty is not the same as never computed.
        params : mapping, optional
            Parameters with names of text, and values of JSON or NumPy scalars.
        program, version : str
            What computed it.
        inputs : iterable or ZarrImageRecord, optional
            What it was made of: a record from :meth:`reading`, or texts ``"pixels"``,
            ``"region:<id>"``, ``"metadata:<JSON Pointer>"``, ``"artifact:<name>"``,
            ``"property:axes"``, ``"curation:verdict"``, ``"result:<name>"``,
            ``"table:<name>"``. Mappings with `kind`, `key` and `sha256` give the digest that
            an input had when it was read. The pixels if left out.
        roi : int, optional
            Id of the region that it belongs to, which is an input, too.
        channel : int, optional
            Channel that it belongs to, from 1.
        variant : str, optional
            A name, to keep the same analysis with other parameters beside this one.
        error : str, optional
            Why computing it failed; there is no value then.
        seconds : float, optional
            How long it took.
        keep : int
            Number of replaced results to keep in the history.

        Raises
        ------
        UnsupportedDataError
            If a parameter has no canonical JSON or the value cannot be stored; names it (a
            ValueError).
        ArgumentError
            If an input is not known, or a name or number is not valid.
        """
        given: Iterable[Any] | None
        if isinstance(inputs, ReadingRecord):
            given = inputs.inputs
        elif isinstance(inputs, ZarrImageRecord):
            raise ArgumentError(
                "this record does not remember what was read",
                where="inputs",
                hint="reading() returns one that does.",
            )
        else:
            given = inputs
        return self._image.save_result(
            name, value, params=params, program=program, version=version, inputs=given, roi=roi,
            channel=channel, variant=variant, error=error, seconds=seconds, keep=keep,
        )  # fmt: skip

    def reading(self) -> ReadingRecord:
        """Return a record that remembers what is read of it, for :meth:`save_result`."""
        from kymflow_zarr.engine.results.reading import ReadingImage

        return ReadingRecord(ReadingImage(self._image.storage, self.image_id))

    def result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> Result:
        """Return a result: of its variants the one that counts, unless one is named.

        Raises
        ------
        ArtifactNotFoundError
            If there is none (a KeyError).
        ArgumentError
            If there are several, of different regions or channels; names them.
        """
        return self._image.result(name, roi=roi, channel=channel, variant=variant)

    def results(self, name: str | None = None) -> list[Result]:
        """Return all results, or those of one name, in the order they were first saved."""
        return self._image.results(name)

    def explain(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> str:
        """Return what a result was made by and made of, as a tree of lines.

        It goes down to the source files with their digests. Parameters and errors are as for
        :meth:`result`.
        """
        return self._image.explain(name, roi=roi, channel=channel, variant=variant)

    def choose_result(
        self,
        name: str,
        *,
        variant: str | None,
        roi: int | None = None,
        channel: int | None = None,
    ) -> None:
        """Mark a variant of a result as the one that counts; None is the one without a name.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such variant (a KeyError).
        """
        self._image.choose_result(name, variant=variant, roi=roi, channel=channel)

    def accept_result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
        who: str | None = None,
    ) -> None:
        """Take a result as it is: it is out of date only if something changes from now on.

        Parameters
        ----------
        name, roi, channel, variant
            As for :meth:`result`.
        who : str, optional
            Name of the person; that of the operating system's user if left out.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such result (a KeyError).
        ArgumentError
            If its computation failed.
        """
        self._image.accept_result(name, roi=roi, channel=channel, variant=variant, who=who)

    def delete_result(
        self,
        name: str,
        *,
        roi: int | None = None,
        channel: int | None = None,
        variant: str | None = None,
    ) -> None:
        """Delete a result with its value and its history; errors as for :meth:`result`."""
        self._image.delete_result(name, roi=roi, channel=channel, variant=variant)

    # Views

    def plot(
        self,
        ax: Axes | None = None,
        *,
        t: int = 0,
        z: int = 0,
        channel: int | str = 1,
        at: Mapping[str, int] | None = None,
        cmap: str = "gray",
        vmin: float | Sequence[float] | None = None,
        vmax: float | Sequence[float] | None = None,
        rois: bool = True,
        scale_bar: bool = False,
    ) -> Axes:
        """Plot one plane with matplotlib, with axes in real units.

        Times are in seconds and lengths in micrometers; an uncalibrated axis counts lines or
        pixels. A kymograph has time along x. The first sample extends from 0 to one step, and
        space runs downwards. A large image is drawn from the smallest of its :attr:`levels` that
        has 4096 samples along each axis, or all of a shorter one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The axes to plot into; a new figure if left out.
        t, z : int
            Time point and plane along ``z``, from 0, for images with such an axis beyond the
            plane.
        channel : int or str
            From 1, or its name. ``"all"`` draws up to four over each other in the colors of the
            page, and a picture of red, green and blue as it is.
        at : mapping of str to int, optional
            Positions along other axes, from 0.
        cmap : str
            A matplotlib color map.
        vmin, vmax : float or sequence of float, optional
            Intensities at the ends of the color map; the 0.5th and 99.5th percentile if left
            out. With several channels a sequence has one for each.
        rois : bool
            Draw the regions of this channel and plane.
        scale_bar : bool
            Draw a scale bar along x, if x is calibrated.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ArgumentError
            If the image has no such plane; names the axis.
        MissingDependencyError
            If matplotlib is not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.views.plot import plot

        return plot(
            self._image,
            ax,
            t=t,
            z=z,
            channel=channel,
            at=at,
            cmap=cmap,
            vmin=vmin,
            vmax=vmax,
            rois=rois,
            scale_bar=scale_bar,
        )

    def plot_events(
        self,
        *,
        velocity: str = "velocity",
        events: str = "velocity_events/events",
        column: str = "velocity_mm_s",
        roi_id: int | None = None,
        channel: int | None = None,
        cmap: str = "gray",
        figsize: tuple[float, float] = (10.0, 5.0),
    ) -> Figure:
        """Plot a kymograph and, below it, its velocity with events on the same time axis.

        Parameters
        ----------
        velocity : str
            Data frame with ``time_s`` and `column`; plotted as one line per ``roi_id`` and
            ``channel``.
        events : str
            Data frame with ``t_start_s``, in seconds. An event is a bar if ``t_end_s`` is
            known, else a line, colored by ``event_type``. The image may lack this artifact.
        column : str
            The column to plot over time.
        roi_id, channel : int, optional
            Only that region, or channel (from 1); all if left out.
        cmap : str
            Color map of the kymograph.
        figsize : tuple of float
            Width and height in inches.

        Returns
        -------
        matplotlib.figure.Figure
            Its first axes hold the kymograph, its second the velocity.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such velocity (a KeyError).
        ArgumentError
            If the image is not a kymograph with calibrated time, or a column is missing.
        MissingDependencyError
            If matplotlib is not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.views.plot import plot_events

        return plot_events(
            self._image,
            velocity=velocity,
            events=events,
            column=column,
            roi_id=roi_id,
            channel=channel,
            cmap=cmap,
            figsize=figsize,
        )

    def to_xarray(self) -> xr.DataArray:
        """Return the image as an xarray.DataArray.

        Dimensions have the names of the axes. An axis with a known step has a coordinate that
        starts at 0, with its unit in ``attrs["units"]``; that of channels has their names. If
        dask is installed the pixels are lazy, in dask's configured block size; else they are
        read.

        Returns
        -------
        xarray.DataArray
            With shape and dtype of the image; ``attrs`` hold ``image_id`` and ``quantities``,
            the quantity of each axis.

        Raises
        ------
        MissingDependencyError
            If xarray is not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.views.xarray import to_xarray

        return to_xarray(self._image)

    def thumbnail(self, size: int = 256) -> bytes:
        """Return a small picture of all of the image as PNG.

        It shows the first time point and the middle of a stack. An RGB picture has its colors,
        and up to four other channels are drawn as tints over each other, with a contrast each.
        A kymograph has time to the right and is twice as
        wide as high. If the dataset is writable, a thumbnail of 256 pixels is cached with the
        index, and drawn again when the pixels or the axes have changed.

        Parameters
        ----------
        size : int
            Length of the longer side in pixels, 1 to 2048.

        Raises
        ------
        ArgumentError
            If the size is out of range.
        UnsupportedDataError
            If the image has no pixels.
        LimitExceededError
            If a chunk of it takes more than 64 MiB.
        CorruptDataError
            If a stored file is missing or damaged.
        """
        from kymflow_zarr.views.overview import thumbnail

        return thumbnail(self._image, size)

    def export_tiff(self, path: StrPath) -> None:
        """Write the image as a TIFF file that Fiji opens with its axes and calibration.

        Parameters
        ----------
        path : str or Path
            A new file. It appears when it is complete. A name that ends in ``.ome.tif`` or
            ``.ome.tiff`` asks for an OME-TIFF, which tells names and colors of channels,
            calibration, and the time of each frame.

        Raises
        ------
        TargetExistsError
            If the path exists and is not this same TIFF (a FileExistsError).
        UnsupportedDataError
            If the image has no pixels, or OME-TIFF is asked for and cannot express it: a line
            scan, whose rows are times, or a dtype such as float16 or int64.
        CorruptDataError
            If a stored file is missing or damaged; no file is left at `path`.
        """
        from kymflow_zarr.export.tiff.write import export_tiff

        export_tiff(self._image, path)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk, the unit of compression, in pixels."""
        return self._image.chunks

    @property
    def pixels_sha256(self) -> str:
        """SHA-256 of the stored pixels, as the format defines it."""
        return self._image.pixels_sha256


class ReadingRecord(ZarrImageRecord):
    """A record that remembers what is read of it, and changes nothing.

    Functions of :meth:`ZarrDataset.compute` get one. :meth:`ZarrImageRecord.reading` returns one
    for programs that save results on their own.
    """

    _image: ReadingImage

    def load_table(self, name: str) -> pd.DataFrame:
        """Return a table of the dataset, which becomes an input.

        Raises
        ------
        TableNotFoundError
            If there is none of that name (a FileNotFoundError).
        """
        return self._image.load_table(name)

    def reading(self) -> ReadingRecord:
        """Return the record itself, so that what it has remembered is not left behind."""
        return self

    @property
    def inputs(self) -> tuple[ResultInput, ...]:
        """What was read until now."""
        return self._image.result_inputs()

    def verify(
        self,
        *,
        level: VerifyLevel = "full",  # noqa: ARG002
        executor: Executor | None = None,  # noqa: ARG002
    ) -> VerifyReport:
        """Refuse: what the checks of files find is no input of a result."""
        raise ArgumentError(
            "a record that remembers what is read does not verify",
            hint="Call verify() of the record itself, before or after.",
        )


class OfRecord(Generic[R]):
    """A function of a record, callable with a stored image; it pickles if the function does."""

    def __init__(self, fn: Callable[..., R]) -> None:
        if not callable(fn):
            raise ArgumentTypeError(
                f"{fn!r} is no function. Pass one that takes a record, without calling it",
                where="fn",
            )
        self._fn = fn

    @property
    def program(self) -> str:
        """Module and name of the function, as ``"analysis:velocity"``."""
        fn: Any = self._fn
        while hasattr(fn, "func"):  # functools.partial
            fn = fn.func
        name = getattr(fn, "__qualname__", type(fn).__qualname__)
        return f"{getattr(fn, '__module__', '') or ''}:{name}"

    def __call__(self, image: StoredImage, **options: Any) -> R:
        """Call the function with the record of a stored image, and further keywords."""
        record = ReadingRecord if hasattr(image, "inputs") else ZarrImageRecord
        return self._fn(record(image), **options)


def _describe(axis: Axis) -> str:
    if axis.step is None:
        return axis.name
    kind = f" ({axis.quantity})" if axis.name == "y" and axis.quantity == "time" else ""
    return f"{axis.name}{kind} {axis.step:.6g} {axis.unit or 'px'}"
