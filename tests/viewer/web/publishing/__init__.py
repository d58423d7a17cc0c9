"""A dataset with its page as files of a static host."""
