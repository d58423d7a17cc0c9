"""What an open dataset is: its images, artifacts, tables and index."""
