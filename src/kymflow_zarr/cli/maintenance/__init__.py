"""Commands that check and repair a dataset."""
