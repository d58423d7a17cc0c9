"""What the last scan of a folder reported, so that a scan of the same files need not ask again.

A scan that found nothing new is saved in the index with a digest of all that it was made of: name,
size and time of each file of the folder, and the versions of the images, tables and kept files of
the dataset. While the digest is the same, so is the report. It is derived data: without it, or
with a damaged one, the scan compares all files again.
"""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.ingest.folder.convention import is_pooled
from kymflow_zarr.ingest.folder.scan import Scan
from kymflow_zarr.ingest.folder.source_index import SourceIndex
from kymflow_zarr.ingest.report import IngestItem
from kymflow_zarr.ingest.sidecars.pooled import table_name
from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION, decodable

# The outcomes of files that a scan leaves as they are.
_AT_REST: Final = frozenset({"unchanged", "pooled", "unmatched"})


class _Document(msgspec.Struct, frozen=True):
    """The saved report of a scan."""

    format: str
    format_version: int
    document: str
    sha256: str
    items: list[IngestItem]


_DECODER: Final = msgspec.json.Decoder(decodable(_Document))


class LastScan:
    """The saved report of one folder.

    Parameters
    ----------
    dataset : OpenDataset
    root : Path
        The folder, absolute.
    scan : Scan
        The files that are there now.
    options : tuple
        What else the report depends on.
    """

    def __init__(
        self, dataset: OpenDataset, root: Path, scan: Scan, options: tuple[object, ...]
    ) -> None:
        self._dataset = dataset
        self._root = root
        self._scan = scan
        name = hashlib.sha256(f"{root}\0{options}".encode()).hexdigest()[:32]
        self._key = f"{layout.SCANS}/{name}.json"
        self._settled: Callable[[int], bool] | None = None
        self._versions: list[int] = []
        self._state = self._state_of(options)

    def items(self) -> list[IngestItem] | None:
        """Return the items of the report; None if a file or the dataset has changed since."""
        if self._state is None:
            return None
        with contextlib.suppress(KymflowZarrError, msgspec.DecodeError, UnicodeDecodeError):
            data = self._dataset.storage.read(self._key)
            if data is not None:
                saved = _DECODER.decode(data)
                version = (saved.format, saved.format_version, saved.document)
                if version == (FORMAT, FORMAT_VERSION, "scan") and saved.sha256 == self._state:
                    return saved.items
        # What is read from here on belongs to versions that were listed before.
        with contextlib.suppress(KymflowZarrError, OSError):
            self._settled = self._dataset.storage.settled()
        return None

    def save(self, items: list[IngestItem], known: SourceIndex) -> None:
        """Save the items of a scan that changed nothing, unless a later change could be missed."""
        settled = self._settled
        if self._state is None or settled is None or not self._is_complete(known):
            return
        if any(item.status not in _AT_REST for item in items):
            return
        if all(map(settled, self._versions)):
            document = _Document(FORMAT, FORMAT_VERSION, "scan", self._state, items)
            with contextlib.suppress(KymflowZarrError, OSError, UnicodeEncodeError):
                self._dataset.storage.put_derived(self._key, msgspec.json.encode(document))

    def _state_of(self, options: tuple[object, ...]) -> str | None:
        """Return the digest of all that the report is made of; None if it may change unseen."""
        scan, dataset = self._scan, self._dataset
        if scan.unreadable or scan.misnamed or scan.no_files or scan.unlisted:
            return None
        digest = hashlib.sha256(f"{__version__}\0{self._root}\0{options}\0".encode())
        digest.update(msgspec.json.encode(scan.listing))
        try:
            images = dataset.storage.versions(layout.IMAGES)
            # Most names end in another letter, and a call for each takes as long as the rest.
            paths = [path for _, path, _, _ in scan.listing if path[-1] in "vV" and is_pooled(path)]
            keys = [layout.table_key(table_name(path)) for path in paths]
            stats = [dataset.storage.stat(key) for key in (*keys, layout.SOURCE_FILES_LIST)]
        except KymflowZarrError:
            return None  # The scan reports it.
        present = [stat for stat in stats if stat is not None]
        self._versions = [*images.values(), *(stat.version for stat in present)]
        digest.update("\0".join(images).encode())
        digest.update(array("q", images.values()).tobytes())
        digest.update(repr([stat and tuple(stat) for stat in stats]).encode())
        return digest.hexdigest()

    def _is_complete(self, known: SourceIndex) -> bool:
        """Return True if every source file of the folder, and of its images, is in the scan."""
        here = {path for path, _, _, _ in self._scan.listing}
        top = f"{self._root}/"

        def is_elsewhere(paths: Iterable[str]) -> bool:
            paths = list(paths)
            inside = [path in here for path in paths]
            hidden = any(path.startswith(top) and path not in here for path in paths)
            return hidden or (any(inside) and not all(inside))

        of_images = ([file.path for file in image.files if not file.gone] for image in known)
        of_dataset = ([path] for path in self._dataset.source_files.documents())
        return not any(map(is_elsewhere, (*of_images, *of_dataset)))
