"""A folder of TIFFs into a dataset."""

from __future__ import annotations

import fnmatch
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kymflow_zarr._core import IngestItem, IngestReport, ZarrDataset
from kymflow_zarr._types import Progress, StrPath
from kymflow_zarr.errors import KymflowZarrError, SourceNotFoundError, StorageError
from kymflow_zarr.ingest._image import ingest_file, is_unchanged, known_sources, source_path
from kymflow_zarr.ingest._sidecars import Sidecars, sidecars_of


def ingest_folder(
    dataset: ZarrDataset,
    folder: StrPath,
    *,
    pattern: str = "*.tif",
    include_sidecars: bool = True,
    progress: Progress | None = None,
) -> IngestReport:
    """Add the TIFFs of a folder; see :meth:`kymflow_zarr.ZarrDataset.ingest_legacy_folder`."""
    dataset.require_writable()
    root = Path(folder)
    if not root.is_dir():
        raise SourceNotFoundError(
            "there is no such folder",
            where=str(root),
            hint="Check the path; ingest_tiff() takes a single file.",
        )
    tiffs = find_tiffs(root, pattern)
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for tiff in tiffs:
        by_folder[tiff.parent].append(tiff)
    known = known_sources(dataset)
    items: list[IngestItem] = []
    done = 0
    for parent, here in by_folder.items():
        beside = sidecars_of(here, parent) if include_sidecars else {}
        for tiff in here:
            if progress is not None:
                progress(done, len(tiffs), tiff.name)
            items.extend(_ingest_one(dataset, tiff, beside.get(tiff), known, root))
            done += 1
    if progress is not None:
        progress(done, len(tiffs), "")
    return IngestReport(str(root), tuple(items))


def find_tiffs(root: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match, sorted; hidden ones and datasets left out.

    Case does not matter, and ``.tiff`` comes with ``.tif``.
    """
    patterns = {pattern.casefold()}
    if pattern.casefold().endswith(".tif"):
        patterns.add(f"{pattern.casefold()}f")
    found = []
    for parent, folders, names in os.walk(root):
        here = Path(parent)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _is_store(here / name)
        )
        found += [
            here / name
            for name in sorted(names)
            if not name.startswith(".")
            and any(fnmatch.fnmatchcase(name.casefold(), p) for p in patterns)
        ]
    return found


def _is_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))


def _ingest_one(
    dataset: ZarrDataset,
    tiff: Path,
    sidecars: Sidecars | None,
    known: dict[tuple[str, int], dict[str, Any]],
    root: Path,
) -> Iterator[IngestItem]:
    series, count = 0, 1
    while series < count:
        try:
            entry = known.get((source_path(tiff), series))
            if entry is not None:
                yield _known_item(entry, tiff)
                count = max(count, _series_known(known, source_path(tiff)))
            else:
                made = ingest_file(dataset, tiff, sidecars, series=series, root=root)
                count = made.series_count
                reason = "; ".join(made.notes) or None
                yield IngestItem("ingested", str(tiff), made.record.image_id, reason)
        except StorageError:
            # Not the source's fault: a full disk would fail for every file after it too.
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bad file does, the others go in
            reason = str(error) if isinstance(error, KymflowZarrError) else repr(error)
            yield IngestItem("failed", str(tiff), None, reason)
        series += 1


def _known_item(entry: dict[str, Any], tiff: Path) -> IngestItem:
    image_id = entry["image_id"]
    if is_unchanged(entry["source"], tiff):
        return IngestItem("unchanged", str(tiff), image_id)
    reason = "the file has changed since it was ingested; the image was left as it is"
    return IngestItem("skipped", str(tiff), image_id, reason)


def _series_known(known: dict[tuple[str, int], dict[str, Any]], path: str) -> int:
    return 1 + max(series for source, series in known if source == path)
