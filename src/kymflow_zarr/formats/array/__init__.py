"""Zarr v3 arrays: written and read directly."""
