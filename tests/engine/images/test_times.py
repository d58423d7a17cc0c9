"""Frames and lines at irregular times: kept exactly, and used wherever time is shown."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import RectRoi, ZarrDataset
from kymflow_zarr.errors import ArgumentError, SchemaValidationError
from kymflow_zarr.types import Axis
from tests.helpers.ome import CHANNEL, ome, planes, write_ome

TIMES = [0.5, 1.5, 6.25, 7.25]


@pytest.fixture
def ds(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    rec = ds.add_image(np.arange(12, dtype="u1").reshape(4, 3), image_id="k", line_period_s=1.0)
    rec.save_array_artifact("axis_times/y", TIMES)
    ds.add_image(np.ones((4, 3), "u1"), image_id="even", line_period_s=0.25)
    ds.add_image(np.ones((4, 3), "u1"), image_id="still")
    return ds


def test_times_that_a_file_states_are_stored_exactly_and_reported(tmp_path: Path) -> None:
    stated = "".join(
        f'<Plane TheT="{t}" TheZ="0" TheC="0" DeltaT="{time}"/>' for t, time in enumerate(TIMES)
    )
    write_ome(
        tmp_path / "lab/t.ome.tif",
        planes(4, 8, 9),
        ome("x9 y8 t4", f"{CHANNEL}<TiffData/>{stated}"),
    )
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    report = ds.ingest_legacy_folder(tmp_path / "lab")
    [item] = report.ingested
    assert item.image_id is not None
    assert item.reason is not None
    rec = ds.record(item.image_id)
    times = rec.times_s()
    assert times is not None
    assert times.tolist() == TIMES
    assert rec.axes[0] == Axis("t", "time", "second", 1.0)
    assert "not evenly spaced (1 to 4.75 s, 1 s in the middle)" in item.reason
    assert ds.validate().ok
    # They follow from the file: an export of the folder writes nothing more.
    export = ds.export_legacy_folder(tmp_path / "back", layout="kymflow")
    assert (export.files, export.differences) == (("t.ome.tif",), ())
    assert filecmp.cmp(tmp_path / "lab/t.ome.tif", tmp_path / "back/t.ome.tif", shallow=False)


def test_times_are_the_stored_ones_or_else_multiples_of_the_step(ds: ZarrDataset) -> None:
    kept, even = ds.record("k").times_s(), ds.record("even").times_s("y")
    assert kept is not None
    assert even is not None
    assert (kept.tolist(), kept.dtype) == (TIMES, np.float64)
    assert even.tolist() == [0.0, 0.25, 0.5, 0.75]
    assert ds.record("still").times_s() is None
    with pytest.raises(ArgumentError, match="no axis 'x' of time"):
        ds.record("k").times_s("x")


@pytest.mark.parametrize(
    ("times", "problem"),
    [([0.0, 1.0], "shape"), ([0.0, 2.0, 1.0, 3.0], "rise"), ([0.0, 1.0, 2.0, np.nan], "finite")],
)
def test_times_that_do_not_fit_are_an_error_that_says_what_to_do(
    ds: ZarrDataset, times: list[float], problem: str
) -> None:
    ds.record("k").save_array_artifact("axis_times/y", times)
    with pytest.raises(SchemaValidationError, match=problem):
        ds.record("k").times_s()


def test_validation_names_times_of_another_length(ds: ZarrDataset) -> None:
    assert ds.validate().ok
    ds.record("k").save_array_artifact("axis_times/y", [0.0, 1.0])
    [problem] = ds.validate().problems
    assert problem.code == "axis-times"


def test_xarray_has_them_as_coordinate(ds: ZarrDataset) -> None:
    pytest.importorskip("xarray")
    pixels: Any = ds.record("k").to_xarray()
    assert pixels["y"].values.tolist() == TIMES
    assert pixels["y"].attrs["units"] == "second"
    assert pixels.sel(y=6.25).values.tolist() == [6, 7, 8]


def test_a_plot_has_each_line_and_region_at_its_time(ds: ZarrDataset) -> None:
    pyplot: Any = pytest.importorskip("matplotlib.pyplot")
    rec = ds.record("k")
    rec.save_rois([RectRoi(roi_id=1, x0=0, x1=2, y0=1, y1=3)])
    ax: Any = rec.plot()
    assert ax.get_xlim() == (0.5, 8.25)
    [image] = ax.get_images()
    assert tuple(image.get_extent()[:2]) == (0.5, 8.25)
    [box] = ax.patches
    assert (box.get_x(), box.get_width()) == (1.5, 5.75)
    pyplot.close(ax.figure)


def test_the_axis_of_the_page_and_the_notebook_has_them(ds: ZarrDataset) -> None:
    from kymflow_zarr.api.internals import stored_image_of
    from kymflow_zarr.views.plane import plane_of

    axis = plane_of(stored_image_of(ds.record("k"))).horizontal
    assert [axis.at(place) for place in (0, 2, 2.5, 4)] == [0.5, 6.25, 6.75, 8.25]
    assert axis.position(6.75) == 2.5
    assert (axis.step, axis.unit) == (1.0, "s")
    assert ">8</text>" in ds.record("k")._repr_html_()
