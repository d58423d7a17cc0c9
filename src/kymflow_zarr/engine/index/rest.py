"""Rows that are not in the index file, kept by the one who read them. Imports Arrow late."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Final

from kymflow_zarr.engine.index.row import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

_RACY_S: Final = 2.0


class Rest:
    """What an index that is not written, or may not be, would hold; for one open dataset.

    Who may not write cannot ask for the time by the clock of the file system. So a row is
    trusted if its documents were read two seconds after the time of its folder was first seen:
    whatever is written later has another.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        self._rows: pa.Table | None = None

    def current(self, stale: Mapping[str, int]) -> tuple[pa.Table | None, dict[str, int]]:
        """Return the rows that are current of some images, and the images that have none."""
        from kymflow_zarr.engine.index import file

        rows = self._rows
        if rows is None:
            return None, dict(stale)
        return file.compare(rows, stale)

    def keeper(
        self, stale: Mapping[str, int], doubtful: Container[str]
    ) -> Callable[[pa.Table], None]:
        """Return what takes in the rows of images; to be called before they are read.

        Parameters
        ----------
        stale : mapping of str to int
            The images and the times of their folders.
        doubtful : container of str
            Those whose rows are not to be kept.
        """
        now = time.monotonic()
        before = self._seen
        seen = {image_id: (time_ns, now) for image_id, time_ns in stale.items()}
        for image_id, (time_ns, _) in seen.items():
            known = before.get(image_id)
            if known is not None and known[0] == time_ns:
                seen[image_id] = known
        self._seen = seen
        ripe = {
            image_id
            for image_id, (time_ns, first) in seen.items()
            if now - first >= _RACY_S and time_ns >= 0 and image_id not in doubtful
        }

        def keep(rows: pa.Table) -> None:
            self._keep(rows, ripe)

        return keep

    def _keep(self, rows: pa.Table, ripe: set[str]) -> None:
        import pyarrow as pa

        from kymflow_zarr.engine.index import file

        ids = rows["image_id"].to_pylist()
        good = rows.filter(pa.array([image_id in ripe for image_id in ids], pa.bool_()))
        if not len(good):
            return
        old = self._rows
        if old is not None:
            new = set(good["image_id"].to_pylist())
            others = [image_id not in new for image_id in old["image_id"].to_pylist()]
            good = file.merged(old.filter(pa.array(others, pa.bool_())), good)
        self._rows = good.select(list(COLUMNS))
