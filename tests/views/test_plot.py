"""`rec.plot()` and `rec.plot_events()`: what is on the axes, and in which units."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import Axis, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError, MissingDependencyError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402

VELOCITY = pd.DataFrame(
    {
        "roi_id": [1, 1, 1, 2, 2],
        "channel": 1,
        "time_s": [0.1, 0.5, 0.9, 0.4, 0.6],
        "velocity_mm_s": [1.0, np.nan, 3.0, -1.0, -2.0],
        "clean_velocity_mm_s": [1.5, 2.5, 3.5, -1.5, -2.5],
    }
)
EVENTS = pd.DataFrame(
    {
        "roi_id": [1, 1, 2],
        "channel": 1,
        "event_type": ["baseline_drop", "baseline_rise", "_odd $x_{$ kind"],
        "t_start_s": [0.25, 0.75, 0.5],
        "t_end_s": [0.35, None, None],
    }
)


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    plt.close("all")  # Tests of other files leave some open.
    yield
    plt.close("all")


@pytest.fixture
def line_scan(ds: ZarrDataset) -> ZarrImageRecord:
    """One second of a line of 40 pixels, 10 micrometers long, with velocity and events."""
    lines = np.arange(500 * 40, dtype="uint16").reshape(500, 40)
    rec = ds.add_image(lines, line_period_s=0.002, pixel_size_um=0.25, image_id="line scan")
    rec.save_rois(
        [
            RectRoi(roi_id=1, x0=0, x1=40, y0=0, y1=500),
            RectRoi(roi_id=2, x0=8, x1=20, y0=100, y1=400),
        ]
    )
    rec.save_df_parquet("velocity", VELOCITY)
    rec.save_df_parquet("velocity_events/events", EVENTS)
    return rec


def image_of(ax: Any) -> Any:
    [image] = ax.get_images()
    return image


def boxes(ax: Any) -> list[tuple[float, ...]]:
    return [
        patch.get_bbox().bounds
        for patch in ax.patches
        if isinstance(patch, Rectangle) and not patch.get_fill()
    ]


# One plane ---------------------------------------------------------------------------------


def test_a_kymograph_has_seconds_along_x_and_micrometers_along_y(
    line_scan: ZarrImageRecord,
) -> None:
    ax = line_scan.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "x (µm)")
    assert ax.get_xlim() == pytest.approx((0, 1))
    assert ax.get_ylim() == pytest.approx((10, 0))
    assert np.array_equal(image_of(ax).get_array(), line_scan.load_array().T)
    assert image_of(ax).get_extent() == pytest.approx((0, 1, 10, 0))
    assert boxes(ax)[0] == pytest.approx((0, 0, 1, 10))
    assert boxes(ax)[1] == pytest.approx((0.2, 2, 0.6, 3))


def test_a_large_image_is_drawn_from_its_levels_in_its_own_units(ds: ZarrDataset) -> None:
    pixels = np.add.outer(np.arange(80_001) // 400, np.arange(60)).astype("uint8")
    rec = ds.add_image(pixels, line_period_s=0.001, pixel_size_um=0.5)
    # A read of the full resolution fails.
    shutil.rmtree(ds.path / "images" / rec.image_id / "data" / "c")
    ax = rec.plot()
    assert np.array_equal(image_of(ax).get_array(), rec.load_array(level=1).T)
    assert ax.get_xlim() == pytest.approx((0, 80.001))
    # The last sample of the level reaches beyond the last line.
    lines = rec.levels[1].shape[0] * rec.levels[1].factors[0]
    assert lines > 80_001
    assert image_of(ax).get_extent() == pytest.approx((0, lines / 1000, 30, 0))


def test_other_units_become_seconds_and_micrometers(ds: ZarrDataset) -> None:
    axes = [Axis("y", "time", "ms", 4.0), Axis("x", "space", "nm", 500.0)]
    ax = ds.add_image(np.zeros((250, 10), "uint8"), axes=axes).plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "x (µm)")
    assert ax.get_xlim() == pytest.approx((0, 1))
    assert ax.get_ylim() == pytest.approx((5, 0))


def test_time_that_is_the_last_axis_already_stays_there(ds: ZarrDataset) -> None:
    axes = [Axis("x", "space", "um", 0.5), Axis("t", "time", "s", 0.1)]
    pixels = np.arange(40, dtype="uint8").reshape(4, 10)
    ax = ds.add_image(pixels, axes=axes).plot()
    assert ax.get_xlim() == pytest.approx((0, 1))
    assert np.array_equal(image_of(ax).get_array(), pixels)


def test_what_is_not_calibrated_counts(ds: ZarrDataset) -> None:
    ax = ds.add_image(np.zeros((20, 30), "uint8")).plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (pixels)", "y (pixels)")
    assert ax.get_xlim() == (0, 30)
    lines = ds.add_image(np.zeros((20, 30), "uint8"), axes=[Axis("y", "time"), Axis("x", "space")])
    assert lines.plot().get_xlabel() == "time (lines)"


def test_of_a_stack_the_plane_that_was_asked_for_is_drawn(ds: ZarrDataset) -> None:
    pixels = np.arange(2 * 3 * 4 * 5 * 6, dtype="uint16").reshape(2, 3, 4, 5, 6)
    rec = ds.add_image(pixels, pixel_size_um=0.5, channel_names=["a", "b", "c"])
    ax = rec.plot(t=1, z=3, channel=2)
    assert np.array_equal(image_of(ax).get_array(), pixels[1, 1, 3])
    assert ax.get_aspect() == 1.0
    assert ax.get_xlim() == pytest.approx((0, 3))
    assert np.array_equal(image_of(rec.plot(channel="c")).get_array(), pixels[0, 2, 0])
    assert np.array_equal(image_of(rec.plot(at={"c": 1, "t": 1})).get_array(), pixels[1, 1, 0])


def test_only_the_regions_of_that_plane_are_drawn(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros((2, 3, 8, 8), "uint8"), axes="czyx")
    rec.save_rois([RectRoi(roi_id=1, x0=1, x1=3, y0=2, y1=6, channel=2, z=1)])
    assert boxes(rec.plot(channel=2, z=1)) == [(1, 2, 2, 4)]
    assert boxes(rec.plot(channel=1, z=1)) == boxes(rec.plot(channel=2, z=0)) == []
    assert boxes(rec.plot(channel=2, z=1, rois=False)) == []


def test_a_mask_is_outlined(ds: ZarrDataset) -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:10, 10:20] = True
    rec = ds.add_image(np.zeros((20, 30), "uint8"), pixel_size_um=2.0)
    rec.save_mask("cell", mask)
    rec.save_mask("nothing", mask & False)
    [outline] = rec.plot().collections
    corners = np.asarray(outline.get_paths()[0].vertices)
    assert corners.min(axis=0) == pytest.approx([20, 10])
    assert corners.max(axis=0) == pytest.approx([40, 20])


def test_a_scale_bar_is_as_long_as_it_says(line_scan: ZarrImageRecord) -> None:
    ax = line_scan.plot(scale_bar=True)
    [bar] = ax.lines
    first, last = np.asarray(bar.get_xdata(), dtype=float)
    assert last - first == pytest.approx(0.2)
    assert "0.2 s" in [text.get_text() for text in ax.texts]
    assert ax.get_xlim() == pytest.approx((0, 1))


def test_it_draws_on_the_given_axes_with_the_given_contrast(line_scan: ZarrImageRecord) -> None:
    _, (_, right) = plt.subplots(1, 2)
    assert line_scan.plot(right, cmap="viridis", vmin=5, vmax=9) is right
    assert image_of(right).get_clim() == (5, 9)
    assert image_of(right).get_cmap().name == "viridis"


def test_a_few_extreme_pixels_do_not_darken_the_rest(ds: ZarrDataset) -> None:
    pixels = np.linspace(0, 100, 10_000, dtype="float32").reshape(100, 100)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = 1e30, np.nan, np.inf
    low, high = image_of(ds.add_image(pixels).plot()).get_clim()
    assert 0 <= low < 2
    assert 98 < high <= 100


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64", "int64"])
def test_every_kind_of_pixel_is_drawn(ds: ZarrDataset, dtype: str) -> None:
    ax = ds.add_image(np.ones((4, 5), dtype)).plot()
    ax.figure.canvas.draw()
    assert (np.asarray(image_of(ax).get_array()) == 1).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"z": 4}, "z"),
        ({"t": -1}, "t"),
        ({"channel": 0}, "channel"),
        ({"channel": 4}, "channel"),
        ({"channel": "d"}, "channel"),
        ({"at": {"q": 0}}, "at"),
        ({"at": {"x": 0}}, "at"),
        ({"z": 1.5}, "z"),
        ({"z": True}, "z"),
    ],
)
def test_a_plane_that_is_not_there_is_refused_by_name(
    ds: ZarrDataset, wrong: dict[str, Any], named: str
) -> None:
    rec = ds.add_image(np.zeros((2, 3, 4, 5, 6), "uint8"), channel_names=["a", "b", "c"])
    with pytest.raises(ArgumentError) as info:
        rec.plot(**wrong)
    assert info.value.where == named
    assert plt.get_fignums() == []


@pytest.mark.parametrize("wrong", [{"z": 1}, {"t": 2}, {"channel": 2}])
def test_an_axis_that_the_image_has_not_is_refused(
    line_scan: ZarrImageRecord, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ArgumentError, match="the image has no such axis"):
        line_scan.plot(**wrong)


def test_a_plot_that_fails_leaves_no_figure(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros((4, 4), "uint8"))
    rec.save_mask("cell", np.ones((4, 4), bool))
    rec.delete_array_artifact("cell")
    with pytest.raises(ArtifactNotFoundError):
        rec.plot()
    assert plt.get_fignums() == []


# Velocity and events -----------------------------------------------------------------------


def test_velocity_is_under_the_kymograph_on_its_time_axis(line_scan: ZarrImageRecord) -> None:
    above, below = line_scan.plot_events().axes
    assert above.get_xlim() == below.get_xlim() == pytest.approx((0, 1))
    assert above.get_shared_x_axes().joined(above, below)
    assert above.get_position().y0 >= below.get_position().y1
    assert (below.get_xlabel(), below.get_ylabel()) == ("time (s)", "velocity (mm/s)")
    assert above.get_ylabel() == "x (µm)"
    first, second = (line for line in below.lines if str(line.get_label()).startswith("ROI"))
    assert (first.get_label(), second.get_label()) == ("ROI 1", "ROI 2")
    np.testing.assert_array_equal(first.get_xdata(), [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(first.get_ydata(), [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(second.get_ydata(), [-1.0, -2.0])


def spans_and_moments(ax: Any) -> tuple[list[tuple[float, float]], list[float]]:
    spans = [patch.get_bbox().intervalx for patch in ax.patches if patch.get_fill()]
    moments = [
        float(line.get_xdata()[0])
        for line in ax.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    ]
    return [(float(a), float(b)) for a, b in spans], moments


def test_events_are_at_their_times_in_both(line_scan: ZarrImageRecord) -> None:
    figure = line_scan.plot_events()
    figure.canvas.draw()  # No text of the data is taken for a formula.
    for ax in figure.axes:
        assert spans_and_moments(ax) == ([(0.25, 0.35)], [0.75, 0.5])
    legend = figure.axes[1].get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert len(named) == 5
    assert {"ROI 1", "ROI 2", "baseline_drop", "baseline_rise"} < set(named)


def test_one_region_and_one_column_can_be_asked_for(line_scan: ZarrImageRecord) -> None:
    _, below = line_scan.plot_events(roi_id=2, channel=1, column="clean_velocity_mm_s").axes
    [line] = [line for line in below.lines if str(line.get_label()).startswith("ROI")]
    np.testing.assert_array_equal(line.get_ydata(), [-1.5, -2.5])
    assert below.get_ylabel() == "clean velocity (mm/s)"
    assert spans_and_moments(below) == ([], [0.5])


def test_channels_of_one_region_are_distinguished(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros((2, 100, 8), "uint8"), axes="cyx", line_period_s=0.01)
    assert rec.axes[1].quantity == "time"
    both = VELOCITY[VELOCITY["roi_id"] == 1].assign(channel=[1, 2, 2])
    rec.save_df_parquet("velocity", both)
    _, below = rec.plot_events().axes
    lines = [line for line in below.lines if str(line.get_label()).startswith("ROI")]
    assert [line.get_label() for line in lines] == ["ROI 1, channel 1", "ROI 1, channel 2"]
    assert lines[0].get_color() != lines[1].get_color()


def test_a_kymograph_without_events_has_its_velocity_drawn(line_scan: ZarrImageRecord) -> None:
    line_scan.delete_analysis("velocity_events/events")
    _, below = line_scan.plot_events().axes
    assert spans_and_moments(below) == ([], [])


def test_analysis_of_another_name_and_kind_is_drawn(line_scan: ZarrImageRecord) -> None:
    line_scan.save_df_csv_gz("mine", pd.DataFrame({"time_s": [0.0, 1.0], "speed": [3, 4]}))
    _, below = line_scan.plot_events(velocity="mine", events="none", column="speed").axes
    [line] = [line for line in below.lines if line.get_label() == "speed"]
    np.testing.assert_array_equal(line.get_ydata(), [3, 4])
    assert below.get_ylabel() == "speed"


def test_what_plot_events_cannot_draw_it_refuses_without_leaving_a_figure(
    ds: ZarrDataset, line_scan: ZarrImageRecord
) -> None:
    with pytest.raises(ArtifactNotFoundError, match="no data frame 'nothing'"):
        line_scan.plot_events(velocity="nothing")
    with pytest.raises(ArgumentError, match="no column 'speed'") as info:
        line_scan.plot_events(column="speed")
    assert "velocity_mm_s" in str(info.value.hint)
    line_scan.save_df_parquet("words", pd.DataFrame({"time_s": [0.0], "velocity_mm_s": ["fast"]}))
    with pytest.raises(ArgumentError, match="more than numbers"):
        line_scan.plot_events(velocity="words")
    with pytest.raises(ArgumentError, match="is no kymograph"):
        ds.add_image(np.zeros((4, 4), "uint8")).plot_events()
    lines = ds.add_image(np.zeros((4, 4), "uint8"), axes=[Axis("y", "time"), Axis("x", "space")])
    with pytest.raises(ArgumentError, match="no time axis in seconds") as info:
        lines.plot_events()
    assert "line_period_s" in str(info.value.hint)
    assert plt.get_fignums() == []


def test_without_matplotlib_the_error_names_the_extra(
    line_scan: ZarrImageRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (line_scan.plot, line_scan.plot_events):
        with pytest.raises(MissingDependencyError, match=r"kymflow-zarr\[plot\]"):
            draw()
