"""Pixel sizes, line periods, frame intervals and channel names that TIFF files state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.ingest.sources.tiff.calibration import unit_named
from kymflow_zarr.ingest.sources.tiff.file import TiffImage, open_tiff
from kymflow_zarr.types import Axis

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


def pixels(*shape: int, dtype: str = "uint16") -> npt.NDArray[Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def written(path: Path, data: npt.NDArray[Any], **options: Any) -> TiffImage:
    tifffile.imwrite(path, data, **options)
    return open_tiff(path)


def axis(image: TiffImage, name: str) -> Axis:
    return next(a for a in image.axes if a.name == name)


def names(image: TiffImage) -> str:
    return "".join(a.name for a in image.axes)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("micron", "micrometer"),
        ("um", "micrometer"),
        ("\u00b5m", "micrometer"),
        ("\u03bcm", "micrometer"),
        (r"\u00B5m", "micrometer"),
        ("nm", "nanometer"),
        ("mm", "millimeter"),
        ("cm", "centimeter"),
        ("inch", "inch"),
        ("m", "meter"),
        ("Mm", "megameter"),
        ("Microns", "micrometer"),
        ("sec", "second"),
        ("ms", "millisecond"),
        ("\u00b5s", "microsecond"),
        ("min", "minute"),
        ("h", "hour"),
    ],
)
def test_units_are_named_as_udunits_names_them(spelling: str, name: str) -> None:
    known = unit_named(spelling)
    assert known is not None
    assert known[1] == name


@pytest.mark.parametrize("spelling", ["pixel", "pixels", "px", "", "furlong", None, 3])
def test_pixels_are_no_unit(spelling: object) -> None:
    assert unit_named(spelling) is None


@pytest.mark.parametrize("unit", ["um", "micron", r"\u00B5m"])
def test_imagej_pixel_size_z_step_and_frame_interval(tmp_path: Path, unit: str) -> None:
    with written(
        tmp_path / "a.tif",
        pixels(3, 2, 6, 5),
        imagej=True,
        resolution=(1 / 0.284, 1 / 0.5),
        metadata={"axes": "TZYX", "unit": unit, "spacing": 1.5, "finterval": 0.25},
    ) as image:
        assert [(a.name, a.quantity, a.unit) for a in image.axes] == [
            ("t", "time", "second"),
            ("z", "space", "micrometer"),
            ("y", "space", "micrometer"),
            ("x", "space", "micrometer"),
        ]
        assert [a.step for a in image.axes] == pytest.approx([0.25, 1.5, 0.5, 0.284])


def test_imagej_kymograph_with_seconds_down_the_page(tmp_path: Path) -> None:
    with written(
        tmp_path / "a.tif",
        pixels(300, 38),
        imagej=True,
        resolution=(1 / 0.284, 1 / 0.00117),
        metadata={"unit": "um", "yunit": "sec"},
    ) as image:
        y, x = image.axes
        assert (y.name, y.quantity, y.unit) == ("y", "time", "second")
        assert y.step == pytest.approx(1.17e-3, rel=1e-6)
        assert (x.name, x.quantity, x.unit) == ("x", "space", "micrometer")
        assert x.step == pytest.approx(0.284)


def test_imagej_playback_speed_is_no_interval_and_intervals_have_units(
    tmp_path: Path,
) -> None:
    data = pixels(3, 6, 5)
    meta = {"axes": "TYX", "fps": 20.0}
    with written(tmp_path / "a.tif", data, imagej=True, metadata=meta) as image:
        assert axis(image, "t") == Axis("t", "time")
    meta = {"axes": "TYX", "finterval": 40, "tunit": "ms"}
    with written(tmp_path / "b.tif", data, imagej=True, metadata=meta) as image:
        assert axis(image, "t") == Axis("t", "time", "millisecond", 40.0)


@pytest.mark.parametrize(
    "meta",
    [
        {"unit": "pixel", "spacing": 2.0},
        {"spacing": 2.0},
        {"unit": "um", "spacing": 0.0, "finterval": -1.0},
        {"unit": "um", "spacing": "nan", "finterval": "inf"},
    ],
)
def test_pixels_and_nonsense_are_no_calibration(tmp_path: Path, meta: dict[str, object]) -> None:
    with written(
        tmp_path / "a.tif",
        pixels(2, 2, 6, 5),
        imagej=True,
        resolution=(0, 0),
        metadata={"axes": "TZYX", **meta},
    ) as image:
        assert all(a.unit is None and a.step is None for a in image.axes)


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER", "NONE"])
def test_a_print_resolution_is_no_pixel_size(tmp_path: Path, unit: str) -> None:
    with written(
        tmp_path / "a.tif", pixels(6, 5), resolution=(300, 300), resolutionunit=unit
    ) as image:
        assert image.axes == (Axis("y", "space"), Axis("x", "space"))
        tags = image.description["tags"]
        assert isinstance(tags, dict)
        assert tags["XResolution"] == [300, 1]


def test_ome_sizes_units_increment_and_channel_names(tmp_path: Path) -> None:
    with written(
        tmp_path / "a.ome.tif",
        pixels(4, 2, 3, 6, 5),
        photometric="minisblack",
        metadata={
            "axes": "TCZYX",
            "PhysicalSizeX": 284.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.284,
            "PhysicalSizeZ": 1.0,
            "PhysicalSizeZUnit": "\u00b5m",
            "TimeIncrement": 1.17,
            "TimeIncrementUnit": "ms",
            "Channel": {"Name": ["GFP", "Texas Red"]},
        },
    ) as image:
        assert image.axes == (
            Axis("t", "time", "millisecond", 1.17),
            Axis("c", "channel"),
            Axis("z", "space", "micrometer", 1.0),
            Axis("y", "space", "micrometer", 0.284),
            Axis("x", "space", "nanometer", 284.0),
        )
        assert image.channel_names == ("GFP", "Texas Red")
        xml = image.description["ome_xml"]
        assert isinstance(xml, str)
        assert 'TimeIncrementUnit="ms"' in xml


def test_each_image_of_an_ome_file_has_its_own_calibration(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(pixels(6, 5), metadata={"axes": "YX", "PhysicalSizeX": 0.1})
        writer.write(pixels(7, 8), metadata={"axes": "YX", "PhysicalSizeX": 0.2})
    for index, (shape, step) in enumerate([((6, 5), 0.1), ((7, 8), 0.2)]):
        with open_tiff(path, series=index) as image:
            assert (image.series_index, image.series_count) == (index, 2)
            assert (image.shape, axis(image, "x").step) == (shape, step)
    for wrong in (2, -1):
        with pytest.raises(ArgumentError, match="holds 2 images"):
            open_tiff(path, series=wrong)


def test_imagej_labels_name_channels_where_there_is_one_plane_each(tmp_path: Path) -> None:
    meta = {"axes": "CYX", "Labels": ["GFP", "DAPI"]}
    with written(tmp_path / "a.tif", pixels(2, 6, 5), imagej=True, metadata=meta) as image:
        assert image.channel_names == ("GFP", "DAPI")
    meta = {"axes": "ZYX", "Labels": ["top", "bottom"]}
    with written(tmp_path / "b.tif", pixels(2, 6, 5), imagej=True, metadata=meta) as image:
        assert image.channel_names is None


def fluoview_tags(
    dimensions: list[tuple[str, int, float, str]], page_name: str | None
) -> list[tuple[Any, ...]]:
    """Return the private tags of a FluoView file, packed as its readers unpack them."""
    header = np.zeros(1, np.dtype(tifffile.TIFF.MM_HEADER))
    unused = [("", 1, 0.0, "")] * (10 - len(dimensions))
    for index, (name, size, resolution, unit) in enumerate(dimensions + unused):
        header["Dimensions"][0][index] = (name, size, 0.0, resolution, unit.encode("latin-1"))
    packed = header.tobytes()
    stamp = np.zeros(8, "<f8").tobytes()
    tags: list[tuple[Any, ...]] = [
        (34361, 1, len(packed), packed, True),
        (34362, 1, len(stamp), stamp, True),
    ]
    if page_name is not None:
        tags.append((285, 2, 0, page_name, True))
    return tags


PAGE_NAME = (
    "[Primary Dimensions]\r\nName\tX\tT\r\nOffset\t0.000000\t0.000000\r\n"
    "Resolution\t0.284000\t0.001170\r\nUnits\tum\ts\r\n[Higher Dimensions]\r\nName\r\n"
)


@pytest.mark.parametrize("page_name", [PAGE_NAME, None])
def test_fluoview_line_scan(tmp_path: Path, page_name: str | None) -> None:
    lines = 3000
    data = pixels(lines, 38)
    # The header divides the duration by one interval less than there are lines.
    stated = 0.00117 * lines / (lines - 1)
    tags = fluoview_tags([("X", 38, 0.284, "um"), ("T", lines, stated, "s")], page_name)
    with written(
        tmp_path / "a.tif", data, metadata=None, description="[Intensity Mapping]", extratags=tags
    ) as image:
        t, x = image.axes
        assert (t.name, t.quantity, t.unit) == ("t", "time", "second")
        assert x == Axis("x", "space", "micrometer", 0.284)
        assert t.step == pytest.approx(0.00117 if page_name else stated, rel=1e-9)
        assert image.source_axes == "TX"
        assert image.description["format"] == "fluoview"
        np.testing.assert_array_equal(image[...], data, strict=True)


def test_line_scans_that_go_on_over_several_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = pixels(30, 8)
    tags = fluoview_tags([("X", 8, 0.284, "um"), ("T", 30, 0.001, "s")], None)
    with tifffile.TiffWriter(path) as writer:
        for lines in np.split(data, 3):
            writer.write(lines, compression="zlib", contiguous=False, metadata=None, extratags=tags)
    with open_tiff(path) as image:
        assert names(image) == "tx"
        assert not image.pixels_bounded
        np.testing.assert_array_equal(image[...], data, strict=True)
        np.testing.assert_array_equal(image[5:25:3, 2], data[5:25:3, 2], strict=True)


def test_the_line_scan_of_the_instrument(shared_data: Path) -> None:
    path = shared_data / "kymflow_folder" / "Capillary1_0001.tif"
    with open_tiff(path) as image:
        t, x = image.axes
        assert image.shape == (30000, 38)
        assert x == Axis("x", "space", "micrometer", 0.284)
        assert (t.name, t.quantity, t.unit) == ("t", "time", "second")
        assert t.step == pytest.approx(1.17e-3, rel=1e-12)
        assert "Fluorescence" in str(image.description["image_description"])


@pytest.mark.parametrize(
    ("unit", "tags", "resolution", "step"),
    [
        ("um", "CENTIMETER", 20000, ("micrometer", 0.5)),
        ("micron", "CENTIMETER", 20000, ("micrometer", 0.5)),
        (r"\u00B5m", "CENTIMETER", 20000, ("micrometer", 0.5)),
        ("nm", "CENTIMETER", 20000, ("nanometer", 500.0)),
        ("mm", "CENTIMETER", 20000, ("millimeter", 0.0005)),
        ("cm", "CENTIMETER", 20000, ("centimeter", 0.00005)),
        ("um", "INCH", 50800, ("micrometer", 0.5)),
        ("inch", "INCH", 50800, ("inch", 1 / 50800)),
        ("um", "INCH", 4, ("micrometer", 0.25)),
        ("um", "NONE", 2, ("micrometer", 0.5)),
        ("sec", "CENTIMETER", 2, ("second", 0.5)),
        ("pixel", "CENTIMETER", 20000, None),
        (None, "CENTIMETER", 20000, None),
    ],
)
def test_imagej_pixels_are_sized_in_the_unit_of_the_tags_or_else_of_the_description(
    tmp_path: Path, unit: str | None, tags: str, resolution: int, step: tuple[str, float] | None
) -> None:
    meta = {"axes": "YX"} | ({} if unit is None else {"unit": unit})
    with written(
        tmp_path / "a.tif",
        pixels(6, 5),
        imagej=True,
        resolution=(resolution, resolution),
        resolutionunit=tags,
        metadata=meta,
    ) as image:
        found = axis(image, "x")
        if step is None:
            assert (found.unit, found.step) == (None, None)
        else:
            assert found.unit == step[0]
            assert found.step == pytest.approx(step[1], rel=1e-9)


def test_a_stack_that_imagej_scanned_downwards_has_a_positive_step(tmp_path: Path) -> None:
    meta = {"axes": "ZYX", "unit": "um", "spacing": -1.5}
    with written(tmp_path / "z.tif", pixels(4, 6, 5), imagej=True, metadata=meta) as image:
        assert axis(image, "z") == Axis("z", "space", "micrometer", 1.5)


@pytest.mark.parametrize("planes", [10, 7])
def test_imagej_counts_images_of_one_directory_without_naming_an_axis(
    tmp_path: Path, planes: int
) -> None:
    data = pixels(10, 6, 5)
    path = tmp_path / "old.tif"
    text = f"ImageJ=1.33u\nimages={planes}\nunit=um\n"
    tifffile.imwrite(path, data[0], metadata=None, description=text)
    with path.open("ab") as file:
        file.write(data[1:].tobytes())
    with open_tiff(path) as image:
        np.testing.assert_array_equal(np.asarray(image), data[:planes])
        assert names(image) == "zyx"


@pytest.mark.parametrize(
    ("sizes", "stated"),
    [
        ("channels=2\nslices=3\nframes=2\n", "2 channels, 3 slices, 2 frames"),
        ("channels=2\n", "2 channels"),
        ("frames=4\n", "4 frames"),
    ],
)
def test_sizes_of_a_hyperstack_that_do_not_fit_its_images_are_in_the_report(
    tmp_path: Path, sizes: str, stated: str
) -> None:
    data = pixels(6, 6, 5)
    text = f"ImageJ=1.53t\nimages=6\n{sizes}hyperstack=true\nunit=um\nspacing=2.5\n"
    with written(
        tmp_path / "a.tif", data, metadata=None, description=text, resolution=(4, 4)
    ) as image:
        np.testing.assert_array_equal(np.asarray(image), data)
        assert axis(image, "z").step == 2.5
        assert axis(image, "x") == Axis("x", "space", "micrometer", 0.25)
        (note,) = image.notes
        assert note == f"its description states {stated} and 6 images: all are taken, as slices"


def test_a_description_by_imagej_that_does_not_fit_its_pages_is_in_the_report(
    tmp_path: Path,
) -> None:
    data = pixels(2, 6, 5)
    text = "ImageJ=1.53t\nimages=2\nslices=0\nunit=um\n"
    with written(
        tmp_path / "a.tif", data, metadata=None, description=text, resolution=(4, 4)
    ) as image:
        np.testing.assert_array_equal(np.asarray(image), data)
        assert axis(image, "x") == Axis("x", "space", "micrometer", 0.25)
        assert image.notes == (
            "its description by ImageJ does not fit its pages, which are taken as they are",
        )


@pytest.mark.parametrize(
    ("meta", "note"),
    [
        ({"unit": "furlong", "spacing": 2.0}, "z 2.0 furlong, y 0.25 furlong, x 0.25 furlong"),
        ({"unit": "um", "spacing": "1,5"}, "z 1,5 um"),
        ({"unit": "um", "spacing": float("nan")}, None),
        ({"unit": "um", "spacing": 0}, None),
        ({"unit": "pixel", "spacing": 1.0}, None),
        ({"spacing": 1.0}, None),
        ({"unit": "um", "spacing": -1.5}, None),
        ({"unit": "um", "zunit": "slice", "spacing": 1.5}, "z 1.5 slice"),
    ],
)
def test_a_calibration_that_is_not_understood_is_in_the_report(
    tmp_path: Path, meta: dict[str, Any], note: str | None
) -> None:
    data = pixels(3, 4, 5)
    options: dict[str, Any] = {"imagej": True, "metadata": {"axes": "ZYX", **meta}}
    with written(tmp_path / "a.tif", data, resolution=(4, 4), **options) as image:
        assert image.notes == (
            () if note is None else (f"its sampling is not understood and was left out: {note}",)
        )


@pytest.mark.parametrize(("interval", "lost"), [("0,1", True), (-0.1, True), (0, False)])
def test_a_frame_interval_that_is_no_positive_number_is_in_the_report(
    tmp_path: Path, interval: object, lost: bool
) -> None:
    meta = {"axes": "TYX", "finterval": interval}
    with written(tmp_path / "a.tif", pixels(3, 4, 5), imagej=True, metadata=meta) as image:
        assert axis(image, "t").step is None
        assert any(f"t {interval} s" in note for note in image.notes) == lost


def test_an_ome_unit_that_is_not_known_is_in_the_report(tmp_path: Path) -> None:
    meta = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "reference frame"}
    with written(tmp_path / "a.ome.tif", pixels(4, 5), metadata=meta) as image:
        assert image.axes[-1].step is None
        assert any("x 0.5 reference frame" in note for note in image.notes)
