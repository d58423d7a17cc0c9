"""Datasets as folders of TIFF, JSON, CSV and NumPy files."""
