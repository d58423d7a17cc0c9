"""Validate: every document against the format."""
