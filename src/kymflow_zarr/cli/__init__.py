"""The command line, ``kymflow-zarr``."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the exit code is 0, 1 (found problems), 2 (could not run) or 130."""
    for stream in (sys.stdout, sys.stderr):
        # Escape characters that the terminal's encoding lacks, instead of failing.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        from kymflow_zarr.cli.app import app

        try:
            app(prog_name="kymflow-zarr")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the pipe has exited, like `head`. The interpreter flushes again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:  # the option may precede or follow the command
        print("cancelled", file=sys.stderr)
        sys.exit(130)
