"""What a notebook shows of a dataset, an image and a report."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from kymflow_zarr import (
    Axis,
    IngestReport,
    RectRoi,
    RefreshResult,
    ZarrDataset,
    ZarrImageRecord,
)
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.testing import write_experiment

SCRIPT = "<script>alert('x')</script>"
UM = {"quantity": "space", "unit": "micrometer"}


def shown(value: Any) -> ET.Element:
    """Return the tree of what is shown; it is well-formed, and nothing in it runs or loads."""
    root = ET.fromstring(value._repr_html_())
    for element in root.iter():
        assert element.tag not in {"script", "iframe", "object", "embed", "link", "foreignObject"}
        for name, content in element.attrib.items():
            assert not name.startswith("on")
            if name in {"src", "href"}:
                assert content.startswith("data:image/png;base64,")
            assert "url(" not in content
    return root


def words(root: ET.Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


def pictures(root: ET.Element) -> list[npt.NDArray[Any]]:
    return [
        np.asarray(imagecodecs.png_decode(base64.b64decode(source.partition(",")[2])))
        for element in root.iter()
        for source in [element.get("src") or element.get("href")]
        if source is not None
    ]


def rows_of(root: ET.Element) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


@pytest.fixture
def disk() -> npt.NDArray[np.uint16]:
    """A bright disk of 30 pixels about row 50, column 150; shape (100, 200)."""
    y, x = np.mgrid[:100, :200]
    return np.where((y - 50) ** 2 + (x - 150) ** 2 < 30**2, 4000, 100).astype(np.uint16)


# A dataset ---------------------------------------------------------------------------------


def test_a_dataset_shows_its_facts_its_images_and_its_tables(
    ds: ZarrDataset, disk: npt.NDArray[np.uint16]
) -> None:
    ds.add_image(disk, image_id="disk", pixel_size_um=0.5)
    ds.add_image(disk[:50], image_id="half", pixel_size_um=0.5)
    ds.add_image(np.zeros((3000, 38), "uint8"), image_id="line scan", line_period_s=0.002)
    ds.save_table("scores", pd.DataFrame({"score": range(1234)}))
    root = shown(ds)
    rows = rows_of(root)
    assert ["images", "3"] in rows
    assert ["dataset id", ds.dataset_id] in rows
    assert ["2", "y x", "uint16", "50 to 100 x 200"] in rows
    assert ["1", "y x", "uint8", "3000 x 38"] in rows
    assert ["scores", "1,234"] in rows
    said = words(root)
    assert str(ds.path) in said
    assert "half 50 x 200 uint16 y (space) 0.5 micrometer" in said
    assert "line scan 3000 x 38 uint8 y (time) 0.002 second" in said
    assert len(pictures(root)) == 3


def test_a_thumbnail_is_the_image_in_its_shape(
    ds: ZarrDataset, disk: npt.NDArray[np.uint16]
) -> None:
    ds.add_image(np.kron(disk, np.ones((8, 8), "uint16")), image_id="disk")
    [small] = pictures(shown(ds))
    height, width = small.shape
    assert width / height == pytest.approx(2, rel=0.05)
    assert height < 200
    row, column = (means.mean() for means in np.nonzero(small > 128))
    assert (row / height, column / width) == pytest.approx((0.5, 0.75), abs=0.02)


def test_of_many_images_only_the_first_are_drawn(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        ds.add_image(np.full((4, 4), number, "uint8"), image_id=f"{number:02}")
    opened: list[str] = []
    load_array = StoredImage.load_array

    def noted(rec: StoredImage, selection: object = ...) -> npt.NDArray[Any]:
        opened.append(rec.image_id)
        return load_array(rec, selection)

    monkeypatch.setattr(StoredImage, "load_array", noted)
    root = shown(ds)
    assert len(pictures(root)) == 8
    assert opened == [f"{number:02}" for number in range(8)]
    assert "and 22 more images" in words(root)


def test_of_a_large_image_few_chunks_are_read(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec = ds.add_image(
        np.zeros((4, 6000, 2000), "uint16"), axes="zyx", chunks=(1, 250, 250), image_id="large"
    )
    read: list[tuple[int, ...]] = []
    load_array = StoredImage.load_array

    def counted(rec: StoredImage, selection: object = ...) -> npt.NDArray[Any]:
        found = load_array(rec, selection)
        read.append(np.shape(found))
        return found

    monkeypatch.setattr(StoredImage, "load_array", counted)
    assert "a part: 1182 of 2000 across, 3547 of 6000 down" in words(shown(rec))
    shown(ds)
    assert [len(shape) for shape in read] == [2, 2]
    assert sum(int(np.prod(shape)) for shape in read) <= 2 * 2**22


def test_chunks_that_are_too_large_to_be_read_in_passing_are_not(ds: ZarrDataset) -> None:
    ds.add_image(np.zeros((5000, 8000), "uint16"), chunks=(5000, 8000), image_id="one chunk")
    root = shown(ds)
    assert pictures(root) == []
    assert "a picture would read 80 MB" in words(root)


def test_an_image_that_cannot_be_read_says_why_and_the_others_are_there(
    ds: ZarrDataset, disk: npt.NDArray[np.uint16]
) -> None:
    for name in ("a", "b", "c"):
        ds.add_image(disk, image_id=name)
    (ds.path / "images" / "b" / "zarr.json").write_text("{]", encoding="utf-8")
    chunks = [path for path in (ds.path / "images" / "c").rglob("[0-9]*") if path.is_file()]
    assert chunks
    for path in chunks:
        path.write_bytes(b"no chunk")
    ds.save_table("good", pd.DataFrame({"n": [1]}))
    (ds.path / "tables" / "bad.parquet").write_bytes(b"no Parquet")
    root = shown(ds)
    assert len(pictures(root)) == 1
    said = words(root)
    assert "b SchemaValidationError: " in said or "b CorruptDataError: " in said
    assert ["good", "1"] in rows_of(root)
    [bad] = [row for row in rows_of(root) if row[0] == "bad"]
    assert "Error" in bad[1] or "Invalid" in bad[1]
    for name in "bc":
        assert "Error: " in words(shown(ZarrImageRecord(StoredImage(ds._open.storage, name))))


def test_an_image_without_pixels_says_so(ds: ZarrDataset) -> None:
    ds.add_image(np.zeros((0, 5), "uint8"), image_id="nothing")
    assert "the image has no pixels" in words(shown(ds))
    assert "the image has no pixels" in words(shown(ds["nothing"]))


def test_an_empty_dataset_says_so(ds: ZarrDataset) -> None:
    root = shown(ds)
    assert ["images", "0"] in rows_of(root)
    assert pictures(root) == []


# An image ----------------------------------------------------------------------------------


def svg_of(root: ET.Element) -> tuple[ET.Element, ET.Element]:
    """Return the figure and the picture in it, which has place and size of its own."""
    figure = next(e for e in root.iter("svg"))
    return figure, next(e for e in figure.iter("svg") if e is not figure)


def numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.get(name, "nan")) for name in names]


def test_an_image_is_drawn_with_axes_in_micrometers_and_its_regions_in_place(
    ds: ZarrDataset, disk: npt.NDArray[np.uint16]
) -> None:
    axes = [Axis("y", **UM, step=1.0), Axis("x", **UM, step=0.5)]  # type: ignore[arg-type]
    rec = ds.add_image(disk, axes=axes, image_id="disk")
    rec.save_rois([RectRoi(roi_id=4, name="cell", x0=120, x1=180, y0=20, y1=80, note="round")])
    rec.save_metadata_payload(
        {**rec.load_metadata_payload(), "experiment_metadata": {"species": "mouse", "depth": 35.0}}
    )
    rec.save_json("note", {"good": True})
    rec.save_array_artifact("mask", disk > 1000)
    root = shown(rec)
    figure, picture = svg_of(root)
    x, _, width, height = numbers(picture, "x", "y", "width", "height")
    # 200 x 0.5 and 100 x 1 micrometer are as long.
    assert width == pytest.approx(height)
    [region] = picture.iter("rect")
    place = numbers(region, "x", "y", "width", "height")
    assert place == pytest.approx([0.6 * width, 0.2 * height, 0.3 * width, 0.6 * height], abs=0.1)
    labels = {"".join(e.itertext()): numbers(e, "x", "y") for e in figure.iter("text")}
    assert {"x (µm)", "y (µm)"} <= set(labels)
    assert labels["20"][0] == pytest.approx(x + 0.2 * width, abs=0.1)
    assert "20 µm" in labels
    [bar] = [numbers(e, "x1", "x2") for e in figure.iter("line") if e.get("stroke") == "#fff"]
    assert bar[1] - bar[0] == pytest.approx(0.2 * width, abs=0.2)
    rows = rows_of(root)
    assert ["species", "mouse"] in rows
    assert ["depth", "35.0"] in rows
    assert ["4", "cell", "rows 20:80, columns 120:180", "1", "0", "round"] in rows
    assert any(row[:2] == ["note", "json"] for row in rows)
    assert any(row[:2] == ["mask", "array"] for row in rows)


def test_a_kymograph_has_time_to_the_right(ds: ZarrDataset) -> None:
    lines = np.zeros((2000, 38), "uint16")
    lines[1500:] = 1000
    rec = ds.add_image(lines, line_period_s=0.002, pixel_size_um=0.25)
    rec.save_rois([RectRoi(roi_id=1, x0=0, x1=19, y0=500, y1=1000)])
    figure, picture = svg_of(shown(rec))
    x, _, width, height = numbers(picture, "x", "y", "width", "height")
    labels = {"".join(e.itertext()): numbers(e, "x", "y") for e in figure.iter("text")}
    assert {"time (s)", "x (µm)"} <= set(labels)
    assert labels["1"][0] == pytest.approx(x + width / 4, abs=0.1)
    [region] = picture.iter("rect")
    place = numbers(region, "x", "y", "width", "height")
    assert place == pytest.approx([width / 4, 0, width / 4, height / 2], abs=0.1)
    [image] = pictures(figure)
    assert image.shape[1] > image.shape[0]
    assert (image[:, -5:] > 200).all()
    assert (image[:, :5] < 50).all()


def test_of_a_very_long_kymograph_the_beginning_is_shown(ds: ZarrDataset) -> None:
    lines = np.zeros((120_000, 40), "uint8")
    lines[:50_000] = 200
    root = shown(ds.add_image(lines, line_period_s=0.001))
    assert "a part: 104857 of 120000 across, 40 of 40 down" in words(root)
    figure, picture = svg_of(root)
    x, _, width, _ = numbers(picture, "x", "y", "width", "height")
    labels = {"".join(e.itertext()): numbers(e, "x") for e in figure.iter("text")}
    assert labels["80"] == pytest.approx([x + width * 80 / 104.857], abs=0.1)
    [image] = pictures(root)
    bright = (image > 128).any(axis=0).mean()
    assert bright == pytest.approx(50 / 104.857, abs=0.01)


def test_a_mask_lies_over_the_picture(ds: ZarrDataset, disk: npt.NDArray[np.uint16]) -> None:
    rec = ds.add_image(disk)
    rec.save_mask("cell", disk > 1000)
    _, over = pictures(shown(rec))
    inside = over[..., 3] > 0
    row, column = (found.mean() for found in np.nonzero(inside))
    assert (row / 100, column / 200) == pytest.approx(
        (0.5 * inside.shape[0] / 100, 0.75 * inside.shape[1] / 200), abs=0.02
    )


def test_a_stack_says_which_plane_is_shown(ds: ZarrDataset) -> None:
    rec = ds.add_image(
        np.zeros((2, 5, 8, 8), "uint8"), axes="czyx", channel_names=["nuclei", "actin"]
    )
    assert "channel nuclei, z = 2" in words(shown(rec))


def test_what_is_not_calibrated_counts_pixels(ds: ZarrDataset) -> None:
    said = words(shown(ds.add_image(np.zeros((8, 8), "uint8"))))
    assert "x (pixels)" in said
    assert "y (pixels)" in said


def test_regions_that_cannot_be_read_do_not_hide_the_picture(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros((8, 8), "uint8"))
    rec.save_metadata_payload({"rois": [{"no": "region"}]})
    root = shown(rec)
    assert len(pictures(root)) == 1
    assert "regions not drawn" in words(root)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", "complex64"])
def test_every_kind_of_pixel_is_drawn(ds: ZarrDataset, dtype: str) -> None:
    pixels = np.zeros((10, 20), dtype)
    pixels[:, 10:] = 1
    if dtype == "float64":
        pixels[0, 0], pixels[0, 1] = np.nan, np.inf
    [image] = pictures(shown(ds.add_image(pixels)))
    assert (image[2:, 12:] == 255).all()
    assert (image[2:, :8] == 0).all()


# What people wrote -------------------------------------------------------------------------


def test_no_text_of_a_dataset_is_executed(ds: ZarrDataset) -> None:
    evil = f"\"'>{SCRIPT}<img src=x onerror=alert(1)>\x00\x1b\u202e"
    rec = ds.add_image(
        np.zeros((2, 8, 8), "uint8"), axes="cyx", image_id="<b>", channel_names=[SCRIPT, evil]
    )
    rec.save_rois([RectRoi(roi_id=1, name=SCRIPT, note=evil, x0=0, x1=4, y0=0, y1=4)])
    payload = rec.load_metadata_payload()
    rec.save_metadata_payload({**payload, "experiment_metadata": {SCRIPT: evil, "note": SCRIPT}})
    rec.save_json(SCRIPT, 1)
    ds.save_table("<i>t", pd.DataFrame({"n": [1]}))
    report = IngestReport(evil, ())
    for value in (ds, rec, report):
        said = words(shown(value))
        html = value._repr_html_()
        assert "<script" not in html
        assert "<img src=x" not in html
        assert not re.search("[\x00-\x08\x1b\u202e]", html)
        html.encode("utf-8")
        assert "<b>" in said or "<script>" in said
    assert ["note", SCRIPT] in rows_of(shown(rec))


def test_metadata_of_any_kind_are_shown(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros((4, 4), "uint8"))
    told = {"steps": np.arange(3), "nested": {"a": [1, None]}, "flag": False, "no": None}
    rec.save_metadata_payload({"experiment_metadata": told, "header": ["no", "mapping"]})
    rows = rows_of(shown(rec))
    wanted = [["steps", "[0 1 2]"], ["nested", "{'a': [1, None]}"], ["flag", "False"]]
    assert [row for row in rows if row in wanted] == wanted
    assert "no" not in [row[0] for row in rows]


def test_long_texts_are_cut(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros((4, 4), "uint8"))
    rec.save_metadata_payload({"experiment_metadata": {"note": "n" * 10**6}})
    assert len(rec._repr_html_()) < 20_000


def test_no_color_is_set_that_would_vanish_on_dark_or_on_light(
    ds: ZarrDataset, disk: npt.NDArray[np.uint16]
) -> None:
    rec = ds.add_image(disk, pixel_size_um=0.5)
    for value in (ds, rec):
        for element in shown(value).iter():
            style = element.get("style", "")
            assert not re.search(r"(?<![-\w])color:(?!inherit)", style)
            assert not re.search(r"background(-color)?:(?!none)", style)
    figure, _ = svg_of(shown(rec))
    inks = {e.get("fill") for e in figure.iter("text") if "µm)" in "".join(e.itertext())}
    assert inks == {"currentColor"}


# Reports -----------------------------------------------------------------------------------


def test_a_report_shows_counts_and_trouble_first(ds: ZarrDataset, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_experiment(folder)
    (folder / "zz broken.tif").write_bytes(b"no TIFF")
    report = ds.ingest_legacy_folder(folder)
    root = shown(report)
    said = words(root)
    assert str(folder) in said
    for status, items in {"failed": report.failed, "ingested": report.ingested}.items():
        assert f"{len(items)} {status}" in said
    rows = rows_of(root)
    assert rows[0] == ["status", "path", "image", "reason"]
    assert rows[1][0] == "failed"
    assert rows[1][1].endswith("zz broken.tif")
    assert rows[1][3] == report.failed[0].reason
    assert {row[2] for row in rows if row[0] == "ingested"} == set(report.image_ids)


def test_a_refresh_shows_its_report(ds: ZarrDataset, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_experiment(folder)
    ds.ingest_legacy_folder(folder)
    result = ds.refresh_from_folder(folder)
    assert isinstance(result, RefreshResult)
    assert words(shown(result)) == words(shown(result.report))
    assert f"{len(result.report.unchanged)} unchanged" in words(shown(result))


def test_a_long_report_is_cut(ds: ZarrDataset) -> None:
    from kymflow_zarr import IngestItem

    report = IngestReport("f", tuple(IngestItem("ingested", f"{n}.tif") for n in range(10_000)))
    root = shown(report)
    assert "10000 ingested" in words(root)
    assert "and 9950 more" in words(root)


def test_what_is_shown_needs_neither_matplotlib_nor_xarray(ds: ZarrDataset) -> None:
    ds.add_image(np.zeros((4, 4), "uint8"), image_id="a")
    code = (
        "import sys; sys.modules['matplotlib'] = sys.modules['xarray'] = None; "
        f"from kymflow_zarr import ZarrDataset; ds = ZarrDataset({str(ds.path)!r}, mode='r'); "
        "assert 'data:image' in ds._repr_html_() and 'data:image' in ds['a']._repr_html_()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_say_what_they_were_made_by_and_why_they_are_out_of_date(
    ds: ZarrDataset, disk: npt.NDArray[np.uint16]
) -> None:
    rec = ds.add_image(disk, image_id="disk")
    ds.compute("mean", lambda rec, scale: rec.load_array().mean() * scale, params={"scale": 2},
               version="1.2")  # fmt: skip
    rec.save_result("note", 1, variant="b")
    rec.save_array(disk + 1)
    (row,) = [row for row in rows_of(shown(rec)) if row[0] == "mean" and len(row) == 5]
    assert row[1] == "ok"
    assert row[2].endswith(" 1.2 (scale=2)")
    assert row[4] == "made from earlier pixels"
    rows = rows_of(shown(ds))
    assert ["mean", "", "1", "0", "1"] in rows
    assert ["note", "b", "1", "0", "1"] in rows
    told = repr(rec.result("mean"))
    assert "out of date: made from earlier pixels; made by" in told
    assert "\n" not in told
