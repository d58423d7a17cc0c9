"""What a Parquet file says of itself: footers, sizes, Thrift."""
