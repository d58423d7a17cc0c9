"""Export of datasets to folders of TIFF, JSON, CSV and NumPy files."""
