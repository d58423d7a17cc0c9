"""Storage in a folder on a local disk or a network share."""
