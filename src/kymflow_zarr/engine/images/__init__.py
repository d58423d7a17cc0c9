"""Stage, commit and update images and the artifacts beside their pixels."""
