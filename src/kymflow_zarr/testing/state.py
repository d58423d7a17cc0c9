"""Return the content of a dataset as a comparable value, and check its invariants."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from kymflow_zarr import ZarrDataset, ZarrImageRecord, layout
from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.formats.kinds import KINDS
from kymflow_zarr.schema.checksums import FileSum, parse_checksums


def state_of(
    dataset: ZarrDataset, *, name: Callable[[ZarrImageRecord], str] | None = None
) -> dict[str, Any]:
    """Return everything that a user can read from a dataset, except times of changes.

    Parameters
    ----------
    dataset : ZarrDataset
    name : callable, optional
        Returns the name of an image in the result; its id if left out. Ids differ if images are
        added twice, while the paths of their source files do not.

    Returns
    -------
    dict
        ``image <name>`` for each image, ``table <name>`` for each table and ``file <path>`` for
        each file kept at the top. Two that are equal hold the same pixels, artifacts, metadata,
        tables and files.
    """
    names = {
        record.image_id: record.image_id if name is None else name(record)
        for record in dataset.iter_records()
    }
    state: dict[str, Any] = {}
    for image_id, called in names.items():
        state[f"image {called}"] = _state_of_image(dataset, dataset[image_id])
    for table in dataset.list_table_names():
        frame = dataset.load_table(table)
        if "image_id" in frame.columns:
            frame["image_id"] = frame["image_id"].map(lambda i: names.get(i, i))
        state[f"table {table}"] = frame.to_csv()
    source_files = open_dataset_of(dataset).source_files
    for path, document in source_files.documents().items():
        state[f"file {path}"] = _digest(source_files.read(document))
    return state


def _state_of_image(dataset: ZarrDataset, record: ZarrImageRecord) -> dict[str, Any]:
    storage, prefix = open_dataset_of(dataset).storage, layout.image_prefix(record.image_id)
    state: dict[str, Any] = {
        "pixels": (record.shape, record.dtype.str, _digest(record.load_array().tobytes())),
        "axes": (record.axes, record.channel_names),
        "earlier": [key.removeprefix(prefix) for key in record.list_earlier_artifacts()],
        "files": [(file.path, file.sha256, file.kept_as) for file in record.source_files],
        "kept": {
            file.path: _digest(read_source_file(storage, f"{prefix}/{file.kept_as}"))
            for file in record.source_files
            if file.kept_as is not None
        },
    }
    for info in record.list_artifacts():
        if info.name == layout.CURATION and info.kind == "json":
            value = json.dumps(_state_of_curation(record), sort_keys=True)
        elif info.name == layout.LINEAGE and info.kind == "json":
            value = json.dumps(_without_times(record.load_json(info.name)), sort_keys=True)
        else:
            kind = KINDS[info.kind]
            loaded = record.load_artifact(info.name, info.kind)
            value = loaded.to_csv() if kind.is_dataframe else json.dumps(loaded, sort_keys=True)
        state[f"{info.kind} {info.name}"] = value
    for array in record.list_array_artifacts():
        values = record.load_array_artifact(array)
        state[f"array {array}"] = (values.shape, values.dtype.str, _digest(values.tobytes()))
    return state


def _state_of_curation(record: ZarrImageRecord) -> dict[str, Any]:
    """Return the curation without times, and history entries by number."""
    recorded = record.curation().to_dict()
    numbers = {edit["edit_id"]: number for number, edit in enumerate(recorded["history"])}
    recorded["history"] = [
        {
            **{key: edit[key] for key in ("who", "changes")},
            **{key: numbers.get(edit[key]) for key in ("undoes", "undone_by")},
        }
        for edit in recorded["history"]
    ]
    return recorded


def _without_times(lineage: Any) -> Any:
    """Return a lineage document without what differs if a result is computed again."""
    if not isinstance(lineage, dict):
        return lineage  # Another artifact of that name.
    times = {"computed_utc", "seconds", "accepted_utc", "replaced_utc", "machine"}
    results = [
        {key: value for key, value in result.items() if key not in times}
        for result in lineage.get("results", [])
    ]
    return {**lineage, "results": results}


def check_invariants(dataset: ZarrDataset) -> None:
    """Raise AssertionError unless a dataset just opened for writing is consistent.

    The invariants: :meth:`ZarrDataset.validate` reports nothing; each file in a list of checksums
    exists and matches it, and each file of a checksum scope is in its list; dead writers leave
    nothing behind.
    """
    report = dataset.validate()
    assert report.problems == (), str(report)
    root = dataset.path
    for group in [root, *(path for path in (root / layout.IMAGES).iterdir() if path.is_dir())]:
        listed = parse_checksums((group / layout.CHECKSUMS).read_bytes(), where=group.name)
        own = {layout.WORK, layout.INDEX, layout.CHECKSUMS}
        present = {
            path.relative_to(group).as_posix()
            for path in group.rglob("*")
            if path.is_file() and path.relative_to(group).parts[0] not in own
        }
        if group == root:
            images = f"{layout.IMAGES}/"
            present = {key for key in present if key == images + layout.GROUP or images not in key}
        assert set(listed) == present, f"{group.name}: {sorted(set(listed) ^ present)}"
        for key, recorded in listed.items():
            assert FileSum.of((group / key).read_bytes()) == recorded, f"{group.name}/{key}"
    for name in ("sessions", "journal"):
        folder = root / layout.WORK / name
        left = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        assert left == [], f"left in {name}: {left}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
