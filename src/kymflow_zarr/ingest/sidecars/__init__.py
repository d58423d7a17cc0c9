"""Files beside an image: headers, metadata, analysis, pooled tables."""
