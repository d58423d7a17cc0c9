"""Replace, remove and gather the rows of single images in encoded tables."""
