"""The metadata of Parquet files: footers, page headers, sizes, Thrift."""
