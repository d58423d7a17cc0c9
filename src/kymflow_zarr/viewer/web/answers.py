"""Responses in JSON; errors become JSON with an HTTP status."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import PurePath
from typing import Any, Final

import msgspec
import numpy as np
from starlette.responses import Response

from kymflow_zarr import errors

__all__ = ["answer", "error_answer", "failed", "plain"]

_EXACT: Final = 2**53
_STATUS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.ReadOnlyError, 403),
    (errors.EditConflictError, 409),
    (errors.NotFoundError, 404),
    (errors.ArgumentError, 400),
    (errors.SchemaValidationError, 422),
    (errors.LimitExceededError, 422),
)


def answer(value: Any, *, status: int = 200) -> Response:
    """Return a value as JSON; see :func:`plain`."""
    return Response(
        msgspec.json.encode(plain(value)),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def error_answer(status: int, kind: str, what: str, **more: str | None) -> Response:
    """Return an error as JSON."""
    told = {"type": kind, "what": what, "where": more.get("where"), "hint": more.get("hint")}
    return answer({"error": told}, status=status)


def failed(error: Exception) -> Response:
    """Return what an exception says."""
    if isinstance(error, errors.KymflowZarrError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return error_answer(
            status, type(error).__name__, error.what, where=error.where, hint=error.hint
        )
    return error_answer(500, type(error).__name__, "the server could not answer this")


def plain(value: Any) -> Any:
    """Return a value as what JSON has; numbers that are not finite are None."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace").decode() if _is_broken(value) else value
    if isinstance(value, int):
        # JavaScript would round it: its numbers have 53 bits.
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {plain(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    return _plain_other(value)


def _is_broken(text: str) -> bool:
    """Return True if a text holds a lone surrogate, which UTF-8 cannot encode."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _plain_array(value: np.ndarray[Any, Any]) -> Any:
    if value.dtype.kind == "f":
        # Check all at once: one call for each of 100,000 numbers is slow.
        finite = np.isfinite(value)
        listed = value.astype(np.float64).tolist()
        return listed if finite.all() else plain(listed)
    return plain(value.tolist())


def _plain_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        return plain(value.item()) if value.dtype.kind not in "mM" else _plain_time(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        # pandas' "not a time" is a datetime as well.
        return None if value != value else value.isoformat()
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, PurePath):
        return plain(str(value))
    if isinstance(value, complex):
        return str(value)
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    try:
        if bool(value != value):  # pandas has a NaT
            return None
    except TypeError:
        return None  # pandas' NA
    return plain(str(value))


def _plain_time(value: Any) -> str | None:
    return None if np.isnat(value) else str(value)
