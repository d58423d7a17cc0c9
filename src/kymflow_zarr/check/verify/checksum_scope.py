"""Compare one image, or the top of a dataset, with its list of checksums."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from kymflow_zarr import layout
from kymflow_zarr import layout as keys
from kymflow_zarr.check.files import is_temporary, list_names, stat_of
from kymflow_zarr.check.report import Damage
from kymflow_zarr.engine.documents import is_no_image, load, load_image
from kymflow_zarr.engine.images.pyramid import disagreeing_levels
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import SourceFiles
from kymflow_zarr.errors import KymflowZarrError, SchemaValidationError, StorageError
from kymflow_zarr.formats.array.write import FilesDigest, chunk_keys
from kymflow_zarr.schema.array import read_array_document
from kymflow_zarr.schema.checksums import FileSum, parse_checksums
from kymflow_zarr.schema.image import (
    ArrayArtifactDocument,
    ImageDocument,
    PixelsDocument,
    read_array_artifact_document,
)
from kymflow_zarr.storage.interface import Stat, Storage
from kymflow_zarr.types import Severity

Hashed: TypeAlias = FileSum | str | None
"""What a file is; why it cannot be read; None if it is not there."""

# Files open at once. SHA-256 releases the GIL, so a few threads keep disk and cores busy.
_THREADS = 8
_AT_ONCE = 1000
_READ_BYTES = 1 << 20


class Hasher:
    """Hashes files, with or without an executor; reads files in pieces.

    Parameters
    ----------
    storage : Storage
    executor : concurrent.futures.Executor, optional
        This thread if left out.
    own : bool
        Whether the executor is ours: if it stops, this thread continues alone.

    Attributes
    ----------
    files, size_bytes : int
        Number of files and bytes read.
    """

    def __init__(
        self, storage: Storage, executor: Executor | None = None, *, own: bool = False
    ) -> None:
        self._hash = functools.partial(_hash, Reading(storage))
        self._executor = executor
        self._own = own
        self.files = 0
        self.size_bytes = 0

    def hash(self, files: Mapping[str, str]) -> Iterator[tuple[str, Hashed]]:
        """Yield name and digest of each file, given keys by name."""
        keys = list(files)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            wanted = [files[key] for key in some]
            digests: Iterator[Hashed]
            try:
                run = map if self._executor is None else self._executor.map
                digests = run(self._hash, wanted)
            except RuntimeError:
                if not self._own:
                    raise
                # The main thread has ended, so the interpreter starts no more threads.
                digests = map(self._hash, wanted)
            for key, hashed in zip(some, digests, strict=True):
                self.files += 1
                self.size_bytes += hashed.size_bytes if isinstance(hashed, FileSum) else 0
                yield key, hashed


@contextmanager
def hashing(storage: Storage, executor: Executor | None) -> Iterator[Hasher]:
    """Yield a hasher, with threads of its own if there is no executor."""
    if executor is not None:
        yield Hasher(storage, executor)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        yield Hasher(storage, threads, own=True)


def _hash(reading: Reading, key: str) -> Hashed:
    digest, size = hashlib.sha256(), 0
    try:
        with reading.storage.open(key) as file:
            if file is None:
                return None
            while data := file.read(size, _READ_BYTES):
                digest.update(data)
                size += len(data)
    except StorageError as error:
        cause = error.__cause__
        return cause.strerror or error.what if isinstance(cause, OSError) else error.what
    return FileSum(size, digest.hexdigest())


_CHUNK: Final = re.compile(r"c(/[0-9]+)*")


def unit_of(prefix: str, key: str) -> str:
    """Return the key, below its scope, of the unit to quarantine if a file of it is damaged.

    An array is usable only with all of its files.
    """
    if not prefix:
        return key
    first, *rest = key.split("/")
    if first in _FOLDERS_OF_ARRAYS and len(rest) > 1:
        if layout.parse_pyramid_path(rest[1]) is not None:
            return "/".join((first, *rest[:2]))
        if len(rest) > 2 and layout.parse_pixels_path(rest[1]) is None:
            return key
        return f"{first}/{rest[0]}"
    return first if _is_folder_of_arrays(first) else key


_FOLDERS_OF_ARRAYS: Final = (layout.ANALYSIS_ARRAYS, layout.LABELS)


def _is_folder_of_arrays(name: str) -> bool:
    """Return True if a folder holds pixels or the further levels of them."""
    return layout.parse_pixels_path(name) is not None or layout.parse_pyramid_path(name) is not None


def name_of(prefix: str, key: str, current: str | None) -> str:
    """Return a description of a file of a scope for reports.

    Parameters
    ----------
    prefix, key : str
        Key of the scope, and of the file below it.
    current : str, optional
        Name of the array that holds the image's current pixels.
    """
    first, _, rest = key.partition("/")
    if not prefix:
        table = layout.parse_table_key(key) if first == layout.TABLES else None
        if table is not None:
            return f"table {table!r}"
        names = {
            layout.GROUP: "document of the dataset",
            f"{layout.IMAGES}/{layout.GROUP}": "group document",
            f"{layout.SOURCE_FILES}/files.json": "list of kept source files",
        }
        return names.get(key) or ("kept source file" if first == layout.SOURCE_FILES else "file")
    if key == layout.GROUP:
        return "document of the image"
    if layout.parse_pixels_path(first) is not None:
        return "pixels" if current in (None, first) else "earlier pixels"
    if layout.parse_pyramid_path(first) is not None:
        return "pyramid"
    if first == layout.ANALYSIS:
        artifact = layout.parse_artifact_key(key)
        return f"{artifact[0]} artifact {artifact[1]!r}" if artifact is not None else "file"
    if first == layout.ANALYSIS_ARRAYS:
        if rest == layout.GROUP:
            return "group document"
        return f"array artifact {layout.decode_name(rest.partition('/')[0])!r}"
    if first == layout.LABELS:
        folder = rest.partition("/")[0]
        return (
            "list of labels" if rest == layout.GROUP else f"labels {layout.decode_name(folder)!r}"
        )
    return "kept source file" if first == layout.SOURCE_FILES else "file"


def is_read(prefix: str, key: str, listed: Collection[str]) -> bool:
    """Return True if a reader would treat a file of this key as part of the dataset."""
    if not prefix:
        return (
            key in {layout.GROUP, f"{layout.IMAGES}/{layout.GROUP}"}
            or key == f"{layout.SOURCE_FILES}/files.json"
            or layout.parse_table_key(key) is not None
        )
    first, _, rest = key.partition("/")
    if first == layout.ANALYSIS:
        return layout.parse_artifact_key(key) is not None
    if first in _FOLDERS_OF_ARRAYS:
        folder, _, below = rest.partition("/")
        if first == layout.LABELS and not any(
            k.startswith(f"{first}/{folder}/" if below else f"{first}/") for k in listed
        ):
            return False  # Labels of another program.
        if below and not any(k.startswith(f"{first}/{folder}/") for k in listed):
            return True  # The folder is listed as an array whatever it contains.
        return _is_of_group(below or rest)
    return _is_of_group(key)


def _is_of_group(key: str) -> bool:
    first, _, rest = key.partition("/")
    if key == layout.GROUP:
        return True
    if layout.parse_pyramid_path(first) is not None and rest != layout.GROUP:
        rest = rest.partition("/")[2]
    in_array = rest == layout.GROUP or _CHUNK.fullmatch(rest) is not None
    return _is_folder_of_arrays(first) and in_array


def disagreements(
    storage: Storage, prefix: str, image_id: str | None, listed: Mapping[str, FileSum]
) -> Iterator[tuple[str, str]]:
    """Yield keys below the scope whose files and documents disagree, and how.

    The files match the list, so their digests come from it and the files are not read again.
    """
    where = f"{keys.SOURCE_FILES}/files.json" if image_id is None else keys.GROUP
    try:
        if image_id is None:
            documents = list(SourceFiles(storage).documents().values())
        else:
            document = load_image(storage, image_id)
            documents = document.source_files
            if document.image_id != image_id:
                yield where, f"it is that of the image {document.image_id!r}"
            yield from _of_array(storage, prefix, "", document.pixels, listed)
            yield from _of_levels(storage, prefix, "", document, listed)
    except StorageError:
        raise
    except KymflowZarrError as error:
        yield where, error.what
        return
    for file in documents:
        for key in (file.kept_as, file.frame_as):
            if key is not None and key not in listed:
                yield where, f"it speaks of {key}, which is none of the files"
    if image_id is not None:
        for folder in _FOLDERS_OF_ARRAYS:
            yield from _array_artifacts(storage, prefix, f"{folder}/", listed)


def _array_artifacts(
    storage: Storage, prefix: str, folder: str, listed: Mapping[str, FileSum]
) -> Iterator[tuple[str, str]]:
    names = {key.split("/")[1] for key in listed if key.startswith(folder) and key.count("/") > 1}
    for name in sorted(names):
        where = f"{folder}{name}/{keys.GROUP}"
        try:
            raw = load(storage, f"{prefix}/{where}")
            document = read_array_artifact_document(raw, where=where)
            yield from _of_array(storage, prefix, f"{folder}{name}/", document.pixels, listed)
            yield from _of_levels(storage, prefix, f"{folder}{name}/", document, listed)
        except StorageError:
            raise
        except KymflowZarrError as error:
            yield where, error.what


def _of_array(
    storage: Storage,
    prefix: str,
    group: str,
    pixels: PixelsDocument,
    listed: Mapping[str, FileSum],
) -> Iterator[tuple[str, str]]:
    folder = f"{group}{pixels.path}"
    where = f"{folder}/{keys.GROUP}"
    layout = read_array_document(load(storage, f"{prefix}/{where}"), where=where)
    if layout is None:
        return  # An array of another program may omit chunks.
    stated = (pixels.shape, pixels.dtype)
    if stated != (list(layout.shape), layout.data_type):
        yield where, f"it is an array of {layout.data_type} {list(layout.shape)}, not of {stated}"
        return
    count = math.prod(layout.file_grid)
    if count != sum(key.startswith(f"{folder}/c") for key in listed):
        yield folder, f"it has not {count} chunk files, as its shape makes it"
        return
    digest = FilesDigest()
    for name in (keys.GROUP, *chunk_keys(layout)):
        file_sum = listed.get(f"{folder}/{name}")
        if file_sum is None:
            yield f"{folder}/{name}", "it is missing"
            return
        digest.add(file_sum)
    if digest.hexdigest() != pixels.sha256:
        yield folder, "its files are not those that its document was written for"


def _of_levels(
    storage: Storage,
    prefix: str,
    group: str,
    document: ImageDocument | ArrayArtifactDocument,
    listed: Mapping[str, FileSum],
) -> Iterator[tuple[str, str]]:
    pyramid = document.current_pyramid
    if pyramid is None:
        return
    problems = [
        each
        for level in pyramid.levels
        for each in _of_array(storage, prefix, group, level, listed)
    ]
    yield from problems
    if f"{group}{pyramid.path}/{keys.GROUP}" not in listed:
        yield f"{group}{pyramid.path}/{keys.GROUP}", "it is missing"
    # Without level 0 there is nothing to compare with.
    elif not problems and not list(_of_array(storage, prefix, group, document.pixels, listed)):
        place = f"{prefix}/{group}".rstrip("/")
        for path in disagreeing_levels(storage, place, document.pixels, pyramid):
            yield f"{group}{path}", "it is not what the level before it makes it"


def digest_of_files(files: Mapping[str, FileSum], folder: str) -> str:
    """Return the ``pixels.sha256`` of an array, given all of its files."""
    chunks = [key.removeprefix(f"{folder}/") for key in files]
    chunks = [key for key in chunks if key.startswith("c")]
    digest = FilesDigest()
    if f"{folder}/{keys.GROUP}" in files:
        digest.add(files[f"{folder}/{keys.GROUP}"])
    for name in sorted(chunks, key=lambda key: [int(n) for n in key.split("/")[1:]]):
        digest.add(files[f"{folder}/{name}"])
    return digest.hexdigest()


DAMAGES: Final[dict[str, Severity]] = {
    "file-missing": "error",
    "file-size": "error",
    "file-changed": "error",
    "file-unlisted": "error",
    "unreadable": "error",
    "checksums-missing": "error",
    "checksums-damaged": "error",
    "document-missing": "error",
    "contradiction": "error",
    "foreign-file": "warning",
    "index": "warning",
    "quarantine": "warning",
}
"""Severity of each code of `verify`."""

REPAIR: Final = "kymflow-zarr repair restores it from its source file, or quarantines it."
_RELIST: Final = "kymflow-zarr repair rebuilds the list from files that are certainly intact."
_LIST: Final = "list of checksums"


@dataclass(slots=True)
class ChecksumScope:
    """The files of a scope, its list of checksums, and their differences.

    Attributes
    ----------
    prefix : str
        Key of the image; empty for the top of the dataset.
    image_id : str, optional
    data : bytes, optional
        The bytes of the list of checksums.
    listed : dict of str to FileSum, optional
        The parsed list, by key below the scope; None if it cannot be read.
    present : dict of str to Stat
        The existing files.
    damages : list of Damage
    """

    prefix: str
    image_id: str | None
    data: bytes | None = None
    listed: dict[str, FileSum] | None = None
    present: dict[str, Stat] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    current: str | None = None

    def key(self, below: str) -> str:
        """Return the key in the dataset of a key below the scope."""
        return "/".join(part for part in (self.prefix, below) if part)

    def below(self, key: str) -> str:
        """Return the key below the scope of a key in the dataset."""
        return key[len(self.prefix) + 1 :] if self.prefix else key

    @property
    def errors(self) -> list[Damage]:
        """The damages that readers may meet."""
        return [damage for damage in self.damages if damage.severity == "error"]

    def add(self, code: str, below: str, what: str, advice: str, part: str | None = None) -> None:
        """Add a damage."""
        part = part or name_of(self.prefix, below, self.current)
        self.damages.append(
            Damage(DAMAGES[code], code, self.image_id, part, self.key(below), what, advice)
        )


def examine(
    storage: Storage,
    prefix: str,
    image_id: str | None,
    hasher: Hasher | None,
    before: ChecksumScope | None = None,
) -> ChecksumScope:
    """Compare a scope with its list of checksums.

    Parameters
    ----------
    storage : Storage
    prefix : str
    image_id : str, optional
    hasher : Hasher, optional
        Without one, files are not read: only presence and sizes are checked.
    before : ChecksumScope, optional
        The previous examination: files that were intact then and have not changed are not read.
    """
    scope = ChecksumScope(prefix, image_id)
    if image_id is not None:
        with contextlib.suppress(KymflowZarrError):
            scope.current = load_image(storage, image_id).pixels.path
    _read_list(storage, scope)
    try:
        scope.present = dict(_files(storage, prefix))
    except StorageError as error:
        scope.add("unreadable", "", error.what, error.hint or "Check the disk.", "folder")
        return scope
    if not prefix:
        _note_foreign(storage, scope)
    if scope.listed is None:
        if prefix and layout.GROUP not in scope.present:
            _note_no_document(scope)
        return scope
    _compare(storage, scope, scope.listed, hasher, _known(before, scope))
    if hasher is not None and not scope.errors:
        try:
            for below, what in disagreements(storage, prefix, image_id, scope.listed):
                scope.add("contradiction", below, what, REPAIR)
        except StorageError as error:  # Such as a link in place of a folder.
            scope.add("unreadable", "", error.what, error.hint or "Check the disk.", "folder")
    return scope


def _read_list(storage: Storage, scope: ChecksumScope) -> None:
    where = scope.key(layout.CHECKSUMS)
    try:
        scope.data = storage.read(where)
        if scope.data is None:
            if storage.stat(where) is not None:
                raise SchemaValidationError("something that is no file is in its place")
            what = "it is missing, so that nothing can be told of the files here"
            scope.add("checksums-missing", layout.CHECKSUMS, what, _RELIST, _LIST)
            return
        scope.listed = parse_checksums(scope.data, where=where)
    except StorageError as error:
        advice = error.hint or "Check the disk."
        scope.add("unreadable", layout.CHECKSUMS, error.what, advice, _LIST)
    except SchemaValidationError as error:
        scope.add("checksums-damaged", layout.CHECKSUMS, error.what, _RELIST, _LIST)


def _note_no_document(scope: ChecksumScope) -> None:
    scope.add(
        "document-missing",
        layout.GROUP,
        "it is missing, so that nothing in the folder can be read",
        "Restore it from a copy of the dataset; kymflow-zarr repair quarantines the folder.",
    )


def _files(storage: Storage, prefix: str) -> Iterator[tuple[str, Stat]]:
    """Yield key below the scope, size and time of each file of a scope."""
    if prefix:
        folders = [prefix]
    else:
        folders = [layout.TABLES, layout.SOURCE_FILES]
        for key in (layout.GROUP, f"{layout.IMAGES}/{layout.GROUP}"):
            stat = storage.stat(key)
            if stat is not None:
                yield key, stat
    cut = len(prefix) + 1 if prefix else 0
    for folder in folders:
        for key, stat in storage.walk(folder):
            if key[cut:] != layout.CHECKSUMS and not any(map(layout.is_litter, key.split("/"))):
                yield key[cut:], stat


def _note_foreign(storage: Storage, scope: ChecksumScope) -> None:
    for name in list_names(storage, ""):
        if name not in layout.OWN_NAMES and not is_temporary(name):
            _foreign(scope, name)
    try:
        names = list_names(storage, layout.IMAGES)
    except StorageError:
        return  # Every missing file in it is reported.
    unfinished = storage.unfinished(layout.IMAGES)
    for name in names:
        key = f"{layout.IMAGES}/{name}"
        image_id = layout.parse_image_folder(name)
        is_image = image_id is not None and storage.is_folder(key)
        if is_image and image_id is not None and is_no_image(storage, image_id):
            is_image = storage.stat(key) is None  # Deleted meanwhile.
        # The name exists but has no target: a dangling link, or an image whose committed removal is
        # in progress.
        is_there = stat_of(storage, key) is not None or name not in unfinished
        if name != layout.GROUP and not is_temporary(name) and is_there and not is_image:
            _foreign(scope, key)


def _foreign(scope: ChecksumScope, below: str) -> None:
    scope.add(
        "foreign-file",
        below,
        "it is none of the files that were written, and nothing reads it",
        "Keep it outside the dataset, or save it as an artifact.",
        "file",
    )


def _known(before: ChecksumScope | None, scope: ChecksumScope) -> set[str]:
    if before is None or before.listed is None or before.data != scope.data:
        return set()
    bad = {before.below(damage.where) for damage in before.damages}
    same = before.present.items() & scope.present.items()
    return {below for below, _ in same if below not in bad}


def _compare(
    storage: Storage,
    scope: ChecksumScope,
    listed: Mapping[str, FileSum],
    hasher: Hasher | None,
    known: Collection[str],
) -> None:
    same_size = {}
    for below, written in listed.items():
        stat = scope.present.get(below)
        if stat is None:
            there = stat_of(storage, scope.key(below)) is not None
            what = "something that is no file is in its place" if there else "it is missing"
            scope.add("file-missing", below, what, REPAIR)
        elif stat.size != written.size_bytes:
            what = f"it has {stat.size} bytes, where {written.size_bytes} were written"
            scope.add("file-size", below, what, REPAIR)
        elif below not in known:
            same_size[below] = scope.key(below)
    if hasher is not None:
        for below, hashed in hasher.hash(same_size):
            if isinstance(hashed, str):
                advice = "Check the permissions and the disk."
                scope.add("unreadable", below, f"it cannot be read: {hashed}", advice)
            elif hashed is None:
                scope.add("file-missing", below, "it is missing", REPAIR)
            elif hashed != listed[below]:
                what = "its bytes are not those that were written"
                scope.add("file-changed", below, what, REPAIR)
    for below in scope.present:
        if below not in listed and is_read(scope.prefix, below, listed):
            scope.add(
                "file-unlisted",
                below,
                "it is none of the files that were written, and readers take it for one",
                "Keep it outside the dataset, or save it as an artifact; kymflow-zarr repair "
                "quarantines it.",
            )
        elif below not in listed:
            _foreign(scope, below)
