"""Folders and what became of them, for the tests of the original layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from kymflow_zarr import ExportReport, ZarrDataset, ZarrImageRecord
from kymflow_zarr.testing import default_vessels, write_experiment

STEM = "28d AngII/20250722/20250722_A89_0002"


def contents_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return bytes and time of every file, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def small_experiment(folder: Path) -> Path:
    """Write two images with all that lies beside them, and files that no rule covers."""
    write_experiment(folder, vessels=default_vessels(0)[2:4])
    (folder / "notes.txt").write_bytes(b"read me\r\n")
    (folder / f"{STEM}.quality.json").write_bytes(b'{"good": true}\n')
    (folder / f"{STEM}.tif.xml").write_bytes(b"<xml/>")
    return folder


def ingested(folder: Path, place: Path) -> ZarrDataset:
    """Ingest a folder into a new dataset."""
    ds = ZarrDataset(place, mode="w-", durability="relaxed")
    report = ds.ingest_legacy_folder(folder)
    assert not report.failed
    return ds


def image_of(ds: ZarrDataset, rel_path: str) -> ZarrImageRecord:
    """Return the image that came from a TIFF."""
    found = [r for r in ds.iter_records() if r.source and r.source.rel_path == rel_path]
    assert len(found) == 1
    return found[0]


def edited_and_back(
    folder: Path, edit: Callable[[ZarrDataset, ZarrImageRecord], object]
) -> tuple[ExportReport, ZarrImageRecord, ZarrDataset, ZarrDataset]:
    """Ingest an experiment, edit it, export it, delete the original, ingest the export.

    Returns
    -------
    report, record, dataset, again
        The edited image; the dataset it is in; and the one made of the export.
    """
    source = small_experiment(folder / "experiment")
    ds = ingested(source, folder / "d.zarr")
    rec = image_of(ds, f"{STEM}.tif")
    edit(ds, rec)
    shutil.rmtree(source)
    report = ds.export_legacy_folder(folder / "out", layout="kymflow")
    assert not report.failed
    return report, rec, ds, ingested(folder / "out", folder / "again.zarr")


def differing(report: ExportReport) -> dict[str, str]:
    """Return the reasons of a report by the files."""
    assert len({d.path for d in report.differences}) == len(report.differences)
    return {difference.path: difference.reason for difference in report.differences}
