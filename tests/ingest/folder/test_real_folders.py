"""Real folders of several programs: every file has a home, and every call works after that."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kymflow_zarr import ZarrDataset
from tests.helpers.opened_files import OpenedFiles

FOLDERS = ["kymflow_folder", "kymflow_folder_2026_04", "acqstore_folder", "vendor/prairie"]


@pytest.fixture(params=FOLDERS)
def lab(request: pytest.FixtureRequest, shared_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared_data / request.param, tmp_path / "lab"))


def test_a_real_folder_goes_in_whole_and_every_call_works_after_that(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    report = ds.ingest_legacy_folder(lab)
    assert report.failed == ()
    assert len(report.ingested) == len(ds) > 0

    # Every file is read for an image, is a table, or is named with what became of it.
    files = {path for path in lab.rglob("*") if path.is_file() and path.name[0] != "."}
    of_images = {Path(file.path) for rec in ds.iter_records() for file in rec.source_files}
    named = {Path(item.path) for item in (*report.pooled, *report.unmatched)}
    assert files == of_images | named
    assert not of_images & named
    assert all("kept" in str(item.reason) for item in report.unmatched)

    assert len(ds.images()) == len(ds)
    assert ds.images()["error"].isna().all()
    dataframes = {
        info.name
        for rec in ds.iter_records()
        for info in rec.list_artifacts()
        if info.kind == "parquet"
    }
    for name in sorted(dataframes):
        rows = len(ds.gather(name))
        assert ds.gather(name, as_="arrow").num_rows == rows
        assert ds.gather(name, as_="dataset").count_rows() == rows
        assert len(ds.sql(f'SELECT * FROM "{name}"')) == rows
        table = f"all_{name.replace('/', '_')}"
        ds.save_table_from(table, name)
        assert len(ds.load_table(table)) == rows
        ds.delete_table(table)
    for name in ds.list_table_names():
        assert len(ds.sql(f'SELECT * FROM "{name}"')) == len(ds.load_table(name))
    assert ds.verify().ok
    assert ds.validate().ok

    # Of a set of files an export writes the image as one TIFF.
    in_sets = {
        Path(file.path)
        for rec in ds.iter_records()
        for file in rec.source_files
        if file.role in ("image", "member") and any(f.role == "member" for f in rec.source_files)
    }
    opened = OpenedFiles()
    modes: list[Any] = ["skip", "reingest_if_changed"]
    for mode in modes:
        with opened.below(lab) as paths:
            result = ds.refresh_from_folder(lab, mode=mode)
        assert list(result) == []
        assert len(result.report.unchanged) == len(ds)
        assert not result.report.failed
        assert not result.report.missing
        assert paths == []

    for layout in ("dataset", "kymflow"):
        out = tmp_path / layout
        exported = ds.export_legacy_folder(out, layout=layout)
        assert exported.failed == ()
        with ZarrDataset(tmp_path / f"{layout}.zarr", durability="relaxed") as back:
            back.ingest_legacy_folder(out)
            assert sorted(r.load_array().tobytes() for r in back.iter_records()) == sorted(
                r.load_array().tobytes() for r in ds.iter_records()
            )
    for path in files - in_sets:
        same = tmp_path / "kymflow" / path.relative_to(lab)
        assert same.read_bytes() == path.read_bytes()
