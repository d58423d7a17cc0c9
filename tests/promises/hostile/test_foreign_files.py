"""Files and folders that other programs put into a dataset are named, and hide nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import StorageError
from kymflow_zarr.testing import state_of

LAYOUTS = pytest.mark.parametrize("layout", ["dataset", "kymflow"])


@pytest.fixture
def filled(ds: ZarrDataset) -> ZarrDataset:
    for number in range(2):
        rec = ds.add_image(np.full((3, 4), number, "uint16"), image_id=f"i{number}")
        rec.save_df_parquet("rows", pd.DataFrame({"n": [1, 2]}))
        rec.save_json("note", {"n": number})
        rec.save_array_artifact("mean", np.arange(3))
    return ds


def warned(ds: ZarrDataset) -> set[str]:
    """Return the keys that validate() calls foreign; require that there is nothing worse."""
    report = ds.validate()
    assert report.ok, str(report)
    return {problem.where for problem in report.problems if problem.code == "foreign-file"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@LAYOUTS
def test_a_named_pipe_in_place_of_an_artifact_is_an_error(
    filled: ZarrDataset, tmp_path: Path, layout: Any
) -> None:
    pipe = filled.path / "images" / "i1" / "analysis" / "rows.parquet"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match="named pipe"):
        filled.gather("rows")
    assert list(filled.gather("rows", on_error="report").attrs["errors"]) == ["i1"]
    with pytest.raises(StorageError, match="named pipe"):
        filled.sql("SELECT * FROM rows")
    report = filled.export_legacy_folder(tmp_path / "out", layout=layout)
    assert [(failure.name, "named pipe" in failure.reason) for failure in report.failed] == [
        ("i1", True)
    ]
    assert not filled.validate().ok


@pytest.mark.parametrize("content", [(), ("old.txt",), ("raw/scan.tif",)])
@LAYOUTS
def test_a_folder_of_another_program_among_the_images_is_no_image(
    filled: ZarrDataset, tmp_path: Path, content: tuple[str, ...], layout: Any
) -> None:
    before = state_of(filled)
    folder = filled.path / "images" / "old stuff"
    folder.mkdir()
    for name in content:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert list(filled.images().index) == ["i0", "i1"] or len(filled.images()) == 2
    assert len(filled.gather("rows")) == len(filled.sql("SELECT * FROM rows")) == 4
    assert warned(filled) == {"images/old stuff"}
    assert [(d.code, d.where) for d in filled.verify().damages] == [
        ("foreign-file", "images/old stuff")
    ]
    assert filled.repair().actions == ()
    assert folder.is_dir()
    report = filled.export_legacy_folder(tmp_path / "out", layout=layout)
    assert report.failed == ()
    shutil.rmtree(folder)
    assert state_of(filled) == before


def test_an_image_that_lost_its_document_is_still_reported(filled: ZarrDataset) -> None:
    (filled.path / "images" / "i1" / "zarr.json").unlink()
    assert len(filled.images()) == 2
    assert not filled.validate().ok
    assert not filled.verify().ok


@LAYOUTS
def test_a_folder_of_another_program_among_the_arrays_is_no_artifact(
    filled: ZarrDataset, tmp_path: Path, layout: Any
) -> None:
    for name in ("backup", "empty"):
        (filled.path / "images" / "i1" / "analysis_arrays" / name).mkdir()
    (filled.path / "images" / "i1" / "analysis_arrays" / "backup" / "a.txt").write_text("x")
    assert filled["i1"].list_array_artifacts() == ["mean"]
    where = "images/i1/analysis_arrays"
    assert warned(filled) == {f"{where}/backup", f"{where}/empty"}
    assert filled.export_legacy_folder(tmp_path / "out", layout=layout).failed == ()


@pytest.mark.parametrize(
    "name",
    [
        "note (conflicted copy 2026-11-30).json",
        "rows (1).parquet",
        "note.sync-conflict-20261130-101010-abcdef7.json",
        "note-laptop.json",
    ],
)
@LAYOUTS
def test_a_broken_copy_of_a_cloud_folder_is_named_and_the_rest_is_exported(
    filled: ZarrDataset, tmp_path: Path, name: str, layout: Any
) -> None:
    (filled.path / "images" / "i1" / "analysis" / name).write_bytes(b"{")
    out = tmp_path / "out"
    report = filled.export_legacy_folder(out, layout=layout)
    assert [(failure.name, name in failure.reason) for failure in report.failed] == [("i1", True)]
    assert len(list(out.rglob("*.tif"))) == 2
    assert len(list(out.rglob("*note*"))) == 2


@LAYOUTS
def test_an_image_that_another_process_deletes_is_no_failure_of_an_export(
    filled: ZarrDataset, tmp_path: Path, layout: Any
) -> None:
    names = filled._open.index.image_ids

    def deleted_after() -> list[str]:
        found = names()
        with ZarrDataset(filled.path) as other:
            other.delete_image("i1")
        return found

    filled._open.index.image_ids = deleted_after  # type: ignore[method-assign]
    report = filled.export_legacy_folder(tmp_path / "out", layout=layout)
    assert report.failed == ()
    assert len(list((tmp_path / "out").rglob("*.tif"))) == 1


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _to_itself(path: Path) -> None:
    path.symlink_to(path)


def _to_a_folder(path: Path) -> None:
    path.symlink_to(path.parent)


@pytest.mark.parametrize("link", [_dangling, _to_itself, _to_a_folder])
@pytest.mark.parametrize(
    "where",
    ["x", "images/x", "images/i0/x", "images/i0/analysis/x.json", "images/i0/analysis/deep",
     "images/i0/analysis_arrays/x", "images/i0/data/c/9", "tables/x.parquet", "index/x"],
)  # fmt: skip
def test_every_link_is_named(
    filled: ZarrDataset, tmp_path: Path, where: str, link: Callable[[Path], None]
) -> None:
    path = filled.path / where
    path.parent.mkdir(exist_ok=True)
    link(path)
    named = [problem.where for problem in filled.validate().problems]
    assert where in named
    filled.verify()
    filled.repair(dry_run=True)
    assert path.is_symlink()


def test_a_link_in_place_of_the_datasets_document_is_named_beside_other_damage(
    filled: ZarrDataset, tmp_path: Path
) -> None:
    shutil.move(filled.path / "zarr.json", tmp_path / "away.json")
    (filled.path / "zarr.json").symlink_to(tmp_path / "away.json")
    (filled.path / "images" / "i1" / "analysis" / "note.json").unlink()
    damages = " ".join(map(str, filled.verify().damages))
    assert "at zarr.json" in damages
    assert "images/i1/analysis/note.json" in damages
    assert {"zarr.json"} <= {problem.where for problem in filled.validate().problems}
