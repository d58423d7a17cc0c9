"""Row groups of Parquet files, copied as bytes where a change of rows does not touch them."""
