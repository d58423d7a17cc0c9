"""Write and read Zarr v3 arrays directly, without zarr-python."""
