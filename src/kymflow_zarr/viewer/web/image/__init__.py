"""What the page shows of one image: facts, pixels, data frames, edits."""
