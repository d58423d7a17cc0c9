"""Typed models of every document on disk; no I/O, no zarr-python."""
