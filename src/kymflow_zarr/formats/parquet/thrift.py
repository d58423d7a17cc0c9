"""Thrift's compact protocol, in which Parquet files describe themselves, read and written.

pyarrow reads it too, but ends the process where some of its accessors meet a damaged footer; and
it cannot say anew where a column lies, which a row group needs to be copied from file to file.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["I64", "LIST", "STRUCT", "Bytes", "Struct", "dump_struct", "load_struct"]

I64: Final = 6
LIST: Final = 9
STRUCT: Final = 12
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _SET = 1, 2, 3, 7, 8, 10
_INTEGERS: Final = (4, 5, I64)
_MAX_NESTING: Final = 16

Bytes = bytes | memoryview
Struct = dict[int, tuple[int, Any]]
"""Fields by number: type in the protocol, and value. Of a list that is its elements' type and
the elements."""


def load_struct(data: Bytes, at: int = 0) -> tuple[Struct, int]:
    """Return the struct that begins at byte `at`, and where it ends.

    Raises
    ------
    ValueError, IndexError
        If it cannot be followed.
    """
    return _struct(data, at, 0)


def dump_struct(struct: Struct) -> bytes:
    """Return a struct as bytes: those it was read from, if they were written as usual."""
    out = bytearray()
    _put_struct(out, struct)
    return bytes(out)


def _struct(data: Bytes, at: int, depth: int) -> tuple[Struct, int]:
    if depth > _MAX_NESTING:
        raise ValueError("a document in the file is nested too deeply")
    fields: Struct = {}
    number = 0
    while head := data[at]:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        if kind in _INTEGERS:
            # Most fields are small numbers: those of each page of a large file are read.
            value: Any = data[at]
            at += 1
            if value > 0x7F:
                value, at = _varint(data, at - 1)
            value = (value >> 1) ^ -(value & 1)
        elif kind in (_TRUE, _FALSE):
            value = None  # A truth value is in the type of its field, and has no bytes.
        else:
            value, at = _value(data, at, kind, depth)
        fields[number] = kind, value
    return fields, at + 1


def _value(data: Bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        return _cut(data, at, length)
    if kind == STRUCT:
        return _struct(data, at, depth + 1)
    if kind in (LIST, _SET):
        head = data[at]
        count, at = _varint(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
        if depth > _MAX_NESTING or count > len(data) - at:
            raise ValueError(f"a list of {count} in {len(data)} bytes")
        elements = []
        for _ in range(count):
            element, at = _value(data, at, head & 15, depth + 1)
            elements.append(element)
        return (head & 15, elements), at
    if kind == _DOUBLE:
        return _cut(data, at, 8)
    if kind in (_TRUE, _FALSE, _BYTE):
        return _cut(data, at, 1)
    raise ValueError(f"a document in the file has a field of type {kind}")


def _cut(data: Bytes, at: int, length: int) -> tuple[Bytes, int]:
    if length > len(data) - at:
        raise ValueError("a text reaches beyond the footer")
    return data[at : at + length], at + length


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number in the file does not end")


def _integer(data: Bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _put_struct(out: bytearray, struct: Struct) -> None:
    before = 0
    for number, (kind, value) in sorted(struct.items()):
        step = number - before
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _put_integer(out, number)
        if kind not in (_TRUE, _FALSE):
            _put(out, kind, value)
        before = number
    out.append(0)


def _put(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _put_integer(out, value)
    elif kind == _BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind == STRUCT:
        _put_struct(out, value)
    elif kind in (LIST, _SET):
        inner, elements = value
        if len(elements) < 15:
            out.append(len(elements) << 4 | inner)
        else:
            out.append(0xF0 | inner)
            _put_varint(out, len(elements))
        for element in elements:
            _put(out, inner, element)
    else:
        out += value


def _put_integer(out: bytearray, value: int) -> None:
    _put_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
