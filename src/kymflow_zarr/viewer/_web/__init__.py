"""The page in the browser and what it asks for."""

from kymflow_zarr.viewer._web._serving import view

__all__ = ["view"]
