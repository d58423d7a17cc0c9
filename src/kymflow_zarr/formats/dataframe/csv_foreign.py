"""The CSV of other programs: types as pandas infers them, wherever nothing is lost by that."""

from __future__ import annotations

import io
import re
from typing import Any, Final

import pandas as pd

_PANDAS: Final = tuple(int(part) for part in pd.__version__.split(".")[:2])
# "007" is no number, and a double does not hold seventeen digits.
_NOT_PLAIN_INTEGER: Final = re.compile(r"[+-]?0\d+|[+-]?\d{17,}")


def decode_csv(text: bytes) -> pd.DataFrame:
    """Decode a CSV with one header line; floats exactly.

    A column whose text would not come back from what pandas makes of it (leading zeros, more
    digits than a number holds, words such as ``NA`` among other words) stays text.

    Raises
    ------
    ValueError
        If it is no CSV with commas: rows longer than the header, or semicolons.
    """
    # From pandas 3.1 on that is the only way, and asking for it a warning.
    asked: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
    frame: pd.DataFrame = pd.read_csv(io.BytesIO(text), **asked)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("has rows with more fields than its header")
    if len(frame.columns) == 1 and ";" in str(frame.columns[0]):
        raise ValueError("has fields separated by semicolons, not by commas")
    raw = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False, na_filter=False)
    for name in frame.columns:
        if _loses(frame[name], raw[name]):
            frame[name] = raw[name].where(raw[name] != "", None)
    return frame


def _loses(column: pd.Series[Any], raw: pd.Series[Any]) -> bool:
    given = raw[raw != ""]
    if column.dtype.kind in "iuf":
        if given.str.strip().str.fullmatch(_NOT_PLAIN_INTEGER).any():
            return True
        infinite = column.isin([float("inf"), float("-inf")])
        return bool((infinite & ~raw.str.lower().str.contains("inf")).any())
    if column.dtype.kind == "b":
        return False
    return bool((column.isna() & (raw != "")).any())
