"""Which file each image came from, as a table. Imports pandas: import it late."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

_COLUMNS = {
    "source_primary_path": "str",
    "image_id": "str",
    "source_mtime_ns": "int64",
    "source_size_bytes": "int64",
    "ingested_epoch_ns": "int64",
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def sources_index(entries: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each image that came from a file, from the entries of the index."""
    rows = []
    for entry in entries:
        files = [file for file in entry.get("source_files", ()) if file["role"] == "image"]
        if files:
            read = dt.datetime.fromisoformat(entry["updated_utc"]) - _EPOCH
            microseconds = (read.days * 86400 + read.seconds) * 10**6 + read.microseconds
            rows.append(
                (
                    files[0]["path"],
                    entry["image_id"],
                    files[0]["mtime_ns"],
                    files[0]["size_bytes"],
                    microseconds * 1000,
                )
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
