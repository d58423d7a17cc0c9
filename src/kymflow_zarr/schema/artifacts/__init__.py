"""Models of the JSON artifacts that have a meaning of their own."""
