"""The page in the browser and the napari plugin."""
