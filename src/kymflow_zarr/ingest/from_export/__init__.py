"""Import an exported folder back into a dataset."""
