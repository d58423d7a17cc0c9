"""What the modes of a dataset mean: open, create, refuse, wipe."""
