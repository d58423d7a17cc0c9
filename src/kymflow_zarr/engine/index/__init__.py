"""The derived index of all images, and what is answered from it."""
