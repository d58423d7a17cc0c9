"""TIFF files as images."""
