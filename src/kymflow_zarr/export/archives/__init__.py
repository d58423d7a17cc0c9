"""Datasets in the forms that public archives ask for: NWB files, and a crate (RO-Crate)."""
