"""The command line, ``kymflow-zarr``."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the exit code is 0, 1 (found problems), 2 (could not run) or 130."""
    for stream in (sys.stdout, sys.stderr):
        # A letter that the terminal does not have is spelled out, and is no error.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        from kymflow_zarr.cli.app import app

        try:
            app(prog_name="kymflow-zarr")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as `head` has; the interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:  # before or after the command itself
        print("cancelled", file=sys.stderr)
        sys.exit(130)
