"""The page's endpoints for one image: facts, pixels, data frames, edits."""
