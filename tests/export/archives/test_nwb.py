"""NWB files of a dataset: time, velocities, events, subject, and what is missing."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import LineRoi, RectRoi, ZarrDataset
from kymflow_zarr.errors import ArgumentError, MissingDependencyError, TargetExistsError

pynwb: Any = pytest.importorskip("pynwb", reason="pynwb is not installed")

MOUSE = {
    "subject_id": "A89", "species": "mouse", "sex": "male", "age": "12 weeks",
    "timezone": "America/New_York",
}  # fmt: skip
# 2025-07-15 10:01:00 at the microscope.
ACQUIRED_NS = 1_752_573_660_000_000_000


@pytest.fixture
def ds(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    lines = np.arange(400 * 38, dtype="uint16").reshape(400, 38)
    rec = ds.add_image(lines, image_id="vessel", line_period_s=0.00125, pixel_size_um=0.25)
    rec.save_metadata_payload(
        {
            "version": "2.0",
            "header": {"acquired_local_epoch_ns": ACQUIRED_NS},
            "experiment_metadata": {"condition": "Control"},
            "rois": [],
        }
    )
    rec.save_rois(
        [RectRoi(roi_id=1, x0=2, x1=30, y0=0, y1=400), LineRoi(roi_id=2, points=[(0, 9), (37, 2)])]
    )
    rec.save_df_parquet(
        "velocity",
        pd.DataFrame(
            {"roi_id": 1, "channel": 1, "time_s": [0.02, 0.04, 0.06, 0.08],
             "velocity_mm_s": [1.5, np.nan, -0.5, 0.25]}
        ),
    )  # fmt: skip
    rec.save_df_parquet(
        "velocity_events/events",
        pd.DataFrame(
            {"t_start_s": [0.3, 0.1], "t_end_s": [np.nan, 0.2], "event_type": ["stall", "rise"],
             "id": [7, 8]}
        ),
    )  # fmt: skip
    rec.save_json("fit", {"slope": 2})
    return ds


def read(path: Path) -> Any:
    io = pynwb.NWBHDF5IO(str(path), "r")
    return io.read()


def test_a_kymograph_is_a_series_of_its_lines_with_their_rate(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    report = ds.export_nwb(tmp_path / "out", metadata=MOUSE)
    assert report.ok
    assert report.files == ("sub-A89/sub-A89_ses-vessel.nwb",)
    assert report.left_out == ()
    nwb = read(tmp_path / "out" / report.files[0])
    series = nwb.acquisition["vessel"]
    assert np.array_equal(series.data[:], ds.record("vessel").load_array())
    assert series.data.dtype == np.uint16
    assert series.rate == 800.0
    assert series.starting_time == 0.0
    assert "x 0.25 micrometer a sample" in series.description
    subject = nwb.subject
    assert (subject.subject_id, subject.species, subject.sex, subject.age) == (
        "A89", "Mus musculus", "M", "P12W",
    )  # fmt: skip
    assert nwb.session_start_time.isoformat() == "2025-07-15T10:01:00-04:00"
    images = nwb.processing["ophys"]["images"].to_dataframe()
    assert images.loc[0, "experiment_condition"] == "Control"
    assert images.loc[0, "image_id"] == "vessel"
    assert nwb.scratch["fit"].data == '{"slope": 2}'


def test_velocities_are_series_and_events_are_intervals(ds: ZarrDataset, tmp_path: Path) -> None:
    [file] = ds.export_nwb(tmp_path / "out", metadata=MOUSE).files
    nwb = read(tmp_path / "out" / file)
    ophys = nwb.processing["ophys"]
    velocity = ophys["velocity_velocity_mm_s_roi1_channel1"]
    assert velocity.unit == "mm/s"
    assert velocity.rate == pytest.approx(50.0)
    assert velocity.starting_time == 0.02
    np.testing.assert_array_equal(velocity.data[:], [1.5, np.nan, -0.5, 0.25])
    assert ophys["velocity_table"].to_dataframe()["time_s"].tolist() == [0.02, 0.04, 0.06, 0.08]
    events = nwb.intervals["velocity_events_events"].to_dataframe()
    assert events["start_time"].tolist() == [0.1, 0.3]
    assert events["stop_time"].iloc[0] == 0.2
    assert np.isnan(events["stop_time"].iloc[1])
    assert events["event_type"].tolist() == ["rise", "stall"]
    assert events["id_value"].tolist() == [8, 7]
    regions = ophys["regions"].to_dataframe()
    assert regions["roi_type"].tolist() == ["rect", "line"]
    assert regions["outline_x"].iloc[0].tolist() == [2, 30, 30, 2]
    assert regions["outline_y"].iloc[1].tolist() == [9, 2]


def test_lines_at_irregular_times_have_timestamps(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    times = np.array([0.0, 0.1, 0.25, 0.3])
    rec = ds.add_image(np.ones((4, 3), "uint8"), image_id="k", line_period_s=0.1)
    rec.save_array_artifact("axis_times/y", times)
    given = MOUSE | {"session_start_time": "2026-01-02T03:04:05"}
    [file] = ds.export_nwb(tmp_path / "out", metadata=given).files
    series = read(tmp_path / "out" / file).acquisition["k"]
    assert series.rate is None
    assert series.timestamps[:].tolist() == times.tolist()


def test_images_of_one_session_are_in_one_file_on_one_clock(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    movie = np.arange(6 * 2 * 3 * 4, dtype="float32").reshape(6, 2, 3, 4)
    for name, second in (("first", 0), ("second", 90)):
        rec = ds.add_image(movie, axes="tcyx", image_id=name, channel_names=["red", "green"])
        rec.save_metadata_objects(
            header={"acquired_local_epoch_ns": ACQUIRED_NS + second * 10**9},
            experiment={"session_id": "day 1", "subject_id": "A89"},
        )
        rec.save_array_artifact("axis_times/t", np.arange(6) * 0.5)
    [file] = ds.export_nwb(tmp_path / "out", metadata=MOUSE).files
    assert file == "sub-A89/sub-A89_ses-day-1.nwb"
    acquired = read(tmp_path / "out" / file).acquisition
    assert set(acquired) == {
        "first_channel1", "first_channel2", "second_channel1", "second_channel2",
    }  # fmt: skip
    series = acquired["second_channel2"]
    assert (series.starting_time, series.rate) == (90.0, 2.0)
    # NWB has x before y.
    assert np.array_equal(series.data[:], movie[:, 1].transpose(0, 2, 1))
    assert "'green'" in series.description


def test_a_short_movie_of_volumes_is_images_in_order_with_the_times_of_frames(
    tmp_path: Path,
) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    movie = np.arange(2 * 3 * 4 * 5, dtype="uint8").reshape(2, 3, 4, 5)
    rec = ds.add_image(movie, axes="tzyx", image_id="v")
    rec.save_array_artifact("axis_times/t", [0.0, 2.0])
    ds.add_image(movie[0, 0] > 3, image_id="still")
    given = MOUSE | {"session_start_time": "2026-01-02T03:04:05"}
    volume, still = (
        read(tmp_path / "out" / f"sub-A89/sub-A89_ses-{name}.nwb").acquisition
        for name in ("v", "still")
        if ds.export_nwb(tmp_path / "out", metadata=given, image_ids=[name]).ok
    )
    index = volume["v"]
    assert (index.data[:].tolist(), index.starting_time, index.rate) == ([0, 3], 0.0, 0.5)
    planes = index.indexed_images.order_of_images
    assert np.array_equal(planes[4].data[:], movie[1, 1].T)
    [picture] = still["still"].images.values()
    assert np.array_equal(picture.data[:], (movie[0, 0] > 3).T)


def test_all_that_is_missing_is_listed_with_where_to_type_it_and_nothing_is_written(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    report = ds.export_nwb(tmp_path / "out", dry_run=True)
    assert [gap.key for gap in report.missing] == [
        "timezone",
        "subject_id",
        "species",
        "sex",
        "age",
    ]
    assert report.missing[1].image_ids == ("vessel",)
    assert "experiment_metadata.subject_id" in report.missing[1].where
    with pytest.raises(ArgumentError, match="5 values that the archive requires"):
        ds.export_nwb(tmp_path / "out")
    with pytest.raises(ArgumentError, match="'mousse' is not understood"):
        ds.export_nwb(tmp_path / "out", metadata=MOUSE | {"species": "mousse"})
    with pytest.raises(ArgumentError, match="no time zone"):
        ds.export_nwb(tmp_path / "out", metadata=MOUSE | {"timezone": "Mars"})
    with pytest.raises(ArgumentError, match="'subject' is not among the metadata"):
        ds.export_nwb(tmp_path / "out", metadata={"subject": "A89"})
    assert not (tmp_path / "out").exists()


def test_subjects_that_differ_within_a_session_are_named(ds: ZarrDataset, tmp_path: Path) -> None:
    other = ds.add_image(np.ones((9, 3), "uint8"), image_id="other", line_period_s=1.0)
    other.save_metadata_objects(
        header={"acquired_local_epoch_ns": ACQUIRED_NS}, experiment={"sex": "F"}
    )
    given = MOUSE | {"session_id": "one"}
    [gap] = ds.export_nwb(tmp_path / "out", metadata=given, dry_run=True).missing
    assert (gap.key, gap.image_ids) == ("sex", ("vessel",))


def test_a_file_that_exists_is_never_overwritten(ds: ZarrDataset, tmp_path: Path) -> None:
    [file] = ds.export_nwb(tmp_path, metadata=MOUSE).files
    before = (tmp_path / file).read_bytes()
    with pytest.raises(TargetExistsError):
        ds.export_nwb(tmp_path, metadata=MOUSE)
    assert (tmp_path / file).read_bytes() == before
    assert [path.name for path in (tmp_path / file).parent.iterdir()] == [Path(file).name]


def test_without_pynwb_the_error_names_the_extra(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(MissingDependencyError, match=r"kymflow-zarr\[nwb\]"):
        ds.export_nwb(tmp_path, metadata=MOUSE)


def test_the_inspector_of_archives_finds_nothing_critical(ds: ZarrDataset, tmp_path: Path) -> None:
    inspector: Any = pytest.importorskip("nwbinspector", reason="nwbinspector is not installed")
    ds.export_nwb(tmp_path / "out", metadata=MOUSE)
    found = list(
        inspector.inspect_all(
            tmp_path / "out", config=inspector.load_config("dandi"), progress_bar=False
        )
    )
    worst = [message for message in found if message.importance.name in ("CRITICAL", "ERROR")]
    assert worst == []
    assert [m for m in found if m.importance.name == "PYNWB_VALIDATION"] == []


@pytest.mark.parametrize(
    ("text", "age"),
    [("P90", "P90D"), ("P12W", "P12W"), ("12 weeks", "P12W"), ("3 mo", None), ("2 months", "P2M"),
     ("P1D/P3D", "P1D/P3D"), ("old", None), ("1.5 years", "P1.5Y"), ("P", None)],
)  # fmt: skip
def test_ages_are_durations(text: str, age: str | None) -> None:
    from kymflow_zarr.export.archives.metadata import iso_age

    assert iso_age(text) == age


def test_a_time_zone_is_a_name_or_an_offset() -> None:
    from kymflow_zarr.export.archives.metadata import zone

    offset = zone("+05:30")
    assert offset is not None
    assert offset.utcoffset(None) == dt.timedelta(hours=5, minutes=30)
    assert zone("../etc/passwd") is None
