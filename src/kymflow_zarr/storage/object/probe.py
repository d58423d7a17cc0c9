"""Find out whether a store heeds conditions: a store that ignores them loses updates."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.object.requests import Objects

_CLIENTS: Final = 4


def probe(bucket: Objects) -> None:
    """Let four clients race for one object, once to create and once to replace it.

    Raises
    ------
    StorageError
        If more than one of them wins, or none.
    """
    name = f"probe/{uuid.uuid4().hex}.json"
    try:
        tag: str | None = None
        for _ in range(2):
            tags = _race(bucket, name, tag)
            if len(tags) != 1:
                raise StorageError(
                    f"the store ignores conditions: of {_CLIENTS} writers at once {len(tags)} "
                    "were told that they were the one",
                    where=bucket.address,
                    hint="Writers would overwrite each other there. Use a store with conditional "
                    "writes (S3, Google Cloud Storage, Azure, recent MinIO), or a folder.",
                )
            tag = tags[0]
    finally:
        bucket.delete([name])


def _race(bucket: Objects, name: str, tag: str | None) -> list[str]:
    with ThreadPoolExecutor(_CLIENTS) as pool:
        calls = [
            pool.submit(bucket.put_if, name, f"{client} {tag}".encode(), tag)
            for client in range(_CLIENTS)
        ]
        return [won for call in calls if (won := call.result()) is not None]
