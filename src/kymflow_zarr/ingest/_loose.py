"""The files of a folder that belong to no single image: pooled tables, and what no rule covers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kymflow_zarr._core import IngestItem, ZarrDataset
from kymflow_zarr._schema import SourceFileDocument
from kymflow_zarr._schema._analysis import IMAGE_ID, POOLED_PATH
from kymflow_zarr._storage import digest_of_bytes
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.ingest._convention import FolderPlan
from kymflow_zarr.ingest._known import KnownSources
from kymflow_zarr.ingest._pooled import (
    pooled_rows,
    save_pooled,
    table_name,
)
from kymflow_zarr.ingest._scan import Found

if TYPE_CHECKING:
    import pandas as pd

# A larger file that no rule covers is a video or an archive, not a part of the convention.
KEEP_BYTES: Final = 64 << 20


class LooseFiles:
    """What a folder holds beside its images.

    Parameters
    ----------
    dataset : ZarrDataset
    plan : FolderPlan
    root : Path
        The folder, absolute.
    """

    def __init__(self, dataset: ZarrDataset, plan: FolderPlan, root: Path) -> None:
        self._dataset = dataset
        self._plan = plan
        self._root = root
        self._kept = dataset.kept_files()
        self._documents = self._kept.documents()
        self._to_keep: dict[str, tuple[SourceFileDocument, bytes]] = {}

    def planned(self) -> Iterator[IngestItem]:
        """Yield what would be reported."""
        for found in self._plan.pooled:
            known = self._documents.get(str(found.path))
            reason = "unchanged" if known is not None and _same(known, found) else None
            yield IngestItem("pooled", str(found.path), None, reason)
        for found, reason in self._plan.unmatched:
            yield IngestItem("unmatched", str(found.path), None, reason)

    def carried_out(self, mode: str, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        """Bring the tables up to date, keep what no rule covers, yield what came of it."""
        images = self._images()
        items = [self._pooled(found, images, mode, overwrite_edits) for found in self._plan.pooled]
        for found, reason in self._plan.unmatched:
            items.append(IngestItem("unmatched", str(found.path), None, self._keep(found, reason)))
        self._kept.keep(self._to_keep)
        yield from items

    def _images(self) -> dict[str, str]:
        """Return the image of each TIFF by its path below the folder."""
        images = {}
        for image in KnownSources(self._dataset) if self._plan.pooled else ():
            for file in image.files:
                path = Path(file.path)
                if file.role == "image" and path.is_relative_to(self._root):
                    images[path.relative_to(self._root).as_posix()] = image.image_id
        return images

    def _pooled(
        self, found: Found, images: dict[str, str], mode: str, overwrite_edits: bool
    ) -> IngestItem:
        path = str(found.path)
        try:
            known = self._documents.get(path)
            before = None if known is None else self._kept.read(known)
            same = known is not None and _same(known, found)
            data = before if same and before is not None else found.path.read_bytes()
            digest = digest_of_bytes(data)
            if known is not None and digest != known.sha256 and mode == "skip":
                return IngestItem("skipped", path, None, "changed since it was ingested")
            rows = pooled_rows(data, found, images)
            earlier = None
            if before is not None and not overwrite_edits:
                earlier = pooled_rows(before, found, images)
            if same and not self._resolves_more(found, rows):
                return IngestItem("pooled", path, None, _said("unchanged", rows))
            if not save_pooled(self._dataset, found, rows, earlier):
                reason = "its rows were edited in the dataset and left as they are"
                return IngestItem("skipped", path, None, reason)
            self._to_keep[path] = (_document(found, digest, "pooled"), data)
            return IngestItem("pooled", path, None, _said(f"table {table_name(found)}", rows))
        except StorageError:
            raise  # A full disk is not the fault of this file.
        except (KymflowZarrError, OSError) as error:
            return IngestItem("failed", path, None, str(error))

    def _resolves_more(self, found: Found, rows: pd.DataFrame) -> bool:
        """Tell whether rows mean images now that they did not mean last time."""
        try:
            table = self._dataset.load_table(table_name(found))
        except FileNotFoundError:
            return True
        if not {POOLED_PATH, IMAGE_ID} <= set(table.columns):
            return True
        now = table[table[POOLED_PATH] == str(found.path)]
        return len(now) == len(rows) and now[IMAGE_ID].notna().sum() < rows[IMAGE_ID].notna().sum()

    def _keep(self, found: Found, reason: str) -> str:
        path = str(found.path)
        known = self._documents.get(path)
        if known is not None and _same(known, found):
            return f"{reason}; it is kept as it is"
        if found.size_bytes > KEEP_BYTES:
            return f"{reason}; at {found.size_bytes} bytes it is too large to be kept"
        try:
            data = found.path.read_bytes()
        except OSError as error:
            return f"{reason}; it cannot be read: {error.strerror}"
        self._to_keep[path] = (_document(found, digest_of_bytes(data), "unmatched"), data)
        return f"{reason}; it is kept as it is"


def _same(known: SourceFileDocument, found: Found) -> bool:
    return (known.size_bytes, known.mtime_ns) == (found.size_bytes, found.mtime_ns)


def _document(found: Found, sha256: str, role: str) -> SourceFileDocument:
    return SourceFileDocument(
        path=str(found.path),
        rel_path=found.rel_path,
        role=role,
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        sha256=sha256,
    )


def _said(what: str, rows: pd.DataFrame) -> str:
    count = int(rows[IMAGE_ID].isna().sum())
    return f"{what}; {count} rows name no image of the dataset" if count else what
