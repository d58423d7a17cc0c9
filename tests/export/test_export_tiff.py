"""What other programs see in an exported TIFF."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.export.dataset_layout import files as image_module
from kymflow_zarr.ingest.sources.tiff.file import open_tiff

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]


def filled(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    count = math.prod(shape)
    return (np.arange(count) % 251).reshape(shape).astype(dtype)


def exported(folder: Path, pixels: npt.NDArray[Any], **arguments: Any) -> Path:
    """Add one image to a dataset, export it, and return its TIFF."""
    ds = ZarrDataset(folder / "d.zarr", mode="w", durability="relaxed")
    ds.add_image(pixels, image_id="a", **arguments)
    ds.export_legacy_folder(folder / "out")
    return folder / "out" / "images" / "a" / "image.tif"


def in_order_of_file(pixels: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    order = [axes.index(name) for name in "tzcyx" if name in axes]
    return pixels.transpose(order)


@pytest.mark.parametrize("dtype", DTYPES)
def test_kymograph_says_seconds_per_line_in_every_dtype(tmp_path: Path, dtype: str) -> None:
    pixels = filled((30, 7), dtype)
    path = exported(tmp_path, pixels, line_period_s=0.00117, pixel_size_um=0.284)
    back = tifffile.imread(path)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)
    with open_tiff(path) as image:
        y, x = image.axes
    assert (y.name, y.quantity, y.unit, x.name, x.quantity, x.unit) == (
        ("y", "time", "second", "x", "space", "micrometer")
    )
    assert y.step == pytest.approx(0.00117, rel=1e-9)
    assert x.step == pytest.approx(0.284, rel=1e-9)


def test_fiji_sees_a_kymograph_as_one_calibrated_plane(tmp_path: Path) -> None:
    path = exported(tmp_path, filled((30, 7), "uint16"), line_period_s=0.002, pixel_size_um=0.25)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej
        assert tif.series[0].axes == "YX"
        assert tif.imagej_metadata is not None
        assert tif.imagej_metadata["unit"] == "um"
        assert tif.imagej_metadata["yunit"] == "sec"
        assert tif.pages.first.resolution == (4.0, 500.0)


def test_line_scan_with_axes_t_x_is_written_like_a_kymograph(tmp_path: Path) -> None:
    pixels = filled((2, 30, 7), "uint16")
    path = exported(
        tmp_path,
        pixels,
        axes="ctx",
        line_period_s=0.002,
        pixel_size_um=0.25,
        channel_names=["a", "b"],
    )
    np.testing.assert_array_equal(tifffile.imread(path), pixels)
    with open_tiff(path) as image:
        assert image.axes == (
            Axis("c", "channel"),
            Axis("y", "time", "second", 0.002),
            Axis("x", "space", "micrometer", 0.25),
        )
        assert image.channel_names == ("a", "b")


def test_line_period_alone_calibrates_only_the_lines(tmp_path: Path) -> None:
    path = exported(tmp_path, filled((30, 7), "uint16"), line_period_s=0.002)
    with open_tiff(path) as image:
        assert image.axes == (Axis("y", "time", "second", 0.002), Axis("x", "space"))


def test_unknown_calibration_stays_unknown(tmp_path: Path) -> None:
    path = exported(tmp_path, filled((30, 7), "uint16"))
    with open_tiff(path) as image:
        assert image.axes == (Axis("y", "space"), Axis("x", "space"))


CALIBRATED = (
    Axis("t", "time", "millisecond", 12.5),
    Axis("c", "channel"),
    Axis("z", "space", "micrometer", 2.0),
    Axis("y", "space", "micrometer", 0.5),
    Axis("x", "space", "micrometer", 0.25),
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "uint64"])
@pytest.mark.parametrize("plane_by_plane", [False, True])
def test_five_dimensions_with_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, plane_by_plane: bool
) -> None:
    if plane_by_plane:
        monkeypatch.setattr(image_module, "WHOLE_IMAGE_BYTES", 0)
    pixels = filled((2, 3, 4, 5, 6), dtype)
    path = exported(tmp_path, pixels, axes=CALIBRATED, channel_names=["red", "green", "blue"])
    with open_tiff(path) as image:
        assert image.axes == CALIBRATED
        assert image.dtype == pixels.dtype
        np.testing.assert_array_equal(image[...], pixels)


def test_fiji_sees_a_hyperstack(tmp_path: Path) -> None:
    path = exported(
        tmp_path,
        filled((2, 3, 4, 5, 6), "uint16"),
        axes=CALIBRATED,
        channel_names=["red", "gr\u00fcn", "blue"],
    )
    with tifffile.TiffFile(path) as tif:
        told = tif.imagej_metadata
    assert told is not None
    assert (told["frames"], told["slices"], told["channels"]) == (2, 4, 3)
    assert (told["spacing"], told["finterval"], told["tunit"]) == (2.0, 12.5, "ms")
    assert told["mode"] == "composite"
    assert told["Labels"] == ["red", "gr\u00fcn", "blue"] * 8


def test_ome_tiff_names_channels_and_sizes_where_imagej_has_no_such_pixels(tmp_path: Path) -> None:
    names = ["a & <b>", "\u00fc\u4e2d", ""]
    path = exported(
        tmp_path, filled((2, 3, 4, 5, 6), "float64"), axes=CALIBRATED, channel_names=names
    )
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
    with open_tiff(path) as image:
        assert image.channel_names == tuple(names)
        assert image.axes == CALIBRATED


def test_a_channel_name_that_xml_cannot_hold_does_not_spoil_the_file(tmp_path: Path) -> None:
    pixels = filled((2, 5, 6), "float64")
    path = exported(tmp_path, pixels, axes="cyx", channel_names=["a\0", "b\x1b"])
    np.testing.assert_array_equal(tifffile.imread(path), pixels)


def test_units_of_y_and_z_that_differ_from_x(tmp_path: Path) -> None:
    axes = (
        Axis("z", "space", "millimeter", 0.125),
        Axis("y", "space", "nanometer", 50.0),
        Axis("x", "space", "micrometer", 0.25),
    )
    path = exported(tmp_path, filled((3, 5, 6), "uint16"), axes=axes)
    with open_tiff(path) as image:
        assert image.axes == axes


@pytest.mark.parametrize("step", [1e-12, 1e12])
def test_steps_beyond_the_reach_of_tiff_resolutions(tmp_path: Path, step: float) -> None:
    path = exported(tmp_path, filled((5, 6), "uint16"), pixel_size_um=step)
    with open_tiff(path) as image:
        assert image.axes[1] == Axis("x", "space", "micrometer", step)


def test_an_unknown_unit_does_not_spoil_the_file(tmp_path: Path) -> None:
    pixels = filled((5, 6), "uint16")
    axes = (Axis("y", "space", "line\nbreak", 2.0), Axis("x", "space", "\u00b5furlong", 3.0))
    np.testing.assert_array_equal(tifffile.imread(exported(tmp_path, pixels, axes=axes)), pixels)


def test_an_image_of_more_than_4_gb_is_not_promised_to_imagej() -> None:
    from kymflow_zarr.export.tiff.write import tiff_kind

    axes = (Axis("t", "time"), Axis("y", "space"), Axis("x", "space"))
    assert tiff_kind(axes, (2047, 1024, 1024), np.dtype("uint16")) == "ome"
    assert tiff_kind(axes, (2000, 1024, 1024), np.dtype("uint16")) == "imagej"


@st.composite
def images(draw: st.DrawFn) -> tuple[npt.NDArray[Any], str, bool]:
    ndim = draw(st.integers(2, 5))
    leading = draw(st.permutations("tzc"))[: ndim - 2]
    axes = "".join(draw(st.permutations([*leading, "y", "x"])))
    shape = tuple(draw(st.integers(1, 5)) for _ in axes)
    return filled(shape, draw(st.sampled_from(DTYPES))), axes, draw(st.booleans())


@given(images())
@settings(deadline=None, max_examples=60)
def test_pixels_of_any_shape_dtype_and_order_come_back(
    image: tuple[npt.NDArray[Any], str, bool],
) -> None:
    pixels, axes, plane_by_plane = image
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if plane_by_plane:
            patch.setattr(image_module, "WHOLE_IMAGE_BYTES", 0)
        known = [CALIBRATED["tczyx".index(name)] for name in axes]
        path = exported(Path(folder), pixels, axes=known)
        back = tifffile.imread(path)
        with open_tiff(path) as opened:
            told = set(opened.axes)
    wanted = in_order_of_file(pixels, axes)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back.reshape(wanted.shape), wanted)
    # Axes of length 1 are not in the file; the manifest knows them.
    assert {axis for axis, n in zip(known, pixels.shape, strict=True) if n > 1} <= told


@given(
    st.lists(
        st.builds(
            Axis,
            st.sampled_from(["t", "z", "c", "y", "x", "row", "col", "q", "Y"]),
            st.sampled_from(["space", "time", "channel", "other"]),
        ),
        min_size=2,
        max_size=5,
        unique_by=lambda axis: axis.name,
    )
)
@settings(deadline=None, max_examples=60)
def test_axes_of_any_name_are_arranged_as_the_manifest_says(axes: list[Axis]) -> None:
    import json

    pixels = filled(tuple(range(2, 2 + len(axes))), "uint16")
    with tempfile.TemporaryDirectory() as folder:
        path = exported(Path(folder), pixels, axes=axes)
        back = tifffile.imread(path)
        manifest = json.loads((Path(folder) / "out" / "kymflow_zarr_export.json").read_bytes())
    told = manifest["images"]["a"]["pixels"]
    order = [told["axes"].index(axis.name) for axis in axes]
    np.testing.assert_array_equal(back.reshape(told["shape"]).transpose(order), pixels)


# How it is shown ---------------------------------------------------------------------------

COLORS = np.random.default_rng(3).integers(0, 2**16, (3, 256)).astype("uint16")


def rewritten(tmp_path: Path, pixels: npt.NDArray[Any], **options: Any) -> tuple[Path, str]:
    """Ingest a compressed TIFF and export it again; return the new one and what is told of it."""
    lab = tmp_path / "lab"
    lab.mkdir()
    tifffile.imwrite(lab / "a.tif", pixels, compression="zlib", **options)
    with ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed") as ds:
        ds.ingest_legacy_folder(lab)
        (difference,) = ds.export_legacy_folder(tmp_path / "out", layout="kymflow").differences
        ds.export_legacy_folder(tmp_path / "images")
        ds.record(ds.list_image_ids()[0]).export_tiff(tmp_path / "one.tif")
    return tmp_path / "out" / "a.tif", difference.reason


@pytest.mark.parametrize(
    ("options", "photometric"),
    [
        ({"photometric": "miniswhite"}, 0),
        ({"photometric": "minisblack"}, 1),
        ({"photometric": "palette", "colormap": COLORS}, 3),
    ],
)
@pytest.mark.parametrize("shape", [(8, 9), (3, 8, 9)])
def test_an_image_that_is_rewritten_looks_as_it_did(
    tmp_path: Path, options: dict[str, Any], photometric: int, shape: tuple[int, ...]
) -> None:
    pixels = filled(shape, "uint8")
    path, _ = rewritten(tmp_path, pixels, **options)
    (layout_file,) = (tmp_path / "images").rglob("image.tif")
    for each in (path, layout_file, tmp_path / "one.tif"):
        with tifffile.TiffFile(each) as tif:
            np.testing.assert_array_equal(tif.asarray(), pixels)
            assert tif.pages.first.photometric == photometric
            if photometric == 3:
                np.testing.assert_array_equal(tif.pages.first.colormap, COLORS)


def test_colors_that_become_channels_are_reported(tmp_path: Path) -> None:
    _, reason = rewritten(tmp_path, filled((8, 9, 4), "uint8"), photometric="separated")
    assert "colors (photometric interpretation 5) became channels" in reason


def test_imagej_keeps_its_lookup_tables(tmp_path: Path) -> None:
    tables = [(np.arange(256) * k % 256 * np.ones((3, 1))).astype("uint8") for k in (1, 3)]
    meta = {"axes": "CYX", "LUTs": tables, "mode": "composite"}
    path, _ = rewritten(tmp_path, filled((2, 8, 9), "uint16"), imagej=True, metadata=meta)
    with tifffile.TiffFile(path) as tif:
        assert tif.imagej_metadata is not None
        np.testing.assert_array_equal(tif.imagej_metadata["LUTs"], tables)


# One file ----------------------------------------------------------------------------------


def test_a_tiff_appears_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.tif"
    with ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed") as ds:
        record = ds.add_image(filled((8, 9), "uint16"), image_id="a")
        write = tifffile.imwrite

        def killed(path: Path, *given: Any, **options: Any) -> None:
            write(path, *given, **options)
            assert not target.exists()
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(tifffile, "imwrite", killed)
            with pytest.raises(KeyboardInterrupt):
                record.export_tiff(target)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr"]
        record.export_tiff(target)
        record.export_tiff(target)
        target.write_bytes(target.read_bytes()[:-1] + b"?")
        with pytest.raises(FileExistsError, match="already"):
            record.export_tiff(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "d.zarr"]


# OME-TIFF ----------------------------------------------------------------------------------


def test_a_name_that_ends_in_ome_tif_gives_what_ome_tiff_can_tell(tmp_path: Path) -> None:
    target = tmp_path / "a.ome.tif"
    times_s = np.array([0.0, 0.5, 1.7])
    with ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed") as ds:
        axes = (
            Axis("t", "time", "second", 0.6), Axis("c", "channel"),
            Axis("z", "space", "micrometer", 2.0), Axis("y", "space", "micrometer", 0.5),
            Axis("x", "space", "micrometer", 0.25),
        )  # fmt: skip
        pixels = filled((3, 2, 4, 8, 9), "uint16")
        rec = ds.add_image(pixels, image_id="a", axes=axes, channel_names=["DAPI", "Ca"])
        rec.save_array_artifact("axis_times/t", times_s)
        rec.export_tiff(target)
        rec.export_tiff(target)  # The same file again.
        back = ds.ingest_tiff(target)
        assert back.channel_names == ["DAPI", "Ca"]
        np.testing.assert_array_equal(back.times_s(), times_s)
        steps = {axis.name: (axis.unit, axis.step) for axis in back.axes}
        assert steps["z"] == ("micrometer", 2.0)
        assert (steps["y"], steps["x"]) == (("micrometer", 0.5), ("micrometer", 0.25))
        order = [[axis.name for axis in back.axes].index(axis.name) for axis in axes]
        np.testing.assert_array_equal(back.load_array().transpose(order), pixels)
    with tifffile.TiffFile(target) as tif:
        assert tif.ome_metadata is not None
        pixels_told = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    # Red and green, opaque: FF0000FF and 00FF00FF as signed integers.
    assert [channel["Color"] for channel in pixels_told["Channel"]] == [-16776961, 16711935]
    assert (pixels_told["TimeIncrement"], pixels_told["TimeIncrementUnit"]) == (0.6, "s")
    told = {(plane["TheT"], plane["DeltaT"]) for plane in pixels_told["Plane"]}
    assert told == {(0, 0.0), (1, 0.5), (2, 1.7)}


@pytest.mark.parametrize(
    ("dtype", "axes", "reason"),
    [("int64", ("y", "x"), "no pixels of type int64"), ("uint8", ("t", "x"), "no rows in time")],
)
def test_pixels_that_ome_tiff_cannot_describe_are_refused_by_name(
    tmp_path: Path, dtype: str, axes: tuple[str, str], reason: str
) -> None:
    with ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed") as ds:
        rec = ds.add_image(filled((8, 9), dtype), axes=axes)
        with pytest.raises(UnsupportedDataError, match=reason):
            rec.export_tiff(tmp_path / "a.ome.tiff")
        assert not (tmp_path / "a.ome.tiff").exists()
        rec.export_tiff(tmp_path / "a.tiff")
