"""The command line, ``kymflow-zarr``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the exit code is 0, 1 (found problems), 2 (could not run) or 130."""
    try:
        from kymflow_zarr._cli._app import app

        app(prog_name="kymflow-zarr")
    except KeyboardInterrupt:  # before or after the command itself
        print("cancelled", file=sys.stderr)
        sys.exit(130)
