"""The command ``demo`` and its analysis."""
