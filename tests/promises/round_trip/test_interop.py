"""Every kind of image is accepted by other people's validators and readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from kymflow_zarr import Axis, ZarrDataset, ZarrImageRecord

MISSING = "not installed: the dependency group 'interop' has it"
yaozarrs: Any = pytest.importorskip("yaozarrs", reason=MISSING)
ngff_zarr: Any = pytest.importorskip("ngff_zarr", reason=MISSING)
ome_zarr_io: Any = pytest.importorskip("ome_zarr.io", reason=MISSING)
ome_zarr_reader: Any = pytest.importorskip("ome_zarr.reader", reason=MISSING)
bioio_ome_zarr: Any = pytest.importorskip("bioio_ome_zarr", reason=MISSING)

pytestmark = pytest.mark.interop

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)


class Kind(NamedTuple):
    """How an image is added, and what other programs are to be told of it."""

    shape: tuple[int, ...]
    dimension_names: Sequence[str]
    dtype: str = "uint16"
    call: Mapping[str, Any] = {}
    scale: tuple[float, ...] | None = None
    replaced: int = 0

    def pixels(self, seed: int) -> npt.NDArray[Any]:
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 100, self.shape)
        if self.dtype == "bool":
            return values > 50
        if self.dtype.startswith("complex"):
            return (values - 1j * values[::-1]).astype(self.dtype)
        return values.astype(self.dtype)


LINE_SCAN: dict[str, Any] = {"line_period_s": 0.00117, "pixel_size_um": 0.284}

KINDS: dict[str, Kind] = {
    "kymograph": Kind((30_000, 38), "yx", call=LINE_SCAN, scale=(0.00117, 0.284)),
    "kymograph-tx": Kind((300, 38), "yx", call={"axes": "tx"} | LINE_SCAN, scale=(0.00117, 0.284)),
    "kymograph-xt": Kind((38, 300), "yx", call={"axes": "xt"}),
    "kymograph-ctx": Kind(
        (2, 300, 38),
        "cyx",
        call={"axes": "ctx", "channel_names": ["flow", "wall"]} | LINE_SCAN,
        scale=(1.0, 0.00117, 0.284),
    ),
    "kymograph-cyx": Kind(
        (2, 300, 38), "cyx", call={"axes": "cyx"} | LINE_SCAN, scale=(1.0, 0.00117, 0.284)
    ),
    "one-pixel": Kind((1, 1), "yx"),
    "odd": Kind((7, 3), "yx"),
    "one-line": Kind((1, 13), "yx"),
    "zyx": Kind((5, 9, 11), "zyx", call={"pixel_size_um": 0.5}, scale=(1.0, 0.5, 0.5)),
    "cyx": Kind((2, 9, 11), "cyx", call={"axes": "cyx", "channel_names": ["red", "green"]}),
    "czyx": Kind((2, 3, 9, 11), "czyx"),
    "tczyx": Kind(
        (2, 3, 4, 9, 11),
        "tczyx",
        call={
            "axes": [
                Axis("t", "time", "second", 0.1),
                Axis("c", "channel"),
                Axis("z", "space", "um", 2.0),
                Axis("y", "space", "um", 0.25),
                Axis("x", "space", "um", 0.5),
            ],
            "channel_names": ["a", "b", "c"],
        },
        scale=(0.1, 1.0, 2.0, 0.25, 0.5),
    ),
    "tyx": Kind((4, 9, 11), "tyx", call={"axes": "tyx"}),
    "tzyx": Kind((4, 2, 9, 11), "tzyx", call={"axes": "tzyx"}),
    "custom-axis": Kind((3, 9, 11), "lyx", call={"axes": [Axis("l", "other"), "y", "x"]}),
    "named-axis": Kind(
        (3, 9, 11), ("lifetime", "y", "x"), call={"axes": [Axis("lifetime", "other"), "y", "x"]}
    ),
    "no-lines": Kind((0, 5), "yx"),
    "no-planes": Kind((0, 6, 7), "zyx"),
    "tiles": Kind((1500, 1700), "yx"),
    "planes": Kind((40, 300, 310), "zyx"),
    "large-planes": Kind((2, 1100, 1200), "zyx"),
    "levels": Kind((2_100, 2_051), "yx", "uint8", {"pixel_size_um": 0.5}, scale=(0.5, 0.5)),
    "levels-kymograph": Kind(
        (2, 70_000, 64), "cyx", "uint8", {"axes": "cyx"} | LINE_SCAN, scale=(1.0, 0.00117, 0.284)
    ),
    "chunks": Kind((100, 90), "yx", call={"chunks": 32}),
    "chunks-3d": Kind((5, 60, 50), "zyx", call={"chunks": (2, 16, 50)}),
    "replaced": Kind((30, 20), "yx", call=LINE_SCAN, scale=(0.00117, 0.284), replaced=2),
    **{f"yx-{dtype}": Kind((9, 11), "yx", dtype=dtype) for dtype in DTYPES},
}


class Written(NamedTuple):
    """An image on disk, and what was written."""

    kind: Kind
    record: ZarrImageRecord
    path: Path
    pixels: npt.NDArray[Any]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each kind; its id is the kind's name."""
    path = tmp_path_factory.mktemp("interop") / "kinds.zarr"
    with ZarrDataset(path, mode="w-", durability="relaxed") as ds:
        for name, kind in KINDS.items():
            rec = ds.add_image(kind.pixels(0), image_id=name, **kind.call)
            for seed in range(kind.replaced):
                rec.save_array(kind.pixels(seed + 1))
    return path


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, dataset: Path) -> Written:
    kind = KINDS[request.param]
    record = ZarrDataset(dataset, mode="r")[request.param]
    return Written(kind, record, dataset / "images" / request.param, kind.pixels(kind.replaced))


def test_yaozarrs_finds_document_and_arrays_valid(image: Written) -> None:
    group = yaozarrs.validate_zarr_store(str(image.path))
    assert group.ome_version() == "0.5"


def test_ngff_zarr_validates_and_reads(image: Written) -> None:
    multiscales = ngff_zarr.from_ngff_zarr(image.path, validate=True)
    level = multiscales.images[0]
    np.testing.assert_array_equal(np.asarray(level.data), image.pixels, strict=True)
    assert tuple(level.dims) == tuple(image.kind.dimension_names)
    if image.kind.scale is not None:
        assert tuple(level.scale[dim] for dim in level.dims) == image.kind.scale


def test_ome_zarr_reads(image: Written) -> None:
    [node] = ome_zarr_reader.Reader(ome_zarr_io.parse_url(image.path))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), image.pixels, strict=True)
    assert [axis["name"] for axis in node.metadata["axes"]] == [*image.kind.dimension_names]
    if image.record.channel_names is not None:
        assert node.metadata["channel_names"] == image.record.channel_names


# bioio takes axes of one letter only.
@pytest.mark.parametrize("image", [name for name in KINDS if name != "named-axis"], indirect=True)
def test_bioio_reads_pixels_sizes_and_channels(image: Written) -> None:
    reader = bioio_ome_zarr.Reader(image.path)
    order = "".join(image.kind.dimension_names).upper()
    np.testing.assert_array_equal(reader.get_image_data(order), image.pixels, strict=True)
    assert reader.dims.order == order
    if image.kind.scale is not None:
        sizes = reader.physical_pixel_sizes
        told = dict(zip(order, image.kind.scale, strict=True))
        found = (sizes.Z, sizes.Y, sizes.X)
        assert found == (told.get("Z"), told["Y"], told["X"])
    if image.record.channel_names is not None:
        assert reader.channel_names == image.record.channel_names


def test_zarr_reads_the_group_and_its_array(image: Written) -> None:
    group = zarr.open_group(image.path, mode="r")
    ome: Any = group.attrs["ome"]
    path = ome["multiscales"][0]["datasets"][0]["path"]
    array = group[path]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(array[...], image.pixels, strict=True)
    assert array.metadata.to_dict()["dimension_names"] == (*image.kind.dimension_names,)


@pytest.mark.parametrize("image", ["levels", "levels-kymograph"], indirect=True)
def test_other_programs_find_the_levels_of_a_large_image(image: Written) -> None:
    wanted = image.record.load_array(level=1)
    [node] = ome_zarr_reader.Reader(ome_zarr_io.parse_url(image.path))()
    np.testing.assert_array_equal(np.asarray(node.data[1]), wanted, strict=True)
    full, level = ngff_zarr.from_ngff_zarr(image.path, validate=True).images
    np.testing.assert_array_equal(np.asarray(level.data), wanted, strict=True)
    # Both cover the same part of the world.
    for dim, factor in zip(level.dims, image.record.levels[1].factors, strict=True):
        assert level.scale[dim] == pytest.approx(factor * full.scale[dim])
        assert level.translation[dim] == pytest.approx((factor - 1) / 2 * full.scale[dim])


@pytest.mark.parametrize("axes", ["yxc", "xyz", "zct"])
def test_axes_beyond_ome_zarr_are_a_plain_array_with_their_names(axes: str, tmp_path: Path) -> None:
    pixels = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
    with ZarrDataset(tmp_path / "plain.zarr") as ds:
        ds.add_image(pixels, axes=axes, image_id="a")
    group = zarr.open_group(tmp_path / "plain.zarr/images/a", mode="r")
    assert "ome" not in group.attrs
    array = zarr.open_array(tmp_path / "plain.zarr/images/a/data", mode="r")
    np.testing.assert_array_equal(array[...], pixels, strict=True)
    assert array.metadata.to_dict()["dimension_names"] == (*axes,)


def test_zarr_walks_the_whole_dataset(dataset: Path) -> None:
    root = zarr.open_group(dataset, mode="r")
    images = root["images"]
    assert isinstance(images, zarr.Group)
    assert sorted(images.group_keys()) == sorted(KINDS)


def test_zarr_reads_array_artifacts(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 24).reshape(2, 3, 4)
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        rec = ds.add_image(np.zeros((4, 5)), image_id="a")
        rec.save_array_artifact("fit", values, axes=["roi", "t", "parameter"])
    root = zarr.open_group(tmp_path / "new.zarr", mode="r")
    array = root["images/a/analysis_arrays/fit/data"]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(array[...], values, strict=True)
    assert array.metadata.to_dict()["dimension_names"] == ("roi", "t", "parameter")
