"""Images as TIFF files."""
