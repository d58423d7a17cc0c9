"""Images: their pixels, and how they get in."""
