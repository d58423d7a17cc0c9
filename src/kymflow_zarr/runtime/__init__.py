"""Limits, parallel work and the memory budget, independent of datasets."""
