"""How images and datasets show themselves, as methods of them. The viewer room does the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from kymflow_zarr import _layout
from kymflow_zarr._core import _seam

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kymflow_zarr._core._dataset import ZarrDataset
    from kymflow_zarr._core._record import ZarrImageRecord
    from kymflow_zarr._core._tables import Tables
    from kymflow_zarr._storage import LocalStorage


class RecordViews:
    """Plots, xarray and the view in notebooks; a base of :class:`ZarrImageRecord`."""

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
        return _seam.viewer().plot(
            cast("ZarrImageRecord", self), ax, t=t, z=z, channel=channel, at=at, cmap=cmap,
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
        return _seam.viewer().plot_events(
            cast("ZarrImageRecord", self), velocity=velocity, events=events, column=column,
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
        return _seam.viewer().to_xarray(cast("ZarrImageRecord", self))

    def _repr_html_(self) -> str:
        return _seam.viewer().record_html(cast("ZarrImageRecord", self))


class DatasetViews:
    """The view of a dataset in notebooks; a base of :class:`ZarrDataset`."""

    if TYPE_CHECKING:
        _storage: LocalStorage
        _tables: Tables

    def _repr_html_(self) -> str:
        return _seam.viewer().dataset_html(cast("ZarrDataset", self), self._count_rows)

    def _count_rows(self, table: str) -> int:
        """Return how many rows a table has, by the end of its file."""
        import pyarrow.parquet as pq

        key = _layout.table_key(table)
        self._storage.refuse_links(key, "read")
        rows: int = pq.read_metadata(self._storage.path(key)).num_rows
        return rows
