"""The browser page and the napari plugin."""
