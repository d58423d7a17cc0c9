"""Repair: restore what can be restored, and quarantine the rest."""
