"""Ingest of OME-Zarr that other programs wrote."""
