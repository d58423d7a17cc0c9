"""Errors of the disk that is written to, told from those of the disk that is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.storage.local.files import os_errors

__all__ = ["TargetStorageError", "target_errors"]


class TargetStorageError(StorageError):
    """The disk of the target refused; a StorageError of the dataset is none."""


@contextlib.contextmanager
def target_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError of the body into a TargetStorageError that says what to do."""
    try:
        yield
    except OSError as error:
        # An error of ours comes from what is read while it is written.
        if isinstance(error, KymflowZarrError):
            raise
        try:
            with os_errors(doing, where):
                raise
        except StorageError as told:
            raise TargetStorageError(told.what, where=told.where, hint=told.hint) from error
