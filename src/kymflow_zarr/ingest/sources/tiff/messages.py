"""What tifffile logs and warns of while a file is read: for us, not for the user's terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np

__all__ = ["without_messages"]

_IS_SILENT: ContextVar[bool] = ContextVar("kymflow_zarr_tiff_is_silent", default=False)


# Records of other threads, and of programs that use tifffile beside this package, pass.
logging.getLogger("tifffile").addFilter(lambda _record: not _IS_SILENT.get())


@contextlib.contextmanager
def without_messages() -> Iterator[None]:
    """Keep tifffile's log records and NumPy's warnings of its arithmetic off the terminal.

    What matters of them the readers find out themselves and put into the report. Other
    threads, and programs that use tifffile beside this package, keep their messages.
    """
    token = _IS_SILENT.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _IS_SILENT.reset(token)
