"""Data frames as Parquet or gzip CSV, equal when they come back."""
