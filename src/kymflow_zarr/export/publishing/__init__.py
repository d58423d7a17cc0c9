"""A dataset as files that any static host serves."""
