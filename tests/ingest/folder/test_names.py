"""File names as people and their systems write them."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.folder.convention import plan_folder
from kymflow_zarr.ingest.folder.scan import ScannedFile

Form: TypeAlias = Literal["NFC", "NFD"]
PIXELS = np.arange(600, dtype=np.uint16).reshape(30, 20)
METADATA = {
    "version": "2.0",
    "header": {"voxels": [0.001, 0.3], "voxels_units": ["s", "um"]},
    "experiment_metadata": {"species": "mouse"},
    "rois": [],
}
only_bytes = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="the file system refuses such names"
)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


def write(path: Path, pixels: Any = PIXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels)
    return path


def latin_1(folder: Path, name: str) -> Path:
    """Return the path of a name in Latin-1 bytes."""
    return folder / os.fsdecode(name.encode("latin-1"))


def is_kymograph(ds: ZarrDataset, image_id: str | None) -> bool:
    assert image_id is not None
    axes = ds.record(image_id).axes
    return (axes[0].quantity, axes[0].step, axes[1].step) == ("time", 0.001, 0.3)


@only_bytes
def test_a_name_that_is_no_utf_8_is_a_line_of_the_report_and_the_rest_goes_in(
    ds: ZarrDataset, lab: Path
) -> None:
    write(lab / "good.tif")
    latin_1(lab, "Küche.tif").write_bytes((lab / "good.tif").read_bytes())
    latin_1(lab, "café.txt").write_text("notes")
    latin_1(lab, "Übung").mkdir()
    write(latin_1(lab, "Übung") / "inside.tif")
    for scan in (ds.ingest_legacy_folder, lambda path: ds.refresh_from_folder(path).report):
        report = scan(lab)
        reasons = {Path(i.path).name: i.reason for i in (*report.failed, *report.unmatched)}
        assert set(reasons) == {"K\\xfcche.tif", "caf\\xe9.txt", "\\xdcbung"}
        assert all("not valid Unicode" in str(reason) for reason in reasons.values())
        str(report).encode()  # It can be printed.
    assert len(ds) == 1
    assert ds.verify().ok


@only_bytes
def test_a_file_or_folder_asked_for_by_such_a_name_is_refused_with_what_to_do(
    ds: ZarrDataset, lab: Path
) -> None:
    folder = latin_1(lab, "Übung")
    tiff = write(folder / "inside.tif")
    for call in (lambda: ds.ingest_tiff(tiff), lambda: ds.ingest_legacy_folder(folder)):
        with pytest.raises(SourceFileError, match="Rename it"):
            call()
    assert len(ds) == 0


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("ending", [".json", ".metadata.json"])
def test_a_sidecar_from_a_mac_belongs_to_the_tiff_of_its_name(
    ds: ZarrDataset, lab: Path, forms: tuple[Form, Form], ending: str
) -> None:
    tiff, sidecar = (unicodedata.normalize(form, "Gefäß_é") for form in forms)
    write(lab / f"{tiff}.tif")
    (lab / f"{sidecar}{ending}").write_text(json.dumps(METADATA))
    (lab / f"{sidecar}.flow.csv").write_text("t,v\n0,1.5\n")
    (lab / "flow-analysis").mkdir()
    (lab / "flow-analysis" / f"{sidecar}_radon.csv").write_text("roi_id,time,velocity\n1,0.5,2\n")
    report = ds.ingest_legacy_folder(lab)
    assert report.unmatched == ()
    record = ds.record(report.image_ids[0])
    assert is_kymograph(ds, record.image_id)
    assert {"flow", "velocity"} <= {info.name for info in record.list_artifacts()}
    assert ds.refresh_from_folder(lab) == []


def test_what_belongs_to_scan_tif_is_not_given_to_scan_ome_tif(ds: ZarrDataset, lab: Path) -> None:
    write(lab / "scan.tif")
    write(lab / "scan.ome.tif", PIXELS + 1)
    (lab / "scan.json").write_text(json.dumps(METADATA))
    report = ds.ingest_legacy_folder(lab)
    ids = {Path(item.path).name: item.image_id for item in report.ingested}
    assert is_kymograph(ds, ids["scan.tif"])
    assert not is_kymograph(ds, ids["scan.ome.tif"])


@pytest.mark.parametrize("name", ["scan.ome.tif", "scan.OME.TIFF", "scan.czi.tif", "a.b.ome.tif"])
def test_a_double_ending_is_one_ending(ds: ZarrDataset, lab: Path, name: str) -> None:
    write(lab / name)
    stem = name.rsplit(".", 2)[0]
    (lab / f"{stem}.json").write_text(json.dumps(METADATA))
    (lab / f"{stem}.flow.csv").write_text("t,v\n0,1.5\n")
    report = ds.ingest_legacy_folder(lab)
    assert report.unmatched == ()
    assert is_kymograph(ds, report.image_ids[0])
    assert "flow" in {info.name for info in ds.record(report.image_ids[0]).list_artifacts()}


def test_a_name_that_two_double_endings_share_is_nobodys(ds: ZarrDataset, lab: Path) -> None:
    write(lab / "scan.ome.tif")
    write(lab / "scan.czi.tif", PIXELS + 1)
    (lab / "scan.json").write_text(json.dumps(METADATA))
    report = ds.ingest_legacy_folder(lab)
    assert [Path(item.path).name for item in report.unmatched] == ["scan.json"]


def test_a_file_of_git_annex_is_known_by_its_own_name(ds: ZarrDataset, lab: Path) -> None:
    blobs = lab / ".git" / "annex" / "objects"
    write(blobs / "MD5E-s1--ab.tif")
    (blobs / "MD5E-s2--cd.json").write_text(json.dumps(METADATA))
    (lab / "sub-01.tif").symlink_to(".git/annex/objects/MD5E-s1--ab.tif")
    (lab / "sub-01.json").symlink_to(".git/annex/objects/MD5E-s2--cd.json")
    record = ds.ingest_tiff(lab / "sub-01.tif")
    assert record.source is not None
    assert Path(record.source.path).name == "sub-01.tif"
    assert is_kymograph(ds, record.image_id)
    assert ds.ingest_tiff(lab / "sub-01.tif").image_id == record.image_id
    assert ds.ingest_legacy_folder(lab).image_ids == []
    assert len(ds) == 1


@only_bytes
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_rows_of_a_pooled_table_from_a_mac_or_windows_name_the_tiffs_of_a_folder(
    ds: ZarrDataset, lab: Path, forms: tuple[Form, Form]
) -> None:
    folder, named = (unicodedata.normalize(form, "Größe") for form in forms)
    for name in (f"{folder}/a.tif", "B.tif", "c.tif", "C.tif"):
        (lab / name).parent.mkdir(exist_ok=True)
        write(lab / name)
    rows = [f"{named}/a.tif", f".\\{named}\\A.TIF", "b.tif", "c.tif", "c.TIF", "none.tif"]
    (lab / "flow_db.csv").write_text("rel_path,v\n" + "".join(f"{row},1\n" for row in rows))
    report = ds.ingest_legacy_folder(lab)
    ids = {Path(item.path).name: item.image_id for item in report.ingested}
    found = ds.load_table("flow_db")["image_id"]
    assert found[:4].tolist() == [ids["a.tif"], ids["a.tif"], ids["B.tif"], ids["c.tif"]]
    # Two images fit one row, and none fits the other: their rows stay without an image.
    assert found[4:].isna().all()
    assert ds.refresh_from_folder(lab) == []


def test_columns_of_a_lab_that_are_called_as_ours_stay_in_the_table_and_in_its_file(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    write(lab / "a.tif")
    text = "image_id,rel_path,pooled_path,v\nM12-03,a.tif,x,1.5\nM12-04,a.tif,y,2.5\n"
    (lab / "flow_db.csv").write_text(text)
    report = ds.ingest_legacy_folder(lab)
    table = ds.load_table("flow_db")
    assert table["image_id"].tolist() == report.image_ids * 2
    assert table["file_image_id"].tolist() == ["M12-03", "M12-04"]
    assert table["file_pooled_path"].tolist() == ["x", "y"]
    assert ds.refresh_from_folder(lab) == []
    ds.export_legacy_folder(tmp_path / "same", layout="kymflow")
    assert (tmp_path / "same" / "flow_db.csv").read_text() == text
    table["v"] *= 2
    ds.save_table("flow_db", table)
    ds.export_legacy_folder(tmp_path / "edited", layout="kymflow")
    edited = (tmp_path / "edited" / "flow_db.csv").read_text()
    assert edited.splitlines()[:2] == ["image_id,rel_path,pooled_path,v", "M12-03,a.tif,x,3.0"]


def test_a_key_that_occurs_twice_is_reported(ds: ZarrDataset, lab: Path) -> None:
    write(lab / "a.tif")
    (lab / "a.json").write_text('{"version": "2.0", "experiment_metadata": {"note": 1, "note": 2}}')
    (lab / "a.notes.json").write_text('{"x": 1, "y": {"x": 2}}')
    report = ds.ingest_legacy_folder(lab)
    assert "a.json has keys that occur twice in one object ('note')" in str(
        report.ingested[0].reason
    )
    assert "a.notes.json" not in str(report.ingested[0].reason)


def test_a_stem_may_hold_dots_and_the_longest_that_fits_counts(ds: ZarrDataset, lab: Path) -> None:
    for i, name in enumerate(["a", "a.b", "a.b.c", "A2"]):
        write(lab / f"{name}.tif", PIXELS + i)
    owners = {
        "a.b.c.d.csv": "a.b.c.tif", "a.b.x.csv": "a.b.tif", "a.c.csv": "a.tif",
        "a.b_diameter.csv": "a.b.tif", "a2.x.csv": "A2.tif", "A.B.y.csv": "a.b.tif",
        "flow-analysis/a.b_notes.txt": "a.b.tif", "flow-analysis/A2.log": "A2.tif",
    }  # fmt: skip
    (lab / "flow-analysis").mkdir()
    for name in owners:
        (lab / name).write_text("t,v\n0,1.5\n")
    report = ds.ingest_legacy_folder(lab)
    assert report.unmatched == ()
    found = {
        file.rel_path: Path(record.source_files[0].path).name
        for record in ds.iter_records()
        for file in record.source_files[1:]
    }
    assert found == owners


def test_sidecars_are_found_by_name_and_not_by_looking_at_every_tiff() -> None:
    files = [ScannedFile(f"/lab/{i:05}{end}", f"{i:05}{end}", 1, 1) for i in range(1000)
             for end in (".tif", ".txt", ".x.csv", ".y.npy", "_other.bin")]  # fmt: skip
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        plan = plan_folder(files, lambda found: found.name.endswith(".tif"), include_sidecars=True)
    finally:
        sys.setprofile(None)
    assert [len(acquisition.attached) for acquisition in plan.acquisitions] == [3] * 1000
    assert len(plan.unmatched) == 1000
    assert calls < 500 * len(files)
