"""Output of the commands: cells, facts, pictures, the terminal."""
