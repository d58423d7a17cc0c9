"""Folders of images: scan, plan, add and refresh."""
