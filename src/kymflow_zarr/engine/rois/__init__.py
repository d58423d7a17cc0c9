"""Regions of interest: values, statistics and the pixels inside them."""
