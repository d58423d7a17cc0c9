"""One image: pixels, axes, artifacts, metadata come back as they went in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import dask.array
import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from kymflow_zarr import Axis, ZarrDataset, ZarrImageRecord
from tests.conftest import files_of

PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6)
DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def assert_same(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert actual.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(actual, expected)


class TestPixels:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_every_dtype_and_byte_order(
        self, ds: ZarrDataset, dtype: str, order: Literal["<", ">"]
    ) -> None:
        arr = (np.arange(1, 92).reshape(7, 13) % 5).astype(np.dtype(dtype).newbyteorder(order))
        rec = ds.add_image(arr)
        assert_same(rec.load_array(), arr)
        assert_same(np.asarray(rec.open_array()[...]), arr)
        assert rec.dtype == np.dtype(dtype)
        assert rec.shape == (7, 13)
        assert rec.ndim == 2

    @settings(max_examples=60)
    @given(
        arr=hnp.arrays(
            dtype=st.sampled_from(DTYPES),
            shape=hnp.array_shapes(min_dims=2, max_dims=5, min_side=0, max_side=9),
        ),
        chunk=st.none() | st.integers(1, 12),
    )
    def test_any_image_comes_back_equal(
        self, tmp_path_factory: pytest.TempPathFactory, arr: npt.NDArray[Any], chunk: int | None
    ) -> None:
        path = tmp_path_factory.mktemp("ds") / "x.zarr"
        rec = ZarrDataset(path, durability="relaxed").add_image(arr, chunks=chunk)
        assert_same(rec.load_array(), arr)
        opened = rec.open_array()
        assert_same(np.asarray(opened[...]), arr)
        assert opened.metadata.to_dict()["dimension_names"] == tuple(rec.get_axes())

    @pytest.mark.parametrize(
        "shape",
        [
            (30000, 38),
            (30011, 19),
            (2100, 1700),
            (3, 1500, 1100),
            (2, 3, 4, 90, 70),
            (60, 500, 500),
        ],
    )
    def test_images_of_more_than_one_chunk(self, ds: ZarrDataset, shape: tuple[int, ...]) -> None:
        arr = np.random.default_rng(1).integers(0, 4000, size=shape).astype(np.uint16)
        rec = ds.add_image(arr)
        assert_same(rec.load_array(), arr)
        opened = rec.open_array()
        assert_same(np.asarray(opened[..., -7:, -5:]), arr[..., -7:, -5:])
        # A kymograph of any length is four files: two documents, one shard and the checksums.
        files = [p for p in (ds.path / "images" / rec.image_id).rglob("*") if p.is_file()]
        assert len(files) == 4

    def test_shapes_of_chunks_are_the_callers(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(np.zeros((100, 38), "u2"), chunks=(30, 512))
        assert rec.open_array().chunks == (30, 38)

    def test_chunks_may_be_numbers_of_numpy(self, ds: ZarrDataset) -> None:
        chunks: Any = np.int64(4)
        assert ds.add_image(np.zeros((100, 38), "u2"), chunks=chunks).open_array().chunks == (4, 4)

    def test_a_chunk_larger_than_any_codec_takes_is_refused(self, ds: ZarrDataset) -> None:
        huge = dask.array.zeros((1 << 17, 1 << 17), dtype="u1")
        with pytest.raises(ValueError, match=r"a chunk of shape .* takes 17179869184 bytes"):
            ds.add_image(huge, chunks=1 << 17)
        assert len(ds) == 0

    @pytest.mark.parametrize(
        "chunks", [(1,), (0, 4), (2, 2, 2), (-1, 3), "ab", True, (True, 4), 2.0]
    )
    def test_chunks_that_do_not_fit(self, ds: ZarrDataset, chunks: Any) -> None:
        with pytest.raises(ValueError, match="chunks"):
            ds.add_image(PIXELS, chunks=chunks)
        assert len(ds) == 0

    @pytest.mark.parametrize(
        "make",
        [
            lambda a, _: np.asfortranarray(a),
            lambda a, _: np.concatenate([a, a], axis=1)[:, ::2][:, : a.shape[1]] * 0 + a,
            lambda a, _: a[::-1, ::-1][::-1, ::-1],
            lambda a, _: a.tolist(),
            lambda a, _: dask.array.from_array(a, chunks=(2, 3)),
            lambda a, p: _memory_mapped(a, p),
            lambda a, _: zarr.array(a, chunks=(2, 3)),
            lambda a, _: np.asmatrix(a),
        ],
        ids=["fortran", "strided", "reversed", "list", "dask", "memmap", "zarr", "matrix"],
    )
    @pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
    def test_every_kind_of_input(self, ds: ZarrDataset, tmp_path: Path, make: Any) -> None:
        rec = ds.add_image(make(PIXELS.astype("int64"), tmp_path))
        assert_same(rec.load_array(), PIXELS.astype("int64"))

    @pytest.mark.parametrize(
        ("arr", "says"),
        [
            (np.array([[object()]]), "object"),
            (np.zeros((2, 2), dtype=[("a", "i4")]), "structured"),
            (np.zeros((2, 2), dtype="M8[s]"), "datetime64"),
            (np.array([["a"]]), "<U1"),
            (np.zeros((2, 2), dtype=np.longdouble), "float128|longdouble"),
            (np.ma.masked_equal(PIXELS, 3), "masked"),
            (np.zeros(5), "2 to 5 dimensions"),
            (np.zeros((1,) * 6), "2 to 5 dimensions"),
            (np.float64(3), "2 to 5 dimensions"),
            ([[1, 2], [3]], "not an array"),
            ("pixels.tif", "a path, not an array.*ingest_tiff"),
            (Path("pixels.tif"), "a path, not an array.*ingest_tiff"),
            (None, "None, which is no array"),
            (object(), "object"),
            ((row for row in PIXELS), "a generator, not an array.*np.stack"),
            (dask.array.from_array(np.ma.masked_equal(PIXELS, 3)), "masked"),
            (
                dask.array.from_array(PIXELS)[dask.array.from_array(PIXELS)[:, 0] > 5],
                "compute_chunk",
            ),
        ],
    )
    def test_values_that_cannot_be_stored_are_named_and_nothing_is_written(
        self, ds: ZarrDataset, arr: Any, says: str
    ) -> None:
        before = files_of(ds.path)
        with pytest.raises(ValueError, match=says):
            ds.add_image(arr)
        assert files_of(ds.path) == before
        assert len(ds) == 0

    def test_a_record_is_not_an_array_but_gives_one(self, rec: ZarrImageRecord) -> None:
        pixels = rec.load_array()
        assert_same(np.asarray(rec), pixels)
        assert_same(np.array(rec, dtype="f4"), pixels.astype("f4"))
        with pytest.raises(ValueError, match="without a copy"):
            np.array(rec, copy=False)
        with pytest.raises(TypeError, match=r"a record, not an array.*load_array\(\)"):
            rec.save_array(rec)
        assert_same(rec.load_array(), pixels)

    def test_an_input_that_fails_half_way_leaves_nothing(self, ds: ZarrDataset) -> None:
        class Broken:
            shape = (4000, 4000)
            dtype = np.dtype("u2")
            reads = 0

            def __getitem__(self, region: Any) -> Any:
                raise RuntimeError("the camera is gone")

        with pytest.raises(RuntimeError, match="camera"):
            ds.add_image(Broken())
        assert len(ds) == 0
        left = (ds.path / ".kymflow_zarr" / "sessions").rglob("*")
        assert [path.suffix for path in left if path.is_file()] == [".lock"]  # Of this writer.

    def test_a_lazy_array_reads_and_cannot_write(self, rec: ZarrImageRecord) -> None:
        lazy = rec.open_array()
        assert isinstance(lazy, zarr.Array)
        with pytest.raises(ValueError, match="read-only"):
            lazy[0, 0] = 1

    def test_a_lost_chunk_is_an_error_and_not_zeros(
        self, rec: ZarrImageRecord, ds: ZarrDataset
    ) -> None:
        chunk = ds.path / "images" / rec.image_id / "data" / "c" / "0" / "0"
        lazy = rec.open_array()
        chunk.unlink()
        with pytest.raises(ValueError, match="missing"):
            rec.load_array()
        with pytest.raises(ValueError, match="missing"):
            lazy[:3]


def _memory_mapped(array: npt.NDArray[Any], folder: Path) -> npt.NDArray[Any]:
    mapped = np.memmap(folder / "m", dtype=array.dtype, shape=array.shape, mode="w+")
    mapped[:] = array
    return mapped


class TestSaveArray:
    def test_pixels_are_replaced_and_the_rest_stays(self, rec: ZarrImageRecord) -> None:
        rec.save_json("a", [1])
        created = rec.created_utc
        new = np.full((300, 38), 7, np.float32)
        key = rec.save_array(new)
        assert key.startswith(f"images/{rec.image_id}/")
        assert_same(rec.load_array(), new)
        assert rec.load_json("a") == [1]
        assert rec.created_utc == created < rec.updated_utc
        assert rec.axes[0] == Axis("y", "time", "second", 0.00117)

    def test_a_reader_that_holds_an_array_goes_on_reading_the_old_one(
        self, rec: ZarrImageRecord, kymograph: npt.NDArray[np.uint16]
    ) -> None:
        lazy = rec.open_array()
        rec.save_array(np.zeros_like(kymograph))
        assert_same(np.asarray(lazy[...]), kymograph)
        assert rec.load_array().max() == 0

    def test_only_the_last_two_generations_stay_on_disk(
        self, rec: ZarrImageRecord, ds: ZarrDataset
    ) -> None:
        for i in range(5):
            rec.save_array(np.full((4, 4), i))
        assert rec.load_array().tolist() == [[4] * 4] * 4
        folders = [p.name for p in (ds.path / "images" / rec.image_id).iterdir() if p.is_dir()]
        assert sorted(folders) == ["data-5", "data-6"]

    def test_pixels_that_cannot_be_stored_leave_the_old_ones(
        self, rec: ZarrImageRecord, kymograph: npt.NDArray[np.uint16], ds: ZarrDataset
    ) -> None:
        before = files_of(ds.path / "images")
        with pytest.raises(ValueError, match="object"):
            rec.save_array(np.array([[None]]))
        with pytest.raises(ValueError, match="axes"):
            rec.save_array(PIXELS, axes="zyx")
        assert files_of(ds.path / "images") == before
        assert_same(rec.load_array(), kymograph)

    def test_other_dimensions_take_their_own_axes(self, rec: ZarrImageRecord) -> None:
        rec.save_array(np.zeros((2, 3, 4)))
        assert rec.get_axes() == ["z", "y", "x"]
        rec.save_array(np.zeros((2, 3, 4)), axes="tyx")
        assert rec.get_axes() == ["t", "y", "x"]

    def test_keys_that_others_added_survive(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        path = ds.path / "images" / rec.image_id / "zarr.json"
        document = json.loads(path.read_text())
        document["attributes"]["of another program"] = {"a": 1}
        document["attributes"]["kymflow_zarr"]["of tomorrow"] = [1, 2]
        document["attributes"]["kymflow_zarr"]["axes"][0]["of tomorrow"] = True
        path.write_text(json.dumps(document))
        rec.save_array(np.ones((5, 5)))
        attributes = json.loads(path.read_text())["attributes"]
        assert attributes["of another program"] == {"a": 1}
        assert attributes["kymflow_zarr"]["of tomorrow"] == [1, 2]
        assert attributes["kymflow_zarr"]["axes"][0]["of tomorrow"] is True
        assert rec.shape == (5, 5)


class TestAxes:
    @pytest.mark.parametrize(("ndim", "names"), [(2, "yx"), (3, "zyx"), (4, "czyx"), (5, "tczyx")])
    def test_defaults_of_the_arguments(self, ds: ZarrDataset, ndim: int, names: str) -> None:
        rec = ds.add_image(np.zeros((2,) * ndim, "u1"))
        assert rec.get_axes() == list(names)

    @pytest.mark.parametrize("axes", ["tyx", ["t", "y", "x"], ("T", "Y", "X")])
    def test_a_caller_names_them(self, ds: ZarrDataset, axes: Any) -> None:
        rec = ds.add_image(np.zeros((2, 3, 4)), axes=axes)
        assert rec.get_axes() == ["t", "y", "x"]
        assert [axis.quantity for axis in rec.axes] == ["time", "space", "space"]

    def test_calibration_comes_back_with_full_unit_names(self, ds: ZarrDataset) -> None:
        axes = [Axis("t", "time", "ms", 250), Axis("y", "space", "µm", 0.3), Axis("x", "space")]
        rec = ds.add_image(np.zeros((2, 3, 4)), axes=axes)
        assert rec.axes == (
            Axis("t", "time", "millisecond", 250.0),
            Axis("y", "space", "micrometer", 0.3),
            Axis("x", "space", None, None),
        )

    def test_a_kymograph_says_that_its_rows_are_time(self, rec: ZarrImageRecord) -> None:
        assert rec.get_axes() == ["y", "x"]
        assert rec.axes == (
            Axis("y", "time", "second", 0.00117),
            Axis("x", "space", "micrometer", 0.284),
        )

    @pytest.mark.parametrize(
        ("axes", "says"),
        [
            ("yxz", "3 axes"),
            ("yy", "differ"),
            (["y", ""], "name"),
            (["y", 3], "name or an Axis"),
            ([Axis("y", "space", None, -1.0), "x"], "positive"),
            ([Axis("y", "space", None, float("nan")), "x"], "positive"),
            ([Axis("y", "weight"), "x"], "quantity"),  # type: ignore[arg-type]
            ([Axis("y", ["space"]), "x"], "quantity"),  # type: ignore[arg-type]
            ([Axis(1, "space"), "x"], "the name of axis 1"),  # type: ignore[arg-type]
            ([Axis("y", "space", unit=5), "x"], "the unit of axis 'y'"),  # type: ignore[arg-type]
            ([Axis("y", "space", None, "2"), "x"], "the step of axis 'y'"),  # type: ignore[arg-type]
            ([Axis("y", "space", None, 10**400), "x"], "the step of axis 'y'"),
            ({"y": 0.5, "x": 0.5}, "not a dict"),
            ({"y", "x"}, "not a set"),
            (5, "not a int"),
        ],
    )
    def test_wrong_axes_are_named(self, ds: ZarrDataset, axes: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            ds.add_image(PIXELS, axes=axes)
        assert len(ds) == 0

    def test_words_for_axes_say_what_runs_along_them(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(np.zeros((2, 3, 4, 5)), axes=["time", "Channel", np.str_("y"), "space"])
        assert rec.get_axes() == ["time", "Channel", "y", "space"]
        assert [axis.quantity for axis in rec.axes] == ["time", "channel", "space", "space"]

    @pytest.mark.parametrize(
        "value", [0, -1, float("inf"), float("nan"), "0.5", True, (0.5, 0.25), 10**400, 1j]
    )
    @pytest.mark.parametrize("argument", ["line_period_s", "pixel_size_um"])
    def test_wrong_calibration_is_named(self, ds: ZarrDataset, argument: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"^{argument} ") as caught:
            ds.add_image(PIXELS, **{argument: value})
        if argument == "pixel_size_um":
            assert "axes=[Axis(" in str(caught.value)
        assert len(ds) == 0

    @pytest.mark.parametrize("names", [5, ["a", 5], {"GFP": 1}])
    def test_wrong_channel_names_are_named(self, ds: ZarrDataset, names: Any) -> None:
        with pytest.raises(TypeError, match="channel_names"):
            ds.add_image(np.zeros((2, 3, 4)), axes="cyx", channel_names=names)
        assert len(ds) == 0

    def test_bounds(self, ds: ZarrDataset) -> None:
        bounds = ds.add_image(np.zeros((5, 40, 30), "u1")).get_image_bounds()
        assert bounds == {"width": 30, "height": 40, "num_slices": 5}
        assert (bounds.width, bounds.height, bounds.num_slices) == (30, 40, 5)
        assert ds.add_image(PIXELS).get_image_bounds()["num_slices"] == 1

    def test_channel_names(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(np.zeros((2, 3, 4)), axes="cyx", channel_names=["GFP", "RFP"])
        assert rec.channel_names == ["GFP", "RFP"]
        rec.save_array(np.ones((2, 3, 4)))
        assert rec.channel_names == ["GFP", "RFP"]
        with pytest.raises(ValueError, match="1 channel names were given for 2"):
            ds.add_image(np.zeros((2, 3, 4)), axes="cyx", channel_names=["GFP"])


class TestNames:
    def test_texts_of_numpy_are_names(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(PIXELS, image_id=np.str_("a"))
        rec.save_array_artifact(np.str_("mask"), PIXELS)
        rec.save_json(np.str_("note"), 1)
        assert type(rec.image_id) is str
        assert type(ds.record(np.str_("a")).image_id) is str
        assert ds.list_image_ids() == ["a"]
        assert rec.list_array_artifacts() == ["mask"]
        assert ds.validate().ok

    @pytest.mark.parametrize(
        ("image_id", "says"),
        [(5, r"must be a str, not int.*str\("), (Path("a"), r"str\("), ("a/b", "flat")],
    )
    def test_an_image_id_is_a_plain_name(self, ds: ZarrDataset, image_id: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            ds.add_image(PIXELS, image_id=image_id)
        assert len(ds) == 0

    @pytest.mark.parametrize(
        ("asked", "meant"),
        [
            ("vessel-A", "vessel-a"),
            ("vesel-a", "vessel-a"),
            ("vess", "vessel-a"),
            ("vessel-a.json", "vessel-a"),
            ("nothing like it", None),
            ("", None),
        ],
    )
    def test_a_name_that_is_not_there_brings_up_the_one_that_is(
        self, ds: ZarrDataset, asked: str, meant: str | None
    ) -> None:
        name = "vessel-a"
        rec = ds.add_image(PIXELS, image_id=name)
        rec.save_json(name, 1)
        rec.save_array_artifact(name, PIXELS)
        ds.save_table(name, pd.DataFrame({"a": [1]}))
        calls: list[Callable[[str], object]] = [ds.record]
        if asked:
            calls += [rec.load_json, rec.load_df_parquet, rec.load_df_csv_gz,
                      rec.load_array_artifact, ds.load_table]  # fmt: skip
        for call in calls:
            with pytest.raises((KeyError, FileNotFoundError)) as caught:
                call(asked)
            assert (f"Did you mean {meant!r}?" in str(caught.value)) is (meant is not None)

    def test_an_id_of_another_type_is_not_there(self, ds: ZarrDataset) -> None:
        ds.add_image(PIXELS, image_id="5")
        with pytest.raises(KeyError, match=r"str\("):
            ds.record(5)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ({"a": [1]}, r"not builtins\.dict\. .*pd\.DataFrame"),
            ([1], r"pd\.DataFrame"),
            (PIXELS, r"pd\.DataFrame"),
            (pd.Series([1]), r"\.to_frame\(\)"),
        ],
    )
    def test_a_value_that_is_no_data_frame_is_refused_with_how_to_make_one(
        self, rec: ZarrImageRecord, value: Any, says: str
    ) -> None:
        for save in (rec.save_df_parquet, rec.save_df_csv_gz):
            with pytest.raises(TypeError, match=says):
                save("x", value)
        assert rec.list_analysis_keys() == []


class TestArrayArtifacts:
    @pytest.mark.parametrize("axes", [[0, 1], ["y", "y"], ["y"], 5, {"y": 1, "x": 2}])
    @pytest.mark.parametrize("replaces", [False, True])
    def test_wrong_axes_are_refused_before_anything_is_written(
        self, rec: ZarrImageRecord, ds: ZarrDataset, axes: Any, replaces: bool
    ) -> None:
        if replaces:
            rec.save_array_artifact("mask", PIXELS)
        before = files_of(ds.path)
        with pytest.raises(ValueError, match="axes"):
            rec.save_array_artifact("mask", PIXELS * 2, axes=axes)
        assert files_of(ds.path) == before

    @pytest.mark.parametrize("damage", ["broken", "missing"])
    def test_one_whose_document_is_broken_can_be_deleted(
        self, rec: ZarrImageRecord, ds: ZarrDataset, damage: str
    ) -> None:
        document = ds.path / rec.save_array_artifact("mask", PIXELS) / "zarr.json"
        if damage == "broken":
            document.write_text("{")
        else:
            document.unlink()
        rec.delete_array_artifact("mask")
        assert rec.list_array_artifacts() == []
        with pytest.raises(KeyError):
            rec.delete_array_artifact("mask")

    @settings(max_examples=40)
    @given(
        arr=hnp.arrays(
            dtype=st.sampled_from(DTYPES),
            shape=hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=5),
        )
    )
    def test_any_array_comes_back_equal(
        self, tmp_path_factory: pytest.TempPathFactory, arr: npt.NDArray[Any]
    ) -> None:
        ds = ZarrDataset(tmp_path_factory.mktemp("ds") / "x.zarr", durability="relaxed")
        rec = ds.add_image(PIXELS)
        rec.save_array_artifact("mask", arr)
        assert_same(rec.load_array_artifact("mask"), arr)

    def test_names_are_listed_and_replaced(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        for name in ("roi/1", "roi", "ROI", "roi/1/c"):
            key = rec.save_array_artifact(name, PIXELS, axes=["y", "x"])
            assert (ds.path / key).is_dir()
        rec.save_array_artifact("roi", PIXELS * 2)
        assert rec.list_array_artifacts() == ["ROI", "roi", "roi/1", "roi/1/c"]
        assert_same(rec.load_array_artifact("roi"), PIXELS * 2)
        assert_same(rec.load_array_artifact("ROI"), PIXELS)
        rec.delete_array_artifact("roi")
        assert rec.list_array_artifacts() == ["ROI", "roi/1", "roi/1/c"]
        for call in (rec.load_array_artifact, rec.delete_array_artifact):
            with pytest.raises(KeyError, match="'roi'"):
                call("roi")

    def test_values_that_cannot_be_stored(self, rec: ZarrImageRecord) -> None:
        with pytest.raises(ValueError, match="object"):
            rec.save_array_artifact("m", np.array([None]))
        with pytest.raises(ValueError, match="axes"):
            rec.save_array_artifact("m", PIXELS, axes=["x"])
        assert rec.list_array_artifacts() == []


class TestArtifacts:
    def test_keys_are_relative_to_the_dataset(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        df = pd.DataFrame({"a": [1]})
        keys = [
            rec.save_json("provenance", {}),
            rec.save_df_parquet("velocity_events/events", df),
            rec.save_df_csv_gz("roi_table", df),
        ]
        analysis = f"images/{rec.image_id}/analysis"
        assert keys == [
            f"{analysis}/provenance.json",
            f"{analysis}/velocity_events/events.parquet",
            f"{analysis}/roi_table.csv.gz",
        ]
        assert all((ds.path / key).is_file() for key in keys)
        assert rec.list_analysis_keys() == sorted(keys)

    def test_other_programs_read_the_files(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        df = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
        pd.testing.assert_frame_equal(pd.read_parquet(ds.path / rec.save_df_parquet("t", df)), df)
        pd.testing.assert_frame_equal(pd.read_csv(ds.path / rec.save_df_csv_gz("t", df)), df)

    def test_one_name_holds_one_artifact_of_each_kind(self, rec: ZarrImageRecord) -> None:
        df = pd.DataFrame({"a": [1]})
        rec.save_json("x", 1)
        rec.save_df_parquet("x", df)
        rec.save_df_csv_gz("x", df * 2)
        assert rec.load_json("x") == 1
        assert rec.load_df_parquet("x")["a"].tolist() == [1]
        assert rec.load_df_csv_gz("x")["a"].tolist() == [2]
        assert [(i.name, i.kind) for i in rec.list_artifacts()] == [
            ("x", "csv_gz"), ("x", "json"), ("x", "parquet"),
        ]  # fmt: skip

    def test_a_missing_one_is_a_key_error_that_helps(self, rec: ZarrImageRecord) -> None:
        for load in (rec.load_json, rec.load_df_parquet, rec.load_df_csv_gz):
            with pytest.raises(KeyError, match="'x'"):
                load("x")
        rec.save_json("x", 1)
        with pytest.raises(KeyError, match=r"use load_json\(\)"):
            rec.load_df_parquet("x")

    def test_a_failed_save_leaves_the_old_value(self, rec: ZarrImageRecord) -> None:
        rec.save_json("x", 1)
        rec.save_df_parquet("x", pd.DataFrame({"a": [1]}))
        with pytest.raises(ValueError, match="object"):
            rec.save_json("x", object())
        with pytest.raises(ValueError, match="'z'"):
            rec.save_df_parquet("x", pd.DataFrame({"z": [1j]}))
        assert rec.load_json("x") == 1
        assert rec.load_df_parquet("x")["a"].tolist() == [1]

    def test_delete_analysis_counts_and_spares_metadata_and_provenance(
        self, rec: ZarrImageRecord
    ) -> None:
        df = pd.DataFrame({"a": [1]})

        def fill() -> None:
            rec.save_metadata_payload({"version": "2.0"})
            rec.save_json("provenance", {})
            rec.save_json("events", {})
            rec.save_df_parquet("velocity/events", df)
            rec.save_df_csv_gz("rois", df)

        fill()
        assert rec.delete_analysis() == 3
        assert len(rec.list_analysis_keys()) == 2
        fill()
        assert rec.delete_analysis([".parquet", ".csv.gz"]) == 2
        assert rec.delete_analysis(".json") == 1
        assert len(rec.list_analysis_keys()) == 2
        fill()
        assert rec.delete_analysis(["velocity/events"]) == 1
        assert rec.delete_analysis(["nothing", ""]) == 0
        assert rec.delete_analysis(["provenance.json", "metadata"]) == 2
        assert [i.name for i in rec.list_artifacts()] == ["events", "rois"]
        assert rec.delete_analysis([]) == 0


class TestMetadata:
    PAYLOAD: ClassVar = {
        "version": "2.0",
        "header": {"acquired_local_epoch_ns": 1730000000000000000},
        "experiment_metadata": {"notes": "pilot run"},
        "rois": [],
        "a key of tomorrow": {"kept": True},
    }

    def test_the_payload_comes_back_equal(self, rec: ZarrImageRecord) -> None:
        key = rec.save_metadata_payload(self.PAYLOAD)
        assert key == f"images/{rec.image_id}/analysis/metadata.json"
        assert rec.load_metadata_payload() == self.PAYLOAD

    def test_none_saved_is_its_own_error(self, rec: ZarrImageRecord) -> None:
        from kymflow_zarr import MetadataNotFoundError

        with pytest.raises(MetadataNotFoundError, match="save_metadata_payload"):
            rec.load_metadata_payload()
        with pytest.raises(FileNotFoundError):
            rec.load_metadata_payload()

    def test_a_payload_is_a_mapping(self, rec: ZarrImageRecord) -> None:
        with pytest.raises(ValueError, match="mapping"):
            rec.save_metadata_payload([1])  # type: ignore[arg-type]


def test_an_array_artifact_opens_lazily_and_read_only(rec: ZarrImageRecord) -> None:
    mask = np.arange(20, dtype="uint8").reshape(4, 5)
    rec.save_array_artifact("roi/mask", mask)
    lazy = rec.open_array_artifact("roi/mask")
    np.testing.assert_array_equal(lazy[1:3, 2], mask[1:3, 2])
    assert lazy.read_only
    with pytest.raises(KeyError, match="no array artifact"):
        rec.open_array_artifact("other")
