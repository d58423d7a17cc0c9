"""Readers of image files and of other programs' image objects."""
