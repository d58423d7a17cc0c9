"""Datasets on shares that several hosts write to: mounts, and objects in a folder."""
