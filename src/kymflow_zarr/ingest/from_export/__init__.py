"""A folder that an export wrote, back into a dataset."""
