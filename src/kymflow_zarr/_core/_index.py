"""The derived index: what every image is, without reading every document again.

An entry is trusted while the time of its record's folder is the one it was made from. Each
write of ours goes through that folder and so changes its time. A folder that changed within
two seconds of the scan might change again within the resolution of its clock, so its entry
is not trusted next time ("racily clean", as in git's index).

Nothing is ever only here: the index may be deleted at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from msgspec import to_builtins

from kymflow_zarr import _layout
from kymflow_zarr._core import _artifacts
from kymflow_zarr._core._documents import dump, load, load_image, require_dataset
from kymflow_zarr._core._payload import acquired_local_epoch_ns
from kymflow_zarr._schema import FORMAT, FORMAT_VERSION
from kymflow_zarr._storage import LocalStorage
from kymflow_zarr.errors import KymflowZarrError

_RACY_NS: Final = 2_000_000_000


class Index:
    """The index of one dataset.

    Parameters
    ----------
    storage : LocalStorage
    """

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage

    def image_ids(self) -> list[str]:
        """Return the ids of the images, sorted, from the folders themselves."""
        folders = self._storage.list_folders(_layout.IMAGES)
        if not folders:
            require_dataset(self._storage)
        return sorted(i for i in map(_layout.parse_image_folder, folders) if i is not None)

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return an entry for each image, by id; never stale."""
        return {image_id: entry for image_id, (_, entry) in self._scan(self._read()).items()}

    def rebuild(self) -> dict[str, dict[str, Any]]:
        """Make the index anew from the documents, write it, and return its entries."""
        with self._storage.lock("index"):
            now_ns = self._storage.now_ns()
            scanned = self._scan({})
            document = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "document": "index",
                "images": {
                    image_id: {"changed_ns": changed_ns, **entry}
                    for image_id, (changed_ns, entry) in scanned.items()
                    if changed_ns < now_ns - _RACY_NS
                },
            }
            self._storage.write(_layout.MANIFEST, dump(document), anchor="")
        return {image_id: entry for image_id, (_, entry) in scanned.items()}

    def _read(self) -> Mapping[str, Any]:
        # Derived data that cannot be used is as good as none.
        with contextlib.suppress(KymflowZarrError):
            document = load(self._storage, _layout.MANIFEST)
            if isinstance(document, dict) and document.get("format_version") == FORMAT_VERSION:
                images = document.get("images")
                if isinstance(images, dict):
                    return images
        return {}

    def _scan(self, cached: Mapping[str, Any]) -> dict[str, tuple[int, dict[str, Any]]]:
        scanned = {}
        for image_id in self.image_ids():
            stat = self._storage.stat(_layout.image_prefix(image_id))
            if stat is None:
                continue  # Deleted since it was listed.
            known = cached.get(image_id)
            if isinstance(known, dict) and known.get("changed_ns") == stat.mtime_ns:
                entry = {key: value for key, value in known.items() if key != "changed_ns"}
            else:
                entry = self._entry(image_id)
            scanned[image_id] = stat.mtime_ns, entry
        return scanned

    def _entry(self, image_id: str) -> dict[str, Any]:
        prefix = _layout.image_prefix(image_id)
        entry: dict[str, Any] = {"image_id": image_id}
        try:
            document = load_image(self._storage, image_id)
        except KymflowZarrError as error:
            # One broken image must not hide the others; validate() says more.
            return entry | {"error": str(error)}
        return entry | {
            "shape": document.pixels.shape,
            "dtype": document.pixels.dtype,
            "chunks": document.pixels.chunks,
            "axes": [axis.name for axis in document.axes],
            "created_utc": document.created_utc,
            "updated_utc": document.updated_utc,
            "acquired_local_epoch_ns": self._acquired(prefix),
            "analysis_keys": [info.key for info in _artifacts.listing(self._storage, prefix)],
            "source_files": to_builtins(document.source_files),
        }

    def _acquired(self, prefix: str) -> int | None:
        with contextlib.suppress(KymflowZarrError):
            key = f"{prefix}/{_layout.artifact_key('json', _layout.METADATA)}"
            return acquired_local_epoch_ns(load(self._storage, key))
        return None
