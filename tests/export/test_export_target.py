"""What an export does to the folder it writes to."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset, errors
from tests.helpers.export_dataset import EXACT, MANIFEST, dataset, files_of, manifest_of


def stop_at(number: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, label: str) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress


def test_a_second_export_changes_nothing_if_nothing_changed(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    first = ds.export_legacy_folder(tmp_path / "out")
    before = files_of(tmp_path / "out")
    second = ds.export_legacy_folder(tmp_path / "out")
    after = files_of(tmp_path / "out")
    assert after == before
    assert first.written == first.files == second.files
    assert second.written == ()
    assert "0 of them written now" in str(second)


def test_the_report_distinguishes_what_was_written_from_what_was_there(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    ds["rich"].save_json("quality", {"good": True})
    ds["rich"].save_df_parquet("exact", EXACT * 2)
    report = ds.export_legacy_folder(tmp_path / "out", include_tables=False)
    assert set(report.written) - {"images/rich/image.tif"} == {
        "images/rich/exact.csv",
        "images/rich/quality.json",
        MANIFEST,
    }
    assert set(report.written) < set(report.files) == set(files_of(tmp_path / "out"))


def test_an_export_follows_the_dataset_and_leaves_other_files_alone(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    (out / "README").write_text("mine")
    (out / "images/rich/notes.txt").write_text("mine")
    ds["rich"].save_array(np.ones((3, 4), "uint16"))
    ds["rich"].save_df_parquet("typed", EXACT)
    ds["rich"].delete_analysis("velocity_events/events")
    ds.delete_image("plain")
    ds.delete_table("typed")
    report = ds.export_legacy_folder(out)
    assert report.removed == (
        "images/plain/image.tif",
        "images/rich/typed.parquet",
        "images/rich/velocity_events/events.json",
        "tables/typed.csv",
        "tables/typed.parquet",
    )
    np.testing.assert_array_equal(tifffile.imread(out / "images/rich/image.tif"), np.ones((3, 4)))
    pd.testing.assert_frame_equal(pd.read_csv(out / "images/rich/typed.csv"), EXACT)
    assert not (out / "images/plain").exists()
    assert not (out / "images/rich/velocity_events").exists()
    assert (out / "README").read_text() == (out / "images/rich/notes.txt").read_text() == "mine"


def test_what_is_left_out_goes_from_an_earlier_export(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    report = ds.export_legacy_folder(tmp_path / "out", include_tiff=False, include_tables=False)
    assert not [path for path in files_of(tmp_path / "out") if path.endswith(".tif")]
    assert not (tmp_path / "out" / "tables").exists()
    assert "images/plain/image.tif" in report.removed
    assert manifest_of(tmp_path / "out")["images"]["plain"]["pixels"] is None


@pytest.mark.parametrize("place", ["images/rich/exact.csv", "tables/typed.csv", MANIFEST])
def test_a_file_that_was_there_before_is_never_overwritten(tmp_path: Path, place: str) -> None:
    ds = dataset(tmp_path)
    file = tmp_path / "out" / place
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(errors.TargetExistsError, match=r"(exact|typed|export)") as caught:
        ds.export_legacy_folder(tmp_path / "out")
    assert isinstance(caught.value, FileExistsError)
    assert files_of(tmp_path / "out") == {place: b"mine"}


def test_a_file_that_was_changed_since_is_never_overwritten(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    for name in ("exact.csv", "text.csv", "typed.csv", "metadata.json"):
        (tmp_path / "out/images/rich" / name).write_text("edited")
    before = files_of(tmp_path / "out")
    with pytest.raises(errors.TargetExistsError, match="and 1 more"):
        ds.export_legacy_folder(tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_a_stale_file_that_was_changed_since_is_not_deleted(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    ds.export_legacy_folder(out)
    (out / "images/rich/exact.csv").write_text("edited")
    ds["rich"].delete_analysis("exact")
    report = ds.export_legacy_folder(out)
    assert report.kept == ("images/rich/exact.csv",)
    assert "exact.csv" in str(report)
    assert (out / "images/rich/exact.csv").read_text() == "edited"


def test_the_export_of_another_dataset_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    dataset(tmp_path / "other").export_legacy_folder(tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(errors.TargetExistsError, match="of the dataset"):
        dataset(tmp_path).export_legacy_folder(tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_a_manifest_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    told = manifest_of(tmp_path / "out") | {"format_version": 99}
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(told))
    with pytest.raises(errors.FormatVersionError, match="99"):
        ds.export_legacy_folder(tmp_path / "out")


def test_a_folder_or_a_file_of_the_wrong_kind_is_in_the_way(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    (tmp_path / "one/images/rich/exact.csv").mkdir(parents=True)
    with pytest.raises(errors.TargetExistsError, match=r"exact\.csv"):
        ds.export_legacy_folder(tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/images").write_text("mine")
    with pytest.raises(errors.TargetExistsError, match="images"):
        ds.export_legacy_folder(tmp_path / "two")
    (tmp_path / "three").write_text("mine")
    with pytest.raises(errors.TargetExistsError, match="not a folder"):
        ds.export_legacy_folder(tmp_path / "three")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    ds.export_legacy_folder(out)
    (out / "images").rename(elsewhere)
    (out / "images").symlink_to(elsewhere)
    before = files_of(elsewhere)
    with pytest.raises(errors.TargetExistsError, match="images"):
        ds.export_legacy_folder(out)
    for image_id in ("plain", "rich"):
        ds.delete_image(image_id)
    report = ds.export_legacy_folder(out)
    assert "images/plain/image.tif" in report.kept
    assert files_of(elsewhere) == before


def test_a_manifest_cannot_have_files_outside_deleted(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    told = manifest_of(tmp_path / "out")
    entry = {"size_bytes": 8, "sha256": hashlib.sha256(b"precious").hexdigest(), "made_from": ""}
    told["files"] |= {"../victim": entry, str(victim): entry, "images/../../victim": entry}
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(told))
    ds.export_legacy_folder(tmp_path / "out")
    assert victim.read_bytes() == b"precious"


def test_a_dataset_and_its_export_keep_out_of_each_other(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    for folder in (ds.path, ds.path / "images" / "export"):
        with pytest.raises(errors.ArgumentError, match="into itself"):
            ds.export_legacy_folder(folder)
    (tmp_path / "o/images").mkdir(parents=True)
    inside = ds.path.rename(tmp_path / "o/images/rich")
    with ZarrDataset(inside, mode="r") as moved, pytest.raises(errors.ArgumentError, match="lies"):
        moved.export_legacy_folder(tmp_path / "o")
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"images"}


def test_a_read_only_dataset_beside_its_export(tmp_path: Path) -> None:
    dataset(tmp_path)
    before = files_of(tmp_path / "d.zarr")
    with ZarrDataset(tmp_path / "d.zarr", mode="r") as ds:
        ds.export_legacy_folder(tmp_path)
    assert (tmp_path / "images/rich/image.tif").is_file()
    assert files_of(tmp_path / "d.zarr") == before


# When it does not go well --------------------------------------------------------------


def test_progress_counts_images_and_tables(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    dataset(tmp_path).export_legacy_folder(
        tmp_path / "out", progress=lambda done, total, label: seen.append((done, total, label))
    )
    assert seen == [
        (1, 4, "plain"), (2, 4, "rich"), (3, 4, "radon_report"), (4, 4, "typed")
    ]  # fmt: skip


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_interrupted_export_is_finished_by_the_next(
    tmp_path: Path, stop: int, earlier: bool
) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    if earlier:
        ds.export_legacy_folder(out)
        for rec in ds.iter_records():
            rec.save_array(np.ones(rec.shape, rec.dtype))
        ds["rich"].delete_analysis("exact")
    with pytest.raises(KeyboardInterrupt):
        ds.export_legacy_folder(out, progress=stop_at(stop))
    ds["rich"].save_json("later", 1)
    ds.export_legacy_folder(out)
    ds.export_legacy_folder(tmp_path / "whole")
    names = set(files_of(tmp_path / "whole"))
    assert set(files_of(out)) == names
    np.testing.assert_array_equal(
        tifffile.imread(out / "images/plain/image.tif"), ds["plain"].load_array()
    )
    assert set(manifest_of(out)["files"]) == names - {MANIFEST}


def test_a_crash_between_the_journal_and_the_files_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kymflow_zarr.export import target as target_module

    ds = dataset(tmp_path)
    calls = 0

    def fail_sometimes(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise OSError(28, "No space left on device")
        source.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr(target_module, "replace", fail_sometimes)
        with pytest.raises(errors.StorageError, match="disk is full"):
            ds.export_legacy_folder(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tmp"))
    with (tmp_path / "out/.kymflow_zarr_export/journal.jsonl").open("ab") as journal:
        journal.write(b'{"path": "images/pl')
    with pytest.raises(KeyboardInterrupt):
        ds.export_legacy_folder(tmp_path / "out", progress=stop_at(3))
    ds.export_legacy_folder(tmp_path / "out")
    ds.export_legacy_folder(tmp_path / "whole")
    assert set(files_of(tmp_path / "out")) == set(files_of(tmp_path / "whole"))


def test_two_exports_to_one_folder_at_once_are_refused(tmp_path: Path) -> None:
    ds = dataset(tmp_path)

    def again(done: int, total: int, label: str) -> None:
        if done == 2:
            with pytest.raises(errors.LockTimeoutError):
                ds.export_legacy_folder(tmp_path / "out")

    ds.export_legacy_folder(tmp_path / "out", progress=again)
    assert not (tmp_path / "out/.kymflow_zarr_export").exists()


def test_an_export_that_is_refused_leaves_nothing_of_itself(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kymflow_zarr.export.target.append_lines", disk_full)
        with pytest.raises(errors.StorageError, match=r"image 'plain'.*disk is full") as caught:
            ds.export_legacy_folder(out)
    assert isinstance(caught.value.__cause__, OSError)
    assert not out.exists()
    ds.export_legacy_folder(out)
    before = files_of(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kymflow_zarr.export.target.write_file", disk_full)
        with pytest.raises(errors.StorageError, match="disk is full"):
            ds.export_legacy_folder(out)
    assert files_of(out) == before
    assert not (out / ".kymflow_zarr_export").exists()


def disk_full(*args: object, **options: object) -> None:
    raise OSError(28, "No space left on device")
