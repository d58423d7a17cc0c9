"""Queries over many images: SQL, gathered artifacts, parallel calls."""
