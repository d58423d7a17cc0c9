"""What the requests to stores and web hosts cost, counted in this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Traffic:
    """Numbers of requests by kind, and of bytes.

    Parameters
    ----------
    requests : dict of str to int
        By ``"get"``, ``"head"``, ``"list"``, ``"put"`` and ``"delete"``.
    bytes_read, bytes_written : int
    """

    requests: dict[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0

    def __str__(self) -> str:
        counted = ", ".join(f"{n} {kind}" for kind, n in sorted(self.requests.items()))
        return (
            f"requests: {counted or 'none'}; {self.bytes_read:,} bytes read, "
            f"{self.bytes_written:,} written"
        )


TOTAL = Traffic()
"""All requests of this process."""
_guard = threading.Lock()


def count_request(own: dict[str, int], kind: str) -> None:
    """Count a request, among those of its host and among all."""
    with _guard:
        for counts in (own, TOTAL.requests):
            counts[kind] = counts.get(kind, 0) + 1


def count_bytes(*, read: int = 0, written: int = 0) -> None:
    """Count bytes of an answer or a request among all."""
    with _guard:
        TOTAL.bytes_read += read
        TOTAL.bytes_written += written
