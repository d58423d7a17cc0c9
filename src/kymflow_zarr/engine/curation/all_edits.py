"""The history of a whole dataset: a row for each value that an edit changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from kymflow_zarr.engine.curation.document import load_curation
from kymflow_zarr.engine.query.map import map_images

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from kymflow_zarr.engine.curation.document import Edit
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.types import Progress

_COLUMNS = (
    "when_utc", "who", "image_id", "name", "what", "before", "after", "edit_id", "undoes",
    "undone_by",
)  # fmt: skip


def all_edits(
    dataset: OpenDataset,
    ids: Iterable[str] | None,
    who: str | None,
    *,
    executor: Executor | None,
    progress: Progress | None,
) -> pd.DataFrame:
    """Return the history of all images; see :meth:`kymflow_zarr.ZarrDataset.history`."""
    chosen = dataset.list_image_ids() if ids is None else list(dict.fromkeys(ids))
    histories = map_images(dataset, _history, chosen, executor=executor, progress=progress)
    names = dataset.image_names()
    rows = [
        (edit.when_utc, edit.who, image_id, names.get(image_id, image_id), str(change),
         change.before, change.after, edit.edit_id, edit.undoes, edit.undone_by)
        for image_id, history in histories.items()
        for edit in history
        if who is None or edit.who == who
        for change in edit.changes
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    # Stable: the changes of an edit stay together, and edits of one moment in their order.
    frame = frame.sort_values("when_utc", kind="stable", ignore_index=True)
    if histories.errors:
        frame.attrs["errors"] = {key: str(error) for key, error in histories.errors.items()}
    return frame


def _history(image: StoredImage) -> tuple[Edit, ...]:
    return load_curation(image.storage, image.prefix).history
