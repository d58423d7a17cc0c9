"""The checksums of a group: which files it consists of, and what they are.

The file is one that ``sha256sum -c`` reads, so that nobody needs this package to find a
flipped byte: lines of 64 hexadecimal digits, two spaces and a path; what begins with ``#`` is
for us.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from kymflow_zarr import layout
from kymflow_zarr.errors import SchemaValidationError

_HEAD: Final = re.compile(rb"# kymflow_zarr checksums 1, ([0-9]+) files, ([0-9a-f]{64})")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_SIZE: Final = re.compile(rb"# ([0-9]{1,18}) bytes")
_LINE: Final = re.compile(rb"([0-9a-f]{64})  ([^\x00-\x1f\x7f]+)")


class FileSum(NamedTuple):
    """Size in bytes and SHA-256, as 64 hexadecimal digits, of a file."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, data: bytes | memoryview) -> FileSum:
        """Return those of some bytes."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


def dump_checksums(files: Mapping[str, FileSum]) -> bytes:
    """Return the bytes of the checksums of files by their key below the group."""
    lines = []
    for key in sorted(files):
        if _CONTROL.search(key):
            raise SchemaValidationError("the name of a file has a control character", where=key)
        lines += [f"# {files[key].size_bytes} bytes", f"{files[key].sha256}  {key}"]
    # Names are ours and plain, but for files carried over from format version 1.
    body = "\n".join([*lines, ""]).encode(errors="surrogateescape")
    # Where list and file differ, it must be told which of the two is damaged.
    own = hashlib.sha256(body).hexdigest()
    return f"# kymflow_zarr checksums 1, {len(files)} files, {own}\n".encode("ascii") + body


def parse_checksums(data: bytes, *, where: str) -> dict[str, FileSum]:
    """Return files by their key below the group.

    Raises
    ------
    SchemaValidationError
        If it is not as :func:`dump_checksums` wrote it.
    """
    head, _, body = data.partition(b"\n")
    lines = body.split(b"\n")
    # On-disk format: "The first line MUST name the number of files."
    match = _HEAD.fullmatch(head)
    if match is None or len(match[1]) > 18 or len(lines) != 2 * int(match[1]) + 1:
        raise _broken("has lines too many or too few", where)
    # On-disk format: "It MUST end with the SHA-256 of all lines after it."
    if hashlib.sha256(body).hexdigest().encode() != match[2]:
        raise _broken("is not as it was written", where)
    files: dict[str, FileSum] = {}
    for above, line in zip(lines[:-1:2], lines[1::2], strict=True):
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


def _broken(how: str, where: str) -> SchemaValidationError:
    return SchemaValidationError(
        f"the list of checksums is damaged: it {how}",
        where=where,
        hint="kymflow-zarr repair makes it anew of files that can still be told to be whole.",
    )
