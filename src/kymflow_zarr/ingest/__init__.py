"""Sources into records: image files, folders of them, other programs' objects."""
