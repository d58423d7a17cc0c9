"""A dataset with its page as files that any static host serves."""
