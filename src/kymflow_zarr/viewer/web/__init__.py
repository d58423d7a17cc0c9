"""The page in the browser and what it asks for."""

from kymflow_zarr.viewer.web.serving import view

__all__ = ["view"]
