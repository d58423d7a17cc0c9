"""Collections of acqstore: one OME-Zarr of many images, with their analyses."""
