"""Typed models of every document on disk. No I/O, no zarr."""
