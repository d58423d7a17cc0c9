"""Canonical JSON: one text for equal values, on every platform and in every language.

It is the JSON Canonicalization Scheme, RFC 8785, with one addition: an integer that no float64
equals is written in all its digits. Numbers are compared by value, so 1 and 1.0 have one text.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from kymflow_zarr.errors import UnsupportedDataError

MAX_DEPTH: Final = 200
_TEXT: Final = json.JSONEncoder(ensure_ascii=False).encode
# RFC 8785, 3.2.2.3: numbers as ECMAScript writes them, plain between these powers of ten.
_PLAIN_FROM: Final = -6
_PLAIN_BELOW: Final = 21


def canonical_json(value: object, *, where: str) -> str:
    """Return the canonical JSON of a value.

    Parameters
    ----------
    value : object
        None, bool, int, finite float, str, enums and NumPy scalars of these, and nested lists,
        tuples, NumPy arrays and mappings with keys of text.
    where : str
        Name of the value, for the error.

    Raises
    ------
    UnsupportedDataError
        If a part of it has no canonical form; names the place inside `value`.
    """
    return _text_of(value, where, 0)


def sha256_of_json(value: object, *, where: str) -> str:
    """Return the SHA-256 of the UTF-8 bytes of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value, where=where).encode()).hexdigest()


def _text_of(value: Any, place: str, depth: int) -> str:
    while isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _quoted(value, place)
    if isinstance(value, int):
        return _integer(int.__int__(value))
    if isinstance(value, float):
        return _number(float.__float__(value), place)
    if depth > MAX_DEPTH:
        raise _refused(f"is nested more than {MAX_DEPTH} levels deep", place)
    if isinstance(value, Mapping):
        return _object(value, place, depth)
    if isinstance(value, list | tuple):
        items = [_text_of(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
        return f"[{','.join(items)}]"
    # NumPy scalars and arrays; a module that has made one has imported NumPy.
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind and kind in "biufU" and hasattr(value, "tolist"):
        plain = value.tolist()
        if type(plain) is not type(value):  # A long double returns itself.
            return _text_of(plain, place, depth)
    raise _refused(f"is of type {type(value).__qualname__}", place)


def _object(value: Mapping[Any, Any], place: str, depth: int) -> str:
    pairs: dict[str, Any] = {}
    for given, item in value.items():
        key = given.value if isinstance(given, enum.Enum) else given
        if not isinstance(key, str):
            raise _refused(f"has the key {given!r}, which is not text", place)
        key = str.__str__(key)
        if key in pairs:
            raise _refused(f"has two keys that are both written {key!r}", place)
        _quoted(key, f"a key of {place}")
        pairs[key] = item
    # RFC 8785, 3.2.3: keys are sorted by their UTF-16 code units.
    is_plain = all(map(str.isascii, pairs))
    ordered = sorted(pairs, key=None if is_plain else lambda key: key.encode("utf-16-be"))
    items = [f"{_TEXT(key)}:{_text_of(pairs[key], f'{place}.{key}', depth + 1)}" for key in ordered]
    return f"{{{','.join(items)}}}"


def _quoted(text: str, place: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _refused("is not valid Unicode text", place) from None
    return _TEXT(str.__str__(text))


def _integer(value: int) -> str:
    try:
        as_float = float(value)
    except OverflowError:
        return str(value)
    return _ecmascript(as_float) if int(as_float) == value else str(value)


def _number(value: float, place: str) -> str:
    if not math.isfinite(value):
        raise _refused(f"is {value}", place, hint="Use None where there is no number.")
    return _ecmascript(value)


def _ecmascript(value: float) -> str:
    """Return a number as ECMAScript's Number::toString does, with the shortest digits."""
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # The number is finite.
    text = "".join(map(str, digits))
    point = len(text) + exponent  # Digits before the decimal point.
    if len(text) <= point <= _PLAIN_BELOW:
        shown = text + "0" * (point - len(text))
    elif 0 < point <= _PLAIN_BELOW:
        shown = f"{text[:point]}.{text[point:]}"
    elif _PLAIN_FROM < point <= 0:
        shown = f"0.{'0' * -point}{text}"
    else:
        mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
        shown = f"{mantissa}e{point - 1:+d}"
    return f"-{shown}" if sign else shown


def _refused(problem: str, place: str, *, hint: str | None = None) -> UnsupportedDataError:
    return UnsupportedDataError(
        f"{place} {problem}, and so has no canonical JSON",
        hint=hint or "Convert it to numbers, text, lists or dicts with keys of text.",
    )
