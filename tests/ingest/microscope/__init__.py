"""Tests of the readers of microscope files."""
