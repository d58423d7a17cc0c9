"""One kind of artifact each: JSON, data frame, array. Values to bytes and back, no I/O."""
