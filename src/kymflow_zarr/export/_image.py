"""One image, and one table, as files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import _layout
from kymflow_zarr._core import ZarrImageRecord
from kymflow_zarr._core._arrays import ArrayArtifacts
from kymflow_zarr._core._documents import load_image
from kymflow_zarr._schema import ImageDocument
from kymflow_zarr._storage import LocalStorage
from kymflow_zarr._version import __version__
from kymflow_zarr.errors import ArtifactNotFoundError, TableNotFoundError
from kymflow_zarr.export._manifest import describe_image
from kymflow_zarr.export._places import (
    ArtifactPlace,
    array_place,
    artifact_places,
    pixels_place,
    table_place,
)
from kymflow_zarr.export._target import ExportTarget

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ImagePlan", "TablePlan"]

# Below this an image is loaded whole, above it plane by plane.
WHOLE_IMAGE_BYTES: Final = 256 << 20


class TablePlan:
    """A table and the files it may need.

    Parameters
    ----------
    storage : LocalStorage
    name : str
    """

    def __init__(self, storage: LocalStorage, name: str) -> None:
        self.label = name
        self.what = f"the table {name!r}"
        self._storage = storage
        self._place = table_place(name)

    @property
    def paths(self) -> list[str]:
        """All files it may need."""
        return list(self._place.paths)

    def write(self, target: ExportTarget) -> dict[str, Any]:
        """Write the files and return what the manifest says of the table."""
        place = self._place
        data = self._storage.read(place.key)
        if data is None:
            raise TableNotFoundError("the table was deleted meanwhile", where=place.key)
        described = _write_frame(target, place, data)
        target.commit()
        return {"name": place.name, **described}


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image and the files it may need.

    Parameters
    ----------
    storage : LocalStorage
    record : ZarrImageRecord
    include_tiff : bool
    """

    storage: LocalStorage
    record: ZarrImageRecord
    include_tiff: bool

    @property
    def label(self) -> str:
        """What progress says of it."""
        return self.record.image_id

    @property
    def what(self) -> str:
        """How an error calls it."""
        return f"the image {self.record.image_id!r}"

    @property
    def paths(self) -> list[str]:
        """All files it may need."""
        image_id = self.record.image_id
        paths = [path for place in self._artifacts() for path in place.paths]
        paths += [array_place(image_id, name) for name in self.record.list_array_artifacts()]
        if self.include_tiff:
            paths.append(pixels_place(image_id, empty=0 in self.record.shape))
        return paths

    def _artifacts(self) -> list[ArtifactPlace]:
        return artifact_places(self.record.image_id, self.record.list_artifacts())

    def write(self, target: ExportTarget) -> dict[str, Any]:
        """Write the files and return what the manifest says of the image."""
        document = load_image(self.storage, self.record.image_id)
        pixels = None
        if self.include_tiff:
            document, pixels = self._write_pixels(target, document)
        described = {
            **describe_image(document),
            "pixels": pixels,
            "artifacts": [self._write_artifact(target, place) for place in self._artifacts()],
            "arrays": [self._write_array(target, n) for n in self.record.list_array_artifacts()],
        }
        # All files of an image take their places together.
        target.commit()
        return described

    # Pixels ----------------------------------------------------------------------------

    def _write_pixels(
        self, target: ExportTarget, document: ImageDocument
    ) -> tuple[ImageDocument, dict[str, Any]]:
        from kymflow_zarr.export._tiff import tiff_kind, write_tiff
        from kymflow_zarr.export._tiff_axes import tiff_axes

        image_id = self.record.image_id
        empty = 0 in document.pixels.shape
        path = pixels_place(image_id, empty=empty)
        made_from = _made_from("pixels", image_id, describe_image(document), document.pixels.sha256)
        if target.holds(path, made_from):
            target.keep(path)
        else:
            array = self._open(document)
            now = load_image(self.storage, image_id)
            if now.pixels != document.pixels:
                # Somebody replaced the pixels between the two.
                return self._write_pixels(target, now)
            axes, names = document.axis_values(), document.channel_names
            if empty:
                target.add(path, made_from, _numpy_writer(array))
            else:
                target.add(
                    path,
                    made_from,
                    lambda file: write_tiff(file, array, axes, names, name=image_id),
                )
        if empty:
            return document, {"file": path, "format": "npy"}
        placed = tiff_axes(document.axis_values())
        return document, {
            "file": path,
            "format": tiff_kind(
                document.axis_values(), tuple(document.pixels.shape), self._dtype(document)
            ),
            "axes": [axis.name for axis in placed.axes],
            "shape": [document.pixels.shape[i] for i in placed.order],
        }

    @staticmethod
    def _dtype(document: ImageDocument) -> np.dtype[Any]:
        import numpy as np

        return np.dtype(document.pixels.dtype)

    def _open(self, document: ImageDocument) -> Any:
        size = math.prod(document.pixels.shape) * self._dtype(document).itemsize
        large = size > WHOLE_IMAGE_BYTES
        return self.record.open_array() if large else self.record.load_array()

    # Artifacts -------------------------------------------------------------------------

    def _write_artifact(self, target: ExportTarget, place: ArtifactPlace) -> dict[str, Any]:
        data = self.storage.read(place.key)
        if data is None:
            raise ArtifactNotFoundError("the artifact was deleted meanwhile", where=place.key)
        described: dict[str, Any] = {"name": place.name, "kind": place.kind}
        if place.plain is not None:
            return described | _write_frame(target, place, data)
        if place.kind == "json":
            # Only what can be read is passed on.
            self.record.load_json(place.name)
        else:
            self.record.load_df_csv_gz(place.name)
        _add(target, place.exact, _made_from("verbatim", _sha256(data)), data)
        return described | {"file": place.exact}

    def _write_array(self, target: ExportTarget, name: str) -> dict[str, Any]:
        arrays = ArrayArtifacts(self.storage, _layout.image_prefix(self.record.image_id))
        path = array_place(self.record.image_id, name)
        document = arrays.document(name)
        made_from = _made_from("array", document.pixels.sha256)
        if target.holds(path, made_from):
            target.keep(path)
        else:
            target.add(path, made_from, _numpy_writer(arrays.load(name)))
        return {
            "name": name,
            "file": path,
            "axes": document.axes,
            "chunks": document.pixels.chunks,
            "updated_utc": document.updated_utc,
        }


def _write_frame(target: ExportTarget, place: ArtifactPlace, data: bytes) -> dict[str, Any]:
    """Write a CSV, and the stored file itself where that says more; say which is exact."""
    assert place.plain is not None
    made_from = _made_from("frame", place.kind, _sha256(data))
    if target.holds(place.plain, made_from) and (
        target.holds(place.exact, made_from) or not target.wrote(place.exact, made_from)
    ):
        target.keep(place.plain)
        complete = not target.holds(place.exact, made_from)
        if not complete:
            target.keep(place.exact)
    else:
        from kymflow_zarr.export._frames import csv_of

        csv, complete = csv_of(place.kind, data, where=place.key)
        target.add(place.plain, made_from, csv)
        if not complete:
            target.add(place.exact, made_from, data)
    return {"file": place.plain if complete else place.exact, "csv": place.plain}


def _add(target: ExportTarget, path: str, made_from: str, data: bytes) -> None:
    if target.holds(path, made_from):
        target.keep(path)
    else:
        target.add(path, made_from, data)


def _numpy_writer(array: np.ndarray[Any, Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import numpy as np

        with path.open("xb") as file:
            np.save(file, array, allow_pickle=False)

    return write


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _made_from(*parts: Any) -> str:
    """Return a digest of what a file follows from; another version may write differently."""
    return _sha256(json.dumps([__version__, *parts]).encode())
