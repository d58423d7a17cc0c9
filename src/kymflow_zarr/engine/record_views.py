"""How images and datasets show themselves, as methods of them. The viewer room does the work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kymflow_zarr import layout
from kymflow_zarr.engine import seam
from kymflow_zarr.errors import ArtifactNotFoundError
from kymflow_zarr.schema.checksums import parse_checksums
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.record import StoredImage
    from kymflow_zarr.engine.tables import Tables
    from kymflow_zarr.schema.image import ImageDocument
    from kymflow_zarr.storage.local.storage import LocalStorage


class RecordViews:
    """Plots, xarray and the view in notebooks; a base of :class:`StoredImage`."""

    if TYPE_CHECKING:
        _storage: LocalStorage
        _prefix: str

        def _document(self) -> ImageDocument: ...

    def plot(
        self,
        ax: Axes | None = None,
        *,
        t: int = 0,
        z: int = 0,
        channel: int | str = 1,
        at: Mapping[str, int] | None = None,
        cmap: str = "gray",
        vmin: float | None = None,
        vmax: float | None = None,
        rois: bool = True,
        scale_bar: bool = False,
    ) -> Axes:
        """Draw one plane with matplotlib, its axes in real units.

        Times are in seconds and lengths in micrometers; an axis that is not calibrated counts
        lines or pixels. A kymograph has time along x. The first sample reaches from 0 to one
        step, and space runs downwards.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a figure of its own if left out.
        t, z : int
            Moment and plane along ``z``, from 0, of images that have such an axis beyond the
            plane.
        channel : int or str
            From 1, or its name.
        at : mapping of str to int, optional
            Positions along other axes, from 0.
        cmap : str
            Color map of matplotlib.
        vmin, vmax : float, optional
            Gray levels of the ends of the color map; the 0.5th and 99.5th percentile if left
            out.
        rois : bool
            Draw the regions of this channel and plane.
        scale_bar : bool
            Draw a scale bar along x, where x is calibrated.

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
        return seam.viewer().plot(
            cast("StoredImage", self), ax, t=t, z=z, channel=channel, at=at, cmap=cmap,
            vmin=vmin, vmax=vmax, rois=rois, scale_bar=scale_bar,
        )  # fmt: skip

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
        """Draw a kymograph, and under it its velocity on the same time axis, events marked.

        Parameters
        ----------
        velocity : str
            Data frame with ``time_s`` and `column`; a line for each ``roi_id`` and ``channel``
            in it.
        events : str
            Data frame with ``t_start_s``, in seconds. An event is a bar where ``t_end_s`` is
            known, and else a line; ``event_type`` colors it. An image without has none drawn.
        column : str
            What is drawn over time.
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
            If the image is no kymograph with calibrated time, or a column is missing.
        MissingDependencyError
            If matplotlib is not installed; names the extra (an ImportError).
        """
        return seam.viewer().plot_events(
            cast("StoredImage", self), velocity=velocity, events=events, column=column,
            roi_id=roi_id, channel=channel, cmap=cmap, figsize=figsize,
        )  # fmt: skip

    def to_xarray(self) -> xr.DataArray:
        """Return the image as an xarray.DataArray.

        Dimensions are named as the axes. An axis with a known step has a coordinate, from 0 in
        steps, with its unit in ``attrs["units"]``; channels have their names. Where dask is
        installed the pixels are lazy, in blocks as large as dask is set to; else they are read.

        Returns
        -------
        xarray.DataArray
            Shape and dtype as of the image; ``attrs`` hold ``image_id`` and ``quantities``, what
            runs along each axis.

        Raises
        ------
        MissingDependencyError
            If xarray is not installed; names the extra (an ImportError).
        """
        return seam.viewer().to_xarray(cast("StoredImage", self))

    def thumbnail(self, size: int = 256) -> bytes:
        """Return a small picture of the image as PNG, in gray.

        It shows the first moment and channel and the middle of a stack, and of a large image
        the beginning or the middle. A kymograph has time to the right and is twice as wide as
        high. Where the dataset can be written to, a picture of 256 pixels is kept with the
        index, and is drawn again when the pixels or the axes have changed.

        Parameters
        ----------
        size : int
            Length of the longer side in pixels, 1 to 2048.

        Raises
        ------
        ArgumentError
            If the size is another.
        UnsupportedDataError
            If the image has no pixels.
        LimitExceededError
            If more than 64 MiB would have to be read, because its chunks are large.
        CorruptDataError
            If a stored file is missing or damaged.
        """
        from kymflow_zarr.engine.images import thumbnails

        record = cast("StoredImage", self)
        return thumbnails.thumbnail(
            self._storage,
            self._document(),
            size,
            lambda side: seam.viewer().thumbnail_png(record, side),
        )

    def export_tiff(self, path: StrPath) -> None:
        """Write the image as a TIFF file that Fiji opens with its axes and calibration.

        Parameters
        ----------
        path : str or Path
            A file that is not there yet.

        Raises
        ------
        TargetExistsError
            If something is there (a FileExistsError).
        UnsupportedDataError
            If the image has no pixels.
        CorruptDataError
            If a stored file is missing or damaged; nothing is left at `path`.
        """
        seam.export().export_tiff(cast("StoredImage", self), path)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of what is compressed at a time, in pixels."""
        return tuple(self._document().pixels.chunks)

    @property
    def pixels_sha256(self) -> str:
        """SHA-256 of the stored pixels, as the format defines it; another one once they change."""
        return self._document().pixels.sha256

    def stored_file(self, key: str) -> Path:
        """Return where a file of the image is, to be read as it is.

        Parameters
        ----------
        key : str
            As the list of checksums of the image names it: ``"zarr.json"``, ``"data/c/0/0"``.

        Raises
        ------
        ArtifactNotFoundError
            If the list names no such file (a KeyError).
        SchemaValidationError
            If the list is damaged.
        StorageError
            If a link is in the way.
        """
        where = f"{self._prefix}/{layout.CHECKSUMS}"
        listed = self._storage.read(where)
        if listed is None or key not in parse_checksums(listed, where=where):
            raise ArtifactNotFoundError(f"the image has no file {key!r}", where=self._prefix)
        place = f"{self._prefix}/{key}"
        self._storage.refuse_links(place, "read")
        return self._storage.path(place)

    def _repr_html_(self) -> str:
        return seam.viewer().record_html(cast("StoredImage", self))


class DatasetViews:
    """The view of a dataset in notebooks; a base of :class:`OpenDataset`."""

    if TYPE_CHECKING:
        _storage: LocalStorage
        _tables: Tables

    def _repr_html_(self) -> str:
        return seam.viewer().dataset_html(cast("OpenDataset", self), self._count_rows)

    def view(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        edit: bool = False,
        who: str | None = None,
        token: str | None = None,
        open_browser: bool = False,
    ) -> seam.Viewer:
        """Serve a page that shows the dataset in a browser, and return at once.

        Parameters
        ----------
        host : str
            Where it listens. Any other than this machine itself asks for a token.
        port : int
            0 takes a free one.
        edit : bool
            Whether images can be judged and regions changed.
        who : str, optional
            Who edits; the user of the operating system if left out.
        token : str, optional
            What the address has to tell. One is made where it is needed and left out.
        open_browser : bool
            Whether the page is opened.

        Returns
        -------
        Viewer
            Its ``url`` is the address; ``close()`` ends it.

        Raises
        ------
        ReadOnlyError
            If `edit` is asked for and the mode is ``"r"``.
        StorageError
            If it cannot listen there.
        MissingDependencyError
            If the packages for it are not installed; names the extra (an ImportError).

        Notes
        -----
        As a context manager it ends with the block::

            with ds.view() as viewer:
                print(viewer.url)
                viewer.wait()
        """
        return seam.viewer().view(
            cast("OpenDataset", self), host=host, port=port, edit=edit, who=who, token=token,
            open_browser=open_browser,
        )  # fmt: skip

    def stored_table(self, name: str) -> Path:
        """Return where the file of a table is, to be read as it is.

        Raises
        ------
        TableNotFoundError
            If there is none of that name (a FileNotFoundError).
        StorageError
            If a link is in the way.
        """
        key = layout.table_key(name)
        if self._storage.stat(key) is None:
            self._tables.read(name)  # It says what there is instead.
        self._storage.refuse_links(key, "read")
        return self._storage.path(key)

    def change_token(self, table: str | None = None) -> str:
        """Return a text that is another one once an image, or one table, has changed.

        It costs a look at the folders and reads none of their files.

        Parameters
        ----------
        table : str, optional
            Of this table; of all images and tables together if left out.

        Raises
        ------
        InvalidNameError
            If no table could have that name.
        """
        seen: list[tuple[str, int, int]] = []
        if table is None:
            times = self._storage.folder_times(layout.IMAGES)
            seen += [(name, time_ns, 0) for name, time_ns in sorted(times.items())]
            tables = self._tables.names()
        else:
            tables = [table]
        for key in map(layout.table_key, tables):
            found = self._storage.stat(key)
            seen.append((key, *((0, -1) if found is None else (found.mtime_ns, found.size))))
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def _count_rows(self, table: str) -> int:
        """Return how many rows a table has, by the end of its file."""
        import pyarrow.parquet as pq

        key = layout.table_key(table)
        self._storage.refuse_links(key, "read")
        rows: int = pq.read_metadata(self._storage.path(key)).num_rows
        return rows
