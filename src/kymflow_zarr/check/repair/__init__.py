"""Repair: what can be restored is restored, the rest is quarantined."""
