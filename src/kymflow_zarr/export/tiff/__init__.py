"""Write images as TIFF files."""
