"""Bytes for Arrow's threads. Imports Arrow: import it late."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def arrow_reader(data: bytes | memoryview | pa.Buffer) -> Any:
    """Return a file of bytes that are copied into memory of Arrow's own.

    A thread of Arrow may be the last to let go of what it has read. If that is a Python object
    and the interpreter has ended meanwhile, the process aborts.
    """
    if isinstance(data, pa.Buffer):
        return pa.BufferReader(data)
    copy: Any = pa.allocate_buffer(len(data))
    memoryview(copy).cast("B")[:] = data
    return pa.BufferReader(copy)
