"""What acqstore writes into the images of its collections: a sidecar, and a table for each run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.formats import acqstore as acqstore_files
from kymflow_zarr.ingest.sidecars import acqstore
from kymflow_zarr.ingest.sidecars.artifacts import SourceArtifact
from kymflow_zarr.layout import leads_out
from kymflow_zarr.runtime.limits import loads_json

if TYPE_CHECKING:
    import pandas as pd

COLLECTION: Final = "acqstore/acq_image_collection.json"
_SIDECAR: Final = "acqstore/acq_image.json"
_MANIFEST: Final = "acqstore/manifest.json"


def names_of_collection(root: Path) -> dict[str, str]:
    """Return the path of each image's source file, by the path of its group."""
    try:
        document = json.loads((root / COLLECTION).read_bytes())
        return {
            str(each["ome_zarr_path"]): str(
                each["source"].get("relative_path") or each["source"]["filename"]
            )
            for each in document["acq_images"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def artifacts_of_image(folder: Path) -> tuple[dict[str, Any] | None, list[SourceArtifact]]:
    """Return the payload of an image of acqstore and its other artifacts; None and [] of others.

    Raises
    ------
    SourceFileError
        If a file that its manifest names cannot be read.
    """
    try:
        data = (folder / _SIDECAR).read_bytes()
    except OSError:
        return None, []
    try:
        sidecar = loads_json(data, where=_SIDECAR)
    except ValueError as error:
        raise SourceFileError(f"{_SIDECAR} is not readable JSON: {error}") from error
    if not acqstore_files.is_sidecar(sidecar):
        raise SourceFileError(f"{_SIDECAR} is no sidecar of acqstore of version 2")
    payload = acqstore_files.payload_of_sidecar(sidecar, suffix=".zarr")
    runs = acqstore_files.runs_of_sidecar(sidecar)
    made_of = (_SIDECAR,)
    artifacts = [
        SourceArtifact("json", "source_metadata", sidecar, made_of),
        SourceArtifact("json", acqstore.ANALYSIS, runs, made_of),
    ]
    events = acqstore.events_of_runs(runs, payload)
    if events is not None:
        artifacts.append(SourceArtifact("parquet", acqstore.EVENTS, events, made_of))
    return payload, [*artifacts, *_tables(folder, payload)]


def _tables(folder: Path, payload: Mapping[str, Any]) -> list[SourceArtifact]:
    """Return the tables of all runs, those of one analysis together."""
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    made_of: dict[str, list[str]] = {}
    try:
        manifest = loads_json((folder / _MANIFEST).read_bytes(), where=_MANIFEST)
    except OSError:
        return []
    for run in manifest.get("analyses", []):
        for kind, path in (run.get("resources") or {}).items():
            if path is None:
                continue
            name = run["analysis_name"] if kind == "table" else f"{run['analysis_name']}_{kind}"
            parts.setdefault(name, []).append(_table(folder, path, run))
            made_of.setdefault(name, []).append(path)
    artifacts = []
    for name, frames in parts.items():
        whole = pd.concat(frames, ignore_index=True)
        table = acqstore.table_with_image_columns(whole, payload)
        table.attrs = {
            "program": acqstore_files.PROGRAM,
            "units": acqstore.units_of(list(table.columns)),
        }
        key = acqstore.TABLE.format(name=name)
        artifacts.append(SourceArtifact("parquet", key, table, tuple(made_of[name])))
    return artifacts


def _table(folder: Path, path: str, run: Mapping[str, Any]) -> pd.DataFrame:
    from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv

    if leads_out(path):
        raise SourceFileError(f"its manifest names {path!r}, which is no place in it")
    try:
        table = decode_csv((folder / path).read_bytes())
    except (OSError, ValueError) as error:
        raise SourceFileError(f"its table {path!r} cannot be read: {error}") from error
    for name in ("roi_id", "channel"):
        if name in table.columns:
            table = table.drop(columns=name)
        table.insert(0, name, run[name])
    return table
