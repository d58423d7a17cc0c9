"""What the page lists: the gallery and the tables."""
