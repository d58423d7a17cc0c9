"""How a dataset is looked at: HTML for notebooks, matplotlib, xarray; the public API only."""

from kymflow_zarr.viewer._dataset_html import dataset_html
from kymflow_zarr.viewer._events import plot_events
from kymflow_zarr.viewer._plot import plot
from kymflow_zarr.viewer._record_html import record_html
from kymflow_zarr.viewer._report_html import report_html
from kymflow_zarr.viewer._thumbnail import thumbnail_png
from kymflow_zarr.viewer._web import view
from kymflow_zarr.viewer._xarray import to_xarray

__all__ = [
    "dataset_html",
    "plot",
    "plot_events",
    "record_html",
    "report_html",
    "thumbnail_png",
    "to_xarray",
    "view",
]
