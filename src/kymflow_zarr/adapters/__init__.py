"""Bridges to other programs' classes."""
