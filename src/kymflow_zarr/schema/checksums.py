"""Lists of checksums.

``sha256sum -c`` reads them too, so that a flipped byte is found without this package: lines of 64
hexadecimal digits, two spaces and a path. Lines that begin with ``#`` are for this package.
"""

from __future__ import annotations

import hashlib
import operator
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from kymflow_zarr import layout
from kymflow_zarr.errors import SchemaValidationError

_HEAD: Final = re.compile(rb"# kymflow_zarr checksums 1, ([0-9]+) files, ([0-9a-f]{64})")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_SIZE: Final = re.compile(rb"# ([0-9]{1,18}) bytes")
# Offset of the key in a line, after the digest and two spaces.
_KEY_AT: Final = 66
_LINE: Final = re.compile(rb"([0-9a-f]{64})  ([^\x00-\x1f\x7f]+)")


class FileSum(NamedTuple):
    """Size in bytes and SHA-256, as 64 hexadecimal digits, of a file."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, data: bytes | memoryview) -> FileSum:
        """Return size and digest of bytes."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


def dump_checksums(files: Mapping[str, FileSum]) -> bytes:
    """Return the list of the checksums of files, by key below the group."""
    # Names are plain, except in files carried over from format version 1.
    return _with_head([line for key in sorted(files) for line in _pair(key, files[key])])


def updated_checksums(
    data: bytes, changed: Mapping[str, FileSum], removed: Iterable[str] = (), *, where: str
) -> bytes:
    """Return a list with some files changed, as parsing, changing and dumping it would.

    It is much faster than that, which matters for images with thousands of files.

    Parameters
    ----------
    data : bytes
    changed : mapping of str to FileSum
        Files that are new or changed, by key.
    removed : iterable of str
        Keys of files and folders to remove first; a folder includes its content.

    Raises
    ------
    SchemaValidationError
        As for :func:`parse_checksums`.
    """
    lines = _lines(data, where)
    keys = [line[_KEY_AT:] for line in lines[1::2]]
    in_order = all(map(operator.lt, keys, keys[1:]))
    if not (in_order and data.isascii() and all(map(str.isascii, (*changed, *removed)))):
        # Bytes sort differently than text here, or another program wrote the list.
        removed_folders = tuple(f"{key}/" for key in removed)
        files = parse_checksums(data, where=where)
        files = {
            key: file_sum
            for key, file_sum in files.items()
            if not f"{key}/".startswith(removed_folders)
        }
        return dump_checksums(files | dict(changed))
    for name in (key.encode() for key in removed):
        # "0" is the character after "/".
        for first, end in ((name, name + b"\0"), (name + b"/", name + b"0")):
            start, stop = bisect_left(keys, first), bisect_left(keys, end)
            del keys[start:stop], lines[2 * start : 2 * stop]
    for key, file_sum in changed.items():
        (pair, name) = _pair(key, file_sum), key.encode()
        place = bisect_left(keys, name)
        if place < len(keys) and keys[place] == name:
            lines[2 * place : 2 * place + 2] = pair
        else:
            keys.insert(place, name)
            lines[2 * place : 2 * place] = pair
    return _with_head(lines)


def _pair(key: str, file_sum: FileSum) -> list[bytes]:
    if _CONTROL.search(key):
        raise SchemaValidationError("the name of a file has a control character", where=key)
    size = f"# {file_sum.size_bytes} bytes".encode("ascii")
    return [size, f"{file_sum.sha256}  {key}".encode(errors="surrogateescape")]


def _with_head(lines: Sequence[bytes]) -> bytes:
    body = b"\n".join([*lines, b""])
    # The list's own digest shows, if list and file differ, which of them is damaged.
    own = hashlib.sha256(body).hexdigest()
    return f"# kymflow_zarr checksums 1, {len(lines) // 2} files, {own}\n".encode("ascii") + body


def parse_checksums(data: bytes, *, where: str) -> dict[str, FileSum]:
    """Return the checksums of files, by key below the group.

    Raises
    ------
    SchemaValidationError
        If the list is not valid output of :func:`dump_checksums`.
    """
    lines = _lines(data, where)
    files: dict[str, FileSum] = {}
    for above, line in zip(lines[::2], lines[1::2], strict=True):
        size, named = _SIZE.fullmatch(above), _LINE.fullmatch(line)
        if size is None or named is None:
            raise _broken(f"has the line {line[:120]!r}", where)
        key = named[2].decode(errors="surrogateescape")
        if key in files:
            raise _broken(f"names {key!r} twice", where)
        # On-disk format: "A path MUST NOT lead out of the folder."
        if layout.leads_out(key):
            raise _broken(f"names {key!r}, which leads out of the folder", where)
        files[key] = FileSum(int(size[1]), named[1].decode())
    return files


def _lines(data: bytes, where: str) -> list[bytes]:
    """Return the lines after the first, two per file, after checking count and digest."""
    head, _, body = data.partition(b"\n")
    lines = body.split(b"\n")
    # On-disk format: "The first line MUST name the number of files."
    match = _HEAD.fullmatch(head)
    if match is None or len(match[1]) > 18 or len(lines) != 2 * int(match[1]) + 1:
        raise _broken("has lines too many or too few", where)
    # On-disk format: "It MUST end with the SHA-256 of all lines after it."
    if hashlib.sha256(body).hexdigest().encode() != match[2]:
        raise _broken("is not as it was written", where)
    return lines[:-1]


def _broken(how: str, where: str) -> SchemaValidationError:
    return SchemaValidationError(
        f"the list of checksums is damaged: it {how}",
        where=where,
        hint="kymflow-zarr repair rebuilds it from files that are certainly intact.",
    )
