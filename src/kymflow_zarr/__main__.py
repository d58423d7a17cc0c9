"""``python -m kymflow_zarr``: the same commands as ``kymflow-zarr``."""

from __future__ import annotations

from kymflow_zarr.cli import main

if __name__ == "__main__":
    main()
