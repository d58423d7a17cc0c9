"""Adapters to other programs' classes."""
