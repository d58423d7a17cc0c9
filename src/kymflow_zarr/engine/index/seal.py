"""The digest inside a file of the index, by which damage is noticed."""

from __future__ import annotations

import hashlib
from typing import Final

from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION

_DIGITS: Final = "0" * 64
_BEFORE_DIGEST: Final = '"document":"index","sha256":"'
NOTE: Final = f'{{"format":"{FORMAT}","format_version":{FORMAT_VERSION},{_BEFORE_DIGEST}{_DIGITS}"'
"""The beginning of the JSON object of an index file, with zeros in place of the digest."""


def sealed(data: bytes) -> bytes:
    """Return a file with its SHA-256 in the place that its JSON object reserves for it."""
    # On-disk format: "sha256 MUST be the digest of the file with 64 zeros in its place."
    start = data.rfind(_BEFORE_DIGEST.encode()) + len(_BEFORE_DIGEST)
    before, after = data[:start], data[start + len(_DIGITS) :]
    digest = hashlib.sha256(before + _DIGITS.encode() + after).hexdigest()
    return before + digest.encode() + after


def is_sealed(data: bytes) -> bool:
    """Return True if a file is as it was sealed."""
    return _BEFORE_DIGEST.encode() in data and sealed(data) == data
