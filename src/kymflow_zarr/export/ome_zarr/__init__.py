"""OME-Zarr of another version than that of the dataset."""
