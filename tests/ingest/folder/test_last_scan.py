"""A scan of files that are as they were is answered by the report of the last one."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from tests.helpers.opened_files import OpenedFiles

HOUR_S = 3600


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with two images, a sidecar, a pooled table and a file of no image."""
    folder = tmp_path / "lab"
    (folder / "day").mkdir(parents=True)
    for number in range(2):
        tifffile.imwrite(folder / "day" / f"{number}.tif", np.full((9, 8), number, "uint16"))
    (folder / "day" / "0.txt").write_text("[General]\n")
    (folder / "day" / "0.extra.json").write_text('{"a": 1}')
    (folder / "kym_event_db.csv").write_text("rel_path,v\nday/0.tif,1\nday/9.tif,2\n")
    (folder / "notes.docx").write_bytes(b"notes")
    return folder


@pytest.fixture
def scanned(ds: ZarrDataset, lab: Path) -> ZarrDataset:
    """A dataset of the folder whose last scan, long after all changes, is saved."""
    ds.ingest_legacy_folder(lab)
    settle(ds)
    ds.refresh_from_folder(lab)
    assert len(list((ds.path / "index" / "scans").iterdir())) == 1
    return ds


def settle(ds: ZarrDataset) -> None:
    """Let the last changes of a dataset be an hour old."""
    then = time.time() - HOUR_S
    for path in (ds.path, *ds.path.rglob("*")):
        os.utime(path, (then, then))


def outcome(ds: ZarrDataset, lab: Path) -> list[tuple[str, str, str | None]]:
    """Return status, name and reason of each file in a scan."""
    items = ds.refresh_from_folder(lab).report.items
    return [(item.status, Path(item.path).name, item.reason) for item in items]


AT_REST = [
    ("unchanged", "0.tif", None),
    ("unchanged", "1.tif", None),
    ("pooled", "kym_event_db.csv", "unchanged; 1 rows name no image of the dataset"),
    ("unmatched", "notes.docx", "no rule covers such a file; it is kept as it is"),
]


def test_a_folder_that_is_as_it_was_is_known_by_its_names_sizes_and_times(
    scanned: ZarrDataset, lab: Path
) -> None:
    opened = OpenedFiles()
    for ds in (scanned, ZarrDataset(scanned.path)):
        with opened.below(lab) as of_lab:
            assert outcome(ds, lab) == AT_REST
        with opened.below(ds.path) as of_dataset:
            assert outcome(ds, lab) == AT_REST
        assert of_lab == []
        # The report, and no table, document or image.
        assert {path.parent.name for path in of_dataset} == {"scans"}


def removed(path: Path) -> None:
    path.unlink()


CHANGES: dict[str, tuple[Callable[[ZarrDataset, Path], object], tuple[str, str]]] = {
    "a TIFF was rewritten": (
        lambda _, lab: tifffile.imwrite(lab / "day" / "1.tif", np.full((9, 8), 7, "uint16")),
        ("skipped", "1.tif"),
    ),
    "a TIFF was added": (
        lambda _, lab: tifffile.imwrite(lab / "2.tif", np.full((9, 8), 2, "uint16")),
        ("ingested", "2.tif"),
    ),
    "a TIFF was deleted": (lambda _, lab: removed(lab / "day" / "1.tif"), ("missing", "1.tif")),
    "a sidecar was edited": (
        lambda _, lab: (lab / "day" / "0.extra.json").write_text('{"a": 22}'),
        ("skipped", "0.tif"),
    ),
    "a sidecar was deleted": (lambda _, lab: removed(lab / "day" / "0.txt"), ("skipped", "0.tif")),
    "a sidecar was added": (
        lambda _, lab: (lab / "day" / "1.more.json").write_text("{}"),
        ("skipped", "1.tif"),
    ),
    "a file of no image was added": (
        lambda _, lab: (lab / "more.docx").write_bytes(b""),
        ("unmatched", "more.docx"),
    ),
    "a file of no image was deleted": (
        lambda _, lab: removed(lab / "notes.docx"),
        ("missing", "notes.docx"),
    ),
    "the pooled table was edited": (
        lambda _, lab: (lab / "kym_event_db.csv").write_text("rel_path,v\nday/0.tif,3\n"),
        ("skipped", "kym_event_db.csv"),
    ),
    "an image was deleted in the dataset": (
        lambda ds, _: ds.delete_image(ds.list_image_ids()[0]),
        ("ingested", "tif"),
    ),
    "the dataset has an image for the other row": (
        lambda ds, lab: (
            tifffile.imwrite(lab / "day" / "9.tif", np.full((9, 8), 9, "uint16")),
            ds.ingest_tiff(lab / "day" / "9.tif"),
        ),
        ("pooled", "kym_event_db.csv"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_seen(scanned: ZarrDataset, lab: Path, change: str) -> None:
    make, (status, name) = CHANGES[change]
    make(scanned, lab)
    found = outcome(scanned, lab)
    assert found != AT_REST
    assert any(item[0] == status and item[1].endswith(name) for item in found)


def test_rows_that_are_deleted_in_the_dataset_are_counted_no_more(
    scanned: ZarrDataset, lab: Path
) -> None:
    table = scanned.load_table("kym_event_db")
    scanned.save_table("kym_event_db", table[table["image_id"].notna()])
    assert ("pooled", "kym_event_db.csv", "unchanged") in outcome(scanned, lab)


def test_a_change_in_the_last_two_seconds_may_not_be_the_last_and_so_nothing_is_saved(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    soon = time.time() + HOUR_S
    for folder in (ds.path / "images").iterdir():
        os.utime(folder, (soon, soon))
    assert outcome(ds, lab) == AT_REST
    assert not (ds.path / "index" / "scans").exists()


def test_a_file_that_could_not_be_read_is_tried_again(
    ds: ZarrDataset, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path) -> bytes:
        if path.name == "notes.docx":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    read_bytes = Path.read_bytes
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refusing)
        ds.ingest_legacy_folder(lab)
        for _ in range(2):
            settle(ds)
            assert "cannot be read: Permission denied" in str(outcome(ds, lab)[-1][2])
    assert outcome(ds, lab) == AT_REST


def test_a_damaged_report_is_as_good_as_none(scanned: ZarrDataset, lab: Path) -> None:
    (report,) = (scanned.path / "index" / "scans").iterdir()
    for data in (b"", b"\xff", b"{}", report.read_bytes()[:-9]):
        report.write_bytes(data)
        assert outcome(scanned, lab) == AT_REST
    shutil.rmtree(scanned.path / "index")
    assert outcome(scanned, lab) == AT_REST


def test_scans_with_other_options_are_distinguished(scanned: ZarrDataset, lab: Path) -> None:
    assert len(scanned.refresh_from_folder(lab, pattern="0*").report.unchanged) == 1
    assert len(scanned.refresh_from_folder(lab, include_sidecars=False).report.items) == 2
    assert outcome(scanned, lab) == AT_REST
