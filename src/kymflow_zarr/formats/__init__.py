"""Encode values (JSON, data frames, arrays) as bytes and back; no I/O."""
