"""The tables of an acqstore collection that follow from its sidecars: peaks, and two pools.

Source: collections written by acqstore 0.2.0. A pool has a row for each image, channel and region,
the one of peaks a row for each peak; a value that is not known is an empty cell.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

_FEATURES: Final = (
    "baseline_mean", "baseline_std", "prominence", "rise_10_90_sec", "decay_90_10_sec",
    "decay_time_sec", "max_rise_slope", "max_decay_slope", "auc",
)  # fmt: skip
_LEVELS: Final = (10, 20, 50, 80, 90)
# Columns of widths, and their keys in a level crossing.
_WIDTH: Final = {
    "value": "value", "left_index": "left_index", "right_index": "right_index", "points": "width",
    "sec": "width_sec", "status": "status",
}  # fmt: skip
PEAK_COLUMNS: Final = (
    "peak_id", "peak_status", "peak_warning_count", "peak_warnings_text", "onset_index",
    "onset_time_sec", "onset_value", "peak_index", "peak_time_sec", "peak_value",
    "peak_amplitude", "peak_detection_method", "onset_to_onset_interval_sec",
    "peak_to_peak_interval_sec",
    *(f"{name}{end}" for name in _FEATURES for end in ("", "_status", "_reason")),
    *(f"width_{level}_{name}" for level in _LEVELS for name in _WIDTH),
)  # fmt: skip
_IMAGE: Final = (
    "pool_row_id", "pool_row", "name", "path", "parent", "grandparent", "condition", "genotype",
    "age", "sex", "branch_order", "direction", "depth", "note", "accept", "channel", "roi_id",
    "step_y", "step_x",
)  # fmt: skip
_RUN: Final = ("analysis_date", "analysis_time", "analysis_version")
_RATE: Final = (
    "bpm", "f_hz", "snr", "edge_flag", "edge_hz_distance", "band_concentration", "status",
    "status_note",
)  # fmt: skip
_AGREEMENT: Final = ("delta_bpm", "abs_delta_bpm", "delta_hz", "agree_ok")
_SEGMENTS: Final = ("n_windows", "n_valid_windows", "median_bpm", "iqr_bpm")
_KINDS: Final = ("user", "rise", "fall", "transient")
_HEART: Final = (
    "version", "n_total", "n_valid", "valid_frac", "t_min", "t_max", "status", "status_note",
)  # fmt: skip
VELOCITY_COLUMNS: Final = (
    *_IMAGE,
    *(f"velocity_{name}" for name in (*_RUN, "num_windows", "mean", "median", "cv")),
    *(f"hr_{name}" for name in (*_RUN, *_HEART)),
    *(f"hr_{method}_{name}" for method in ("lomb", "welch") for name in _RATE),
    *(f"hr_agreement_{name}" for name in _AGREEMENT),
    *(f"hr_segments_{name}" for name in _SEGMENTS),
    *(f"event_{name}" for name in (*_RUN, "version", "parent_analysis_name", "num_events")),
    *(f"event_{kind}_events" for kind in _KINDS),
    "event_mean_duration",
)
_INTENSITY: Final = (
    *_RUN, "status", "num_timepoints", "num_peaks", "num_space_pixels", "seconds_per_line",
    "f0_baseline", "baseline_method", "baseline_percentile", "manual_f0_baseline",
    "detrend_method", "detection_method", "detection_source", "peak_search_window_ms",
    "width_search_window_ms", "baseline_window_ms", "peak_amplitude_mean",
    "peak_amplitude_median",
)  # fmt: skip
INTENSITY_COLUMNS: Final = (
    *_IMAGE, *_INTENSITY, "error_count", "errors_text", "peak_row_type", *PEAK_COLUMNS,
)  # fmt: skip


@dataclass(frozen=True)
class PooledImage:
    """An image of a collection, as its pools show it.

    Parameters
    ----------
    name, path : str
        Of its source file.
    n_channels : int
    sidecar : mapping
    """

    name: str
    path: str
    n_channels: int
    sidecar: Mapping[str, Any]

    def run(self, name: str, channel: int, roi_id: object) -> Mapping[str, Any] | None:
        """Return the summary of a run; None if there is none."""
        for run in self.sidecar["analysis"]:
            if (run["analysis_name"], run["channel"], run["roi_id"]) == (name, channel, roi_id):
                return run["summary"]  # type: ignore[no-any-return]
        return None

    def regions(self) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        """Yield channel and region of each row, and the cells that say whose they are."""
        path = PurePosixPath(self.path)
        experiment = self.sidecar["experiment_metadata"]
        header = self.sidecar["image_header_metadata"]
        for channel in range(self.n_channels):
            for roi in self.sidecar["rois"]:
                yield channel, roi["roi_id"], {
                    "pool_row_id": f"{self.path}|channel={channel}|roi_id={roi['roi_id']}",
                    "name": self.name, "path": self.path, "parent": path.parent.name,
                    "grandparent": path.parent.parent.name,
                    "accept": self.sidecar["accepted"], "channel": channel,
                    "roi_id": roi["roi_id"], "step_y": header["physical_unit_y"],
                    "step_x": header["physical_unit_x"],
                    **{key: experiment.get(key) for key in _IMAGE if key in experiment},
                }  # fmt: skip


def peak_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the peaks of a run of sum_intensity as rows."""
    rows = []
    for peak in summary.get("peak_events", []):
        onset, top = peak.get("onset") or {}, peak.get("peak") or {}
        features, warnings = peak.get("features") or {}, peak.get("warnings") or []
        row = {
            "peak_id": peak.get("peak_id"), "peak_status": peak.get("status"),
            "peak_warning_count": len(warnings), "peak_warnings_text": "; ".join(warnings),
            "onset_index": onset.get("index"), "onset_time_sec": onset.get("time_sec"),
            "onset_value": onset.get("value"), "peak_index": top.get("index"),
            "peak_time_sec": top.get("time_sec"), "peak_value": top.get("value"),
            "peak_amplitude": top.get("amplitude"),
            "peak_detection_method": peak.get("detection_method"),
            **(peak.get("intervals") or {}),
        }  # fmt: skip
        for name in _FEATURES:
            feature = features.get(name) or {}
            row |= {
                name: feature.get("value"), f"{name}_status": feature.get("status"),
                f"{name}_reason": feature.get("reason"),
            }  # fmt: skip
        for crossing in peak.get("level_crossings") or []:
            level = round(crossing["fraction"] * 100)
            row |= {f"width_{level}_{name}": crossing.get(key) for name, key in _WIDTH.items()}
        rows.append(row)
    return rows


def velocity_rows(images: Iterable[PooledImage]) -> list[dict[str, Any]]:
    """Return the rows of the pool of velocities, heart rates and events."""
    rows: list[dict[str, Any]] = []
    for image in images:
        for channel, roi_id, cells in image.regions():
            row = {**cells, "pool_row": len(rows)}
            velocity = image.run("radon_velocity", channel, roi_id)
            if velocity is not None:
                row |= {f"velocity_{name}": velocity.get(name) for name in (*_RUN, "num_windows")}
                statistics = ("velocity_mean", "velocity_median", "velocity_cv")
                row |= {name: velocity.get(name) for name in statistics}
            heart = image.run("heart_rate", channel, roi_id)
            if heart is not None:
                row |= {f"hr_{name}": heart.get(name) for name in (*_RUN, *_HEART)}
                for part, key, names in (
                    ("lomb", "lomb", _RATE), ("welch", "welch", _RATE),
                    ("agreement", "agreement", _AGREEMENT),
                    ("segments", "segments_summary", _SEGMENTS),
                ):  # fmt: skip
                    heart_rate = heart.get(key) or {}
                    row |= {f"hr_{part}_{name}": heart_rate.get(name) for name in names}
            events = image.run("event", channel, roi_id)
            if events is not None:
                row |= _event_cells(events)
            rows.append(row)
    return rows


def _event_cells(summary: Mapping[str, Any]) -> dict[str, Any]:
    events = summary.get("events") or []
    names = (*_RUN, "version", "parent_analysis_name")
    cells = {f"event_{name}": summary.get(name) for name in names}
    cells["event_num_events"] = len(events)
    for kind in _KINDS:
        cells[f"event_{kind}_events"] = sum(event.get("event_type") == kind for event in events)
    durations = [event["duration"] for event in events if event.get("duration") is not None]
    cells["event_mean_duration"] = sum(durations) / len(durations) if durations else None
    return cells


def intensity_rows(images: Iterable[PooledImage]) -> list[dict[str, Any]]:
    """Return the rows of the pool of peaks."""
    rows: list[dict[str, Any]] = []
    for image in images:
        for channel, roi_id, cells in image.regions():
            summary = image.run("sum_intensity", channel, roi_id)
            if summary is None:
                rows.append(_peak_row(cells, len(rows), "not_analyzed", {}))
                continue
            errors = summary.get("errors") or []
            totals = {name: summary.get(name) for name in _INTENSITY}
            totals |= {"error_count": len(errors), "errors_text": "; ".join(errors)}
            peaks = peak_rows(summary)
            if not peaks:
                rows.append(_peak_row(cells | totals, len(rows), "no_peaks", {}))
            for peak in peaks:
                rows.append(_peak_row(cells | totals, len(rows), "peak", peak))
    return rows


def _peak_row(
    cells: Mapping[str, Any], number: int, kind: str, peak: Mapping[str, Any]
) -> dict[str, Any]:
    row_id = f"{cells['pool_row_id']}|peak_row_type={kind}|peak_id={peak.get('peak_id', 'none')}"
    return {**cells, **peak, "pool_row_id": row_id, "pool_row": number, "peak_row_type": kind}


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as a CSV in the spelling of acqstore."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
