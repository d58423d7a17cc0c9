"""Curation of an image (verdict, note, edits): values, documents and editing."""
