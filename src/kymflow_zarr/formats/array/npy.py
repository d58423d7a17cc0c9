"""Read ``.npy`` files from untrusted sources, without pickle."""

from __future__ import annotations

import io
import math
from typing import Any, Final

import numpy as np

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError
from kymflow_zarr.runtime.limits import check_limit

__all__ = ["decode_npy"]

_MAX_HEADER_BYTES: Final = 10_000


def decode_npy(data: bytes, *, where: str) -> np.ndarray[Any, Any]:
    """Return the array of a ``.npy`` file.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        Name of the file for errors.

    Raises
    ------
    CorruptDataError
        If it is not an ``.npy`` file, holds Python objects, or has another size than its
        header declares.
    LimitExceededError
        If the array exceeds the limit ``array_bytes``.
    """
    try:
        # NumPy parses the header with ast.literal_eval; object arrays are pickles, which run code.
        return _decode(data, where)
    except KymflowZarrError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # NumPy raises many exception types on a corrupt header.
        raise CorruptDataError(f"is no readable .npy file: {error}", where=where) from error


def _decode(data: bytes, where: str) -> np.ndarray[Any, Any]:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    # Version 3.0 is 2.0 with field names in UTF-8, and structured arrays are not supported.
    if version not in readers:
        raise ValueError(f"its version {version} is not known")
    shape, fortran, dtype = readers[version](file, max_header_size=_MAX_HEADER_BYTES)
    if dtype.hasobject or dtype.fields is not None:
        raise ValueError(f"it holds the dtype {dtype}, which is none of plain numbers")
    if any(n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    size = math.prod(shape) * dtype.itemsize
    check_limit("array_bytes", size, "the array takes", where=where)
    available = len(data) - file.tell()
    if size > available:
        raise ValueError(f"its header declares {size} bytes, and there are {available}")
    flat = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.copy(order="K")
