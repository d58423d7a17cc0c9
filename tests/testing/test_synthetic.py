"""Synthetic kymographs and experiments: the truth they claim is the one in their files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.testing import (
    SyntheticVessel,
    default_vessels,
    synthesize_kymograph,
    write_experiment,
)

Floats = npt.NDArray[np.float64]


def shift_per_line(pixels: npt.NDArray[Any], *, lines: int = 16, stride: int = 4) -> Floats:
    """Pixels that the pattern moves from line to line, by cross-correlation in windows.

    Knows nothing of how the image was made.
    """
    image = pixels.astype(np.float64)
    image -= image.mean(axis=0)
    width = image.shape[1]
    shifts = np.arange(-(width // 2), width // 2 + 1)
    scores = []
    for shift in shifts:
        here = image[:-1, max(0, -shift) : width - max(0, shift)]
        there = image[1:, max(0, shift) : width + min(0, shift)]
        # One window's worth of line pairs at a time, each pair weighed by its overlap.
        total = np.cumsum(np.concatenate([[0.0], (here * there).mean(axis=1)]))
        scores.append(total[lines - 1 :: stride] - total[: -(lines - 1) : stride])
    table = np.array(scores)
    peak = np.clip(table.argmax(axis=0), 1, len(shifts) - 2)
    window = np.arange(table.shape[1])
    below, at, above = (table[peak + step, window] for step in (-1, 0, 1))
    return np.asarray(shifts[peak] + 0.5 * (below - above) / (below - 2 * at + above))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("experiment") / "legacy"
    return folder, write_experiment(folder)


def sidecar(tiff: Path, suffix: str) -> Path:
    return tiff.parent / "flow-analysis" / f"{tiff.stem}_kymanalysis{suffix}"


def test_folder_has_everything_a_legacy_folder_has(experiment: tuple[Path, list[Path]]) -> None:
    folder, tiffs = experiment
    assert sorted(folder.rglob("*.tif")) == sorted(tiffs)
    assert {tiff.parent.parent.name for tiff in tiffs} == {"Control", "28d AngII"}
    for tiff in tiffs:
        assert tiff.parent.name == tiff.stem.split("_")[0]
        assert tiff.with_suffix(".txt").is_file()
        assert tiff.with_suffix(".json").is_file()
        assert sidecar(tiff, ".csv").is_file()
        assert sidecar(tiff, ".json").is_file()
    assert (folder / "kym_event_db.csv").is_file()
    assert (folder / "radon_report_db.csv").is_file()


def test_images_are_12_bit_kymographs(experiment: tuple[Path, list[Path]]) -> None:
    for tiff, vessel in zip(experiment[1], default_vessels(), strict=True):
        pixels = tifffile.imread(tiff)
        assert pixels.dtype == np.uint16
        assert pixels.shape == (vessel.n_lines, vessel.n_pixels)
        assert pixels.max() < 4096
        assert pixels.std() > 0.15 * pixels.mean()


def test_header_and_payload_agree_about_the_image(experiment: tuple[Path, list[Path]]) -> None:
    for tiff in experiment[1]:
        text = tiff.with_suffix(".txt").read_bytes().decode("utf-8")
        assert text.count("\n") == text.count("\r\n")
        rows = list(csv.reader(text.splitlines(), delimiter="\t"))
        assert all(len(row) == 2 for row in rows)
        values = [value for key, value in rows if key == "Image Size"]
        payload = json.loads(tiff.with_suffix(".json").read_bytes())
        n_lines, n_pixels = payload["header"]["shape"]
        assert values == [f"{n_pixels} * {n_lines} [pixel]", "512 * 512 [pixel]"]
        found = dict(rows)
        seconds = float(found["T Dimension"].split(" - ")[1].split(" ")[0])
        assert seconds / n_lines == pytest.approx(payload["header"]["voxels"][0], rel=1e-3)
        assert f"{payload['header']['voxels'][1]:.3f} [um/pixel]" in found["X Dimension"]
        day = payload["experiment_metadata"]["date"]
        assert found["Date"].startswith(f"{day[4:6]}/{day[6:]}/{day[:4]} ")
        assert found["Date"].endswith(("AM", "PM"))
        assert payload["version"] == "1.0"
        assert payload["rois"][0]["dim0_stop"] == n_lines


def test_rois_describe_their_pixels(experiment: tuple[Path, list[Path]]) -> None:
    for tiff in experiment[1]:
        pixels = tifffile.imread(tiff)
        for roi in json.loads(tiff.with_suffix(".json").read_bytes())["rois"]:
            part = pixels[
                roi["dim0_start"] : roi["dim0_stop"], roi["dim1_start"] : roi["dim1_stop"]
            ]
            assert roi["img_min"] == part.min()
            assert roi["img_max"] == part.max()
            assert roi["img_mean"] == pytest.approx(part.mean())


def test_velocity_seen_in_the_image_is_the_one_in_the_table(
    experiment: tuple[Path, list[Path]],
) -> None:
    for tiff in experiment[1]:
        table = pd.read_csv(sidecar(tiff, ".csv"))
        table = table[table["roi_id"] == 1]
        seen = shift_per_line(tifffile.imread(tiff))
        seen *= table["delx"].iloc[0] / table["delt"].iloc[0] / 1000  # um/s to mm/s
        told = table["cleanVelocity"].to_numpy()
        assert len(seen) == len(told)
        speed = np.nanmedian(np.abs(told))
        assert np.nanmedian(np.abs(seen - told)) < 0.1 * speed
        flowing = np.abs(told) > 0.5 * speed
        assert np.mean(np.sign(seen[flowing]) == np.sign(told[flowing])) > 0.95


def test_stalls_are_stalls_in_truth_image_and_table() -> None:
    vessel = SyntheticVessel(n_lines=4000, stalls=((1.0, 2.0), (3.0, 3.5)), seed=11)
    kymograph = synthesize_kymograph(vessel)
    assert [(event.event_type, event.t_s) for event in kymograph.events] == [
        ("baseline_drop", 1.0),
        ("baseline_rise", 2.0),
        ("baseline_drop", 3.0),
        ("baseline_rise", 3.5),
    ]
    time_s = kymograph.time_s
    inside = ((time_s > 1.1) & (time_s < 1.9)) | ((time_s > 3.1) & (time_s < 3.4))
    outside = (time_s < 0.9) | ((time_s > 2.1) & (time_s < 2.9)) | (time_s > 3.6)
    assert np.abs(kymograph.velocity_mm_s[inside]).max() < 0.03 * vessel.mean_velocity_mm_s
    assert np.abs(kymograph.velocity_mm_s[outside]).min() > 0.5 * vessel.mean_velocity_mm_s
    image = kymograph.pixels.astype(np.float64)
    change = np.concatenate([[0.0], np.abs(np.diff(image, axis=0)).mean(axis=1)])
    assert change[inside].mean() < 0.4 * change[outside].mean()


def test_events_of_the_table_are_where_its_velocity_changes(
    experiment: tuple[Path, list[Path]],
) -> None:
    folder, tiffs = experiment
    events = pd.read_csv(folder / "kym_event_db.csv")
    assert set(events["event_type"]) == {"baseline_drop", "baseline_rise"}
    for row in events.to_dict("records"):
        tiff, first = folder / row["rel_path"], int(row["i_start"])
        assert tiff in tiffs
        table = pd.read_csv(sidecar(tiff, ".csv"))
        table = table[table["roi_id"] == row["roi_id"]]
        assert table["time"].iloc[first] == pytest.approx(row["t_start"], abs=5e-4)
        speed = table["absVelocity"].to_numpy()
        before = np.nanmedian(speed[first - 30 : first - 5])
        after = np.nanmedian(speed[first + 15 : first + 40])
        if row["event_type"] == "baseline_rise":
            assert after > 5 * before
        else:
            assert before > 5 * after


def test_pooled_report_summarizes_each_region(experiment: tuple[Path, list[Path]]) -> None:
    folder, _ = experiment
    report = pd.read_csv(folder / "radon_report_db.csv")
    assert report["_unique_row_id"].is_unique
    for row in report.to_dict("records"):
        table = pd.read_csv(sidecar(folder / row["rel_path"], ".csv"))
        velocity = table.loc[table["roi_id"] == row["roi_id"], "velocity"]
        assert row["vel_mean"] == pytest.approx(velocity.mean())
        assert row["vel_n_nan"] == velocity.isna().sum()
    slow = report.groupby("condition")["vel_mean"].agg(lambda mean: mean.abs().mean())
    assert slow["28d AngII"] < 0.7 * slow["Control"]


def test_equal_seeds_give_equal_files_anywhere(tmp_path: Path) -> None:
    def contents(folder: Path, seed: int) -> dict[str, bytes]:
        vessels = [replace(vessel, n_lines=200) for vessel in default_vessels(seed)[:2]]
        write_experiment(folder, vessels=vessels, seed=seed)
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    first = contents(tmp_path / "a", 1)
    assert first == contents(tmp_path / "elsewhere" / "b", 1)
    other = contents(tmp_path / "c", 2)
    assert first.keys() == other.keys()
    assert all(other[name] != first[name] for name in first if name.endswith(".tif"))


@given(
    n_lines=st.integers(1, 200),
    n_pixels=st.integers(1, 60),
    velocity=st.floats(0.2, 5.0),
    line_period_s=st.floats(0.0005, 0.002),
    direction=st.sampled_from(["forward", "backward"]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_any_plausible_vessel_can_be_drawn(
    n_lines: int,
    n_pixels: int,
    velocity: float,
    line_period_s: float,
    direction: Any,
    seed: int,
) -> None:
    vessel = SyntheticVessel(
        n_lines=n_lines,
        n_pixels=n_pixels,
        mean_velocity_mm_s=velocity,
        line_period_s=line_period_s,
        direction=direction,
        seed=seed,
    )
    kymograph = synthesize_kymograph(vessel)
    assert kymograph.pixels.shape == (n_lines, n_pixels)
    assert kymograph.pixels.max() < 4096
    assert kymograph.time_s.shape == kymograph.velocity_mm_s.shape == (n_lines,)
    sign = 1 if direction == "forward" else -1
    assert (sign * kymograph.velocity_mm_s > 0).all()
    assert np.array_equal(kymograph.pixels, synthesize_kymograph(vessel).pixels)


def test_recording_shorter_than_a_window_has_an_empty_analysis(tmp_path: Path) -> None:
    [tiff] = write_experiment(tmp_path, vessels=[SyntheticVessel(n_lines=7, n_pixels=5)])
    table = pd.read_csv(sidecar(tiff, ".csv"))
    assert len(table) == 0
    assert "velocity" in table.columns
    assert len(pd.read_csv(tmp_path / "radon_report_db.csv")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"n_lines": 0},
        {"n_pixels": -1},
        {"mean_velocity_mm_s": 0.0},
        {"pixel_size_um": float("nan")},
        {"stalls": ((2.0, 1.0),)},
        {"date": "22.07.2025"},
        {"clock": "25:00:00.0"},
    ],
)
def test_impossible_vessels_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="V7"):
        SyntheticVessel(name="V7", **changes)


@pytest.mark.parametrize(
    "vessels",
    [
        [SyntheticVessel(), SyntheticVessel(seed=1)],
        [SyntheticVessel(name="a"), SyntheticVessel(name="A")],
        [SyntheticVessel(), SyntheticVessel(condition="../other")],
        [SyntheticVessel(condition="")],
    ],
)
def test_names_that_collide_or_lead_elsewhere_write_nothing(
    tmp_path: Path, vessels: list[SyntheticVessel]
) -> None:
    with pytest.raises(ArgumentError):
        write_experiment(tmp_path / "new", vessels=vessels)
    assert list(tmp_path.iterdir()) == []
