"""Format version 1: read, checked and migrated."""
