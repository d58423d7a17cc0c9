"""Large images have smaller versions of themselves, and viewers read those."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.engine.images.pyramid import plan_levels
from kymflow_zarr.errors import ArgumentError, ReadOnlyError
from kymflow_zarr.formats.array.reduce import ReducedArray, reduced

SHAPE = (2_101, 2_003)


def pixels_of(shape: tuple[int, ...] = SHAPE, dtype: str = "uint8") -> npt.NDArray[Any]:
    return np.random.default_rng(3).integers(0, 250, shape).astype(dtype)


def group_of(ds: ZarrDataset, image_id: str) -> Path:
    return Path(ds.location) / "images" / image_id


def document_of(ds: ZarrDataset, image_id: str) -> Any:
    return json.loads((group_of(ds, image_id) / "zarr.json").read_text())["attributes"]


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", mode="w-", durability="relaxed") as dataset:
        yield dataset


def without_levels(ds: ZarrDataset, image_id: str) -> None:
    """Make the image what a version without levels wrote."""
    from kymflow_zarr.schema.checksums import FileSum, dump_checksums, parse_checksums

    group = group_of(ds, image_id)
    shutil.rmtree(group / "pyramid")
    document = json.loads((group / "zarr.json").read_text())
    attributes = document["attributes"]
    attributes["kymflow_zarr"].pop("pyramid")
    del attributes["ome"]["multiscales"][0]["datasets"][1:]
    data = json.dumps(document).encode()
    (group / "zarr.json").write_bytes(data)
    sums = parse_checksums((group / "checksums.sha256").read_bytes(), where="")
    left = {key: found for key, found in sums.items() if not key.startswith("pyramid/")}
    left["zarr.json"] = FileSum.of(data)
    (group / "checksums.sha256").write_bytes(dump_checksums(left))


def by_hand(block: npt.NDArray[Any], factors: tuple[int, int], method: str) -> npt.NDArray[Any]:
    """Return the levels' values one by one, with Python's numbers."""
    rows = []
    for r in range(0, block.shape[0], factors[0]):
        row = []
        for c in range(0, block.shape[1], factors[1]):
            values = block[r : r + factors[0], c : c + factors[1]].ravel().tolist()
            if method == "mode":
                row.append(min(set(values), key=lambda v: (-values.count(v), v)))
            elif block.dtype.kind in "fc":
                numbers = [v for v in values if v == v]
                row.append(sum(v / len(numbers) for v in numbers) if numbers else float("nan"))
            else:
                whole, rest = divmod(sum(values), len(values))
                twice = 2 * rest
                row.append(whole + (twice > len(values) or (twice == len(values) and whole % 2)))
        rows.append(row)
    return np.array(rows, dtype=block.dtype)


DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float16", "float32", "float64", "complex64"]  # fmt: skip


@st.composite
def blocks(draw: st.DrawFn) -> npt.NDArray[Any]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    elements: Any = None
    if dtype.kind == "f":
        elements = st.integers(-99, 99).map(float) | st.just(float("nan"))
    elif dtype.kind == "c":
        elements = st.integers(-99, 99).map(lambda n: complex(n, -n))
    return draw(hnp.arrays(dtype, shape, elements=elements))


@given(blocks(), st.sampled_from([(2, 2), (4, 1), (1, 4)]))
def test_a_level_is_the_mean_of_four_rounded_half_to_even_without_nan(
    block: npt.NDArray[Any], factors: tuple[int, int]
) -> None:
    found = reduced(block, factors, "mean")
    assert found.dtype == block.dtype
    if block.dtype.kind in "fc":
        tolerance = 1e-2 if block.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(
            found, by_hand(block, factors, "mean"), rtol=tolerance, atol=tolerance
        )
    else:
        np.testing.assert_array_equal(found, by_hand(block, factors, "mean"))


@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(-2, 3)),
    st.sampled_from([(2, 2), (4, 1), (1, 4)]),
)
def test_a_level_of_labels_is_the_most_frequent_value_or_the_smallest_of_them(
    block: npt.NDArray[Any], factors: tuple[int, int]
) -> None:
    np.testing.assert_array_equal(reduced(block, factors, "mode"), by_hand(block, factors, "mode"))


def test_means_of_extreme_numbers_neither_overflow_nor_lose_digits() -> None:
    for dtype in ("int64", "uint64"):
        limits = np.iinfo(dtype)
        assert reduced(np.full((2, 2), limits.max, dtype), (2, 2), "mean") == limits.max
        assert reduced(np.full((3, 1), limits.min, dtype), (4, 1), "mean") == limits.min
    large = np.full((2, 2), np.finfo("f8").max)
    assert reduced(large, (2, 2), "mean") == large[0, 0]
    assert np.isposinf(reduced(np.array([[np.inf, 1.0]]), (2, 2), "mean"))
    assert np.isnan(reduced(np.array([[np.inf, -np.inf]]), (2, 2), "mean"))


def test_a_part_of_a_level_is_read_from_a_part_of_its_source() -> None:
    source = pixels_of((3, 90, 70))
    whole = reduced(source, (1, 2, 2), "mean")
    level = ReducedArray(source, (1, 2, 2), "mean", (1, 16, 70))
    assert level.shape == whole.shape
    np.testing.assert_array_equal(level[1:3, 7:45, 3:9], whole[1:3, 7:45, 3:9])
    again = np.empty_like(whole)
    for region, values in level.blocks():
        again[region] = values
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ((2048, 2048), []),
        ((20_000, 20_000), [(2, 2)] * 4),
        ((600_000, 500), [(4, 1)] * 4),
        ((500, 600_000), [(1, 4)] * 4),
        ((6_000_000, 1), [(4, 1)]),
        ((0, 9_000_000), []),
    ],
)
def test_levels_have_a_quarter_each_until_a_plane_is_as_large_as_a_screen(
    shape: tuple[int, ...], levels: list[tuple[int, int]]
) -> None:
    assert plan_levels(shape, None) == levels


def test_an_image_of_large_planes_is_added_with_its_levels(ds: ZarrDataset) -> None:
    pixels = pixels_of()
    rec = ds.add_image(pixels, image_id="a", pixel_size_um=0.5)
    assert [level.shape for level in rec.levels] == [SHAPE, (1051, 1002)]
    wanted = reduced(pixels, (2, 2), "mean")
    np.testing.assert_array_equal(rec.load_array(level=1), wanted)
    np.testing.assert_array_equal(rec.load_array(np.s_[10:20, -3:], level=1), wanted[10:20, -3:])
    np.testing.assert_array_equal(rec.open_array(level=1)[5], wanted[5])
    np.testing.assert_array_equal(rec.load_array(), pixels)
    for wrong in (2, -1):
        with pytest.raises(ArgumentError, match="no level"):
            rec.load_array(level=wrong)
    assert ds.verify().ok
    assert ds.validate().problems == ()


def test_a_small_image_gets_nothing_new(ds: ZarrDataset) -> None:
    rec = ds.add_image(pixels_of((100, 90)), image_id="a")
    assert len(rec.levels) == 1
    assert "pyramid" not in document_of(ds, "a")["kymflow_zarr"]
    assert sorted(p.name for p in group_of(ds, "a").iterdir()) == [
        "checksums.sha256", "data", "zarr.json",
    ]  # fmt: skip


def test_a_kymograph_is_reduced_along_time_alone(ds: ZarrDataset) -> None:
    rec = ds.add_image(pixels_of((70_001, 64)), line_period_s=0.001, pixel_size_um=0.3)
    assert [level.factors for level in rec.levels] == [(1, 1), (4, 1)]
    [scale] = document_of(ds, rec.image_id)["ome"]["multiscales"]
    assert scale["datasets"][1] == {
        "path": "pyramid/1",
        "coordinateTransformations": [
            {"type": "scale", "scale": [0.004, 0.3]},
            {"type": "translation", "translation": [0.0015, 0.0]},
        ],
    }


def test_each_plane_and_channel_of_a_stack_is_reduced_alone(ds: ZarrDataset) -> None:
    pixels = pixels_of((2, 2, *SHAPE), "uint8")
    rec = ds.add_image(pixels, axes="czyx", channel_names=["a", "b"])
    np.testing.assert_array_equal(
        rec.load_array(level=1)[1, 0], reduced(pixels[1, 0], (2, 2), "mean")
    )


def test_levels_are_those_of_the_current_pixels(ds: ZarrDataset) -> None:
    rec = ds.add_image(pixels_of(), image_id="a")
    for seed in range(3):
        pixels = pixels_of() + seed
        rec.save_array(pixels)
        np.testing.assert_array_equal(rec.load_array(level=1), reduced(pixels, (2, 2), "mean"))
    names = {p.name for p in group_of(ds, "a").iterdir()}
    assert names == {"checksums.sha256", "data-3", "data-4", "pyramid-3", "pyramid-4", "zarr.json"}
    rec.save_array(pixels_of((5, 4)))
    assert len(rec.levels) == 1
    rec.save_array(pixels_of((5, 4)))
    assert {p.name for p in group_of(ds, "a").iterdir()} == {
        "checksums.sha256", "data-5", "data-6", "zarr.json",
    }  # fmt: skip
    assert ds.verify().ok
    assert ds.validate().problems == ()


def test_a_source_that_can_be_read_once_gets_levels_too(tmp_path: Path, ds: ZarrDataset) -> None:
    pixels = pixels_of()
    tifffile.imwrite(tmp_path / "large.tif", pixels, compression="zlib")
    rec = ds.ingest_tiff(tmp_path / "large.tif")
    np.testing.assert_array_equal(rec.load_array(level=1), reduced(pixels, (2, 2), "mean"))
    other = ds.add_image(rec.open_array())
    np.testing.assert_array_equal(other.load_array(level=1), rec.load_array(level=1))


def test_levels_of_an_earlier_version_are_built_on_demand(ds: ZarrDataset) -> None:
    pixels = pixels_of((2, *SHAPE), "uint8")
    rec = ds.add_image(pixels, image_id="a", axes="cyx", channel_names=["red", "green"])
    ds.add_image(pixels_of((9, 8)), image_id="small")
    before = document_of(ds, "a")
    wanted = rec.load_array(level=1)
    without_levels(ds, "a")
    assert len(rec.levels) == 1
    assert ds.verify().ok
    assert ds.build_pyramids() == ["a"]
    np.testing.assert_array_equal(rec.load_array(level=1), wanted)
    assert document_of(ds, "a") == before
    assert ds.build_pyramids() == []
    assert ds.verify().ok
    assert ds.validate().problems == ()
    with pytest.raises(ArgumentError):
        ds.build_pyramids("a")
    with ZarrDataset(ds.location, mode="r") as reading, pytest.raises(ReadOnlyError):
        reading.build_pyramids()


def test_levels_that_an_earlier_version_left_behind_are_not_those_of_new_pixels(
    ds: ZarrDataset,
) -> None:
    rec = ds.add_image(pixels_of(), image_id="a")
    stale = document_of(ds, "a")["kymflow_zarr"]["pyramid"]
    rec.save_array(pixels_of() + 1)
    group = group_of(ds, "a") / "zarr.json"
    document = json.loads(group.read_text())
    # An earlier version keeps keys it does not know, and writes OME metadata of one level.
    document["attributes"]["kymflow_zarr"]["pyramid"] = stale
    del document["attributes"]["ome"]["multiscales"][0]["datasets"][1:]
    group.write_text(json.dumps(document))
    assert len(rec.levels) == 1
    assert ds.build_pyramids() == ["a"]
    np.testing.assert_array_equal(
        rec.load_array(level=1), reduced(rec.load_array(), (2, 2), "mean")
    )


def test_verify_sees_a_level_that_is_not_made_of_the_pixels_and_repair_makes_it_again(
    ds: ZarrDataset,
) -> None:
    rec = ds.add_image(pixels_of(), image_id="a")
    wanted = rec.load_array(level=1)
    forge_level(ds, rec)
    [damage] = ds.verify().damages
    assert (damage.code, damage.where) == ("contradiction", "images/a/pyramid/1")
    [planned] = ds.repair(dry_run=True).actions
    assert (planned.kind, planned.where) == ("rebuild", "images/a/pyramid")
    [done] = ds.repair().actions
    assert (done.kind, done.where) == ("rebuild", "images/a/pyramid")
    np.testing.assert_array_equal(rec.load_array(level=1), wanted)
    assert ds.verify().ok


def forge_level(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    """Write another level in the right format, digests included."""
    from kymflow_zarr.engine.documents import load_image
    from kymflow_zarr.engine.images.pyramid import make_levels, write_image

    storage = ds._open.storage
    image = ds._open.record(rec.image_id)
    with image.lock(), image.change() as change:
        document = load_image(storage, rec.image_id)
        axes = document.axis_values()
        document.pyramid = make_levels(
            rec.load_array() + 1, (1, 1), [(2, 2)], document.pixels, change.stage("pyramid"),
            axes=axes, dimension_names=["y", "x"], method="mean",
        )  # fmt: skip
        write_image(storage, change, image.prefix, document)


@pytest.mark.parametrize("name", ["pyramid/1/c/0/0", "pyramid/1/zarr.json", "pyramid/zarr.json"])
@pytest.mark.parametrize("how", ["flip", "delete", "foreign"])
def test_damaged_levels_are_built_again_and_the_pixels_stay(
    ds: ZarrDataset, name: str, how: str
) -> None:
    rec = ds.add_image(pixels_of(), image_id="a")
    file = group_of(ds, "a") / name
    before = rec.load_array(level=1)
    if how == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif how == "delete":
        file.unlink()
    else:
        (file.parent / "c").mkdir(exist_ok=True)
        shutil.copy(file, group_of(ds, "a") / "pyramid" / "1" / "c" / "77")
    assert not ds.verify().ok
    assert {action.kind for action in ds.repair().actions} == {"rebuild"}
    assert ds.verify().ok
    assert ds.validate().problems == ()
    np.testing.assert_array_equal(rec.load_array(level=1), before)


def test_levels_travel_with_their_image(ds: ZarrDataset, tmp_path: Path) -> None:
    rec = ds.add_image(pixels_of(), image_id="a")
    wanted = rec.load_array(level=1)
    ds.subset(["a"], tmp_path / "part.zarr")
    ds.pack(tmp_path / "packed.ozx")
    ds.export_legacy_folder(tmp_path / "out")
    with ZarrDataset(tmp_path / "merged.zarr", mode="w-") as merged:
        merged.merge(ZarrDataset(tmp_path / "part.zarr", mode="r"))
        np.testing.assert_array_equal(merged["a"].load_array(level=1), wanted)
        assert merged.verify().ok
    with ZarrDataset(tmp_path / "packed.ozx", mode="r") as packed:
        np.testing.assert_array_equal(packed["a"].load_array(level=1), wanted)
        assert packed.verify().ok
    with ZarrDataset(tmp_path / "again.zarr", mode="w-") as again:
        again.ingest_legacy_folder(tmp_path / "out")
        np.testing.assert_array_equal(again["a"].load_array(level=1), wanted)
