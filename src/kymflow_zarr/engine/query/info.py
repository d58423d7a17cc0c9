"""What a dataset holds, how large it is, since when, and who judged it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kymflow_zarr.engine.curation.document import load_curation
from kymflow_zarr.errors import KymflowZarrError

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset


def info(dataset: OpenDataset) -> dict[str, Any]:
    """Return the facts of a dataset; see :meth:`kymflow_zarr.ZarrDataset.info`."""
    images = dataset.images(["image_id", "shape", "verdict", "acquired", "artifacts", "error"])
    judged = images["verdict"].value_counts()
    acquired = images["acquired"].dropna()
    shapes = (" x ".join(map(str, shape)) for shape in images["shape"].dropna())
    sizes = [stat.size for _, stat in dataset.storage.walk("")]
    edited = images["artifacts"].map(lambda names: "curation" in (names or ()))
    by, last = _edits(dataset, images.loc[edited, "image_id"].tolist())
    return {
        "location": dataset.location,
        "dataset_id": dataset.dataset_id,
        "created_utc": dataset.created_utc,
        "images": len(images),
        "damaged": int(images["error"].notna().sum()),
        "shapes": dict(Counter(shapes).most_common(5)),
        "acquired": f"{acquired.min()} to {acquired.max()}" if len(acquired) else "unknown",
        "verdicts": {
            "accepted": int(judged.get("accepted", 0)),
            "rejected": int(judged.get("rejected", 0)),
            "undecided": int(images["verdict"].isna().sum()),
        },
        "judged_by": dict(by.most_common()),
        "last_edit_utc": last,
        "artifacts": dict(Counter(n for names in images["artifacts"] for n in names or ())),
        "tables": {name: _number_of_rows(dataset, name) for name in dataset.list_table_names()},
        "files": len(sizes),
        "size_mb": round(sum(sizes) / 1e6, 1),
        **_traffic(dataset),
    }


def _traffic(dataset: OpenDataset) -> dict[str, Any]:
    """Return the requests to a store or host since the dataset was opened, this call included."""
    traffic = dataset.traffic()
    return {} if traffic is None else asdict(traffic)


def _edits(dataset: OpenDataset, ids: list[str]) -> tuple[Counter[str], str | None]:
    """Return the number of edits of each person, and the time of the last one."""
    by: Counter[str] = Counter()
    last: str | None = None
    for image_id in ids:
        image = dataset.record(image_id)
        try:
            history = load_curation(image.storage, image.prefix).history
        except KymflowZarrError:
            continue  # validate() names it.
        by.update(edit.who for edit in history)
        last = max([edit.when_utc for edit in history] + ([last] if last else []), default=last)
    return by, last


def _number_of_rows(dataset: OpenDataset, table: str) -> int | str:
    import pyarrow as pa

    try:
        return dataset.number_of_rows(table)
    except (KymflowZarrError, OSError, pa.ArrowException):
        return "damaged"
