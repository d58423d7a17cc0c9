"""The dataset's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from kymflow_zarr import layout
from kymflow_zarr.check.files import check_foreign, list_files, stat_of
from kymflow_zarr.check.validate.artifacts import check_parquet
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.readable_file import readable_file

_COLUMN = "image_id"


def check_tables(findings: Findings, storage: Storage, image_ids: Collection[str]) -> None:
    """Check every table, and that its rows name images that are there.

    Parameters
    ----------
    findings : Findings
    storage : Storage
    image_ids : set of str
    """
    files: dict[str, int] = {}
    with findings.reading("unreadable", layout.TABLES):
        files = list_files(storage, layout.TABLES)
    for name in files:
        key = f"{layout.TABLES}/{name}"
        # On-disk format: "Names of files below tables/ MUST be those of tables."
        if layout.parse_table_key(key) is None:
            check_foreign(findings, key)
            continue
        found = Findings()
        with found.reading("parquet", key):
            check_parquet(storage, key)
            _check_rows(found, storage, key, image_ids)
        if stat_of(storage, key) is not None:
            findings.extend(found)


def _check_rows(findings: Findings, storage: Storage, key: str, image_ids: Collection[str]) -> None:
    strays = {
        image_id: count
        for image_id, count in _named_images(storage, key).items()
        if image_id not in image_ids
    }
    # On-disk format: "The column image_id SHOULD name images of the dataset."
    if strays:
        shown = ", ".join(map(repr, sorted(strays)[:3]))
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        findings.add(
            "table-image-id",
            key,
            f"{sum(strays.values())} rows name images that are not in the dataset: {shown}{more}. "
            "replace_rows_for_image_id() with no rows removes them.",
        )


def _named_images(storage: Storage, key: str) -> Counter[str]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    try:
        with storage.open(key) as opened, pq.ParquetFile(readable_file(opened)) as file:
            schema = file.schema_arrow
            if schema.names.count(_COLUMN) != 1:
                return counts
            kind = schema.field(_COLUMN).type
            if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
                return counts
            for batch in file.iter_batches(columns=[_COLUMN]):
                # A missing value names no image, and claims none.
                values, numbers = pc.value_counts(batch.column(0)).flatten()
                for value, number in zip(values.to_pylist(), numbers.to_pylist(), strict=True):
                    if value is not None and number is not None:
                        counts[str(value)] += number
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptDataError(
            f"the column {_COLUMN} cannot be read: {error}",
            where=key,
            hint="Restore it from a copy of the dataset, or save the table anew.",
        ) from error
    return counts
