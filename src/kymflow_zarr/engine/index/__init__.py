"""The derived index of all images, and the listings made from it."""
