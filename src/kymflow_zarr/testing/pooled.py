"""The tables at the top of a legacy folder, pooled over its images: velocities and events."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.testing.analysis import Measured, Region
    from kymflow_zarr.testing.kymographs import SyntheticKymograph
    from kymflow_zarr.testing.vessels import SyntheticVessel

__all__ = [
    "EVENT_COLUMNS",
    "REPORT_COLUMNS",
    "event_rows",
    "image_statistics",
    "relative_path",
    "report_row",
]

# The folder as it was called on the machine that analyzed it. It does not exist,
# as it would not on any other machine: only rel_path can be resolved.
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
    """Place of the TIFF below the folder: ``<condition>/<date>/<stem>.tif``."""
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
    vessel: SyntheticVessel, found: dict[int, list[dict[str, Any]]]
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
        for roi_id, events in found.items()
        for number, event in enumerate(events)
    ]
