"""Write a synthetic experiment as a folder of a microscope's and a lab's files."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.testing.kymographs import (
    Floats,
    SyntheticKymograph,
    SyntheticVessel,
    default_vessels,
    synthesize_kymograph,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from kymflow_zarr.testing.kymographs import SyntheticKymograph, SyntheticVessel
    from kymflow_zarr.types import StrPath


WINDOW_LINES = 16
STRIDE_LINES = 4


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the image; lines by pixels, stops exclusive."""

    roi_id: int
    note: str
    lines: tuple[int, int]
    pixels: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """Velocity per window of lines; arrays of shape (n_windows,)."""

    time_s: Floats
    velocity: Floats
    clean: Floats


def regions_of(vessel: SyntheticVessel) -> tuple[Region, ...]:
    """List the whole image and, where it is wide enough, its center."""
    whole = Region(1, "Full Image", (0, vessel.n_lines), (0, vessel.n_pixels))
    if vessel.n_pixels < 24:
        return (whole,)
    quarter, fifth = vessel.n_lines // 4, vessel.n_pixels // 5
    center = Region(
        2, "Center Region", (quarter, vessel.n_lines - quarter), (fifth, vessel.n_pixels - fifth)
    )
    return (whole, center)


def measure(kymograph: SyntheticKymograph, region: Region, rng: np.random.Generator) -> Measured:
    """Estimate the velocity in windows of 16 lines, every 4 lines, as a Radon transform would."""
    vessel = kymograph.vessel
    first, last = region.lines
    starts = np.arange(first, last - WINDOW_LINES + 1, STRIDE_LINES)
    time_s = np.asarray((starts + WINDOW_LINES // 2) * vessel.line_period_s, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(kymograph.velocity_mm_s)])
    truth = (total[starts + WINDOW_LINES] - total[starts]) / WINDOW_LINES
    estimate = truth + (0.04 * np.abs(truth) + 0.004) * rng.standard_normal(len(starts))
    missed = rng.random(len(starts)) < 0.015
    estimate[missed] *= rng.uniform(-0.4, 1.6, size=int(missed.sum()))
    # The transform tests streak angles on a grid of 0.25 degrees.
    unit = vessel.pixel_size_um / (1000.0 * vessel.line_period_s)
    degrees = np.round(np.degrees(np.arctan(estimate / unit)) * 4) / 4
    velocity = unit * np.tan(np.radians(degrees))
    velocity[rng.random(len(starts)) < 0.004] = np.nan
    return Measured(time_s, velocity, _median_of_five(velocity))


def _median_of_five(values: Floats) -> Floats:
    """Smooth with a running median over 5 samples that ignores NaN; NaN where all 5 are."""
    padded = np.concatenate([[np.nan] * 2, values, [np.nan] * 2])
    windows = np.sort(np.stack([padded[i : i + len(values)] for i in range(5)], axis=1), axis=1)
    n_valid = np.sum(~np.isnan(windows), axis=1)
    # NaN sorts last; with none valid the index is -1, which is a NaN.
    return np.asarray(windows[np.arange(len(windows)), (n_valid + 1) // 2 - 1], dtype=np.float64)


def find_events(kymograph: SyntheticKymograph, measured: Measured) -> list[dict[str, Any]]:
    """List the stalls within the measured time, described as the event detector does."""
    speed = np.abs(measured.clean)
    events = []
    for event in kymograph.events:
        i = int(np.searchsorted(measured.time_s, event.t_s))
        before, after = speed[max(0, i - 60) : i], speed[i : i + 60]
        if np.isnan(before).all() or np.isnan(after).all():
            continue
        low, high = float(np.nanmedian(before)), float(np.nanmedian(after))
        spread = float(np.nanstd(speed))
        t_s = float(measured.time_s[i])
        dropped = event.event_type == "baseline_drop"
        events.append(
            {
                "event_type": event.event_type,
                "i_start": i,
                "i_peak": i,
                "i_end": None,
                "t_start": t_s,
                "t_peak": t_s,
                "t_end": None,
                "score_peak": high - low,
                "baseline_before": low,
                "baseline_after": high,
                "strength": abs(high - low) / spread if spread else None,
                "nan_fraction_in_event": None,
                "n_valid_in_event": None,
                "duration_sec": None,
                "machine_type": "stall_candidate" if dropped else "other",
                "user_type": "unreviewed",
                "note": "",
            }
        )
    return events


def olympus_header(vessel: SyntheticVessel) -> str:
    """Instrument header of a vessel: CRLF lines of ``"key" TAB "value"``.

    Parameters
    ----------
    vessel : SyntheticVessel
        What was recorded.

    Returns
    -------
    str
        The whole file. "Image Size" occurs in two sections, as it does in real ones.
    """
    width_um = f"{vessel.n_pixels * vessel.pixel_size_um:.3f} [um]"
    reference_um = f"{512 * vessel.pixel_size_um:.3f} [um]"
    size = f"{vessel.n_pixels}"
    acquired = vessel.acquired
    half = "AM" if acquired.hour < 12 else "PM"  # %p depends on the locale
    clock = f"{acquired:%m/%d/%Y %I:%M:%S}.{acquired.microsecond // 1000:03d} {half}"
    sections: dict[str, list[tuple[str, str]]] = {
        "General": [
            ("Path", f"D:/Users/Lab/{vessel.date} {vessel.condition}"),
            ("Name", f"{vessel.stem}.oir"),
            ("Scan Mode", "XT"),
            ("Date", clock),
            ("File Version", "2.1.2.3"),
            ("System Name", "FVMPE-RS"),
            ("System Version", "2.3.2.169"),
        ],
        "Dimensions": [
            (
                "X Dimension",
                f"{size}, 0.0 - {width_um}, {vessel.pixel_size_um:.3f} [um/pixel]",
            ),
            ("Channel Dimension", "1 [Ch]"),
            ("T Dimension", f"1, 0.000 - {vessel.duration_s:.3f} [s], Interval FreeRun"),
        ],
        "Image": [
            ("Primary Dimensions", "X * T"),
            ("Image Size", f"{size} * {vessel.n_lines} [pixel]"),
            (
                "Image Size(Unit Converted)",
                f"{width_um} * {1000 * vessel.duration_s:.3f} [ms]",
            ),
        ],
        "Reference Image": [
            ("Image Size", "512 * 512 [pixel]"),
            ("Image Size(Unit Converted)", f"{reference_um} * {reference_um}"),
        ],
        "Acquisition": [
            ("Objective Lens", "XLPLN25XWMP2"),
            ("Objective Lens Mag.", "25.0X"),
            ("Objective Lens NA", "1.05"),
            ("Scan Device", "Galvano"),
            ("Scan Direction", "Oneway"),
            ("Sampling Speed", "2.0 [us/pixel]"),
            ("Sequential Mode", "None"),
            ("Integration Type", "None"),
            ("Integration Count", "0"),
            ("Region Mode", "Line"),
            ("Find Mode", "x1"),
            ("Rotation", "0.0 [deg]"),
            ("Pan X", "0.0 [um]"),
            ("Pan Y", "0.0 [um]"),
            ("Zoom", f"x{0.9942 / vessel.pixel_size_um:.2f}"),
            ("ADM", "Empty"),
            ("MirrorTurret 1", "DM690"),
        ],
        "Channel 1": [
            ("Channel Name", "RNDD2"),
            ("Dye Name", "FITC"),
            ("Emission WaveLength", "517 [nm]"),
            ("PMT Voltage", "299 [V]"),
            ("BF Name", "BA495-540"),
            ("Emission DM Name", "SDM570"),
            ("Bits/Pixel", "12 [bits]"),
            ("Laser Wavelength", "820 [nm]"),
            ("Laser Transmissivity", "9.0 [%]"),
            ("Laser ND Filter", "None"),
        ],
    }
    rows = [row for name, pairs in sections.items() for row in ((f"[{name}]", ""), *pairs)]
    return "".join(f'"{key}"\t"{value}"\r\n' for key, value in rows)


# The folder's path on the machine that analyzed it. It does not exist here, so only rel_path can be
# resolved.
_ANALYSIS_ROOT = PurePosixPath("/Volumes/microscope/kymographs")
REPORT_COLUMNS = (
    "roi_id",
    "vel_min",
    "vel_max",
    "vel_mean",
    "vel_std",
    "vel_se",
    "vel_cv",
    "vel_n_nan",
    "vel_n_zero",
    "vel_n_big",
    "img_min",
    "img_max",
    "img_mean",
    "img_std",
    "path",
    "file_name",
    "parent_folder",
    "grandparent_folder",
    "rel_path",
    "accepted",
    "treatment",
    "condition",
    "date",
    "_unique_row_id",
)
EVENT_COLUMNS = (
    "_unique_row_id",
    "path",
    "roi_id",
    "rel_path",
    "parent_folder",
    "grandparent_folder",
    "event_type",
    "i_start",
    "i_peak",
    "i_end",
    "t_start",
    "t_peak",
    "t_end",
    "score_peak",
    "baseline_before",
    "baseline_after",
    "strength",
    "nan_fraction_in_event",
    "n_valid_in_event",
    "duration_sec",
    "machine_type",
    "user_type",
    "note",
    "accepted",
)


def relative_path(vessel: SyntheticVessel) -> PurePosixPath:
    """Path of the TIFF below the folder: ``<condition>/<date>/<stem>.tif``."""
    return PurePosixPath(vessel.condition, vessel.date, f"{vessel.stem}.tif")


def image_statistics(pixels: npt.NDArray[np.uint16]) -> dict[str, Any]:
    """Gray levels of a region, as regions and reports keep them."""
    if pixels.size == 0:
        return {"img_min": None, "img_max": None, "img_mean": None, "img_std": None}
    return {
        "img_min": int(pixels.min()),
        "img_max": int(pixels.max()),
        "img_mean": float(pixels.mean()),
        "img_std": float(pixels.std()),
    }


def report_row(kymograph: SyntheticKymograph, region: Region, measured: Measured) -> dict[str, Any]:
    """Row of ``radon_report_db.csv`` for one region of one image."""
    vessel = kymograph.vessel
    relative = relative_path(vessel)
    path = str(_ANALYSIS_ROOT / relative)
    valid = measured.velocity[~np.isnan(measured.velocity)]
    row: dict[str, Any] = {
        "roi_id": region.roi_id,
        "vel_n_nan": len(measured.velocity) - len(valid),
        "vel_n_zero": int(np.sum(valid == 0)),
        **image_statistics(kymograph.pixels[slice(*region.lines), slice(*region.pixels)]),
        "path": path,
        "file_name": vessel.stem,
        "parent_folder": vessel.date,
        "grandparent_folder": vessel.condition,
        "rel_path": str(relative),
        "accepted": True,
        "condition": vessel.condition,
        "date": vessel.date,
        "_unique_row_id": f"{path}|{region.roi_id}",
    }
    if len(valid):
        mean, std = float(valid.mean()), float(valid.std())
        row |= {
            "vel_min": float(valid.min()),
            "vel_max": float(valid.max()),
            "vel_mean": mean,
            "vel_std": std,
            "vel_se": std / math.sqrt(len(valid)),
            "vel_cv": std / mean if mean else None,
            "vel_n_big": int(np.sum(np.abs(valid) > abs(mean) + 2 * std)),
        }
    return row


def event_rows(
    vessel: SyntheticVessel, events_of_rois: dict[int, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Rows of ``kym_event_db.csv`` for the events of one image, by region."""
    relative = relative_path(vessel)
    path = str(_ANALYSIS_ROOT / relative)
    return [
        {
            **{key: round(v, 3) if isinstance(v, float) else v for key, v in event.items()},
            "_unique_row_id": f"{path}|{roi_id}|{number}",
            "path": path,
            "roi_id": roi_id,
            "rel_path": str(relative),
            "parent_folder": vessel.date,
            "grandparent_folder": vessel.condition,
            "accepted": True,
        }
        for roi_id, events in events_of_rois.items()
        for number, event in enumerate(events)
    ]


_ANALYZED_AT = dt.datetime(2026, 2, 19, 5, 38, 2, 115242, tzinfo=dt.UTC)

_ANALYSIS_COLUMNS = (
    "roi_id",
    "channel",
    "time",
    "velocity",
    "parentFolder",
    "file",
    "algorithm",
    "delx",
    "delt",
    "numLines",
    "pntsPerLine",
    "cleanVelocity",
    "absVelocity",
)


def write_experiment(
    folder: StrPath, *, vessels: Iterable[SyntheticVessel] | None = None, seed: int = 0
) -> list[Path]:
    """Write a synthetic experiment as a legacy folder.

    The layout is that of real folders: ``<condition>/<date>/<date>_<name>.tif`` with
    its instrument header (``.txt``), metadata payload (``.json``) and
    ``flow-analysis/*_kymanalysis.csv|.json``; at the top the pooled tables
    ``radon_report_db.csv`` and ``kym_event_db.csv``. Velocities in the analysis are
    the true ones of each window of 16 lines plus the error of an estimate.

    Parameters
    ----------
    folder : path
        Where to write; made if missing.
    vessels : iterable of SyntheticVessel, optional
        What to record; six default vessels in two conditions if left out.
    seed : int
        Equal seeds give equal files, wherever they are written.

    Returns
    -------
    list of Path
        The TIFF files, in the order of `vessels`.

    Raises
    ------
    ArgumentError
        Two vessels with one file name, or a condition or name that is no name of a
        file. Nothing is written.
    """
    chosen = tuple(default_vessels(seed) if vessels is None else vessels)
    _check_names(chosen)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    report: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for vessel in chosen:
        kymograph = synthesize_kymograph(vessel)
        path = root / relative_path(vessel)
        _write_image(path, kymograph)
        regions = regions_of(vessel)
        rng = np.random.default_rng([seed, vessel.seed])
        measured = {region.roi_id: measure(kymograph, region, rng) for region in regions}
        events_found = {key: find_events(kymograph, value) for key, value in measured.items()}
        _write_analysis(path, vessel, measured, events_found)
        report += [report_row(kymograph, region, measured[region.roi_id]) for region in regions]
        events += event_rows(vessel, events_found)
        paths.append(path)
    _write_csv(root / "radon_report_db.csv", REPORT_COLUMNS, report)
    _write_csv(root / "kym_event_db.csv", EVENT_COLUMNS, events)
    return paths


def _check_names(vessels: Sequence[SyntheticVessel]) -> None:
    seen: set[str] = set()
    for vessel in vessels:
        for part in (vessel.condition, vessel.name):
            if not part.strip(". ") or any(letter in part for letter in '/\\:*?"<>|'):
                raise ArgumentError(f"not a name for a file or folder: {part!r}", where=vessel.name)
        # Many file systems are case-insensitive.
        path = str(relative_path(vessel)).casefold()
        if path in seen:
            raise ArgumentError("two vessels would be written to one file", where=path)
        seen.add(path)


def _write_image(path: Path, kymograph: SyntheticKymograph) -> None:
    import tifffile

    vessel, pixels = kymograph.vessel, kymograph.pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack",
        metadata=None,
        software="kymflow_zarr synthetic kymograph",
        rowsperstrip=max(1, 65535 // (2 * vessel.n_pixels)),
    )
    path.with_suffix(".txt").write_bytes(olympus_header(vessel).encode("utf-8"))
    _write_json(path.with_suffix(".json"), _payload(kymograph))


def _payload(kymograph: SyntheticKymograph) -> dict[str, Any]:
    """Build the metadata payload, version "1.0" with flat regions."""
    vessel = kymograph.vessel
    rois = []
    for region in regions_of(vessel):
        pixels = kymograph.pixels[slice(*region.lines), slice(*region.pixels)]
        rois.append(
            {
                "id": region.roi_id,
                "channel": 1,
                "z": 0,
                "name": "",
                "note": region.note,
                "revision": 0,
                **image_statistics(pixels),
                "dim0_start": region.lines[0],
                "dim0_stop": region.lines[1],
                "dim1_start": region.pixels[0],
                "dim1_stop": region.pixels[1],
            }
        )
    return {
        "version": "1.0",
        "header": {
            "shape": [vessel.n_lines, vessel.n_pixels],
            "ndim": 2,
            "voxels": [vessel.line_period_s, vessel.pixel_size_um],
            "voxels_units": ["s", "um"],
            "labels": ["time (s)", "space (um)"],
            "physical_size": [
                round(vessel.duration_s, 6),
                round(vessel.n_pixels * vessel.pixel_size_um, 6),
            ],
        },
        "experiment_metadata": {
            "species": "mouse",
            "region": "cortex",
            "cell_type": "capillary",
            "depth": None,
            "branch_order": 4,
            "direction": vessel.direction,
            "sex": "",
            "genotype": "WT",
            "condition": vessel.condition,
            "condition2": "",
            "treatment": "",
            "treatment2": "",
            "date": vessel.date,
            "note": "synthetic",
        },
        "rois": rois,
    }


def _write_analysis(
    path: Path,
    vessel: SyntheticVessel,
    measured: dict[int, Measured],
    events_of_rois: dict[int, list[dict[str, Any]]],
) -> None:
    rows = (
        dict(
            zip(
                _ANALYSIS_COLUMNS,
                (
                    roi_id,
                    1,
                    float(time_s),
                    _or_none(velocity),
                    vessel.date,
                    path.name,
                    "mpRadon",
                    vessel.pixel_size_um,
                    vessel.line_period_s,
                    vessel.n_lines,
                    vessel.n_pixels,
                    _or_none(clean),
                    _or_none(abs(clean)),
                ),
                strict=True,
            )
        )
        for roi_id, table in measured.items()
        for time_s, velocity, clean in zip(
            table.time_s.tolist(), table.velocity.tolist(), table.clean.tolist(), strict=True
        )
    )
    target = path.parent / "flow-analysis"
    target.mkdir(exist_ok=True)
    _write_csv(target / f"{path.stem}_kymanalysis.csv", _ANALYSIS_COLUMNS, rows)
    _write_json(
        target / f"{path.stem}_kymanalysis.json",
        {
            "version": "2.0",
            "accepted": True,
            "analysis_metadata": {
                str(roi_id): {
                    "roi_id": roi_id,
                    "algorithm": "mpRadon",
                    "window_size": WINDOW_LINES,
                    "analyzed_at": (_ANALYZED_AT + dt.timedelta(seconds=2 * roi_id)).isoformat(),
                    "roi_revision_at_analysis": 0,
                }
                for roi_id in measured
            },
            "velocity_events": {
                str(roi_id): items for roi_id, items in events_of_rois.items() if items
            },
        },
    )


def _or_none(value: float) -> float | None:
    """Return None for NaN, which is an empty cell in these files."""
    return None if math.isnan(value) else value


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
