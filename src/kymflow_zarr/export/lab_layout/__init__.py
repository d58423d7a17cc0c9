"""The export layout of the folders that a dataset was ingested from."""
