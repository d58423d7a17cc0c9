"""The napari plugin: reader, layers and the list of images."""
