"""Regions as values, in the payload of an image and in its pixels."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import MaskRoi, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.engine.rois.values import UnknownRoi, known_rois
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArtifactNotFoundError,
    CorruptDataError,
    ReadOnlyError,
    SchemaValidationError,
    UnsupportedDataError,
)
from kymflow_zarr.schema.rois import upgrade_roi
from tests.conftest import files_of

RECT = RectRoi(roi_id=1, x0=2, x1=30, y0=10, y1=200, name="vessel")
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
UNKNOWN = st.dictionaries(
    st.text(min_size=1, max_size=6).map(lambda key: f"my {key}"), PLAIN, max_size=3
)


@st.composite
def new_rois(draw: st.DrawFn) -> dict[str, Any]:
    """Dictionaries of regions in today's form, with unknown keys at every level."""
    rectangle = draw(st.booleans())
    spans = [sorted(draw(st.tuples(*[st.integers(0, 9)] * 2))) for _ in "xy"]
    data = dict(zip(("x0", "x1", "y0", "y1"), [*spans[0], *spans[1]], strict=True))
    return {
        "roi_id": draw(st.integers()),
        "roi_type": "rect" if rectangle else "mask",
        "version": draw(st.sampled_from(["1.0", "1.7"])),
        "name": draw(st.text(max_size=5)),
        "note": draw(st.text(max_size=5)),
        "channel": draw(st.integers(1, 9)),
        "z": draw(st.integers(0, 9)),
        "data": (data if rectangle else {"mask_ref": draw(st.text())}) | draw(UNKNOWN),
        "meta": {"revision": draw(st.integers()), "img_std": 1.5} | draw(UNKNOWN),
        **draw(UNKNOWN),
    }


@st.composite
def old_rois(draw: st.DrawFn) -> dict[str, Any]:
    """Dictionaries of regions in the flat form."""
    roi = {"id": draw(st.integers()), **draw(UNKNOWN)}
    for axis in "01":
        spans = sorted(draw(st.tuples(*[st.integers(0, 9)] * 2)))
        roi |= dict(zip((f"dim{axis}_start", f"dim{axis}_stop"), spans, strict=True))
    optional = {"name": "a", "note": None, "channel": 2, "z": 3, "revision": 4, "img_min": 5}
    return roi | {key: value for key, value in optional.items() if draw(st.booleans())}


def value_of(raw: dict[str, Any]) -> RectRoi | MaskRoi:
    return (MaskRoi if raw.get("roi_type") == "mask" else RectRoi).from_dict(raw)


# Values -------------------------------------------------------------------------------------


@given(new_rois())
def test_a_dictionary_of_today_comes_back_equal(raw: dict[str, Any]) -> None:
    before = copy.deepcopy(raw)
    roi = value_of(raw)
    assert roi.to_dict() == before == raw
    assert value_of(roi.to_dict()) == roi
    assert pickle.loads(pickle.dumps(roi)) == roi


@given(old_rois())
def test_an_old_dictionary_keeps_what_it_says_and_all_unknown_keys(raw: dict[str, Any]) -> None:
    roi = RectRoi.from_dict(raw)
    assert (roi.y0, roi.y1, roi.x0, roi.x1) == tuple(
        raw[f"dim{axis}_{end}"] for axis in "01" for end in ("start", "stop")
    )
    written = roi.to_dict()
    assert written["roi_id"] == raw["id"]
    assert written["channel"] == raw.get("channel", 1)
    assert written["meta"]["revision"] == raw.get("revision", 0)
    assert all(written[key] == value for key, value in raw.items() if key.startswith("my "))
    assert RectRoi.from_dict(written) == roi
    upgraded: Any = upgrade_roi(raw)
    assert {**written, "meta": written["meta"] | upgraded["meta"]} == written
    assert written == upgraded | {"meta": {"revision": 0} | upgraded["meta"]}


@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        ({"x0": -1}, ArgumentError, "x0 is -1, less than 0 (at roi 1: x0)"),
        ({"x1": 1}, ArgumentError, "x1 is 1, before x0, 2 (at roi 1: x1)"),
        ({"y1": 9}, ArgumentError, "y1 is 9, before y0, 10 (at roi 1: y1)"),
        ({"channel": 0}, ArgumentError, "channel is 0, less than 1"),
        ({"z": -2}, ArgumentError, "z is -2"),
        ({"x0": 1.5}, ArgumentTypeError, "x0 is 1.5, not a whole number"),
        ({"roi_id": "a"}, ArgumentTypeError, "roi_id is 'a'"),
        ({"y0": True}, ArgumentTypeError, "y0 is True"),
        ({"name": None}, ArgumentTypeError, "name is None, not text"),
        ({"meta": [1]}, ArgumentTypeError, "meta is [1], not a mapping"),
        ({"extra": {"channel": 3}}, ArgumentError, "'channel' is a field of its own"),
        ({"extra": {"data": {"x0": 3}}}, ArgumentError, "'data.x0' is a field of its own"),
        ({"extra": {"data": 3}}, ArgumentTypeError, "extra['data']"),
        ({"meta": {"revision": 3}}, ArgumentError, "'meta.revision'"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], kind: type[Exception], says: str) -> None:
    good = {"roi_id": 1, "x0": 2, "x1": 30, "y0": 10, "y1": 200}
    with pytest.raises(kind) as caught:
        RectRoi(**(good | fields))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"roi_type": "star"}, "roi_type is 'star'"),
        ({}, "roi_type is missing"),
        ({"roi_type": "rect", "roi_id": 1}, "data is missing"),
        (RECT.to_dict() | {"data": {"x0": 1, "x1": 2, "y0": 1}}, "data.y1 is missing"),
        (RECT.to_dict() | {"channel": "red"}, "channel is 'red'"),
        (RECT.to_dict() | {"channel": 0}, "channel is 0"),
        ({"id": "1", "dim0_start": 0, "dim0_stop": 1, "dim1_start": 0, "dim1_stop": 1}, "id is"),
        (
            {"id": 1, "dim0_start": 0, "dim0_stop": 1, "dim1_start": 0, "dim1_stop": "9"},
            "dim1_stop",
        ),
        ({"roi_id": 1, "data": {"mask_ref": "cell"}}, "is a mask, not a rect"),
        ([1], "a region is a mapping, not list"),
    ],
)
def test_a_dictionary_that_is_no_rectangle_is_refused_by_its_key(raw: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        RectRoi.from_dict(raw)
    assert says in str(caught.value)


def test_a_value_does_not_change_with_what_it_was_made_of() -> None:
    meta = {"img_mean": [1.0]}
    roi = RectRoi(roi_id=1, x0=0, x1=1, y0=0, y1=1, meta=meta)
    meta["img_mean"].append(2.0)
    roi.to_dict()["meta"]["img_mean"].append(3.0)
    assert roi.meta == {"img_mean": [1.0]}
    assert {roi, roi} == {roi}
    with pytest.raises(AttributeError):
        roi.x0 = 5  # type: ignore[misc]  # it is frozen, as the test says


def test_numbers_of_numpy_are_numbers() -> None:
    roi = RectRoi(roi_id=np.int64(4), x0=np.uint8(1), x1=9, y0=0, y1=2)  # type: ignore[arg-type]
    assert json.dumps(roi.to_dict())
    assert roi.shape == (2, 8)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"x1": 39}, "x1"), ({"y1": 501}, "y1"), ({"z": 1}, "z"), ({"channel": 2}, "channel")],
)
def test_a_region_that_leaves_the_image_is_refused_by_its_field(
    rec: ZarrImageRecord, change: dict[str, int], field: str
) -> None:
    RECT.check(rec.get_image_bounds(), channels=1)
    data = RECT.to_dict()
    target = data["data"] if field in data["data"] else data
    target.update(change)
    roi = RectRoi.from_dict(data)
    with pytest.raises(ArgumentError, match=f"{field} is .*roi 1: {field}"):
        roi.check(rec.get_image_bounds(), channels=1)
    before = files_of(Path(rec._image.storage.location))
    with pytest.raises(ArgumentError, match=f"roi 1: {field}"):
        rec.save_rois([roi])
    assert files_of(Path(rec._image.storage.location)).keys() >= before.keys()
    assert rec.load_rois() == []


# In the payload ----------------------------------------------------------------------------


def test_regions_are_saved_and_nothing_else_of_the_payload_changes(rec: ZarrImageRecord) -> None:
    payload: dict[str, Any] = {
        "version": "1.0", "header": {"lens": "25x"}, "experiment_metadata": {"cage": 7},
        "rois": [{"id": 5, "dim0_start": 0, "dim0_stop": 9, "dim1_start": 1, "dim1_stop": 3}],
        "accepted": True,
    }  # fmt: skip
    rec.save_metadata_payload(payload)
    [old] = rec.load_rois()
    assert (old.roi_id, old) == (5, RectRoi(roi_id=5, x0=1, x1=3, y0=0, y1=9))
    rec.save_rois([RECT, old])
    assert rec.load_rois() == [RECT, old]
    assert rec.load_metadata_payload() == payload | {"rois": [RECT.to_dict(), old.to_dict()]}


def test_an_image_without_payload_has_no_regions_and_gets_one(rec: ZarrImageRecord) -> None:
    assert rec.load_rois() == []
    key = rec.save_rois(iter([RECT]))
    assert key.endswith("/analysis/metadata.json")
    assert rec.load_metadata_payload() == {
        "version": "2.0", "header": {}, "experiment_metadata": {}, "rois": [RECT.to_dict()],
    }  # fmt: skip


@pytest.mark.parametrize("rois", [None, []])
def test_a_payload_without_regions(rec: ZarrImageRecord, rois: object) -> None:
    rec.save_metadata_payload({"rois": rois})
    assert rec.load_rois() == []


def test_regions_that_are_no_list_are_an_error_that_names_it(rec: ZarrImageRecord) -> None:
    rec.save_metadata_payload({"rois": {"1": 2}})
    with pytest.raises(SchemaValidationError, match="the regions are dict, not a list"):
        rec.load_rois()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"roi_type": "star", "roi_id": 7, "points": [[1, 2]]}, "roi_type is 'star'"),
        (RECT.to_dict() | {"data": {"x0": 9, "x1": 3, "y0": 0, "y1": 1}}, "x1 is 3, before x0"),
        ("a text", "mapping"),
        (None, "mapping"),
    ],
)
def test_a_region_that_cannot_be_read_hides_no_other_and_survives(
    rec: ZarrImageRecord, raw: Any, says: str
) -> None:
    rec.save_metadata_payload({"rois": [raw, RECT.to_dict()], "header": {"a": 1}})
    unknown, known = rec.load_rois()
    assert known == RECT
    assert isinstance(unknown, UnknownRoi)
    assert says in unknown.error
    assert (unknown.roi_type, unknown.to_dict()) == ("unknown", raw)
    rec.save_rois([*rec.load_rois(), RectRoi(roi_id=50, x0=0, x1=1, y0=0, y1=1)])
    payload = rec.load_metadata_payload()
    assert payload["header"] == {"a": 1}
    assert payload["rois"][0] == raw
    assert len(payload["rois"]) == 3
    rec.save_mask("m", np.ones(rec.shape, bool))
    assert rec.load_metadata_payload()["rois"][0] == raw
    assert rec._repr_html_().count("cannot be read") == 1
    with pytest.raises(ArgumentTypeError, match="UnknownRoi"):
        rec.roi_pixels(unknown)  # type: ignore[arg-type]  # a wrong call is the point


def test_only_values_with_ids_of_their_own_are_saved(rec: ZarrImageRecord) -> None:
    with pytest.raises(ArgumentTypeError, match=r"of type dict.*from_dict"):
        rec.save_rois([RECT.to_dict()])  # type: ignore[list-item]  # a wrong call is the point
    with pytest.raises(ArgumentError, match="two regions have the id 1"):
        rec.save_rois([RECT, RECT])
    assert rec.list_artifacts() == []


def test_a_dataset_that_is_read_only_stays_as_it_is(rec: ZarrImageRecord) -> None:
    rec.save_rois([RECT])
    with ZarrDataset(rec._image.storage.location, mode="r") as ds:
        assert ds[rec.image_id].load_rois() == [RECT]
        with pytest.raises(ReadOnlyError):
            ds[rec.image_id].save_rois([])
        with pytest.raises(ReadOnlyError):
            ds[rec.image_id].save_mask("m", np.ones((500, 38), bool))


# In the pixels -----------------------------------------------------------------------------

AXES = ["yx", "zyx", "cyx", "tyx", "yxc", "czyx", "tzyx", "tczyx"]


@st.composite
def images(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    axes = draw(st.sampled_from(AXES))
    shape = [draw(st.integers(1, 9 if axis in "yx" else 3)) for axis in axes]
    dtype = draw(st.sampled_from(["uint8", "uint16", "int32", "float32", "float64", "bool"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = rng.integers(-500, 500, shape).astype(dtype)
    if dtype.startswith("float"):
        holes = [np.nan, np.inf, -np.inf, 0.25]
        pixels[rng.random(shape) < 0.2] = draw(st.sampled_from(holes))
    return axes, pixels


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> ZarrDataset:
    path = tmp_path_factory.mktemp("shelf") / "shelf.zarr"
    return ZarrDataset(path, mode="w-", durability="relaxed")


@settings(max_examples=40)
@given(images(), st.data())
def test_pixels_and_statistics_are_those_of_numpy(
    shelf: ZarrDataset, image: tuple[str, np.ndarray[Any, Any]], data: st.DataObject
) -> None:
    axes, pixels = image
    rec = shelf.add_image(pixels, axes=axes)
    sizes = dict(zip(axes, pixels.shape, strict=True))
    (y0, y1), (x0, x1) = (
        sorted(data.draw(st.tuples(*[st.integers(0, sizes[axis])] * 2))) for axis in "yx"
    )
    channel = data.draw(st.integers(1, sizes.get("c", 1)))
    z = data.draw(st.integers(0, sizes.get("z", 1) - 1))
    if data.draw(st.booleans()):
        roi: RectRoi | MaskRoi = RectRoi(roi_id=1, x0=x0, x1=x1, y0=y0, y1=y1, channel=channel, z=z)
        inside: Any = (slice(y0, y1), slice(x0, x1))
    else:
        inside = np.zeros((sizes["y"], sizes["x"]), bool)
        inside[y0:y1, x0:x1] = np.random.default_rng(y0).random((y1 - y0, x1 - x0)) < 0.6
        roi = rec.save_mask("m", inside, channel=channel, z=z)
    # The oracle: planes in the order t c z y x, axes that are not there of size 1.
    order = [axis for axis in "tczyx" if axis in axes]
    full = pixels.transpose([axes.index(axis) for axis in order]).reshape(
        [sizes.get(axis, 1) for axis in "tczyx"]
    )

    found = rec.roi_pixels(roi)
    wanted = np.stack([plane[inside] for plane in full[:, channel - 1, z]])
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, wanted if "t" in axes else wanted[0])
    assert_statistics(rec.roi_statistics(roi), wanted)

    everything = np.stack([plane[inside] for plane in full.reshape(-1, *full.shape[-2:])])
    assert_statistics(rec.roi_statistics(roi, channel="all", z="all"), everything)
    by_plane = rec.roi_statistics_by_plane(roi)
    assert len(by_plane) == len(everything)
    for one in by_plane:
        assert one.channel is not None
        assert one.z is not None
        c = one.channel - 1 if "c" in axes else 0
        plane = full[one.at.get("t", 0), c, one.z if "z" in axes else 0][inside]
        assert_statistics(one, plane)
    shelf.delete_image(rec.image_id)


def assert_statistics(found: Any, pixels: np.ndarray[Any, Any]) -> None:
    """Compare with NumPy's own, in float64 and without NaN and infinities."""
    values = pixels[np.isfinite(pixels)].astype(np.float64)
    assert found.n == values.size
    if values.size == 0:
        assert all(map(math.isnan, (found.min, found.max, found.mean, found.std)))
        return
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-9)
    assert found.std == pytest.approx(values.std(), rel=1e-9, abs=1e-9)


def test_all_channels_and_planes_of_a_stack(ds: ZarrDataset) -> None:
    pixels = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    rec = ds.add_image(pixels)
    roi = RectRoi(roi_id=1, x0=1, x1=4, y0=2, y1=5, channel=2, z=3)
    cut = pixels[..., 2:5, 1:4]
    np.testing.assert_array_equal(rec.roi_pixels(roi), cut[:, 1, 3])
    np.testing.assert_array_equal(rec.roi_pixels(roi, at={"t": 1}), cut[1, 1, 3])
    np.testing.assert_array_equal(rec.roi_pixels(roi, channel="all", z=0), cut[:, :, 0])
    np.testing.assert_array_equal(rec.roi_pixels(roi, channel="all", z="all"), cut)
    one = rec.roi_statistics(roi, at={"t": 1})
    assert (one.channel, one.z, one.at, one.n) == (2, 3, {"t": 1}, 9)
    many = rec.roi_statistics(roi, channel="all")
    assert (many.channel, many.z, many.at, many.n) == (None, 3, {}, 2 * 3 * 9)
    assert isinstance(one.max, int)
    places = [(s.channel, s.z) for s in rec.roi_statistics_by_plane(roi, at={"t": 0})]
    assert places == [(c, z) for c in (1, 2, 3) for z in range(4)]


def test_channels_that_lie_last_are_no_columns(ds: ZarrDataset) -> None:
    pixels = np.arange(4 * 5 * 3).reshape(4, 5, 3)
    rec = ds.add_image(pixels, axes="yxc")
    roi = RectRoi(roi_id=1, x0=0, x1=5, y0=1, y1=3, channel=3)
    rec.save_rois([roi])
    np.testing.assert_array_equal(rec.roi_pixels(roi), pixels[1:3, :, 2])
    np.testing.assert_array_equal(
        rec.roi_pixels(roi, channel="all"), np.moveaxis(pixels[1:3], -1, 0)
    )
    assert [p for p in ds.validate().problems if p.code.startswith("roi")] == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"channel": 3}, "no channel 3: the image has 2, counted from 1"),
        ({"channel": 0}, "no channel 0"),
        ({"z": 4}, "no z 4: the image has 4, counted from 0"),
        ({"z": -1}, "no z -1"),
        ({"z": 1.5}, "z is 1.5, not a whole number"),
        ({"channel": "red"}, "channel is 'red'"),
        ({"at": {"t": 0}}, "no axis 't'"),
        ({"at": {"z": 0}}, "no axis 'z' beside channel, z and the plane"),
    ],
)
def test_what_is_not_in_the_image_cannot_be_asked_for(
    ds: ZarrDataset, asked: dict[str, Any], says: str
) -> None:
    rec = ds.add_image(np.zeros((2, 4, 5, 6)))
    roi = RectRoi(roi_id=1, x0=0, x1=6, y0=0, y1=5)
    for method in (rec.roi_pixels, rec.roi_statistics, rec.roi_statistics_by_plane):
        with pytest.raises(ArgumentError, match=says):
            method(roi, **asked)


def test_a_rectangle_outside_and_what_is_no_region_are_refused(rec: ZarrImageRecord) -> None:
    with pytest.raises(ArgumentError, match=r"x1 is 39.*38 columns"):
        rec.roi_pixels(RectRoi(roi_id=1, x0=0, x1=39, y0=0, y1=5))
    with pytest.raises(ArgumentTypeError, match="not dict"):
        rec.roi_statistics(RECT.to_dict())  # type: ignore[arg-type]  # a wrong call is the point
    with pytest.raises(ArgumentError, match="no channel 2"):
        rec.roi_pixels(RectRoi(roi_id=1, x0=0, x1=3, y0=0, y1=5, channel=2))


def test_complex_pixels_have_no_statistics(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.ones((3, 4), np.complex64))
    roi = RectRoi(roi_id=1, x0=0, x1=2, y0=0, y1=2)
    assert rec.roi_pixels(roi).dtype == np.complex64
    with pytest.raises(UnsupportedDataError, match=r"complex.*magnitude"):
        rec.roi_statistics(roi)


def test_only_the_chunks_of_the_region_are_read(ds: ZarrDataset) -> None:
    pixels = np.arange(2 * 40 * 6).reshape(2, 40, 6)
    rec = ds.add_image(pixels, axes="cyx", chunks=(1, 10, 6), image_id="a")
    # One file holds all chunks; its index is at the end, before a checksum of 4 bytes.
    path = ds.path / "images/a/data/c/0/0/0"
    data = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(data[-4 - 8 * 16 : -4]), "<u8").reshape(8, 2)
    for number, (offset, size) in enumerate(index.tolist()):
        if number != 1:
            data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(CorruptDataError):
        rec.load_array()
    roi = RectRoi(roi_id=1, x0=0, x1=6, y0=12, y1=18)
    np.testing.assert_array_equal(rec.roi_pixels(roi), pixels[0, 12:18])
    assert rec.roi_statistics(roi).n == 36


def test_statistics_are_those_that_the_real_payloads_hold(
    shared_data: Path, ds: ZarrDataset
) -> None:
    checked = 0
    for path in sorted(shared_data.rglob("*.json")):
        payload = json.loads(path.read_text(encoding="utf-8"))
        if not path.with_suffix(".tif").exists() or "rois" not in payload:
            continue
        rec = ds.add_image(tifffile.imread(path.with_suffix(".tif")))
        rec.save_metadata_payload(payload)
        rois = rec.load_rois()
        assert rois == known_rois(rois)
        for roi in known_rois(rois):
            found = rec.roi_statistics(roi)
            for key, value in roi.meta.items():
                if key.startswith("img_"):
                    assert getattr(found, key[4:]) == pytest.approx(value, rel=1e-13), (path, key)
                    checked += 1
    assert checked >= 24


# Masks --------------------------------------------------------------------------------------


def test_a_mask_is_an_array_artifact_and_a_region(
    ds: ZarrDataset, rec: ZarrImageRecord, kymograph: np.ndarray[Any, Any]
) -> None:
    rec.save_rois([RECT])
    mask = kymograph > 250
    roi = rec.save_mask("bright", mask, note="by threshold")
    assert roi == MaskRoi(roi_id=2, mask_ref="bright", name="bright", note="by threshold")
    assert rec.load_rois() == [RECT, roi]
    stored = rec.load_array_artifact("bright")
    assert stored.dtype == bool
    np.testing.assert_array_equal(stored, mask)
    np.testing.assert_array_equal(rec.roi_pixels(roi), kymograph[mask])
    assert rec.roi_statistics(roi).mean == pytest.approx(kymograph[mask].mean())
    assert ds.validate().problems == ()


def test_a_mask_saved_again_is_the_next_revision_of_its_region(rec: ZarrImageRecord) -> None:
    first = rec.save_mask("cell", np.ones((500, 38), bool), roi_id=7)
    meta = first.to_dict() | {"by": "me", "meta": {"img_mean": 3.0, "seed": 5}}
    rec.save_rois([MaskRoi.from_dict(meta), RECT])
    again = rec.save_mask("cell", np.eye(500, 38, dtype=np.uint8) * 255)
    assert (again.roi_id, again.revision, again.meta, again.extra) == (
        7, 1, {"seed": 5}, {"by": "me"},
    )  # fmt: skip
    assert rec.load_rois() == [again, RECT]
    assert rec.roi_pixels(again).shape == (38,)


@pytest.mark.parametrize(
    ("mask", "more", "says"),
    [
        (np.ones((38, 500), bool), {}, r"shape \(38, 500\), the plane of the image \(500, 38\)"),
        (np.ones((500, 38)), {}, "not float64.*threshold"),
        (np.ones((500, 38), bool), {"roi_id": 1}, "two regions have the id 1"),
        (np.ones((500, 38), bool), {"channel": 2}, "channel is 2"),
        (np.ones((500, 38), bool), {"z": 1}, "z is 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_nothing_is_written(
    rec: ZarrImageRecord, mask: np.ndarray[Any, Any], more: dict[str, Any], says: str
) -> None:
    rec.save_rois([RECT])
    before = rec.load_metadata_payload()
    with pytest.raises(ArgumentError, match=says):
        rec.save_mask("cell", mask, **more)
    assert rec.list_array_artifacts() == []
    assert rec.load_metadata_payload() == before


def test_a_region_whose_mask_is_not_there(rec: ZarrImageRecord) -> None:
    roi = MaskRoi(roi_id=1, mask_ref="gone")
    with pytest.raises(ArgumentError, match=r"mask_ref is 'gone'.*roi 1: mask_ref.*save_mask"):
        rec.save_rois([roi])
    with pytest.raises(ArtifactNotFoundError, match="'gone'"):
        rec.roi_pixels(roi)
    rec.save_array_artifact("gone", np.ones((3, 4), bool))
    for call in (lambda: rec.save_rois([roi]), lambda: rec.roi_statistics(roi)):
        with pytest.raises(ArgumentError, match=r"mask has the shape \(3, 4\)"):
            call()


def test_an_empty_region_has_no_pixels(rec: ZarrImageRecord) -> None:
    empty = RectRoi(roi_id=1, x0=3, x1=3, y0=0, y1=9)
    assert rec.roi_pixels(empty).shape == (9, 0)
    nothing = rec.save_mask("none", np.zeros((500, 38), bool))
    assert rec.roi_pixels(nothing).shape == (0,)
    for roi in (empty, nothing):
        found = rec.roi_statistics(roi)
        assert found.n == 0
        assert math.isnan(found.mean)
