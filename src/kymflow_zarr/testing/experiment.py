"""A whole synthetic experiment, as the folder of files that a microscope and a lab leave."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.testing.analysis import (
    WINDOW_LINES,
    Measured,
    find_events,
    measure,
    regions_of,
)
from kymflow_zarr.testing.kymographs import SyntheticKymograph, synthesize_kymograph
from kymflow_zarr.testing.olympus import olympus_header
from kymflow_zarr.testing.pooled import (
    EVENT_COLUMNS,
    REPORT_COLUMNS,
    event_rows,
    image_statistics,
    relative_path,
    report_row,
)
from kymflow_zarr.testing.vessels import SyntheticVessel, default_vessels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kymflow_zarr.types import StrPath

__all__ = ["write_experiment"]

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
        found = {key: find_events(kymograph, value) for key, value in measured.items()}
        _write_analysis(path, vessel, measured, found)
        report += [report_row(kymograph, region, measured[region.roi_id]) for region in regions]
        events += event_rows(vessel, found)
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
        # Many file systems do not tell upper from lower case.
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
    found: dict[int, list[dict[str, Any]]],
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
            "velocity_events": {str(roi_id): items for roi_id, items in found.items() if items},
        },
    )


def _or_none(value: float) -> float | None:
    """NaN is an empty cell in these files."""
    return None if math.isnan(value) else value


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
