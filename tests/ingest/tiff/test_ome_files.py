"""OME-TIFFs whose files, pages and XML do not agree, as people have them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.sources.tiff.file import open_tiff
from kymflow_zarr.types import Axis
from tests.helpers.ome import CHANNEL, binary_only, data, ome, planes, urn, write_ome, write_set


def test_a_renamed_file_is_read_as_its_xml_says(tmp_path: Path) -> None:
    stack = planes(3, 8, 9)
    inner = CHANNEL + data("T", dict.fromkeys(["before.ome.tif"], urn(1)))
    inner += inner[len(CHANNEL) :].replace('FirstT="0" IFD="0"', 'FirstT="1" IFD="1"')
    text = ome("x9 y8 t2", inner, pixels='PhysicalSizeX="0.5" TimeIncrement="2"')
    with open_tiff(write_ome(tmp_path / "after.ome.tif", stack[:2], text)) as image:
        np.testing.assert_array_equal(np.asarray(image), stack[:2])
        assert image.axes[0] == Axis("t", "time", "second", 2.0)
        assert image.axes[2] == Axis("x", "space", "micrometer", 0.5)
        assert image.notes == ()


def test_a_copy_beside_the_original_shows_its_own_pixels(tmp_path: Path) -> None:
    inner = CHANNEL + data("T", {"scan.ome.tif": urn(1)})
    for uuid, name in (("", "scan copy.ome.tif"), (urn(1), "scan again.ome.tif")):
        write_ome(tmp_path / "scan.ome.tif", planes(8, 9), ome("x9 y8", inner, uuid=uuid))
        other = planes(8, 9, seed=6)
        with open_tiff(write_ome(tmp_path / name, other, ome("x9 y8", inner, uuid=uuid))) as image:
            np.testing.assert_array_equal(np.asarray(image), other)
            assert len(image.files) == 1


@pytest.mark.parametrize("names", [None, ["a.ome.tif", "b.ome.tif", "c.ome.tif"]])
def test_a_set_is_one_image_however_its_files_are_called(
    tmp_path: Path, names: list[str] | None
) -> None:
    stack = planes(3, 8, 9)
    write_set(tmp_path, stack, names=names)
    first = (names or ["exp_T0.ome.tif"])[0]
    with open_tiff(tmp_path / first) as image:
        np.testing.assert_array_equal(np.asarray(image), stack)
        assert [axis.step for axis in image.axes] == [2.0, 0.25, 0.5]
        assert len(image.files) == 3


def test_a_set_without_one_of_its_files_is_refused_by_that_name(tmp_path: Path) -> None:
    write_set(tmp_path, planes(3, 8, 9))
    (tmp_path / "exp_T1.ome.tif").unlink()
    with pytest.raises(SourceFileError, match=r"page 1 is not there.*exp_T1\.ome\.tif"):
        open_tiff(tmp_path / "exp_T0.ome.tif")


def test_the_report_names_the_other_files_of_a_set_that_is_not_whole(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    write_set(lab, planes(3, 8, 9))
    (lab / "exp_T1.ome.tif").unlink()
    (item,) = ds.ingest_legacy_folder(lab).failed
    assert item.reason is not None
    assert item.reason.endswith(". Left out with it: exp_T2.ome.tif")


def test_a_companion_file_says_what_the_tiffs_are(tmp_path: Path) -> None:
    stack = planes(2, 8, 9)
    channels = "".join(
        f'<Channel ID="Channel:0:{i}" Name="{name}" SamplesPerPixel="1"/>'
        for i, name in enumerate(["GCaMP", "Texas Red"])
    )
    inner = channels + data("C", {f"p_C{i}.ome.tif": urn(i) for i in range(2)})
    text = ome("x9 y8 c2", inner, uuid=urn(9), pixels='PhysicalSizeX="0.5"')
    for i in range(2):
        one = binary_only(urn(i), "p.companion.ome", urn(9))
        write_ome(tmp_path / f"p_C{i}.ome.tif", stack[i], one)
    with open_tiff(tmp_path / "p_C0.ome.tif") as image:
        (note,) = image.notes
        assert note == (
            "its OME-XML is in 'p.companion.ome', which is not there: its pages are taken as "
            "they are"
        )
    (tmp_path / "p.companion.ome").write_text(text)
    with open_tiff(tmp_path / "p_C0.ome.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), stack)
        assert image.channel_names == ("GCaMP", "Texas Red")
        assert image.axes[-1].step == 0.5


@pytest.mark.parametrize(
    ("sizes", "inner", "shape", "note"),
    [
        ("x9 y8 t5", "<TiffData/>", (10, 8, 9), "more time points"),
        ("x9 y8 z5", "<TiffData/>", (10, 8, 9), "more slices"),
        ("x9 y8", "<TiffData/>", (10, 8, 9), "more time points"),
        ("x9 y8 z2 t3", "<TiffData/>", (5, 2, 8, 9), "more time points"),
        ("x9 y8 z3 t2", "<TiffData/>", (2, 3, 8, 9), "4 of its 10 pages"),
        ("x9 y8 c2", CHANNEL + CHANNEL + "<TiffData/>", (2, 8, 9), "8 of its 10 pages"),
        ("x9 y8 t2", '<TiffData IFD="1"/><TiffData FirstT="1" IFD="0"/>', (2, 8, 9), "8 of its"),
    ],
)
def test_pages_that_are_not_declared_are_taken_or_reported(
    tmp_path: Path, sizes: str, inner: str, shape: tuple[int, ...], note: str
) -> None:
    text = ome(sizes, inner if "Channel" in inner else CHANNEL + inner)
    with open_tiff(write_ome(tmp_path / "t.ome.tif", planes(10, 8, 9), text)) as image:
        assert image.shape == shape
        assert note in "; ".join(image.notes)


def test_xml_that_does_not_fit_the_pages_is_reported_and_gives_the_pixel_size(
    tmp_path: Path,
) -> None:
    text = ome("x9 y8 t4", CHANNEL, pixels='PhysicalSizeX="0.5" PhysicalSizeY="0.5"')
    with open_tiff(write_ome(tmp_path / "t.ome.tif", planes(3, 8, 9), text)) as image:
        assert image.shape == (3, 8, 9)
        assert image.axes[-1].step == 0.5
        assert "does not fit its pages" in image.notes[0]
    with open_tiff(write_ome(tmp_path / "u.ome.tif", planes(8, 9), "<OME><OME>")) as image:
        assert "cannot be parsed" in image.notes[0]


@pytest.mark.parametrize(
    ("times", "unit", "step", "even"),
    [
        ([0, 0.25, 0.5, 0.75], "", 0.25, True),
        ([10, 20, 30, 40], ' DeltaTUnit="ms"', 0.01, True),
        ([0, 0.2501, 0.5, 0.7499], "", 0.249966666667, True),
        # The median of intervals that are not even.
        ([0, 1, 5, 6], "", 1.0, False),
        ([0, 0, 0, 0], "", None, False),
    ],
)
def test_the_interval_is_that_of_the_times_of_planes(
    tmp_path: Path, times: list[float], unit: str, step: float | None, even: bool
) -> None:
    stated = "".join(
        f'<Plane TheT="{t}" TheZ="0" TheC="0" DeltaT="{time}"{unit}/>'
        for t, time in enumerate(times)
    )
    text = ome("x9 y8 t4", f"{CHANNEL}<TiffData/>{stated}")
    with open_tiff(write_ome(tmp_path / "t.ome.tif", planes(4, 8, 9), text)) as image:
        assert image.axes[0].step == step
        assert image.frame_times_s is not None
        assert image.description["frame_times_s"] == list(image.frame_times_s)
        assert ("not evenly spaced" in "".join(image.notes)) is not even


def test_a_stated_interval_counts_before_the_times_of_planes_and_both_are_reported(
    tmp_path: Path,
) -> None:
    stated = "".join(f'<Plane TheT="{t}" TheZ="0" TheC="0" DeltaT="{t}"/>' for t in range(3))
    inner = f"{CHANNEL}<TiffData/>{stated}"
    text = ome("x9 y8 t3", inner, pixels='TimeIncrement="2"')
    with open_tiff(write_ome(tmp_path / "t.ome.tif", planes(3, 8, 9), text)) as image:
        assert image.axes[0].step == 2
        assert "1 s apart" in image.notes[0]


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("1970-01-02T00:00:01", 86401),
        ("1970-01-02T00:00:01.5Z", 86401.5),
        ("1970-01-02T00:00:01+05:00", 86401),
        ("yesterday", None),
    ],
)
def test_the_date_is_that_of_the_clock_at_the_microscope(
    tmp_path: Path, date: str, seconds: float | None
) -> None:
    image_date = f"<AcquisitionDate>{date}</AcquisitionDate>"
    text = ome("x9 y8", CHANNEL + "<TiffData/>", image=image_date)
    with open_tiff(write_ome(tmp_path / "t.ome.tif", planes(8, 9), text)) as image:
        expected = None if seconds is None else int(seconds * 1e9)
        assert image.acquired_local_epoch_ns == expected


def test_samples_of_an_rgb_channel_have_its_name(tmp_path: Path) -> None:
    inner = '<Channel ID="Channel:0:0" Name="HE" SamplesPerPixel="3"/><TiffData/>'
    text = ome("x9 y8 c3", inner, dtype="uint8")
    path = tmp_path / "he.ome.tif"
    write_ome(path, planes(8, 9, 3, dtype="uint8"), text, photometric="rgb")
    with open_tiff(path) as image:
        assert image.channel_names == ("HE", "HE", "HE")


def test_positions_have_their_names(tmp_path: Path) -> None:
    path = tmp_path / "pos.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for name in ("Pos_A", "Pos_B"):
            tif.write(planes(8, 9), photometric="minisblack", metadata={"axes": "YX", "Name": name})
    for series, name in enumerate(("Pos_A", "Pos_B")):
        with open_tiff(path, series=series) as image:
            assert image.name == name


@pytest.mark.parametrize("is_first", [False, True])
def test_a_preview_page_is_no_image(tmp_path: Path, is_first: bool) -> None:
    path, whole = tmp_path / "t.tif", planes(40, 50)
    preview = planes(10, 12, dtype="uint8")
    with tifffile.TiffWriter(path) as tif:
        for page in (preview, whole) if is_first else (whole, preview):
            kind = int(page is preview)
            tif.write(page, photometric="minisblack", subfiletype=kind, metadata=None)
    with open_tiff(path) as image:
        assert (image.shape, image.series_count) == ((40, 50), 1)
        assert image.notes == ("a preview of 10 x 12 pixels was left out",)
        np.testing.assert_array_equal(np.asarray(image), whole)
        assert image.skeleton() is not None


def test_what_tifffile_logs_stays_off_the_terminal_and_only_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = ome("x9 y8 t5", CHANNEL + '<TiffData FirstT="7"/><TiffData/>')
    path = write_ome(tmp_path / "t.ome.tif", planes(5, 8, 9), text)
    with caplog.at_level(logging.DEBUG, "tifffile"):
        with open_tiff(path) as image:
            np.asarray(image)
        assert caplog.records == []
        with tifffile.TiffFile(path) as tif:
            assert tif.series
        assert caplog.records
