"""Commands that show the content of a dataset."""
