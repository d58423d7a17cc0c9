"""Named pipes, devices and files of any size in the place of a dataset's files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from kymflow_zarr import KymflowZarrError, ZarrDataset

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes")
JOURNAL = f".kymflow_zarr/journal/{'a' * 32}-{'b' * 32}.json"
READS = {
    "images/a/data/c/0/0": "ds['a'].load_array()",
    "images/a/zarr.json": "ds['a'].shape",
    "images/a/checksums.sha256": "ds.verify()",
    "images/a/analysis/n.json": "ds['a'].load_json('n')",
    "images/a/analysis/p.parquet": "ds['a'].load_df_parquet('p')",
    "images/a/analysis/c.csv.gz": "ds['a'].load_df_csv_gz('c')",
    "tables/t.parquet": "ds.load_table('t')",
    "index/images.parquet": "ds.images()",
    "checksums.sha256": "ds.verify()",
    "zarr.json": "0",
    JOURNAL: "0",
    ".kymflow_zarr/locks/top.lock": "ds.delete_table('t')",
}
READ = """
import sys
from kymflow_zarr import KymflowZarrError, ZarrDataset
try:
    ds = ZarrDataset(sys.argv[1], sys.argv[3])
    print("read", eval(sys.argv[2]))
except KymflowZarrError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ZarrDataset(tmp_path / "x.zarr", durability="relaxed") as ds:
        rec = ds.add_image([[1, 2], [3, 4]], image_id="a")
        rec.save_json("n", 1)
        frame = pd.DataFrame({"image_id": ["a"], "x": [1]})
        rec.save_df_parquet("p", frame)
        rec.save_df_csv_gz("c", frame)
        ds.save_table("t", frame)
        ds.update_manifest()
        return ds.path


@pytest.mark.parametrize("key", READS)
def test_a_named_pipe_in_the_place_of_a_file_blocks_no_call(path: Path, key: str) -> None:
    place = path / key
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    mode = "r+" if "lock" in key else "r"
    # In a process of its own: what blocks there must not block the suite.
    command = [sys.executable, "-c", READ, str(path), READS[key], mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", [key for key in READS if "/c/" not in key and "lock" not in key])
def test_a_file_of_64_gigabytes_is_measured_before_it_is_read(path: Path, key: str) -> None:
    with (path / key).open("wb") as file:
        file.truncate(64 << 30)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, limits[1]))
    try:
        ds = ZarrDataset(path, "r")
        eval(READS[key], {"ds": ds})
    except KymflowZarrError:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_journal_of_64_gigabytes_lets_the_dataset_be_read(path: Path) -> None:
    with (path / JOURNAL).open("wb") as file:
        file.truncate(64 << 30)
    with pytest.warns(UserWarning, match="for reading only"):
        ds = ZarrDataset(path)
    assert ds["a"].load_json("n") == 1


def test_each_file_of_a_folder_is_in_the_report_though_it_is_none_or_belongs_to_a_broken_one(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    os.mkfifo(lab / "pipe.tif")
    (lab / "zero.tif").symlink_to("/dev/zero")
    (lab / "gone.tif").symlink_to("nowhere")
    (lab / "cut.tif").write_bytes(b"II*\0\x08\0\0\0")
    (lab / "cut.json").write_text("{}")
    (lab / "cut.trace.csv").write_text("t,v\n0,1\n")
    report = ds.ingest_legacy_folder(lab)
    reasons = {Path(item.path).name: item.reason for item in report.unmatched}
    assert reasons.pop("pipe.tif") == "is no file, but a named pipe, a socket or a device"
    assert sorted(reasons) == ["cut.json", "cut.trace.csv"]
    reasons = {Path(item.path).name: item.reason for item in report.failed}
    assert reasons.pop("zero.tif") == "the link leads to no file"
    assert reasons.pop("gone.tif") == "the link leads nowhere"
    assert list(reasons) == ["cut.tif"]
