"""Views of images: pictures, plots, notebook HTML and xarray."""
