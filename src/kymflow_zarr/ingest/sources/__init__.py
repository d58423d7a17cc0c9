"""Readers of image files and objects."""
