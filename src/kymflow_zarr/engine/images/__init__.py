"""Images: staged, committed, updated, and the artifacts beside their pixels."""
