"""Files of a folder that are one image together: OME-TIFF sets, scans of Prairie View."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from kymflow_zarr import LineRoi, PolylineRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.ingest.sources.registry import file_sets
from tests.helpers.ome import CHANNEL, binary_only, data, ome, planes, urn, write_ome, write_set


def only(ds: ZarrDataset) -> str:
    (image_id,) = ds.list_image_ids()
    return image_id


def line_of(picture: ZarrImageRecord) -> LineRoi | PolylineRoi:
    """Return the one region of a picture, the line that was scanned in it."""
    (line,) = picture.load_rois()
    assert isinstance(line, LineRoi | PolylineRoi)
    return line


def test_a_set_is_one_image_and_the_report_names_all_its_files(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    stack = planes(4, 8, 9)
    write_set(tmp_path / "lab", stack)
    report = ds.ingest_legacy_folder(tmp_path / "lab")
    (item,) = report.items
    assert Path(item.path).name == "exp_T0.ome.tif"
    assert all(f"exp_T{i}.ome.tif" in (item.reason or "") for i in (1, 2, 3))
    rec = ds.record(only(ds))
    np.testing.assert_array_equal(rec.load_array(), stack)
    assert [file.role for file in rec.source_files] == ["image", "member", "member", "member"]
    assert not list(ds.refresh_from_folder(tmp_path / "lab"))
    assert ds.verify().ok
    assert ds.validate().ok


def test_files_of_a_set_need_not_be_called_ome(ds: ZarrDataset, tmp_path: Path) -> None:
    inner = CHANNEL + data("Z", {f"z{i}.tif": urn(i) for i in range(3)})
    for i in range(3):
        text = ome("x9 y8 z3", inner, uuid=urn(i))
        write_ome(tmp_path / "lab" / f"z{i}.tif", planes(8, 9), text)
    ds.ingest_legacy_folder(tmp_path / "lab")
    assert ds.record(only(ds)).shape == (3, 8, 9)


def test_a_change_of_any_file_of_a_set_is_a_change_of_the_image(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    stack = planes(3, 8, 9)
    write_set(tmp_path / "lab", stack)
    ds.ingest_legacy_folder(tmp_path / "lab")
    stack = planes(3, 8, 9, seed=8)
    write_set(tmp_path / "new", stack)
    shutil.copy(tmp_path / "new" / "exp_T1.ome.tif", tmp_path / "lab")
    (item,) = ds.refresh_from_folder(tmp_path / "lab", mode="reingest_if_changed").report.updated
    assert "exp_T1.ome.tif" in (item.reason or "")
    np.testing.assert_array_equal(ds.record(only(ds)).load_array()[1], stack[1])
    assert not list(ds.refresh_from_folder(tmp_path / "lab", mode="reingest_if_changed"))


def test_positions_of_a_set_change_on_their_own(ds: ZarrDataset, tmp_path: Path) -> None:
    def write(name: str, pixels: Any) -> None:
        inner = [CHANNEL + data("T", {f"p{i}.ome.tif": urn(i)}) for i in range(2)]
        second = ome("x9 y8", inner[1])
        second = second[second.index("<Image") : second.index("</OME>")]
        text = ome("x9 y8", inner[0], uuid=urn(int(name[1])), more=second)
        write_ome(tmp_path / "lab" / name, pixels, text)

    for i in range(2):
        write(f"p{i}.ome.tif", planes(8, 9, seed=i))
    ids = ds.ingest_legacy_folder(tmp_path / "lab").image_ids
    before = [ds.record(image_id).updated_utc for image_id in ids]
    write("p1.ome.tif", planes(8, 9, seed=7))
    ds.refresh_from_folder(tmp_path / "lab", mode="reingest_if_changed")
    after = [ds.record(image_id).updated_utc for image_id in ids]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    assert not list(ds.refresh_from_folder(tmp_path / "lab"))


@pytest.mark.parametrize("include_sidecars", [True, False])
def test_any_file_of_a_set_stands_for_its_image(
    ds: ZarrDataset, tmp_path: Path, include_sidecars: bool
) -> None:
    stack = planes(3, 8, 9)
    write_set(tmp_path, stack)
    ids = {
        ds.ingest_tiff(tmp_path / f"exp_T{i}.ome.tif", include_sidecars=include_sidecars).image_id
        for i in (1, 0, 2)
    }
    assert len(ids) == 1
    np.testing.assert_array_equal(ds.record(only(ds)).load_array(), stack)


def test_a_set_that_was_moved_is_the_same_image(ds: ZarrDataset, tmp_path: Path) -> None:
    write_set(tmp_path / "lab", planes(3, 8, 9))
    ds.ingest_legacy_folder(tmp_path / "lab")
    (tmp_path / "lab").rename(tmp_path / "moved")
    result = ds.refresh_from_folder(tmp_path / "moved")
    assert len(result.report.moved) == 1
    assert not ds.refresh_from_folder(tmp_path / "moved").report.moved
    assert all(Path(file.path).is_file() for file in ds.record(only(ds)).source_files)


def test_copies_and_strangers_are_in_no_set(tmp_path: Path) -> None:
    write_set(tmp_path, planes(2, 8, 9))
    shutil.copy(tmp_path / "exp_T0.ome.tif", tmp_path / "a copy of exp_T0.ome.tif")
    write_ome(tmp_path / "alone.ome.tif", planes(8, 9), ome("x9 y8", CHANNEL + "<TiffData/>"))
    (tmp_path / "empty.ome.tif").write_bytes(b"")
    (found,) = file_sets(sorted(tmp_path.iterdir()))
    assert (found.primary.name, [path.name for path in found.members]) == (
        "exp_T0.ome.tif",
        ["exp_T1.ome.tif"],
    )


def test_a_master_file_and_files_that_refer_to_it_are_a_set(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    stack = planes(2, 8, 9)
    inner = CHANNEL + CHANNEL + data("C", {"b.ome.tif": urn(1), "a.ome.tif": urn(2)})
    write_ome(tmp_path / "lab" / "b.ome.tif", stack[0], ome("x9 y8 c2", inner, uuid=urn(1)))
    write_ome(tmp_path / "lab" / "a.ome.tif", stack[1], binary_only(urn(2), "b.ome.tif", urn(1)))
    ds.ingest_legacy_folder(tmp_path / "lab")
    np.testing.assert_array_equal(ds.record(only(ds)).load_array(), stack)
    assert ds.record(only(ds)).source_files[0].rel_path == "b.ome.tif"


def test_a_change_of_the_companion_file_changes_the_calibration(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    inner = CHANNEL + data("T", {f"p_{i}.tif": urn(i) for i in range(2)})
    for i in range(2):
        write_ome(lab / f"p_{i}.tif", planes(8, 9), binary_only(urn(i), "p.companion.ome", urn(9)))
    for size in ("0.5", "0.25"):
        text = ome("x9 y8 t2", inner, uuid=urn(9), pixels=f'PhysicalSizeX="{size}"')
        (lab / "p.companion.ome").write_text(text)
        ds.refresh_from_folder(lab, mode="reingest_if_changed")
        assert ds.record(only(ds)).axes[-1].step == float(size)
        assert not list(ds.refresh_from_folder(lab))
    roles = {Path(file.path).name: file.role for file in ds.record(only(ds)).source_files}
    assert roles == {"p_0.tif": "image", "p_1.tif": "member", "p.companion.ome": "companion"}


def test_the_exports_of_a_set_say_that_it_was_one_and_come_back(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    stack = planes(3, 8, 9)
    write_set(tmp_path / "lab", stack)
    ds.ingest_legacy_folder(tmp_path / "lab")
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    (difference,) = report.differences
    assert "one of a set of 3 files" in difference.reason
    with ZarrDataset(tmp_path / "back.zarr") as back:
        back.ingest_legacy_folder(tmp_path / "out")
        np.testing.assert_array_equal(back.record(only(back)).load_array(), stack)


def write_line_scan(folder: Path) -> None:
    """Write a line scan of two channels as Prairie View does, source pictures included."""
    base = "LineScan-1"
    names = [f"{base}_Cycle00001_Ch{i}_000001.ome.tif" for i in (1, 2)]
    inner = "".join(f'<Channel Name="Ch{i}" SamplesPerPixel="1"/>' for i in (1, 2))
    inner += data("C", {name: urn(i) for i, name in enumerate(names)})
    text = ome("x9 y80 c2", inner, uuid=urn(0), pixels='PhysicalSizeX="0.5" PhysicalSizeY="0.5"')
    write_ome(folder / names[0], planes(80, 9), text)
    write_ome(folder / names[1], planes(80, 9, seed=2), binary_only(urn(1), names[0], urn(0)))
    (folder / f"{base}.xml").write_text(
        '<?xml version="1.0"?><PVScan><PVStateShard>'
        '<PVStateValue key="scanLinePeriod" value="0.004"/></PVStateShard>'
        '<Sequence type="Linescan" cycle="1"><Frame><PVStateShard>'
        '<PVStateValue key="scanLinePeriod" value="0.002"/></PVStateShard></Frame></Sequence>'
        "</PVScan>"
    )
    (folder / f"{base}.env").write_text("<Environment/>")
    write_ome(folder / f"{base}-Cycle00001_Ch1Source.tif", planes(12, 12), "")
    references = folder / "References"
    write_ome(references / f"{base}-Cycle00002-Ch1-16bit-Reference.tif", planes(12, 12), "")


def test_a_line_scan_of_prairie_view_is_one_image_in_seconds(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    write_line_scan(tmp_path / "lab")
    report = ds.ingest_legacy_folder(tmp_path / "lab")
    (item,) = report.items
    rec = ds.record(only(ds))
    assert rec.shape == (2, 80, 9)
    assert [axis.quantity for axis in rec.axes] == ["channel", "time", "space"]
    assert [axis.step for axis in rec.axes] == [None, 0.002, 0.5]
    assert rec.channel_names == ["Ch1", "Ch2"]
    assert "kept as pictures" in (item.reason or "")
    assert sorted(file.role for file in rec.source_files) == [
        "companion", "companion", "image", "member", "picture", "picture",
    ]  # fmt: skip
    assert not list(ds.refresh_from_folder(tmp_path / "lab"))
    ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    picture = "LineScan-1-Cycle00001_Ch1Source.tif"
    assert (tmp_path / "out" / picture).read_bytes() == (tmp_path / "lab" / picture).read_bytes()
    with ZarrDataset(tmp_path / "back.zarr") as back:
        back.ingest_legacy_folder(tmp_path / "out")
        assert back.record(only(back)).axes == rec.axes


def test_the_real_line_scan_has_the_pixels_and_times_of_the_reference(
    ds: ZarrDataset, tmp_path: Path, shared_data: Path
) -> None:
    vendor = shared_data / "vendor"
    facts = json.loads((vendor / "reference.json").read_text())
    report = ds.ingest_legacy_folder(vendor / "prairie")
    assert not report.failed
    assert not report.unmatched
    rec, picture = (ds.record(image_id) for image_id in report.image_ids)
    assert (rec.shape, rec.axes[1].unit, rec.axes[1].step) == (
        (2, 1000, 255), "second", 0.00206355468314815,
    )  # fmt: skip
    digests = {hashlib.sha256(plane.tobytes()).hexdigest() for plane in rec.load_array()}
    assert digests == {
        image["sha256_pixels"]
        for name, fact in facts.items()
        if "/prairie/" in name and "_Cycle00001_Ch" in name
        for image in fact["images"]
    }
    # The OME-XML has the time at which the file was written, 16:25:07.
    assert str(ds.images()["acquired"].iloc[0]) == "2017-06-09 16:25:02.028428"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The files' own dates are none.
        pictures = [tifffile.imread(path) for path in sorted(vendor.rglob("*Source.tif"))]
    np.testing.assert_array_equal(picture.load_array(), pictures)
    assert [axis.step for axis in picture.axes] == [None, 0.294117647058823, 0.294117647058823]
    line = line_of(picture)
    assert (line.roi_type, len(line.points)) == ("polyline", 255)
    assert (line.points[0], line.points[-1]) == ((167.0, 39.5), (116.5, 179.0))


def write_cycles(folder: Path, count: int, *, at: list[float], straight: bool = False) -> Any:
    """Write cycles of one line in two channels; return their pixels, ``(t, c, y, x)``."""
    base, pixels = "LineScan-2", planes(count, 2, 20, 9)
    line = '<Line startPixelX="3" startPixelY="5" stopPixelX="9"/>' if straight else ""
    line += '<Freehand x="1" y="2"/><Freehand x="4.5" y="6"/><Freehand x="8" y="9"/>'[
        : 0 if straight else None
    ]
    sequences = ""
    for cycle in range(count):
        names = [f"{base}_Cycle{cycle + 1:05}_Ch{i}_000001.ome.tif" for i in (1, 2)]
        inner = "".join(f'<Channel Name="Ch{i}" SamplesPerPixel="1"/>' for i in (1, 2))
        inner += data("C", {name: urn(2 * cycle + i) for i, name in enumerate(names)})
        text = ome("x9 y20 c2", inner, uuid=urn(2 * cycle))
        text = text.replace(
            "<Pixels", "<AcquisitionDate>2020-01-02T00:00:01</AcquisitionDate><Pixels"
        )
        write_ome(folder / names[0], pixels[cycle, 0], text)
        second = binary_only(urn(2 * cycle + 1), names[0], urn(2 * cycle))
        write_ome(folder / names[1], pixels[cycle, 1], second)
        source = f"{base}-Cycle00001_Ch%dSource.tif"
        files = "".join(
            f'<File channelName="Ch{i}" filename="{name}" source="{source % i}"/>'
            for i, name in enumerate(names, 1)
        )
        sequences += (
            f'<Sequence type="Linescan" cycle="{cycle + 1}" time="23:59:58.5000000">'
            f'<PVLinescanDefinition mode="freeHand">{line}</PVLinescanDefinition>'
            f'<Frame absoluteTime="{at[cycle]}">{files}<PVStateShard>'
            '<PVStateValue key="scanLinePeriod" value="0.002"/></PVStateShard></Frame></Sequence>'
        )
    (folder / f"{base}.xml").write_text(
        '<?xml version="1.0"?><PVScan><PVStateShard><PVStateValue key="objectiveLens" value="40x"/>'
        '<PVStateValue key="micronsPerPixel"><IndexedValue index="XAxis" value="0.25"/>'
        f"</PVStateValue></PVStateShard>{sequences}</PVScan>"
    )
    for i in (1, 2):
        write_ome(folder / f"{base}-Cycle00001_Ch{i}Source.tif", planes(12, 12, seed=i), "")
    return pixels


def times(rec: ZarrImageRecord, axis: str) -> list[float]:
    values = rec.times_s(axis)
    assert values is not None
    return list(values)


def test_ten_cycles_of_one_line_are_one_image_beside_the_picture_of_the_line(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    at = [3.0 + 5 * cycle + (cycle == 4) for cycle in range(10)]
    pixels = write_cycles(tmp_path / "lab", 10, at=at)
    report = ds.ingest_legacy_folder(tmp_path / "lab")
    rec, picture = (ds.record(image_id) for image_id in report.image_ids)
    np.testing.assert_array_equal(rec.load_array(), pixels)
    assert [(axis.name, axis.quantity, axis.step) for axis in rec.axes] == [
        ("t", "time", 5.0), ("c", "channel", None), ("y", "time", 0.002), ("x", "space", 0.25),
    ]  # fmt: skip
    assert rec.channel_names == ["Ch1", "Ch2"]
    assert np.allclose(times(rec, "t"), [time - 3 for time in at], rtol=1e-12)
    assert np.allclose(times(rec, "y"), [0.002 * line for line in range(20)])
    scan = rec.load_json("tiff")["line_scan"]
    assert scan["settings"]["objectiveLens"] == "40x"
    line = line_of(picture)
    assert line.points == ((1, 2), (4.5, 6), (8, 9))
    assert picture.load_array().shape == (2, 12, 12)
    assert sorted(ds.images()["source_image"]) == ["line scan", "source picture"]
    # It began before midnight and was written after it.
    assert str(ds.images()["acquired"].iloc[0]) == "2020-01-01 23:59:58.500000"
    assert len([file for file in rec.source_files if file.role == "member"]) == 19
    assert not list(ds.refresh_from_folder(tmp_path / "lab"))
    assert ds.validate().problems == ()
    group = zarr.open_group(ds.path, mode="r")[f"images/{rec.image_id}"]
    # In OME-Zarr only the cycles are time.
    ome: Any = group.attrs["ome"]
    assert [axis["type"] for axis in ome["multiscales"][0]["axes"]] == [
        "time", "channel", "space", "space",
    ]  # fmt: skip


def test_a_straight_line_of_prairie_view_is_a_line_of_two_points(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    write_cycles(tmp_path / "lab", 1, at=[0.0], straight=True)
    _, picture = map(ds.record, ds.ingest_legacy_folder(tmp_path / "lab").image_ids)
    line = line_of(picture)
    assert (line.roi_type, line.points) == ("line", ((3, 5), (9, 5)))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('value="0.002"', 'value="0"', "its scanLinePeriod is 0"),
        ('value="0.002"', 'value="nan"', "its scanLinePeriod is nan"),
        ("scanLinePeriod", "other", "its scanLinePeriod is missing"),
        ("</PVScan>", "", "no element found"),
        ('cycle="1"', 'cycle="one"', "invalid literal"),
    ],
)
def test_settings_of_prairie_view_that_are_not_understood_are_told(
    ds: ZarrDataset, tmp_path: Path, before: str, after: str, told: str
) -> None:
    pixels = write_cycles(tmp_path / "lab", 1, at=[1.0])
    document = tmp_path / "lab" / "LineScan-2.xml"
    document.write_text(document.read_text().replace(before, after))
    report = ds.ingest_legacy_folder(tmp_path / "lab", pattern="*_Cycle*.tif")
    (item,) = report.ingested
    assert "LineScan-2.xml of Prairie View is not understood" in (item.reason or "")
    assert told in (item.reason or "")
    rec = ds.record(only(ds))
    assert np.array_equal(rec.load_array(), pixels[0])
    assert [axis.quantity for axis in rec.axes] == ["channel", "space", "space"]


def test_a_line_with_a_point_that_is_not_known_is_left_out(ds: ZarrDataset, tmp_path: Path) -> None:
    write_cycles(tmp_path / "lab", 1, at=[1.0])
    document = tmp_path / "lab" / "LineScan-2.xml"
    text = (
        document.read_text()
        .replace('x="4.5"', "")
        .replace('XAxis" value="0.25"', 'XAxis" value="0"')
    )
    document.write_text(text)
    _, picture = (ds.record(each) for each in ds.ingest_legacy_folder(tmp_path / "lab").image_ids)
    assert picture.load_rois() == []
    assert [axis.step for axis in picture.axes] == [None, None, None]


def test_cycles_of_which_a_file_is_missing_are_refused(ds: ZarrDataset, tmp_path: Path) -> None:
    write_cycles(tmp_path / "lab", 3, at=[0.0, 1.0, 2.0])
    (tmp_path / "lab" / "LineScan-2_Cycle00002_Ch2_000001.ome.tif").unlink()
    report = ds.ingest_legacy_folder(tmp_path / "lab")
    assert len(ds) == 0
    assert any("Cycle00002_Ch2_000001.ome.tif" in (item.reason or "") for item in report.failed)


def test_the_list_of_images_distinguishes_positions_of_one_file(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    (tmp_path / "lab").mkdir()
    with tifffile.TiffWriter(tmp_path / "lab" / "pos.ome.tif", ome=True) as tif:
        for name in ("Pos_A", "Pos_B"):
            tif.write(planes(8, 9), photometric="minisblack", metadata={"axes": "YX", "Name": name})
    with tifffile.TiffWriter(tmp_path / "lab" / "two.tif") as tif:
        tif.write(planes(8, 9), metadata=None)
        tif.write(planes(9, 8), metadata=None)
    ds.ingest_legacy_folder(tmp_path / "lab")
    listed = ds.images(columns=["rel_path", "source_image"]).fillna("").values.tolist()
    assert sorted(listed) == [
        ["pos.ome.tif", "Pos_A"], ["pos.ome.tif", "Pos_B"], ["two.tif", ""], ["two.tif", "1"],
    ]  # fmt: skip
    ds.export_legacy_folder(tmp_path / "out")
    with ZarrDataset(tmp_path / "back.zarr") as back:
        back.ingest_legacy_folder(tmp_path / "out")
        again = back.images(columns=["rel_path", "source_image"]).fillna("").values.tolist()
        assert sorted(again) == sorted(listed)
