"""The files that lie beside a TIFF, by name.

``<stem>.txt`` is the instrument header, ``<stem>.json`` the metadata, and
``<stem>.<name>.{json,csv,csv.gz,parquet,npy}`` an artifact called ``<name>``, of which
``metadata`` is the payload.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest._olympus import OlympusHeader, read_olympus_header

if TYPE_CHECKING:
    from kymflow_zarr._core import RecordDraft

SIDECAR_SUFFIXES: Final = (".csv.gz", ".json", ".csv", ".parquet", ".npy")
# "<base>_C001T001.tif" shares "<base>.txt" with the other channels of its acquisition.
_CHANNEL_FILE: Final = re.compile(r"(?P<base>.+)_C\d{3}T\d{3}")


@dataclass
class Sidecars:
    """What lies beside one TIFF.

    Parameters
    ----------
    header : Path, optional
    metadata : Path, optional
    artifacts : dict of str to list of Path
        By the artifact's name.
    """

    header: Path | None = None
    metadata: Path | None = None
    artifacts: dict[str, list[Path]] = field(default_factory=dict)


@dataclass
class LoadedSidecars:
    """The values of the sidecars, and what could not be read."""

    header: OlympusHeader | None = None
    payload: dict[str, Any] | None = None
    saves: list[Callable[[RecordDraft], None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sidecars_of(tiffs: Iterable[Path], folder: Path) -> dict[Path, Sidecars]:
    """Return the sidecars of each TIFF of a folder.

    Parameters
    ----------
    tiffs : iterable of Path
        The TIFFs of that one folder.
    folder : Path
    """
    found = {tiff: Sidecars() for tiff in tiffs}
    by_stem = {tiff.stem: tiff for tiff in found}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    for name in names:
        if name.endswith(".txt"):
            stem = name.removesuffix(".txt")
            for other, tiff in by_stem.items():
                match = _CHANNEL_FILE.fullmatch(other)
                if other == stem or (match is not None and match["base"] == stem):
                    found[tiff].header = folder / name
            continue
        suffix = next((s for s in SIDECAR_SUFFIXES if name.endswith(s)), None)
        if suffix is None:
            continue
        owner, artifact = _split(name.removesuffix(suffix), by_stem)
        if owner is None:
            continue
        sidecars = found[by_stem[owner]]
        if suffix == ".json" and artifact in ("", "metadata"):
            # The generic "<stem>.metadata.json" is a payload as saved, and goes first.
            if artifact or sidecars.metadata is None:
                sidecars.metadata = folder / name
        elif artifact:
            sidecars.artifacts.setdefault(artifact, []).append(folder / name)
    return found


def _split(name: str, stems: Iterable[str]) -> tuple[str | None, str]:
    """Split ``<stem>.<artifact>``; a stem may hold dots, so the longest one that fits counts."""
    fitting = [stem for stem in stems if name == stem or name.startswith(f"{stem}.")]
    stem = max(fitting, key=len, default=None)
    return stem, "" if stem is None else name[len(stem) + 1 :]


def load_sidecars(sidecars: Sidecars) -> LoadedSidecars:
    """Read the sidecars of one TIFF. One that cannot be read is noted, not fatal."""
    loaded = LoadedSidecars()
    if sidecars.header is not None:
        loaded.header = read_olympus_header(sidecars.header)
        if loaded.header is None:
            loaded.notes.append(f"{sidecars.header.name} is no instrument header")
    if sidecars.metadata is not None:
        try:
            loaded.payload = _read_payload(sidecars.metadata)
        except SourceFileError as error:
            loaded.notes.append(f"{sidecars.metadata.name} {error.what}")
    for name, paths in sorted(sidecars.artifacts.items()):
        for path in _without_copies(paths, loaded.notes):
            try:
                loaded.saves.append(_artifact(name, path))
            except (SourceFileError, ValueError, OSError) as error:
                loaded.notes.append(f"{path.name} was left out: {error}")
    return loaded


def _without_copies(paths: list[Path], notes: list[str]) -> list[Path]:
    """Return one file for each kind of artifact: Parquet holds all that a CSV of its name does."""
    parquet = [path for path in paths if path.name.endswith(".parquet")]
    kept = []
    for path in paths:
        if parquet and path.name.endswith(".csv"):
            notes.append(f"{path.name} was left out for {parquet[0].name}")
        else:
            kept.append(path)
    return kept


def _read_payload(path: Path) -> dict[str, Any]:
    value = _read_json(path)
    if not isinstance(value, dict):
        raise SourceFileError("is not a JSON object, so no metadata", where=str(path))
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceFileError(f"is not readable JSON: {error}", where=str(path)) from error
    except OSError as error:
        raise SourceFileError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _artifact(name: str, path: Path) -> Callable[[RecordDraft], None]:
    if path.name.endswith(".json"):
        value = _read_json(path)
        return lambda draft: draft.save("json", name, value)
    if path.name.endswith(".npy"):
        import numpy as np

        array = np.load(path, allow_pickle=False)
        return lambda draft: draft.save_array(name, array)
    from kymflow_zarr._encodings._csv_gz import decode_csv, decode_csv_gz
    from kymflow_zarr._encodings._dataframe import decode_parquet

    data = path.read_bytes()
    if path.name.endswith(".parquet"):
        frame = decode_parquet(data, where=str(path))
        return lambda draft: draft.save("parquet", name, frame)
    if path.name.endswith(".csv"):
        table = decode_csv(data)
        return lambda draft: draft.save("parquet", name, table)
    zipped = decode_csv_gz(data, where=str(path))
    return lambda draft: draft.save("csv_gz", name, zipped)
