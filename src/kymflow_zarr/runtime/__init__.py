"""Limits, parallel work and the memory budget: nothing of datasets."""
