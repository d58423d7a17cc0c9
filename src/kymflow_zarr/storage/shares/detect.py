"""Tell datasets that are made for several hosts from others, without loading their code."""

from __future__ import annotations

import os
from pathlib import Path


def is_shared_dataset(path: Path) -> bool:
    """Return True if a folder holds a dataset that several hosts may write."""
    # The folder of numbered files that is the head of what belongs to no image.
    return os.path.isdir(path / "heads" / "top")  # noqa: PTH112 - at each opening
