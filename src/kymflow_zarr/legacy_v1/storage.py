"""Read-only storage that presents a dataset of format version 1 as version 2.

Keys and documents are those of version 2, so the rest of the package needs no special cases. The
documents are derived from ``.zattrs`` and ``.zarray`` on each read; nothing is written.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from kymflow_zarr import layout
from kymflow_zarr.errors import (
    CorruptDataError,
    DatasetExistsError,
    FormatVersionError,
    LimitExceededError,
    ReadOnlyError,
    SchemaValidationError,
)
from kymflow_zarr.legacy_v1 import documents
from kymflow_zarr.legacy_v1.documents import (
    V1_FORMAT,
    read_v1_array,
    v1_array_artifact_group,
    v1_array_document,
    v1_image_group,
    v1_root_group,
)
from kymflow_zarr.runtime.limits import gunzip, loads_json
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.storage.interface import UNKNOWN_VERSION, OpenFile, Stat, Storage
from kymflow_zarr.storage.local.storage import local_path
from kymflow_zarr.storage.read_only import ReadOnlyStorage
from kymflow_zarr.types import Mode

if TYPE_CHECKING:
    from zarr.abc.store import Store

ATTRIBUTES: Final = ".zattrs"
_ARRAY: Final = ".zarray"
_DATA: Final = "data"


def is_v1(files: Storage) -> bool:
    """Return True if a storage holds a dataset of format version 1."""
    if files.stat(layout.GROUP) is not None:
        return False
    data = files.read(ATTRIBUTES)
    if data is None or V1_FORMAT.encode() not in data:
        return False
    attributes = _parse(data, ATTRIBUTES)
    return isinstance(attributes, dict) and attributes.get("format") == V1_FORMAT


def open_v1(files: Storage, mode: Mode) -> V1Storage | None:
    """Return the storage of a dataset of version 1, None if a storage holds something else.

    Raises
    ------
    DatasetExistsError, FormatVersionError
        If the mode is not read-only.
    """
    if not is_v1(files):
        return None
    if mode == "w-":
        raise DatasetExistsError(
            "there is a dataset already, in format version 1",
            where=files.location,
            hint="Choose another path.",
        )
    if mode != "r":
        raise FormatVersionError(
            "this dataset is in format version 1, which can only be read",
            where=files.location,
            hint='Open it with mode="r", or carry it over to version 2: '
            f"kymflow-zarr migrate {files.location} --in-place",
        )
    return V1Storage(files)


class V1Storage(ReadOnlyStorage):
    """The read-only storage of a dataset of format version 1.

    Parameters
    ----------
    files : Storage
        The dataset's own storage, with version 1's names.
    """

    def __init__(self, files: Storage) -> None:
        self.files = files
        self.location = files.location

    def require_writable(self) -> NoReturn:
        """Raise ReadOnlyError."""
        raise ReadOnlyError(
            "the dataset is in format version 1, which is read-only",
            where=self.location,
            hint=f"Carry it over to version 2: kymflow-zarr migrate {self.location} NEW",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return V1Storage, (self.files,)

    def local_path(self, key: str) -> Path:
        """Return the path of the file or folder that a key maps to."""
        return local_path(self.files, self.place(key))

    def place(self, key: str) -> str:
        """Return the name, below the dataset's folder, that a key maps to."""
        places = documents.places_of(key)
        there = (place for place in places[:-1] if self.files.stat(place) is not None)
        return next(there, places[-1])

    def read(self, key: str) -> bytes | None:
        """Return the bytes at a key, None if there are none."""
        folder, _, last = key.rpartition("/")
        if last == layout.GROUP:
            document = self._document(folder)
            return None if document is None else json.dumps(document).encode()
        if key == layout.MANIFEST:
            return None  # Version 1 has a derived index of its own, which is not used.
        place = self.place(key)
        data = self.files.read(place)
        if data is None or not place.endswith(".json.gz"):
            return data
        try:
            return gunzip(data, where=place)
        except LimitExceededError:
            raise
        except ValueError as error:
            raise CorruptDataError(
                f"not a readable gzip file: {error}",
                where=place,
                hint="Restore it from a copy of the dataset.",
            ) from error

    @contextmanager
    def open(self, key: str) -> Iterator[OpenFile | None]:
        """Open the file of a key to read byte ranges; return None if it does not exist."""
        with self.files.open(self.place(key)) as file:
            yield file

    def stat(self, key: str) -> Stat | None:
        """Return size and time of a file or folder, None if it does not exist."""
        folder, _, last = key.rpartition("/")
        if last == layout.GROUP:
            # Use the folder of the attributes that the document is derived from.
            return self.files.stat(self.place(folder)) if self._is_node(folder) else None
        return self.files.stat(self.place(key))

    def is_folder(self, key: str) -> bool:
        """Return True if a key maps to a folder."""
        return self.files.is_folder(self.place(key))

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key."""
        return self.files.names(self.place(prefix))

    def as_zarr_store(self, prefix: str, *, complete: bool = True) -> Store:
        """Return the unchanged Zarr v2 node, which zarr-python can read."""
        return self.files.as_zarr_store(self.place(prefix), complete=complete)

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key, encoded as in keys."""
        folder = self.place(prefix)
        if prefix == layout.IMAGES:
            names = map(documents.image_key_part, self.files.children(folder))
        elif prefix.endswith(f"/{layout.ANALYSIS_ARRAYS}"):
            names = map(documents.array_key_part, self._array_names(folder))
        else:
            return self.files.children(folder)
        return [name for name in names if name is not None]

    def versions(self, prefix: str, file: str = "") -> dict[str, int]:  # noqa: ARG002
        """Return no versions: other programs write files without changing a folder's time."""
        return dict.fromkeys(self.children(prefix), UNKNOWN_VERSION)

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, in order of their keys."""
        stats = {}
        for place, stat in self.files.walk(self.place(prefix)):
            below = self._key_of(prefix, place)
            if below is not None and self.place(below) == place:
                stats[below] = stat
        yield from sorted(stats.items())

    def _key_of(self, key: str, place: str) -> str | None:
        relative = place.removeprefix(f"{self.place(key)}/")
        parts = key.split("/")
        if parts[0] == layout.TABLES:
            return documents.table_key(place.removeprefix(f"{layout.TABLES}/"))
        if parts[0] == layout.IMAGES and parts[2:3] == [layout.ANALYSIS]:
            _, _, relative = place.partition(f"/{layout.ANALYSIS}/")
            artifact = documents.artifact_key(relative)
            return None if artifact is None else "/".join([*parts[:2], artifact])
        return f"{key}/{relative}"

    # Files without a key in version 2 --------------------------------------------------

    def foreign_files(self, image_id: str | None = None) -> list[str]:
        """Return the files without a key, by their names below the dataset's folder.

        Parameters
        ----------
        image_id : str, optional
            Files of this image. None: files beside the images, without version 1's index.
        """
        top = "" if image_id is None else documents.image_folder(image_id)
        foreign = []
        for place in self._walk(top):
            parts = place.split("/")
            if image_id is None and (
                parts[0] == layout.INDEX or (parts[0] == layout.IMAGES and len(parts) > 2)
            ):
                continue
            if not self._has_key(place, image_id):
                foreign.append(place)
        return foreign

    def refused_images(self) -> list[str]:
        """Return the names of the folders of ``images`` that are not valid ids in version 2."""
        folders = self.files.children(layout.IMAGES)
        return sorted(name for name in folders if documents.image_key_part(name) is None)

    def attributes(self, image_id: str | None = None) -> dict[str, Any]:
        """Return the ``.zattrs`` documents of an image, or of the root, by their paths in it."""
        top = "" if image_id is None else f"{documents.image_folder(image_id)}/"
        below = [""]
        if image_id is not None:
            arrays = f"{top}{layout.ANALYSIS_ARRAYS}"
            names = [f"{layout.ANALYSIS_ARRAYS}/{name}/" for name in self._array_names(arrays)]
            groups = [f"{layout.ANALYSIS_ARRAYS}/"] if names else []
            below = ["", "data/", *groups, *(p for n in names for p in (n, f"{n}{_DATA}/"))]
        places = [f"{part}{ATTRIBUTES}" for part in below]
        loaded = {place: self._load(f"{top}{place}") for place in places}
        return {place: document for place, document in loaded.items() if document is not None}

    def _walk(self, top: str) -> Iterator[str]:
        if not top:
            for name in self.files.names(""):
                if name.startswith("."):
                    continue
                if self.files.is_folder(name):
                    yield from self._walk(name)
                else:
                    yield name
            return
        for place, _ in self.files.walk(top):
            yield place

    def _has_key(self, place: str, image_id: str | None) -> bool:
        name = place.rpartition("/")[2]
        if name in layout.ZARR_V2_NAMES or layout.is_litter(name):
            return True
        if image_id is None:
            key = documents.table_key(place.removeprefix(f"{layout.TABLES}/"))
            return place.startswith(f"{layout.TABLES}/") and key is not None
        relative = place.removeprefix(f"{documents.image_folder(image_id)}/")
        room, _, rest = relative.partition("/")
        if room == layout.ANALYSIS:
            artifact = documents.artifact_key(rest)
            prefix = layout.image_prefix(image_id)
            return artifact is not None and self.place(f"{prefix}/{artifact}") == place
        if room == _DATA:
            return bool(rest) and _is_chunk(rest)
        if room == layout.ANALYSIS_ARRAYS:
            array, _, chunk = rest.partition(f"/{_DATA}/")
            return _is_chunk(chunk) and documents.array_key_part(array) is not None
        return False

    # Documents ------------------------------------------------------------------------

    def _is_node(self, key: str) -> bool:
        folder = self.place(key)
        return any(
            self.files.stat(_below(folder, name)) is not None for name in layout.ZARR_V2_NAMES
        )

    def _array_names(self, folder: str, above: str = "") -> list[str]:
        names = []
        for name in self.files.children(folder):
            below = f"{folder}/{name}"
            if self.files.stat(f"{below}/{_DATA}/{_ARRAY}") is not None:
                names.append(f"{above}{name}")
            else:
                names += self._array_names(below, f"{above}{name}/")
        return names

    def _document(self, key: str) -> Any | None:
        """Return the ``zarr.json`` of the node at a key, None if there is none."""
        if not self._is_node(key):
            return None
        folder = self.place(key)
        parts = key.split("/")
        if not key:
            return v1_root_group(self._load(ATTRIBUTES), where=ATTRIBUTES)
        if self.files.stat(f"{folder}/{_ARRAY}") is not None:
            return v1_array_document(self._array(folder))
        if parts[0] == layout.IMAGES and len(parts) == 2:
            return self._image(folder)
        if parts[2:3] == [layout.ANALYSIS_ARRAYS] and len(parts) == 4:
            return self._array_artifact(folder)
        return plain_group_document()

    def _image(self, folder: str) -> dict[str, Any]:
        where = f"{folder}/{ATTRIBUTES}"
        image_id = folder.removeprefix(f"{layout.IMAGES}/")
        return v1_image_group(
            image_id,
            self._load(where) or {},
            self._array(f"{folder}/{_DATA}"),
            payload=self._payload(image_id),
            changed_utc=self._changed_utc(folder),
            signature=self._signature(folder),
            where=where,
        )

    def _array_artifact(self, folder: str) -> dict[str, Any]:
        where = f"{folder}/{ATTRIBUTES}"
        return v1_array_artifact_group(
            folder.partition(f"/{layout.ANALYSIS_ARRAYS}/")[2],
            self._load(where) or {},
            self._array(f"{folder}/{_DATA}"),
            changed_utc=self._changed_utc(folder),
            signature=self._signature(folder),
            where=where,
        )

    def _array(self, folder: str) -> Any:
        where = f"{folder}/{_ARRAY}"
        raw = self._load(where)
        if raw is None:
            raise SchemaValidationError("the document of the array is missing", where=where)
        return read_v1_array(raw, where=where)

    def _payload(self, image_id: str) -> Any:
        key = layout.artifact_key("json", layout.METADATA)
        try:
            data = self.read(f"{layout.image_prefix(image_id)}/{key}")
            return None if data is None else loads_json(data, where=key)
        except (CorruptDataError, LimitExceededError, ValueError):
            return None  # Loading the payload raises the error.

    def _signature(self, folder: str) -> str:
        # Zarr v2 renames each chunk into its folder, which changes the folder's time.
        stat = self.files.stat(f"{folder}/{_DATA}")
        places = (f"{folder}/{ATTRIBUTES}", f"{folder}/{_DATA}/{_ARRAY}")
        parts = [self.files.read(place) or b"" for place in places]
        changed_ns = 0 if stat is None else stat.version
        return hashlib.sha256(b"\0".join([*parts, str(changed_ns).encode()])).hexdigest()

    def _changed_utc(self, folder: str) -> str:
        stat = self.files.stat(folder)
        changed_ns = 0 if stat is None else stat.version
        changed = dt.datetime.fromtimestamp(changed_ns // 10**9, dt.UTC)
        return changed.isoformat().replace("+00:00", "Z")

    def _load(self, place: str) -> Any | None:
        data = self.files.read(place)
        return None if data is None else _parse(data, place)


def _parse(data: bytes, where: str) -> Any:
    try:
        return loads_json(data, where=where)
    except LimitExceededError:
        raise
    except ValueError as error:
        raise SchemaValidationError(f"the document is not JSON: {error}", where=where) from error


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_chunk(name: str) -> bool:
    # Zarr v2: chunk indices separated by "." or "/".
    return all(part.isdecimal() for part in name.replace("/", ".").split("."))
