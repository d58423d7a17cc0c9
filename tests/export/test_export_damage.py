"""What an export does when the dataset, or a part of it, cannot be read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from kymflow_zarr import ExportFailure, ZarrDataset, errors
from kymflow_zarr.cli.app import app
from tests.helpers.export_dataset import MANIFEST, dataset, files_of, manifest_of

WORK = ".kymflow_zarr_export"


def flip(file: Path, at: int = -1) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(data)


def first_chunk(array: Path) -> Path:
    return next(path for path in sorted((array / "c").rglob("*")) if path.is_file())


def pixels(image: Path) -> Path:
    """The array of the pixels as they are now."""
    return max(image.glob("data*"))


# The dataset is gone -------------------------------------------------------------------


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed.zarr"))


def unmount(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.mkdir()


def remove_root_document(path: Path) -> None:
    (path / "zarr.json").unlink()


def remove_images(path: Path) -> None:
    (path / "images").rename(path.with_name("images"))


def replace_by_another(path: Path) -> None:
    shutil.rmtree(path)
    ZarrDataset(path, mode="w").close()


@pytest.mark.parametrize(
    "lose", [rename, unmount, remove_root_document, remove_images, replace_by_another]
)
def test_a_dataset_that_was_deleted_leaves_its_export(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    before = files_of(tmp_path / "out")
    lose(ds.path)
    for out in ("out", "new"):
        with pytest.raises(errors.DatasetNotFoundError, match=r"d\.zarr"):
            ds.export_legacy_folder(tmp_path / out)
    assert files_of(tmp_path / "out") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_dataset_that_goes_away_meanwhile_has_nothing_removed(tmp_path: Path, at: int) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    before = files_of(out)
    ds.delete_table("typed")
    ds["rich"].delete_analysis("exact")
    ds.add_image(np.zeros((2, 2)), image_id="third")
    away = ds.path.with_name("away.zarr")

    def go_away(done: int, total: int, label: str) -> None:
        if done == at:
            ds.path.rename(away)

    with pytest.raises(errors.DatasetNotFoundError):
        ds.export_legacy_folder(out, progress=go_away)
    now = files_of(out)
    assert {path: now[path] for path in before} == before
    away.rename(ds.path)
    report = ds.export_legacy_folder(out)
    assert set(report.removed) == {
        "images/rich/exact.csv", "tables/typed.csv", "tables/typed.parquet"
    }  # fmt: skip


# A part is damaged ---------------------------------------------------------------------


def damage_chunk(image: Path) -> None:
    flip(first_chunk(pixels(image)))


def damage_document(image: Path) -> None:
    (image / "zarr.json").write_text("{")


def damage_array_document(image: Path) -> None:
    (pixels(image) / "zarr.json").write_text("{}")


def remove_document(image: Path) -> None:
    (image / "zarr.json").unlink()


def damage_json(image: Path) -> None:
    (image / "analysis/velocity_events/events.json").write_text("{")


def damage_frame(image: Path) -> None:
    (image / "analysis/exact.parquet").write_bytes(b"PAR1")


def damage_gzip(image: Path) -> None:
    flip(image / "analysis/text.csv.gz", 20)


def damage_mask(image: Path) -> None:
    flip(first_chunk(pixels(image / "analysis_arrays/seg%2fmask")))


def damage_mask_document(image: Path) -> None:
    (image / "analysis_arrays/seg%2fmask/zarr.json").write_text("[]")


def make_unreadable(image: Path) -> None:
    (image / "zarr.json").unlink()
    (image / "zarr.json").symlink_to("zarr.json")


def make_artifact_unreadable(image: Path) -> None:
    (image / "analysis/exact.parquet").unlink()
    (image / "analysis/exact.parquet").symlink_to("exact.parquet")


LINKS = [make_unreadable, make_artifact_unreadable] if sys.platform != "win32" else []
DAMAGES = [
    damage_chunk, damage_document, damage_array_document, remove_document, damage_json,
    damage_frame, damage_gzip, damage_mask, damage_mask_document, *LINKS,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_image_is_reported_and_the_others_are_exported(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    ds = dataset(tmp_path)
    damage(ds.path / "images/rich")
    report = ds.export_legacy_folder(tmp_path / "out")
    (failure,) = report.failed
    assert (failure.kind, failure.name) == ("image", "rich")
    assert failure.reason
    assert f"failed: image 'rich': {failure.reason}" in str(report)
    assert set(files_of(tmp_path / "out")) == set(report.files)
    assert {path.split("/")[0] for path in report.files} == {"images", "tables", MANIFEST}
    assert not (tmp_path / "out/images/rich").exists()
    assert (tmp_path / "out/images/plain/image.tif").is_file()
    told = manifest_of(tmp_path / "out")
    assert set(told["images"]) == {"plain"}
    assert [part["name"] for part in told["failed"]] == ["rich"]
    assert json.loads(json.dumps(report.to_dict()))["failed"][0]["name"] == "rich"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_exported_of_an_image_before_its_damage_stays(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    before, told = files_of(out), manifest_of(out)
    ds["plain"].save_array(np.ones((4, 5), "uint8"))
    ds["rich"].save_array(np.ones((10, 6), "uint16"))
    ds["rich"].save_json("new", 1)
    ds["rich"].save_array_artifact("seg/mask", np.eye(4, dtype=bool))
    image, whole = ds.path / "images/rich", tmp_path / "whole"
    shutil.copytree(image, whole)
    damage(image)
    report = ds.export_legacy_folder(out)
    assert [failure.name for failure in report.failed] == ["rich"]
    assert report.removed == report.kept == ()
    now = files_of(out)
    rich = {path for path in before if path.startswith("images/rich/")}
    assert {path for path in now if path.startswith("images/rich/")} == rich <= set(report.files)
    assert all(now[path] == before[path] for path in rich)
    assert manifest_of(out)["images"]["rich"] == told["images"]["rich"]
    np.testing.assert_array_equal(tifffile.imread(out / "images/plain/image.tif"), 1)
    assert not (out / WORK).exists()

    shutil.rmtree(image)
    whole.rename(image)
    report = ds.export_legacy_folder(out)
    assert report.failed == ()
    assert (out / "images/rich/new.json").is_file()
    np.testing.assert_array_equal(tifffile.imread(out / "images/rich/image.tif"), 1)


def test_an_edited_file_of_a_damaged_image_is_left_alone(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    (out / "images/rich/exact.csv").write_text("edited")
    damage_document(ds.path / "images/rich")
    report = ds.export_legacy_folder(out)
    assert (out / "images/rich/exact.csv").read_text() == "edited"
    assert "images/rich/exact.csv" not in report.files
    assert "images/rich/typed.csv" in report.files
    assert "rich" not in manifest_of(out)["images"]


@pytest.mark.parametrize("plane_by_plane", [False, True])
def test_damaged_pixels_never_become_half_a_tiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plane_by_plane: bool
) -> None:
    from kymflow_zarr.export.dataset_layout import files as image_module

    if plane_by_plane:
        monkeypatch.setattr(image_module, "WHOLE_IMAGE_BYTES", 0)
    ds = dataset(tmp_path)
    first_chunk(ds.path / "images/rich/data").write_bytes(b"\x00" * 8)
    report = ds.export_legacy_folder(tmp_path / "out")
    assert [failure.name for failure in report.failed] == ["rich"]
    assert not (tmp_path / "out/images/rich").exists()
    assert not (tmp_path / "out" / WORK).exists()


def test_a_damaged_table_is_reported_and_its_earlier_files_stay(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    before, tables = files_of(out), manifest_of(out)["tables"]
    (ds.path / "tables/typed.parquet").write_bytes(b"PAR1")
    report = ds.export_legacy_folder(out)
    assert [(f.kind, f.name) for f in report.failed] == [("table", "typed")]
    now = files_of(out)
    assert {k: v for k, v in now.items() if k != MANIFEST} == {
        k: v for k, v in before.items() if k != MANIFEST
    }
    assert manifest_of(out)["tables"] == tables


def test_an_image_deleted_from_the_dataset_is_stale_and_not_damaged(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    ds.delete_image("rich")
    report = ds.export_legacy_folder(tmp_path / "out")
    assert report.failed == ()
    assert "images/rich/image.tif" in report.removed


def test_an_edited_manifest_cannot_break_the_export_of_a_damaged_dataset(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    told = manifest_of(out) | {"images": [1], "tables": {"typed": 1}, "source_files": 3}
    (out / MANIFEST).write_text(json.dumps(told))
    damage_document(ds.path / "images/rich")
    (ds.path / "tables/typed.parquet").write_bytes(b"PAR1")
    report = ds.export_legacy_folder(out)
    assert [failure.name for failure in report.failed] == ["rich", "typed"]
    assert {"images/rich/image.tif", "tables/typed.csv"} <= set(report.files)


def test_a_failure_reads_as_a_sentence() -> None:
    failure = ExportFailure("source_file", "a/b.txt", "it is gone")
    assert str(failure) == "source file 'a/b.txt': it is gone"


def test_the_command_names_what_failed_and_exits_with_1(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    damage_document(ds.path / "images/rich")
    run = CliRunner().invoke(app, ["export", str(ds.path), str(tmp_path / "out")])
    assert run.exit_code == 1
    assert "image 'rich'" in run.stdout
    run = CliRunner().invoke(app, ["export", str(ds.path), str(tmp_path / "out"), "--json"])
    assert run.exit_code == 1
    assert json.loads(run.stdout)["failed"][0]["name"] == "rich"
