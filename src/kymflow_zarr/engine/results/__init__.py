"""Results: values that know what they were made by and made of, and when they are out of date."""
