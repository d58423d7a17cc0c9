"""Where the bytes of a dataset are, addressed by keys (``images/<id>/zarr.json``)."""
