"""The export layout with a folder for each image, from which an equal dataset can be rebuilt."""
