"""Verify: every file against its checksum."""
