"""Format version 1: reading, checking and migration."""
