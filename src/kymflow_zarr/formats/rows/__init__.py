"""Rows of single images in encoded tables."""
