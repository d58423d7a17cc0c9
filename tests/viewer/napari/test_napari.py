"""The napari plugin: what the viewer holds once a dataset or an image has been opened."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from kymflow_zarr import Axis, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import FormatVersionError, UnsupportedDataError
from kymflow_zarr.formats.array.opened import OpenedArray
from kymflow_zarr.viewer.napari.reader import MOST_IMAGES, get_reader
from tests.conftest import files_of
from tests.promises.test_rooms import modules_after

# What napari and npe2 still say to pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
STACK_AXES = [
    Axis("t", "time", "s", 2.0),
    Axis("c", "channel"),
    Axis("z", "space", "um", 3.0),
    Axis("y", "space", "um", 0.5),
    Axis("x", "space", "um", 0.25),
]


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A viewer of napari, without a window."""
    monkeypatch.setenv("NAPARI_CONFIG", "")
    pytest.importorskip("napari", reason="the package napari is not installed")
    from napari.components import ViewerModel
    from npe2 import PluginManager

    PluginManager.instance().discover()
    model: Any = ViewerModel()
    yield model
    model.layers.clear()


@pytest.fixture
def line_scan(ds: ZarrDataset) -> ZarrImageRecord:
    """One second of a line of 40 pixels, 10 micrometers long."""
    lines = np.arange(500 * 40, dtype="uint16").reshape(500, 40)
    rec = ds.add_image(lines, line_period_s=0.002, pixel_size_um=0.25, image_id="line scan")
    rec.save_rois(
        [
            RectRoi(roi_id=1, x0=0, x1=40, y0=0, y1=500),
            RectRoi(roi_id=5, x0=8, x1=20, y0=100, y1=400, name="branch", note="slow"),
        ]
    )
    return rec


@pytest.fixture
def stack(ds: ZarrDataset) -> ZarrImageRecord:
    """Three moments, two channels, four planes of 20 by 30."""
    pixels = np.random.default_rng(0).integers(0, 1000, (3, 2, 4, 20, 30), "uint16")
    return ds.add_image(
        pixels, axes=STACK_AXES, channel_names=["nuclei", "actin"], image_id="stack"
    )


def opened(viewer: Any, ds: ZarrDataset, image_id: str) -> list[Any]:
    layers: list[Any] = viewer.open(ds.path / "images" / image_id, plugin="kymflow-zarr")
    return layers


def units(layer: Any) -> list[str]:
    return [str(unit) for unit in layer.units]


def kinds(layers: list[Any]) -> list[tuple[str, str]]:
    return [(type(layer).__name__, layer.name) for layer in layers]


# The manifest ------------------------------------------------------------------------------


def test_the_manifest_is_found_and_valid_and_what_it_names_is_there() -> None:
    pytest.importorskip("npe2", reason="the package npe2 is not installed")
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("kymflow-zarr")
    manifest.validate_imports()
    assert [reader.accepts_directories for reader in manifest.contributions.readers or ()] == [True]


def test_the_reader_loads_neither_napari_nor_dask_before_it_reads() -> None:
    loaded = modules_after("import kymflow_zarr.viewer.napari.reader")
    assert loaded & {"napari", "npe2", "magicgui", "dask", "zarr", "pandas"} == set()


# A kymograph -------------------------------------------------------------------------------


def test_a_kymograph_has_time_from_left_to_right_in_seconds(
    viewer: Any, ds: ZarrDataset, line_scan: ZarrImageRecord
) -> None:
    [image, _] = opened(viewer, ds, "line scan")
    np.testing.assert_array_equal(image.data, line_scan.load_array().T)
    assert image.scale == pytest.approx([0.25, 0.002])
    assert units(image) == ["micrometer", "second"]
    assert image.axis_labels == ("x", "time")
    assert image.colormap.name == "gray"
    assert image.metadata["kymflow_zarr"]["image_id"] == "line scan"


def test_contrast_leaves_out_a_few_extreme_pixels(viewer: Any, ds: ZarrDataset) -> None:
    lines = np.tile(np.arange(100, 200, dtype="uint16"), (500, 1))
    lines[7, 3] = 65535
    ds.add_image(lines, image_id="hot")
    [image] = opened(viewer, ds, "hot")
    assert image.contrast_limits == pytest.approx([100, 199], abs=1)


def test_regions_are_rectangles_where_their_pixels_are(
    viewer: Any, ds: ZarrDataset, line_scan: ZarrImageRecord
) -> None:
    [image, regions] = opened(viewer, ds, "line scan")
    assert regions.shape_type == ["rectangle", "rectangle"]
    assert units(regions) == units(image)
    whole, branch = (
        np.array([regions.data_to_world(corner) for corner in data]) for data in regions.data
    )
    # The whole image, from the edge of its first pixel to that of its last.
    extent = image.extent.world
    half = image.scale / 2
    np.testing.assert_allclose(whole.min(0), extent[0] - half, atol=1e-6)
    np.testing.assert_allclose(whole.max(0), extent[1] + half, rtol=1e-6)
    np.testing.assert_allclose(branch.min(0), [7.5 * 0.25, 99.5 * 0.002], rtol=1e-6)
    np.testing.assert_allclose(branch.max(0), [19.5 * 0.25, 399.5 * 0.002], rtol=1e-6)
    assert list(regions.features["roi_id"]) == [1, 5]
    assert list(regions.features["note"]) == ["", "slow"]
    assert list(regions.text.values) == ["1", "5 branch"]


def test_a_mask_is_a_layer_of_labels_with_the_number_of_its_region(
    viewer: Any, ds: ZarrDataset, line_scan: ZarrImageRecord
) -> None:
    mask = np.zeros((500, 40), bool)
    mask[100:200, 5:9] = True
    line_scan.save_mask("vessel wall", mask, roi_id=300)
    line_scan.save_array_artifact("cells", np.arange(500 * 40, dtype="int32").reshape(500, 40))
    line_scan.save_array_artifact("denoised", np.zeros((500, 40), "float32"))
    line_scan.save_array_artifact("of another shape", np.zeros((40, 500), bool))
    layers = opened(viewer, ds, "line scan")
    assert kinds(layers) == [
        ("Image", "line scan"),
        ("Labels", "line scan cells"),
        ("Labels", "line scan vessel wall"),
        ("Shapes", "line scan regions"),
    ]
    image, cells, wall, _ = layers
    np.testing.assert_array_equal(wall.data, mask.T * 300)
    np.testing.assert_array_equal(cells.data.compute().ravel("F"), np.arange(500 * 40))
    for layer in (cells, wall):
        assert layer.scale == pytest.approx(image.scale)
        assert units(layer) == units(image)


# Stacks ------------------------------------------------------------------------------------


def test_each_channel_is_a_layer_in_its_color(
    viewer: Any, ds: ZarrDataset, stack: ZarrImageRecord
) -> None:
    layers = opened(viewer, ds, "stack")
    assert kinds(layers) == [("Image", "stack nuclei"), ("Image", "stack actin")]
    for channel, layer in enumerate(layers):
        np.testing.assert_array_equal(layer.data, stack.load_array()[:, channel])
        assert layer.scale == pytest.approx([2, 3, 0.5, 0.25])
        assert units(layer) == ["second", *["micrometer"] * 3]
        assert layer.blending == "additive"
        low, high = np.percentile(stack.load_array()[0, channel, 2], [0.5, 99.5])
        assert layer.contrast_limits == pytest.approx([low, high])
    ends = [layer.colormap.map(np.ones(1))[0] for layer in layers]
    np.testing.assert_allclose(ends, [[1, 0, 0, 1], [0, 1, 0, 1]])


def test_colors_and_windows_that_another_program_chose_are_taken(
    viewer: Any, ds: ZarrDataset, stack: ZarrImageRecord
) -> None:
    document = ds.path / "images" / "stack" / "zarr.json"
    group = json.loads(document.read_text(encoding="utf-8"))
    channel = group["attributes"]["ome"]["omero"]["channels"][1]
    channel["color"] = "0080FF"
    channel["window"] |= {"start": 100, "end": 250}
    document.write_text(json.dumps(group), encoding="utf-8")
    _, actin = opened(viewer, ds, "stack")
    np.testing.assert_allclose(actin.colormap.map(np.ones(1))[0], [0, 128 / 255, 1, 1], rtol=1e-6)
    assert actin.contrast_limits == [100, 250]


def test_what_is_of_one_plane_is_seen_in_that_plane_at_all_moments(
    viewer: Any, ds: ZarrDataset, stack: ZarrImageRecord
) -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:9, 10:12] = True
    stack.save_mask("soma", mask, z=2)
    stack.save_rois([*stack.load_rois(), RectRoi(roi_id=9, x0=1, x1=3, y0=2, y1=4, z=1)])
    stack.save_array_artifact("cells", np.ones((4, 20, 30), "uint8"))
    *_, cells, soma, regions = opened(viewer, ds, "stack")
    assert cells.data.shape == (4, 20, 30)
    for moment in range(3):
        for z in range(4):
            viewer.dims.current_step = (moment, z, 0, 0)
            value = soma.get_value((moment * 2.0, z * 3.0, 6 * 0.5, 11 * 0.25), world=True)
            assert value == (1 if z == 2 else None)
            inside = regions.get_value((moment * 2.0, z * 3.0, 2.5 * 0.5, 1.5 * 0.25), world=True)
            assert (inside[0] == 0) == (z == 1)


def test_what_is_not_calibrated_counts_pixels(viewer: Any, ds: ZarrDataset) -> None:
    axes = [Axis("y", "space", "furlong per fortnight (", 3.0), Axis("x", "space")]
    ds.add_image(np.eye(20, dtype="uint8"), axes=axes, image_id="odd")
    [image] = opened(viewer, ds, "odd")
    assert units(image) == ["dimensionless", "pixel"]
    assert image.scale == pytest.approx([3, 1])


@pytest.mark.parametrize("dtype", ["bool", "int64", "float16", "float64", "complex64"])
def test_all_kinds_of_numbers_can_be_shown(viewer: Any, ds: ZarrDataset, dtype: str) -> None:
    pixels = np.linspace(-1, 1, 600).reshape(20, 30).astype(dtype)
    ds.add_image(pixels, image_id="numbers")
    [image] = opened(viewer, ds, "numbers")
    np.testing.assert_array_equal(image.data, np.abs(pixels) if dtype == "complex64" else pixels)
    low, high = image.contrast_limits
    assert low < high


# Large images ------------------------------------------------------------------------------


def test_opening_reads_little_and_browsing_what_is_shown(
    viewer: Any, ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds.add_image(np.ones((64, 256, 256), "uint8"), image_id="deep", chunks=(1, 256, 256))
    read = count_reads(monkeypatch)
    [image] = opened(viewer, ds, "deep")
    viewer.dims.current_step = (5, 0, 0)
    assert 0 < sum(read) <= 6 * 256 * 256
    assert image.data.shape == (64, 256, 256)


def test_a_kymograph_longer_than_a_texture_is_shown_in_levels(viewer: Any, ds: ZarrDataset) -> None:
    lines = np.random.default_rng(0).integers(0, 255, (40_000, 16), "uint8")
    ds.add_image(lines, line_period_s=0.001, pixel_size_um=0.5, image_id="long")
    [image] = opened(viewer, ds, "long")
    assert [level.shape for level in image.data] == [(16, 40_000), (16, 20_000), (16, 10_000)]
    np.testing.assert_array_equal(image.data[0], lines.T)
    np.testing.assert_array_equal(image.data[2], lines.T[:, ::4])
    assert image.extent.world[1] == pytest.approx([15 * 0.5, 39_999 * 0.001])


def test_the_levels_of_a_large_image_are_those_of_its_layer(viewer: Any, ds: ZarrDataset) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 70_000, 64), "uint8")
    rec = ds.add_image(
        pixels, axes="cyx", channel_names=["flow", "wall"], line_period_s=0.001, image_id="large"
    )
    images = opened(viewer, ds, "large")
    for channel, image in enumerate(images):
        assert [level.shape for level in image.data] == [(64, 70_000), (64, 17_500), (64, 8750)]
        np.testing.assert_array_equal(image.data[0], pixels[channel].T)
        np.testing.assert_array_equal(image.data[1], rec.load_array(level=1)[channel].T)
        assert image.extent.world[1, 1] == pytest.approx(69_999 * 0.001)


def test_without_dask_the_pixels_are_read(
    ds: ZarrDataset, line_scan: ZarrImageRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "dask":
            raise ImportError(name)
        return real(name, *rest)

    reader = get_reader(ds.path / "images" / "line scan")
    assert reader is not None
    monkeypatch.setattr(builtins, "__import__", without)
    [(pixels, _, kind), _] = reader(ds.path / "images" / "line scan")
    monkeypatch.undo()
    assert kind == "image"
    assert isinstance(pixels, np.ndarray)
    np.testing.assert_array_equal(pixels, line_scan.load_array().T)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    read: list[int] = []
    get = OpenedArray.__getitem__

    def counted(array: OpenedArray, selection: Any) -> Any:
        found: npt.NDArray[Any] = np.asarray(get(array, selection))
        read.append(found.size)
        return found

    monkeypatch.setattr(OpenedArray, "__getitem__", counted)
    return read


# Datasets ----------------------------------------------------------------------------------


def test_a_dataset_opens_with_its_first_image_shown_and_others_hidden(
    viewer: Any, ds: ZarrDataset, line_scan: ZarrImageRecord, stack: ZarrImageRecord
) -> None:
    before = files_of(ds.path)
    layers = viewer.open(ds.path, plugin="kymflow-zarr")
    shown = {layer.name: layer.visible for layer in layers}
    assert shown == {
        "line scan": True, "line scan regions": True, "stack nuclei": False, "stack actin": False,
    }  # fmt: skip
    assert files_of(ds.path) == before


def test_of_a_large_dataset_the_first_are_opened_and_it_is_said(
    viewer: Any, ds: ZarrDataset
) -> None:
    for number in range(MOST_IMAGES + 3):
        ds.add_image(np.eye(8, dtype="uint8"), image_id=f"image {number:02}")
    with pytest.warns(UserWarning, match=f"first {MOST_IMAGES} of {MOST_IMAGES + 3} images"):
        layers = viewer.open(ds.path, plugin="kymflow-zarr")
    assert [layer.name for layer in layers] == [f"image {n:02}" for n in range(MOST_IMAGES)]


def test_an_image_that_cannot_be_shown_is_left_out_and_named(
    viewer: Any, ds: ZarrDataset, line_scan: ZarrImageRecord
) -> None:
    ds.add_image(np.zeros((0, 8), "uint8"), image_id="empty")
    with pytest.warns(UserWarning, match="empty is left out: the image has no pixels"):
        layers = viewer.open(ds.path, plugin="kymflow-zarr")
    assert [layer.visible for layer in layers] == [True, True]
    with pytest.raises(UnsupportedDataError, match="no pixels"):
        opened(viewer, ds, "empty")


def test_a_dataset_without_images_opens_with_nothing_and_it_is_said(
    viewer: Any, ds: ZarrDataset
) -> None:
    with pytest.warns(UserWarning, match="has no images"):
        assert viewer.open(ds.path, plugin="kymflow-zarr") == []


def test_datasets_of_version_1_can_be_opened(viewer: Any, old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        for image_id in ds:
            rec = ds[image_id]
            planes = np.concatenate(
                [np.asarray(one.data).ravel() for one in opened(viewer, ds, image_id)
                 if type(one).__name__ == "Image"]
            )  # fmt: skip
            np.testing.assert_array_equal(np.sort(planes), np.sort(rec.load_array(), axis=None))


def test_what_is_not_ours_is_left_to_others(tmp_path: Path, ds: ZarrDataset) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tif").write_bytes(b"II*\0")
    other = zarr.open_group(tmp_path / "other.zarr", mode="w")
    other.create_array("0", shape=(4, 4), dtype="uint8")
    before = files_of(tmp_path)
    for path in (
        tmp_path,
        tmp_path / "images",
        tmp_path / "images" / "a.tif",
        tmp_path / "other.zarr",
        tmp_path / "not there.zarr",
        ds.path / "images",
        ds.path / "images" / "no such image",
        [ds.path, tmp_path / "other.zarr"],
    ):
        assert get_reader(path) is None
    assert files_of(tmp_path) == before


def test_a_dataset_of_a_later_version_says_so(ds: ZarrDataset) -> None:
    document = ds.path / "zarr.json"
    text = document.read_text(encoding="utf-8")
    group = json.loads(text)
    group["attributes"]["kymflow_zarr"]["format_version"] = "99.0"
    document.write_text(json.dumps(group), encoding="utf-8")
    reader = get_reader(ds.path)
    assert reader is not None
    with pytest.raises(FormatVersionError):
        reader(ds.path)


# The list of images ------------------------------------------------------------------------


@pytest.fixture
def widget(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The list, drawn by magicgui's parts for notebooks: they need no window."""
    pytest.importorskip("ipywidgets", reason="the package ipywidgets is not installed")
    from magicgui.application import Application
    from magicgui.backends import _ipynb

    # Its file dialog is the only part that notebooks have not.
    monkeypatch.setattr(_ipynb, "show_file_dialog", None, raising=False)
    monkeypatch.setattr(Application, "_instance", Application("ipynb"))
    from kymflow_zarr.viewer.napari.widget import DatasetImages

    return DatasetImages(viewer)


def test_the_list_finds_images_by_words_and_opens_what_is_chosen(
    viewer: Any, widget: Any, ds: ZarrDataset, line_scan: ZarrImageRecord, stack: ZarrImageRecord
) -> None:
    widget.folder.value = ds.path
    assert widget.images.choices == ("line scan", "stack")
    assert widget.message.value == "2 of 2 images"
    widget.find.value = "UINT16 500"
    assert widget.images.choices == ("line scan",)
    widget.images.value = ["line scan"]
    widget.open.changed.emit(True)
    assert [layer.name for layer in viewer.layers] == ["line scan", "line scan regions"]


def test_the_list_says_why_a_folder_has_no_images(
    viewer: Any, widget: Any, ds: ZarrDataset, line_scan: ZarrImageRecord, tmp_path: Path
) -> None:
    widget.folder.value = ds.path
    widget.folder.value = tmp_path / "nowhere"
    assert widget.images.choices == ()
    assert "there is no dataset" in widget.message.value


def test_the_list_begins_with_the_dataset_that_is_shown(
    viewer: Any, widget: Any, ds: ZarrDataset, stack: ZarrImageRecord
) -> None:
    opened(viewer, ds, "stack")
    again = type(widget)(viewer)
    assert again.folder.value == ds.path
    assert again.images.choices == ("stack",)


def test_an_image_is_shown_with_its_results_and_which_are_out_of_date(
    viewer: Any, widget: Any, ds: ZarrDataset, line_scan: ZarrImageRecord
) -> None:
    line_scan.save_result("mean", 1.5, program="lab.m", version="7", inputs=["pixels"])
    line_scan.save_array(line_scan.load_array() + 1)
    (found,) = opened(viewer, ds, "line scan")[0].metadata["kymflow_zarr"]["results"]
    assert (found["result"], found["made_by"]) == ("mean", "lab.m 7")
    assert found["out_of_date"] == ["made from earlier pixels"]
    widget.folder.value = ds.path
    widget.find.value = "out of date"
    assert widget.images.choices == ("line scan",)
