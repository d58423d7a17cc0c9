"""Replace rows of Parquet files, copying unaffected row groups as bytes."""
