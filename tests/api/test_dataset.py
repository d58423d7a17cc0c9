"""Opening, creating, records, deletion: what the dataset object does."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset, ZarrImageRecord, errors
from tests.conftest import files_of

PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6)


class TestModes:
    def test_a_creates_once_and_opens_afterwards(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "er" / "x.zarr"
        first = ZarrDataset(str(path), mode="a")
        image_id = first.add_image(PIXELS).image_id
        second = ZarrDataset(path)
        assert second.list_image_ids() == [image_id]
        assert second.dataset_id == first.dataset_id

    @pytest.mark.parametrize("mode", ["r", "r+"])
    def test_r_on_nothing_is_file_not_found(self, tmp_path: Path, mode: Any) -> None:
        with pytest.raises(FileNotFoundError, match="no dataset"):
            ZarrDataset(tmp_path / "nothing.zarr", mode=mode)
        assert list(tmp_path.iterdir()) == []

    def test_w_minus_refuses_a_dataset(self, ds: ZarrDataset) -> None:
        with pytest.raises(FileExistsError, match="already"):
            ZarrDataset(ds.path, mode="w-")

    def test_unknown_mode(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="'x'"):
            ZarrDataset(tmp_path / "a.zarr", mode="x")  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []

    def test_w_empties_a_dataset(self, ds: ZarrDataset) -> None:
        ds.add_image(PIXELS)
        ds.save_table("t", pd.DataFrame({"a": [1]}))
        again = ZarrDataset(ds.path, mode="w")
        assert again.list_image_ids() == []
        assert again.list_table_names() == []
        assert again.dataset_id != ds.dataset_id

    def test_w_takes_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert len(ZarrDataset(tmp_path / "empty", mode="w")) == 0

    @pytest.mark.parametrize("mode", ["w", "w-", "a", "r", "r+"])
    def test_a_folder_of_something_else_is_refused_by_name(self, tmp_path: Path, mode: Any) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / "thesis.docx").write_text("years of work")
        before = files_of(home)
        with pytest.raises(ValueError, match=r"thesis\.docx"):
            ZarrDataset(home, mode=mode)
        assert files_of(home) == before

    def test_w_refuses_a_dataset_that_holds_foreign_files(self, ds: ZarrDataset) -> None:
        ds.add_image(PIXELS)
        (ds.path / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match=r"notes\.txt"):
            ZarrDataset(ds.path, mode="w")
        assert (ds.path / "notes.txt").read_text() == "mine"

    def test_w_refuses_a_foreign_zarr_group(self, tmp_path: Path) -> None:
        (tmp_path / "g").mkdir()
        (tmp_path / "g" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
        with pytest.raises(ValueError, match="replaces only datasets"):
            ZarrDataset(tmp_path / "g", mode="w")
        assert (tmp_path / "g" / "zarr.json").exists()

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("x")
        modes: list[Any] = ["a", "w", "r"]
        for mode in modes:
            with pytest.raises(ValueError, match="file"):
                ZarrDataset(tmp_path / "f", mode=mode)
        assert (tmp_path / "f").read_text() == "x"

    @pytest.mark.parametrize("mode", ["r", "r+", "a"])
    def test_opening_writes_nothing(self, ds: ZarrDataset, mode: Any) -> None:
        rec = ds.add_image(PIXELS)
        rec.save_json("a", 1)
        before = files_of(ds.path)
        with ZarrDataset(ds.path, mode=mode) as opened:
            repr(opened)
            opened.load_manifest()
            opened.record(rec.image_id).load_array()
            list(opened.iter_records(order_by="created_utc"))
            assert opened.validate().ok
        assert files_of(ds.path) == before

    def test_a_future_version_is_refused_by_name(self, ds: ZarrDataset) -> None:
        root = ds.path / "zarr.json"
        document = json.loads(root.read_text())
        document["attributes"]["kymflow_zarr"]["format_version"] = 7
        root.write_text(json.dumps(document))
        with pytest.raises(errors.FormatVersionError, match="version 7"):
            ZarrDataset(ds.path)

    @pytest.mark.parametrize("text", ["{", "[]", "null", '{"zarr_format": 3}', ""])
    def test_a_broken_root_document_is_an_error_and_not_a_new_dataset(
        self, ds: ZarrDataset, text: str
    ) -> None:
        (ds.path / "zarr.json").write_text(text)
        with pytest.raises(ValueError, match="document"):
            ZarrDataset(ds.path, mode="a")
        assert (ds.path / "zarr.json").read_text() == text


def _create(path: Path, start: Any, results: Any) -> None:
    assert start.wait(60)
    results.put(ZarrDataset(path, mode="a").dataset_id)


def test_processes_that_create_at_once_get_the_same_dataset(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    workers = [
        context.Process(target=_create, args=(tmp_path / "x.zarr", start, results))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    start.set()
    ids = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert len(ids) == 1


class TestReadOnly:
    def test_every_call_that_would_write_is_refused_and_changes_nothing(
        self, rec: ZarrImageRecord, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        rec.save_json("a", 1)
        rec.save_array_artifact("m", PIXELS)
        ds.save_table("t", pd.DataFrame({"image_id": [rec.image_id]}))
        before = files_of(ds.path)
        frozen = ZarrDataset(ds.path, mode="r")
        image = frozen.record(rec.image_id)
        df = pd.DataFrame({"image_id": [rec.image_id]})
        (tmp_path / "folder").mkdir()
        calls: list[Callable[[], object]] = [
            lambda: frozen.add_image(PIXELS),
            lambda: frozen.delete_image(rec.image_id),
            lambda: frozen.save_table("t", df),
            lambda: frozen.delete_table("t"),
            lambda: frozen.replace_rows_for_image_id("t", rec.image_id, df),
            lambda: frozen.replace_rows_for_image_ids("t", {rec.image_id: df}),
            lambda: frozen.update_manifest(),
            lambda: frozen.ingest_tiff(tmp_path / "x.tif"),
            lambda: frozen.ingest_legacy_folder(tmp_path / "folder"),
            lambda: frozen.ingest_image(object()),
            lambda: image.save_array(PIXELS),
            lambda: image.save_json("b", 1),
            lambda: image.save_df_parquet("b", df),
            lambda: image.save_df_csv_gz("b", df),
            lambda: image.save_array_artifact("b", PIXELS),
            lambda: image.delete_array_artifact("m"),
            lambda: image.delete_analysis(),
            lambda: image.save_metadata_payload({}),
            lambda: image.save_metadata_objects(header={}),
        ]
        for call in calls:
            with pytest.raises(PermissionError, match="read-only"):
                call()
        assert files_of(ds.path) == before


class TestRecords:
    def test_len_in_iteration_and_getitem(self, ds: ZarrDataset) -> None:
        assert len(ds) == 0
        assert ds
        ids = sorted(ds.add_image(PIXELS).image_id for _ in range(3))
        assert len(ds) == 3
        assert list(ds) == ids == ds.list_image_ids()
        assert ids[0] in ds
        assert "other" not in ds
        assert 5 not in ds
        assert "../.." not in ds
        assert ds[ids[1]] == ds.record(ids[1])
        assert ds[ids[1]].image_id == ids[1]

    @pytest.mark.parametrize("image_id", ["nothing", "", "a/b", ".."])
    def test_a_record_that_is_not_there_is_a_key_error(
        self, ds: ZarrDataset, image_id: str
    ) -> None:
        for call in (ds.record, ds.__getitem__, ds.delete_image, ds.validate_image):
            with pytest.raises(KeyError, match="no image"):
                call(image_id)
        assert ds.list_image_ids() == []

    @pytest.mark.parametrize("image_id", ["vessel 1", "Vessel", "vessel", "血管", "a.b"])
    def test_own_ids(self, ds: ZarrDataset, image_id: str) -> None:
        assert ds.add_image(PIXELS, image_id=image_id).image_id == image_id
        assert ds.list_image_ids() == [image_id]
        np.testing.assert_array_equal(ds[image_id].load_array(), PIXELS)

    def test_ids_that_differ_in_case_are_two_images(self, ds: ZarrDataset) -> None:
        for image_id in ("a1", "A1"):
            ds.add_image(PIXELS, image_id=image_id)
        assert ds.list_image_ids() == ["A1", "a1"]
        assert len({path.name.lower() for path in (ds.path / "images").iterdir()}) == 3

    @pytest.mark.parametrize("image_id", ["", "..", "a/b", "nul", "/a", "x\0"])
    def test_ids_that_no_file_system_could_keep(self, ds: ZarrDataset, image_id: str) -> None:
        with pytest.raises(ValueError, match="image id"):
            ds.add_image(PIXELS, image_id=image_id)
        assert len(ds) == 0

    def test_a_taken_id_is_refused_and_the_image_stays(self, ds: ZarrDataset) -> None:
        ds.add_image(PIXELS, image_id="a")
        with pytest.raises(ValueError, match="already"):
            ds.add_image(PIXELS * 0, image_id="a")
        np.testing.assert_array_equal(ds["a"].load_array(), PIXELS)

    def test_iter_records_orders_and_places_missing_ones(self, ds: ZarrDataset) -> None:
        for image_id, acquired in [("c", 20), ("a", None), ("b", 10), ("d", None)]:
            rec = ds.add_image(PIXELS, image_id=image_id)
            if acquired is not None:
                header = {"acquired_local_epoch_ns": acquired}
                rec.save_metadata_payload({"version": "2.0", "header": header})

        def ids(**kwargs: Any) -> list[str]:
            return [rec.image_id for rec in ds.iter_records(**kwargs)]

        assert ids() == ["a", "b", "c", "d"]
        assert ids(order_by="created_utc") == ["c", "a", "b", "d"]
        assert ids(order_by="acquired_local_epoch_ns") == ["b", "c", "a", "d"]
        assert ids(order_by="acquired_local_epoch_ns", missing="first") == ["a", "d", "b", "c"]

    def test_iter_records_names_a_wrong_argument(self, ds: ZarrDataset) -> None:
        with pytest.raises(ValueError, match="'size'"):
            ds.iter_records(order_by="size")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'middle'"):
            ds.iter_records(missing="middle")  # type: ignore[arg-type]

    def test_reprs_say_what_is_inside(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        ds.save_table("events", pd.DataFrame({"a": [1]}))
        assert "1 images" in repr(ds)
        assert "events" in repr(ds)
        for word in ("uint16", "(500, 38)", "0.00117 second", "0.284 micrometer", rec.image_id):
            assert word in repr(rec)


class TestDelete:
    def test_rows_of_the_image_go_with_it_and_are_counted(self, ds: ZarrDataset) -> None:
        kept, gone = ds.add_image(PIXELS), ds.add_image(PIXELS)
        rows = [kept.image_id, gone.image_id, gone.image_id]
        for name in ("events", "sources"):
            ds.save_table(name, pd.DataFrame({"image_id": rows, "score": [1, 2, 3]}))
        ds.save_table("other", pd.DataFrame({"condition": ["a"]}))
        assert ds.delete_image(gone.image_id) == 4
        assert ds.list_image_ids() == [kept.image_id]
        for name in ("events", "sources"):
            table = ds.load_table(name)
            assert table["image_id"].tolist() == [kept.image_id]
            assert table["score"].dtype == np.int64
        assert len(ds.load_table("other")) == 1

    def test_a_handle_of_a_deleted_image_raises_key_error_and_brings_nothing_back(
        self, rec: ZarrImageRecord, ds: ZarrDataset
    ) -> None:
        rec.save_json("a", 1)
        ds.delete_image(rec.image_id)
        calls: list[Callable[[], object]] = [
            lambda: rec.load_array(),
            lambda: rec.shape,
            lambda: rec.load_json("a"),
            lambda: rec.save_json("a", 1),
            lambda: rec.save_array(PIXELS),
            lambda: rec.save_array_artifact("m", PIXELS),
            lambda: rec.load_array_artifact("m"),
            lambda: rec.save_metadata_payload({}),
            lambda: rec.load_metadata_payload(),
            lambda: rec.delete_analysis(),
        ]
        for call in calls:
            with pytest.raises(KeyError):
                call()
        assert list(ds) == []
        assert [p.name for p in (ds.path / "images").iterdir()] == ["zarr.json"]


class TestManifest:
    def test_it_describes_every_image_without_its_pixels(
        self, rec: ZarrImageRecord, ds: ZarrDataset
    ) -> None:
        key = rec.save_metadata_payload({"header": {"acquired_local_epoch_ns": 5}})
        (entry,) = ds.load_manifest()["images"]
        assert entry["image_id"] == rec.image_id
        assert entry["shape"] == [500, 38]
        assert entry["dtype"] == "uint16"
        assert entry["axes"] == ["y", "x"]
        assert entry["acquired_local_epoch_ns"] == 5
        assert entry["analysis_keys"] == [key]
        assert entry["created_utc"].endswith("Z")

    def test_it_is_never_stale(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(PIXELS, image_id="a")
        other = ZarrDataset(ds.path, mode="r+")
        assert ds.update_manifest() == ds.load_manifest()
        other["a"].save_json("nested/late", 1)
        assert (
            "images/a/analysis/nested/late.json" in ds.load_manifest()["images"][0]["analysis_keys"]
        )
        ds.update_manifest()
        other["a"].save_array(np.zeros((3, 3)))
        assert ds.load_manifest()["images"][0]["shape"] == [3, 3]
        ds.update_manifest()
        other["a"].delete_analysis()
        assert ds.load_manifest()["images"][0]["analysis_keys"] == []
        other.add_image(PIXELS, image_id="b")
        assert [i["image_id"] for i in ds.load_manifest()["images"]] == ["a", "b"]
        other.delete_image("a")
        assert [i["image_id"] for i in ds.load_manifest()["images"]] == ["b"]
        assert rec.image_id not in ds

    @pytest.mark.parametrize("damage", ["delete", "garbage", "future"])
    def test_the_index_may_be_lost_at_any_time(self, ds: ZarrDataset, damage: str) -> None:
        ds.add_image(PIXELS)
        manifest = ds.update_manifest()
        for file in list((ds.path / "index").iterdir()):
            if damage == "delete":
                file.unlink()
            else:
                file.write_text("{" if damage == "garbage" else '{"format_version": 99}')
        assert ds.load_manifest() == manifest
        assert ds.update_manifest() == manifest

    def test_one_broken_image_does_not_hide_the_others(self, ds: ZarrDataset) -> None:
        ds.add_image(PIXELS, image_id="good")
        ds.add_image(PIXELS, image_id="bad")
        (ds.path / "images" / "bad" / "zarr.json").write_text("{")
        assert [rec.image_id for rec in ds.iter_records(order_by="created_utc")] == ["good", "bad"]
        assert "error" in ds.load_manifest()["images"][0]
