"""What the commands print: cells, facts, pictures, the terminal."""
