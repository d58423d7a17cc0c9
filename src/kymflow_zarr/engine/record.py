"""One image of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kymflow_zarr.engine import seam
from kymflow_zarr.engine.documents import load_image, utc_now
from kymflow_zarr.engine.images.pixels import load_pixels, open_pixels, replace_pixels
from kymflow_zarr.engine.record_curation import RecordCuration
from kymflow_zarr.engine.record_rois import RecordRois
from kymflow_zarr.engine.record_views import RecordViews
from kymflow_zarr.errors import (
    ArgumentError,
    CorruptDataError,
    MetadataNotFoundError,
    StorageError,
)
from kymflow_zarr.formats.array.write import as_array
from kymflow_zarr.types import Axis, ImageBounds

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np
    import zarr

    from kymflow_zarr.engine.verify_reports import VerifyLevel, VerifyReport
    from kymflow_zarr.schema.image import ImageDocument, PixelsDocument, SourceFileDocument
    from kymflow_zarr.schema.ome import ChannelWindow


class StoredImage(RecordRois, RecordCuration, RecordViews):
    """One image: its pixels, its metadata and what was made of it.

    Records come from :meth:`OpenDataset.add_image`, :meth:`OpenDataset.record` and
    iteration. A record is a handle: it reads from the dataset each time it is asked, and so
    sees what other programs have changed. Every method raises
    :class:`~kymflow_zarr.errors.RecordNotFoundError` (a KeyError) once the image is deleted,
    and every method that writes raises :class:`~kymflow_zarr.errors.ReadOnlyError` (a
    PermissionError) where the dataset was opened with mode ``"r"``.

    Attributes
    ----------
    image_id : str
    """

    def __repr__(self) -> str:
        document = self._document()
        axes = ", ".join(map(_describe, document.axis_values()))
        artifacts = len(list(self.list_artifacts())) + len(self.list_array_artifacts())
        return (
            f"<StoredImage {self.image_id!r}: {document.pixels.dtype} "
            f"{tuple(document.pixels.shape)}, axes {axes}, {artifacts} artifacts>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredImage):
            return NotImplemented
        return (self.image_id, self._storage.root) == (other.image_id, other._storage.root)

    def __hash__(self) -> int:
        return hash((self.image_id, self._storage.root))

    def __reduce__(self) -> tuple[Any, ...]:
        from kymflow_zarr.engine.query.map import place_of, reopened_record

        return reopened_record, (*place_of(self._storage), self.image_id)

    # What it is ------------------------------------------------------------------------

    def _document(self) -> ImageDocument:
        return load_image(self._storage, self.image_id)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        return tuple(self._document().pixels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the pixels, in native byte order."""
        import numpy as np

        return np.dtype(self._document().pixels.dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the pixels."""
        return len(self._document().pixels.shape)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The true axes with their calibration, one for each dimension."""
        return self._document().axis_values()

    def get_axes(self) -> list[str]:
        """Return the names of the axes, one for each dimension."""
        return [axis.name for axis in self.axes]

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, None where nobody gave any."""
        return self._document().channel_names

    @property
    def created_utc(self) -> str:
        """When the image was added: ISO 8601, UTC."""
        return self._document().created_utc

    @property
    def updated_utc(self) -> str:
        """When its pixels were last written: ISO 8601, UTC."""
        return self._document().updated_utc

    @property
    def source(self) -> SourceFileDocument | None:
        """The file the image was ingested from (path, size, time, SHA-256), if it was."""
        return self._document().source

    @property
    def source_files(self) -> list[SourceFileDocument]:
        """All files that the image and what lies beside it were ingested from."""
        return self._document().source_files

    def list_earlier_artifacts(self) -> list[str]:
        """Return the keys, relative to the dataset, of artifacts made from earlier pixels.

        A refresh notes them when it replaces pixels; saving an artifact anew takes it off.
        """
        from kymflow_zarr.engine.images.update import digest_of_artifact

        earlier = self._document().earlier_artifacts
        return [
            f"{self._prefix}/{key}"
            for key, digest in sorted(earlier.items())
            if digest_of_artifact(self._storage, self._prefix, key) == digest
        ]

    def get_image_bounds(self) -> ImageBounds:
        """Return ``{"width", "height", "num_slices"}``, in pixels and planes.

        Width and height are the last two axes that are not channels; slices are the planes
        along ``z``, 1 where there is no such axis.
        """
        from kymflow_zarr.engine.rois.planes import ImagePlanes

        document = self._document()
        return ImagePlanes(document.axis_values(), tuple(document.pixels.shape)).bounds

    # Pixels ----------------------------------------------------------------------------

    def load_array(self, selection: object = ...) -> np.ndarray[Any, Any]:
        """Return the pixels, or a part of them.

        Parameters
        ----------
        selection : int, slice, Ellipsis, or a tuple of these, optional
            What stands between the brackets of a NumPy array, as ``np.s_[2, 0, :, 100:200]``.
            Only the chunks that it needs are read: a plane of a stack, or some lines of a
            kymograph, take a small part of the time that the whole image takes.

        Returns
        -------
        ndarray
            Of :attr:`dtype`. Of :attr:`shape`, without a selection; else of the shape that
            indexing the whole would give.

        Raises
        ------
        CorruptDataError
            If a stored file that is needed is missing or damaged.
        ArgumentError
            If there is no such part of the image (a ValueError).
        ArgumentTypeError
            If the selection is of another kind (a TypeError).

        Examples
        --------
        >>> import numpy as np
        >>> rec = OpenDataset("experiment.zarr").add_image(np.zeros((1000, 38), "uint16"))
        >>> rec.load_array(np.s_[200:300]).shape
        (100, 38)
        """
        return load_pixels(self._storage, self._prefix, lambda: self._document().pixels, selection)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return all pixels, so that ``np.asarray(record)`` has them.

        Raises
        ------
        ValueError
            If `copy` is False: pixels come from the disk.
        """
        if copy is False:
            raise ArgumentError("the pixels of a record cannot be had without a copy", where="copy")
        array = self.load_array()
        return array if dtype is None else array.astype(dtype, copy=False)

    def open_array(self) -> zarr.Array[Any]:
        """Return the pixels as a lazy, read-only :class:`zarr.Array`.

        It reads only what is indexed, as :meth:`load_array` with a selection does faster. To
        change pixels use :meth:`save_array`; an array opened before that goes on reading the old
        ones, until the replacement after or until the image is deleted.
        """
        while True:
            pixels = self._document().pixels
            try:
                return open_pixels(self._storage, self._prefix, pixels)
            except (StorageError, CorruptDataError):
                # Unless it was replaced since its document was read, it is broken.
                if self._document().pixels.path == pixels.path:
                    raise

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
        """Replace the pixels in one step; the old ones stay until the new ones are complete.

        Parameters
        ----------
        arr : array_like
            As for :meth:`OpenDataset.add_image`.
        axes, channel_names
            What was known of the old pixels is kept where the number of dimensions (of
            channels) is the same and nothing is given.
        chunks, line_period_s, pixel_size_um
            As for :meth:`OpenDataset.add_image`.

        Returns
        -------
        str
            Key of the array, relative to the dataset.

        Raises
        ------
        ArgumentError, UnsupportedDataError
            As for :meth:`OpenDataset.add_image`; the old pixels stay.
        """
        from kymflow_zarr.engine.images.draft import write_image
        from kymflow_zarr.schema.axes import calibrate, normalize_axes
        from kymflow_zarr.schema.image import AxisDocument
        from kymflow_zarr.schema.ome import ome_attributes

        self._storage.require_writable()
        array = as_array(arr, what="image")
        with self._changing() as change:
            old = self._document()
            ndim = len(array.shape)
            if axes is None and ndim == len(old.axes):
                axes = old.axis_values()
            true_axes = calibrate(
                normalize_axes(axes, ndim), line_period_s=line_period_s, pixel_size_um=pixel_size_um
            )
            names = self._channel_names(old, channel_names, true_axes, tuple(array.shape))
            windows: list[ChannelWindow] = []

            def write(generation: int, put: Any) -> PixelsDocument:
                pixels, found = write_image(
                    array, true_axes, names, generation=generation, chunks=chunks, write=put
                )
                windows.extend(found)
                return pixels

            old.pixels = new = replace_pixels(self._storage, change, "", old.pixels, write)
            old.axes = [AxisDocument.of(axis) for axis in true_axes]
            old.channel_names = names
            old.updated_utc = utc_now()
            ome = ome_attributes(true_axes, path=new.path, name=self.image_id, channels=windows)
            change.write_group("", old.to_group(ome=ome))
        return f"{self._prefix}/{new.path}"

    def _channel_names(
        self,
        old: ImageDocument,
        given: Sequence[str] | None,
        axes: tuple[Axis, ...],
        shape: tuple[int, ...],
    ) -> list[str] | None:
        from kymflow_zarr.engine.images.draft import check_channel_names
        from kymflow_zarr.schema.axes import channel_count

        if given is None and old.channel_names is not None:
            fits = len(old.channel_names) == channel_count(axes, shape)
            given = old.channel_names if fits else None
        return check_channel_names(given, axes, shape)

    # Metadata objects ------------------------------------------------------------------

    def save_metadata_objects(
        self, header: object = None, experiment: object = None, rois: object = None
    ) -> str:
        """Save the payload that three objects make up, and return its key.

        What the payload holds already and the objects do not speak of is kept, such as an
        acquisition time that a header class has no field for.

        Parameters
        ----------
        header, experiment : object, optional
            With `to_dict()`, a dataclass or a mapping. None keeps what is there.
        rois : object, optional
            With `to_list()`, or a sequence of the above. None keeps what is there.

        Raises
        ------
        ArgumentTypeError
            If one of them is none of these.
        """
        from kymflow_zarr.engine.images.payload import payload_of

        self._storage.require_writable()
        # Two programs that each save a part at once must both find theirs in the end.
        with self._storage.lock(f"image:{self.image_id}"):
            try:
                old = self.load_metadata_payload()
            except MetadataNotFoundError:
                old = {}
            return self.save_metadata_payload(payload_of(header, experiment, rois, old=old))

    def verify(
        self, *, level: VerifyLevel = "full", executor: Executor | None = None
    ) -> VerifyReport:
        """Hold every file of the image against its checksum; see :meth:`OpenDataset.verify`.

        Raises
        ------
        ArgumentError
            If the level is unknown.
        """
        root = self._storage.root
        return seam.check().verify_image(root, self.image_id, level=level, executor=executor)

    def load_metadata_objects(self) -> tuple[Any, Any, Any]:
        """Return header, experiment metadata and ROIs as objects of the package `kymflow`.

        Raises
        ------
        MissingDependencyError
            If `kymflow` cannot be imported (an ImportError).
        MetadataNotFoundError
            If the image has no payload.
        """
        return seam.adapters().load_metadata_objects(self)


def _describe(axis: Axis) -> str:
    if axis.step is None:
        return axis.name
    kind = f" ({axis.quantity})" if axis.name == "y" and axis.quantity == "time" else ""
    return f"{axis.name}{kind} {axis.step:.6g} {axis.unit or 'px'}"
