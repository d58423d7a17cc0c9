"""Encode data frames as Parquet or gzip CSV, and decode them equal."""
