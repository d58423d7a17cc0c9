"""Results as the index holds them, so that asking reads no image."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load
from kymflow_zarr.engine.results.inputs import ImageState
from kymflow_zarr.engine.results.lineage import KEY, Lineage, ResultId
from kymflow_zarr.engine.results.staleness import (
    compared_tables,
    is_edited,
    own_reasons,
    results_read,
)
from kymflow_zarr.schema.artifacts.lineage import ResultDocument, is_lineage
from kymflow_zarr.storage.interface import Storage


class IndexedResult(msgspec.Struct, array_like=True, gc=False):
    """One result in the index: a JSON array of these values, in this order.

    The reasons are found when the row is made: all that a result is made of lies in its image,
    but for tables. That a result is made of one that is out of date is not among them.
    """

    name: str
    roi_id: int | None
    channel: int | None
    variant: str | None
    counts: bool
    status: str
    program: str
    version: str
    params_sha256: str | None
    params: dict[str, Any] | None
    computed_utc: str
    seconds: float | None
    sha256: str | None
    artifact: str | None
    error: str | None
    edited: bool
    reasons: list[str]
    tables: list[tuple[str, str | None]]
    made_of: list[str]

    @property
    def result_id(self) -> ResultId:
        """What tells it apart from the other results of its image."""
        return ResultId(self.name, self.roi_id, self.channel, self.variant)


def indexed_results(storage: Storage, image_id: str) -> list[IndexedResult]:
    """Return the results of an image, with the reasons why they are out of date."""
    prefix = layout.image_prefix(image_id)
    if not is_lineage(load(storage, f"{prefix}/{KEY}")):
        return []  # Another artifact may have that name.
    lineage = Lineage(storage, prefix)
    state = ImageState(storage, image_id, lineage)
    documents = {ResultId.of(result).label: result for result in lineage}
    made_of = results_read(documents)
    return [
        IndexedResult(
            **{name: getattr(document, name) for name in _STORED},
            edited=is_edited(state, document), reasons=own_reasons(state, document),
            tables=[(i.key, i.sha256) for i in compared_tables(document)],
            made_of=made_of[label],
        )
        for label, document in documents.items()
    ]  # fmt: skip


_STORED: Final = tuple(
    name for name in IndexedResult.__struct_fields__ if name in ResultDocument.__struct_fields__
)
