"""Checks of a dataset: validate against the format, verify against checksums, repair."""
