"""How a dataset is looked at: HTML for notebooks, matplotlib, xarray; the public API only."""

from kymflow_zarr.viewer.web.serving import view
from kymflow_zarr.views.dataset_html import dataset_html
from kymflow_zarr.views.events import plot_events
from kymflow_zarr.views.image_html import record_html
from kymflow_zarr.views.plot import plot
from kymflow_zarr.views.report_html import report_html
from kymflow_zarr.views.thumbnail import thumbnail_png
from kymflow_zarr.views.xarray import to_xarray

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
