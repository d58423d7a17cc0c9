"""Digests of source files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kymflow_zarr.types import StrPath

__all__ = ["sha256_of_file"]


def sha256_of_file(path: StrPath) -> str:
    """Return the SHA-256 digest of a file, read in pieces, as 64 hex digits.

    Parameters
    ----------
    path : path-like
        A file.

    Returns
    -------
    str
        Lower-case hexadecimal digest.

    Raises
    ------
    OSError
        The file is not there or cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
