"""Commands about results: what they were made of, and which are out of date."""
