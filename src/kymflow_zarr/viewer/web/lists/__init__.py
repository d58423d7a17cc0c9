"""The page's lists: the gallery and the tables."""
