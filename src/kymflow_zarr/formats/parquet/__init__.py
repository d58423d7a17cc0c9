"""Read the metadata of Parquet files: Thrift, footers, page headers, sizes."""
