"""Ingest: turn image files, folders of them and other programs' objects into records."""
