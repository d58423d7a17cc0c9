"""Write a line scan in the picture that its line was drawn in, as a scene of OME-Zarr 0.6.

Source: OME-Zarr 0.6, "scene" metadata and "coordinateTransformations",
https://ngff.openmicroscopy.org/0.6/. Images of datasets stay 0.5.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import load
from kymflow_zarr.engine.images.pyramid import updated_ome
from kymflow_zarr.engine.rois.values import LineRoi, PolylineRoi
from kymflow_zarr.errors import ArgumentError, UnsupportedDataError
from kymflow_zarr.export.complete import taken
from kymflow_zarr.layout import GROUP
from kymflow_zarr.schema.axes import ome_axes
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.engine.image import StoredImage

_VERSION: Final = "0.6"
_SCAN, _PICTURE, _PLANE, _FIELD = "scan", "picture", "plane", "coordinateTransformations/line"
_SYSTEM: Final = "physical"
_PIECE_BYTES: Final = 16 << 20


def export_scene(dataset: OpenDataset, path: StrPath, scan_id: str, picture_id: str | None) -> None:
    """Write a scene; see :meth:`kymflow_zarr.ZarrDataset.export_scene`."""
    scan = dataset.record(scan_id).snapshot()
    picture = dataset.record(picture_id or _picture_of(dataset, scan)).snapshot()
    line = _line_of(picture)
    if [axis.quantity for axis in scan.axes].count("space") != 1:
        raise UnsupportedDataError(
            "it is no line scan: that has one axis of space",
            where=scan.prefix,
            hint="Give the id of the line scan first, then that of the picture.",
        )
    target = Path(path).expanduser().absolute()
    if target.exists():
        raise taken(target)
    with os_errors("write", str(target)):
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            _copy(scan, part / _SCAN)
            _copy(picture, part / _PICTURE)
            _write_group(part, {"ome": {"version": _VERSION, "scene": _scene(scan, picture, line)}})
            if len(line.points) > 2:
                _write_field(part, scan, picture, line)
            part.rename(target)
        finally:
            if part.exists():
                shutil.rmtree(part)


def _picture_of(dataset: OpenDataset, scan: StoredImage) -> str:
    """Return the id of the picture of a line scan: the other image of its file that has a line."""
    sources = dataset.load_sources_index()
    at = sources["image_id"] == scan.image_id
    same = sources["source_primary_path"].isin(sources.loc[at, "source_primary_path"].dropna())
    for image_id in sources.loc[same & ~at, "image_id"]:
        if any(isinstance(roi, _LINES) for roi in dataset.record(image_id).load_rois()):
            return str(image_id)
    raise ArgumentError(
        "no other image of its file has a line as its region",
        where=scan.prefix,
        hint="Give the id of the picture: export_scene(path, scan_id, picture_id).",
    )


_LINES: Final = (LineRoi, PolylineRoi)


def _line_of(picture: StoredImage) -> LineRoi | PolylineRoi:
    lines = [roi for roi in picture.load_rois() if isinstance(roi, _LINES)]
    if len(lines) != 1:
        raise ArgumentError(
            f"the picture has {len(lines)} regions that are lines, not one: which was scanned "
            "is not known",
            where=picture.prefix,
        )
    return lines[0]


def _copy(image: StoredImage, folder: Path) -> None:
    """Copy the levels of an image byte by byte, below metadata of version 0.6."""
    ome = _ome(image)
    multiscale = ome["multiscales"][0]
    for level in multiscale["datasets"]:
        prefix = f"{image.prefix}/{level['path']}"
        for key, _ in image.storage.walk(prefix):
            _copy_file(image, key, folder / key.removeprefix(f"{image.prefix}/"))
    system = {"name": _SYSTEM, "axes": multiscale["axes"]}
    levels = [_level(level) for level in multiscale["datasets"]]
    stated = {"name": multiscale["name"], "coordinateSystems": [system], "datasets": levels}
    rest = {key: ome[key] for key in ("omero",) if key in ome}
    _write_group(folder, {"ome": {"version": _VERSION, "multiscales": [stated], **rest}})


def _copy_file(image: StoredImage, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with image.storage.open(key) as source, target.open("xb") as file:
        if source is None:
            raise UnsupportedDataError("the file is not there any more", where=key)
        for start in range(0, source.size, _PIECE_BYTES):
            file.write(source.read(start, _PIECE_BYTES))


def _level(level: Mapping[str, Any]) -> dict[str, Any]:
    """Return a level with its transformation between two named ends, as 0.6 demands it."""
    ends = {"input": {"path": level["path"]}, "output": {"name": _SYSTEM}}
    steps = level["coordinateTransformations"]
    one = steps[0] if len(steps) == 1 else {"type": "sequence", "transformations": steps}
    return {"path": level["path"], "coordinateTransformations": [one | ends]}


def _scene(scan: StoredImage, picture: StoredImage, line: LineRoi | PolylineRoi) -> dict[str, Any]:
    plane = {"name": _PLANE}
    # The pictures of all channels and depths lie in one plane.
    shown = {"type": "affine", "affine": _rows(picture)}
    if len(line.points) == 2:
        scanned: dict[str, Any] = {"type": "affine", "affine": _along(scan, picture, line)}
    else:
        field = {"type": "coordinates", "path": _FIELD, "interpolation": "linear"}
        steps = [field] if scan.ndim == 2 else [{"type": "affine", "affine": _rows(scan)}, field]
        scanned = {"type": "sequence", "transformations": steps}
    axes = [axis for axis in _axes(picture) if axis["name"] in ("y", "x")]
    return {
        "coordinateSystems": [plane | {"axes": axes}],
        "coordinateTransformations": [
            shown | {"input": {"path": _PICTURE, "name": _SYSTEM}, "output": plane},
            scanned | {"input": {"path": _SCAN, "name": _SYSTEM}, "output": plane},
        ],
    }


def _ome(image: StoredImage) -> dict[str, Any]:
    """Return the OME-Zarr metadata of an image, of version 0.5."""
    raw = load(image.storage, f"{image.prefix}/{GROUP}") or {}
    ome = updated_ome(image.document(), raw.get("attributes", {}).get("ome"))
    if ome is None:
        raise UnsupportedDataError(
            "its axes cannot be written in OME-Zarr",
            where=image.prefix,
            hint="ds.validate() says which order of the axes could be.",
        )
    return ome


def _axes(image: StoredImage) -> list[dict[str, Any]]:
    axes: list[dict[str, Any]] = _ome(image)["multiscales"][0]["axes"]
    return axes


def _steps(image: StoredImage) -> tuple[float, float]:
    """Return the steps along y and x, 1 where one is not known, as OME-Zarr has them."""
    y, x = (ome_axes(image.axes) or image.axes)[-2:]
    return (1.0 if y.step is None else y.step, 1.0 if x.step is None else x.step)


def _rows(image: StoredImage) -> list[list[float]]:
    """Return the matrix that keeps y and x of a point of an image."""
    rows = np.zeros((2, image.ndim + 1))
    rows[0, -3] = rows[1, -2] = 1
    return rows.tolist()


def _points(picture: StoredImage, line: LineRoi | PolylineRoi) -> npt.NDArray[np.float64]:
    """Return the points of the line as ``(y, x)`` in the units of the picture."""
    return np.array(line.points)[:, ::-1] * _steps(picture)


def _along(
    scan: StoredImage, picture: StoredImage, line: LineRoi | PolylineRoi
) -> list[list[float]]:
    """Return the matrix that puts the pixels of a straight line evenly between its ends."""
    start, end = _points(picture, line)
    reach = max(scan.shape[-1] - 1, 1) * _steps(scan)[1]
    rows = np.zeros((2, scan.ndim + 1))
    rows[:, -2] = (end - start) / reach
    rows[:, -1] = start
    return rows.tolist()


def _write_field(
    folder: Path, scan: StoredImage, picture: StoredImage, line: LineRoi | PolylineRoi
) -> None:
    """Write the place of each pixel of a bent line, the same for the first and the last line."""
    import zarr

    points = _points(picture, line)
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, lengths[-1], scan.shape[-1])
    places = np.stack([np.interp(at, lengths, points[:, place]) for place in range(2)])
    values = np.repeat(places[:, None], 2, axis=1)
    line_s, pixel = _steps(scan)
    scale = [1.0, max(scan.shape[-2] - 1, 1) * line_s, pixel]
    axes = [{"name": "c", "type": "coordinate", "discrete": True}, *_axes(scan)[-2:]]
    ends = {"input": {"path": "0"}, "output": {"name": _SYSTEM}}
    multiscale = {
        "name": "line",
        "coordinateSystems": [{"name": _SYSTEM, "axes": axes}],
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale} | ends]}
        ],
    }
    _write_group(folder / "coordinateTransformations", {})
    _write_group(folder / _FIELD, {"ome": {"version": _VERSION, "multiscales": [multiscale]}})
    names = [axis["name"] for axis in axes]
    zarr.create_array(folder / _FIELD / "0", data=values, zarr_format=3, dimension_names=names)


def _write_group(folder: Path, attributes: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (folder / GROUP).write_text(json.dumps(document, indent=2))
