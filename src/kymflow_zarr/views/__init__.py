"""Pictures, plots, notebook HTML and xarray: ways to look at an image."""
