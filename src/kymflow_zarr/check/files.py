"""List files with one walk per folder for all checks, and check files outside of records."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.check.validate.findings import RESTORE, Findings
from kymflow_zarr.engine.documents import load
from kymflow_zarr.engine.index.order import from_bytes
from kymflow_zarr.errors import SchemaValidationError, StorageError
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Stat, Storage

_TEMPORARY: Final = re.compile(re.escape(layout.TEMPORARY_PREFIX) + r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def list_files(storage: Storage, prefix: str) -> dict[str, int]:
    """Return the size in bytes of each file below a key, by its key below that key."""
    cut = len(prefix) + 1
    return {
        key[cut:]: stat.size
        for key, stat in storage.walk(prefix)
        if not any(map(layout.is_litter, key.split("/")))
    }


def list_tree(storage: Storage, prefix: str, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the files of each of some folders below a key; a file has none.

    Read the group's document first: the array that it names stays in place until the second
    replacement after that.
    """
    return {name: list_files(storage, f"{prefix}/{name}") for name in names}


def list_names(storage: Storage, key: str) -> list[str]:
    """Return the names directly below a key, hidden ones too, litter left out."""
    if not storage.is_folder(key):
        raise StorageError("cannot list: there is no folder", where=key)
    names = storage.names(key)
    return [
        name
        for name in names
        if not layout.is_litter(name)
        and (not name.startswith(".") or name == layout.WORK or _TEMPORARY.fullmatch(name))
    ]


def stat_of(storage: Storage, key: str) -> Stat | None:
    """Return size and time of a file or folder, None if it is missing or inaccessible."""
    with contextlib.suppress(StorageError):
        return storage.stat(key)
    return None


def is_temporary(name: str) -> bool:
    """Return True if a name is that of a temporary file."""
    return _TEMPORARY.fullmatch(name) is not None


def check_temporary(findings: Findings, where: str, count: int) -> None:
    """Report temporary files of interrupted writes."""
    # On-disk format: "What a crash leaves behind MUST be invisible to readers."
    if count:
        findings.add(
            "leftover",
            where,
            f"{count} files of writes that did not finish. Where no program is writing to the "
            "dataset, they can be deleted.",
        )


def check_work(findings: Findings, storage: Storage) -> None:
    """Report leftovers in the work folder of writers that are certainly dead."""
    for name, paths in storage.leftovers().items():
        check_temporary(findings, f"{layout.WORK}/{name}", len(paths))
    for key in storage.foreign():
        why = "no writer of this format puts this here; it is not used"
        findings.add("foreign-file", key, why)


def damaged_index_files(storage: Storage) -> list[str]:
    """Return the keys of the files of the index that are not as they were written."""
    damaged = []
    data = storage.read(layout.MANIFEST)
    if data is not None:
        from kymflow_zarr.engine.index import file

        if file.from_bytes(data, ["image_id"]) is None:
            damaged.append(layout.MANIFEST)
    order = storage.read(layout.ORDER)
    if order is not None and from_bytes(order) is None:
        damaged.append(layout.ORDER)
    return damaged


def check_quarantine(findings: Findings, storage: Storage) -> None:
    """Report a quarantine."""
    count = len(storage.children(layout.QUARANTINE))
    # On-disk format: "Nothing in quarantine is part of the data."
    if count:
        findings.add(
            "quarantine",
            layout.QUARANTINE,
            f"{count} repairs have quarantined here what was broken, each with a note why. "
            "Move the folder elsewhere when you no longer want it here.",
        )


def check_foreign(findings: Findings, where: str) -> None:
    """Report a file or folder that is not part of the format."""
    findings.add(
        "foreign-file",
        where,
        "the format has no place for this; it is left alone, and no export takes it along. "
        "Keep it outside the dataset, or save it as an artifact.",
    )


def check_group(findings: Findings, storage: Storage, where: str) -> None:
    """Check the document of a group that only contains other nodes."""
    # Zarr v3 core: "zarr_format ... MUST be 3", "node_type ... MUST be 'group'".
    with findings.reading("group-document", where):
        document = load(storage, where)
        if not (
            isinstance(document, Mapping)
            and document.get("zarr_format") == 3
            and document.get("node_type") == "group"
        ):
            raise SchemaValidationError(
                "there is no Zarr v3 group document, so that other programs do not find what is "
                "below",
                hint='Write {"zarr_format": 3, "node_type": "group", "attributes": {}} there.',
            )


def check_timestamp(findings: Findings, where: str, key: str, value: str) -> None:
    """Check a time of a document."""
    # On-disk format: "Times of documents MUST be ISO 8601 in UTC."
    try:
        offset = dt.datetime.fromisoformat(value).utcoffset()
    except ValueError:
        offset = None
    if offset != dt.timedelta(0):
        findings.add(
            "timestamp", where, f"{key} is {value!r}, not a time in UTC as of ISO 8601. {RESTORE}"
        )


def check_digest(findings: Findings, where: str, key: str, value: str) -> None:
    """Check the form of a digest."""
    # On-disk format: "A sha256 MUST be 64 lower-case hexadecimal digits."
    if not _SHA256.fullmatch(value):
        findings.add("digest", where, f"{key} is {value[:80]!r}, not a SHA-256 digest. {RESTORE}")


def check_source_files(
    findings: Findings,
    where: str,
    prefix: str,
    documents: Iterable[SourceFileDocument],
    present: Mapping[str, int],
) -> None:
    """Check that exactly the source files listed as kept exist.

    Parameters
    ----------
    findings : Findings
    where : str
        Key of the document that lists them.
    prefix : str
        Key that ``kept_as`` is below; empty for the dataset's own.
    documents : iterable of SourceFileDocument
    present : mapping of str to int
        Sizes of the files below ``source_files/``.
    """
    listed = set()
    for i, document in enumerate(documents):
        # A migrated source file has no recorded digest, which is not damage.
        if document.sha256 or document.role != "image":
            check_digest(findings, where, f"source_files[{i}].sha256", document.sha256)
        for key, of in ((document.kept_as, "the kept copy"), (document.frame_as, "the frame")):
            if key is None:
                continue
            name = key.removeprefix(f"{layout.SOURCE_FILES}/")
            listed.add(name)
            # On-disk format: "The file that kept_as names MUST be there."
            # On-disk format: "The file that frame_as names MUST be there."
            if name not in present:
                findings.add(
                    "source-file",
                    f"{prefix}/{key}".lstrip("/"),
                    f"{of} of {document.rel_path!r} is missing. {RESTORE}",
                )
    for name in present:
        if name not in listed and name != "files.json":
            check_foreign(findings, f"{prefix}/{layout.SOURCE_FILES}/{name}".lstrip("/"))


def warn_of_lost(lost: Sequence[str], count: int) -> None:
    """Warn that the executor lost the checks of some images, which this process then did."""
    if lost:
        warnings.warn(
            f"the executor lost the checks of {len(lost)} of {count} images, which were done in "
            f"this process instead; the first: {lost[0]}",
            RuntimeWarning,
            stacklevel=4,
        )
