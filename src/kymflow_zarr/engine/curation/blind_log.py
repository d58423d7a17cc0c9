"""The table in which it stands who judged blind, and who was told what had been hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from kymflow_zarr.engine.curation.agreement import verdicts_by_person
from kymflow_zarr.engine.curation.document import name_of
from kymflow_zarr.engine.documents import utc_now
from kymflow_zarr.errors import ArgumentError, TableNotFoundError
from kymflow_zarr.storage.interface import without_conflict

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.dataset import OpenDataset

TABLE: Final = "blinding"
Event = Literal["blinded", "unblinded"]


def log(dataset: OpenDataset, who: str | None, event: Event, hidden: Sequence[str]) -> None:
    """Append a row to the table."""
    import pandas as pd

    row = {"when_utc": utc_now(), "who": name_of(who), "event": event, "hidden": ", ".join(hidden)}

    def once() -> None:
        # The lock of tables, so that of two writers none loses its row.
        with dataset.storage.lock("top"):
            rows = _rows(dataset)
            new = pd.DataFrame([row])
            dataset.save_table(TABLE, new if rows is None else pd.concat([rows, new]))

    without_conflict(dataset.storage, once)


def _rows(dataset: OpenDataset) -> pd.DataFrame | None:
    try:
        return dataset.load_table(TABLE)
    except TableNotFoundError:
        return None


def is_blind(dataset: OpenDataset, who: str | None) -> list[str] | None:
    """Return the columns that were hidden from a person last; None if nothing is hidden now."""
    rows = _rows(dataset)
    if rows is None:
        return None
    own = rows[rows["who"] == name_of(who)]
    if not len(own) or own["event"].iloc[-1] != "blinded":
        return None
    return [name for name in str(own["hidden"].iloc[-1]).split(", ") if name]


def unblind(dataset: OpenDataset, who: str | None) -> pd.DataFrame:
    """End the blinding of a person; see :meth:`kymflow_zarr.ZarrDataset.unblind`."""
    hidden = is_blind(dataset, who)
    if hidden is None:
        raise ArgumentError(
            f"nothing is hidden from {name_of(who)!r}",
            where="who",
            hint="The table 'blinding' has a row for each who opened a blind page.",
        )
    given = verdicts_by_person(dataset, None).get(name_of(who), {})
    images = dataset.images()
    images = images[images["image_id"].isin(list(given))]
    columns = ["image_id", *(name for name in hidden if name in images)]
    images = images[columns].assign(verdict=images["image_id"].map(given))
    log(dataset, who, "unblinded", hidden)
    return images.reset_index(drop=True)
