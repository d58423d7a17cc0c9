"""What the manifest says of each image, out of the columns of the index."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kymflow_zarr import layout

if TYPE_CHECKING:
    import pyarrow as pa

_ANALYSIS: Final = f"{layout.ANALYSIS}/"
_PARSED: Final = ("shape", "chunks", "axes", "artifacts", "source_files")
_TOLD: Final = (
    "shape",
    "dtype",
    "chunks",
    "axes",
    "created_utc",
    "updated_utc",
    "acquired_local_epoch_ns",
    "source_files",
)


def entries_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Return an entry for each row of the index, by image id."""
    texts = {name: values(table, name) for name in table.column_names}
    texts |= {name: parsed(texts[name]) for name in _PARSED}
    texts["axes"] = [None if axes is None else [axis[0] for axis in axes] for axes in texts["axes"]]
    found: dict[str, dict[str, Any]] = {}
    for image_id, error, keys, *told in zip(
        texts["image_id"],
        texts["error"],
        texts["artifacts"],
        *(texts[name] for name in _TOLD),
        strict=True,
    ):
        found[image_id] = entry = {"image_id": image_id}
        if error is not None:
            entry["error"] = error
            continue
        prefix = layout.image_prefix(image_id)
        entry |= zip(_TOLD, told, strict=True)
        entry["analysis_keys"] = [f"{prefix}/{key}" for key in keys if key.startswith(_ANALYSIS)]
    return found


def values(table: pa.Table, column: str) -> list[Any]:
    """Return a column as a list."""
    array = table[column]
    if array.null_count and str(array.type) == "int64":
        listed: list[Any] = array.to_pylist()
        return listed
    return list(array.to_numpy(zero_copy_only=False).tolist())


def parsed(texts: Iterable[str | None]) -> list[Any]:
    """Return the values of JSON texts, parsed in one go; None for None."""
    joined = f"[{','.join([text or 'null' for text in texts])}]"
    try:
        whole: list[Any] = msgspec.json.decode(joined)
    except msgspec.DecodeError:
        whole = json.loads(joined)  # It takes what the Python world writes, too.
    return whole
