"""Readers of the files of microscopes, each by the library that is kept for it."""
