"""The files of a folder that belong to no single image: pooled tables and unmatched files."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.source_files import SCOPE
from kymflow_zarr.errors import KymflowZarrError, SourceFileError, StorageError
from kymflow_zarr.ingest.folder.convention import FolderPlan
from kymflow_zarr.ingest.folder.known_programs import known_file
from kymflow_zarr.ingest.folder.scan import ScannedFile, is_gone
from kymflow_zarr.ingest.folder.source_index import SourceIndex
from kymflow_zarr.ingest.report import IngestItem
from kymflow_zarr.ingest.sidecars.pooled import (
    ImageIdsByPath,
    move_rows,
    pooled_rows,
    save_pooled,
    table_name,
    unresolved_paths,
)
from kymflow_zarr.layout import table_key
from kymflow_zarr.schema.analysis_columns import IMAGE_ID, POOLED_PATH
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import without_conflict
from kymflow_zarr.storage.local.files import digest_of_bytes

if TYPE_CHECKING:
    from kymflow_zarr.formats.rows.encoded import Rows

# A larger unmatched file is likely a video or an archive, and is not kept.
KEEP_BYTES: Final = 64 << 20


class UnclaimedFiles:
    """The files of a folder that belong to no image.

    Parameters
    ----------
    known : SourceIndex
        The current images of the dataset, including those added by this scan.
    plan : FolderPlan
    root : Path
        The folder, absolute.

    Attributes
    ----------
    is_at_rest : bool
        False if anything was written, or could not be read and may be readable next time.
    """

    def __init__(self, known: SourceIndex, plan: FolderPlan, root: Path) -> None:
        dataset = known.dataset
        self._known = known
        self._dataset = dataset
        self._plan = plan
        self._root = root
        self._kept = dataset.source_files
        self._documents = self._kept.documents()
        self._to_keep: dict[str, tuple[SourceFileDocument, bytes]] = {}
        self._new_tables: dict[str, tuple[ScannedFile, bytes]] = {}
        self._late: list[ScannedFile] = []
        self.is_at_rest = True
        self._instead_of: set[str] = set()
        self._gone = self._no_longer_there()
        self._moved = self._found_again()

    def planned(self) -> Iterator[IngestItem]:
        """Yield the items that a dry run reports."""
        for scanned in self._plan.pooled:
            path = scanned.full_path
            known = self._documents.get(path)
            reason = "unchanged" if known is not None and _same(known, scanned) else None
            if path in self._moved:
                reason = f"it was {self._moved[path].path}"
            yield IngestItem("pooled", path, None, reason)
        for scanned, reason in self._plan.unmatched:
            yield IngestItem("unmatched", scanned.full_path, None, self._with_move(reason, scanned))
        yield from self._missing()

    def carried_out(self, mode: str, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        """Update the tables, keep unmatched files, and yield the report's items."""
        self._follow()
        images = self._images()
        items = {
            scanned.full_path: self._pooled(scanned, images, mode, overwrite_edits)
            for scanned in self._plan.pooled
        }
        for scanned, reason in self._plan.unmatched:
            reason = self._with_move(self._keep(scanned, reason), scanned)
            items[scanned.full_path] = IngestItem("unmatched", scanned.full_path, None, reason)
        self._instead_of |= self._with_an_image()
        self._commit()
        for scanned in self._late:
            items[scanned.full_path] = self._pooled(scanned, images, mode, overwrite_edits)
        self._commit()
        yield from items.values()
        yield from self._missing()

    def _commit(self) -> None:
        """Write the new tables and keep the files, as one change.

        A pooled file whose table another program has created meanwhile is not written, but late.
        """
        new, self._new_tables = self._new_tables, {}
        files, self._to_keep = self._to_keep, {}
        gone, self._instead_of = self._instead_of, set()
        if not (new or files or gone):
            return
        self.is_at_rest = False
        storage, tables = self._dataset.storage, self._dataset.tables

        def write() -> list[ScannedFile]:
            late: list[ScannedFile] = []
            with (
                storage.lock(SCOPE, *tables.scopes(new)),
                storage.lock("top"),
                Change(storage, "") as change,
            ):
                to_keep = dict(files)
                for name, (scanned, data) in new.items():
                    if tables.exists(name):
                        late.append(scanned)
                        del to_keep[scanned.full_path]
                    else:
                        change.write(table_key(name), data)
                self._kept.add_to(change, to_keep, gone)
            return late

        self._late += without_conflict(storage, write)

    # Moved files ------------------------------------------------------------

    def _no_longer_there(self) -> list[SourceFileDocument]:
        here = {scanned.full_path for scanned in self._plan.pooled}
        here |= {scanned.full_path for scanned, _ in self._plan.unmatched}
        return [
            document
            for path, document in self._documents.items()
            if path not in here and _is_gone(path)
        ]

    def _found_again(self) -> dict[str, SourceFileDocument]:
        """Return, for each moved file, its document with the earlier path."""
        moved: dict[str, SourceFileDocument] = {}
        left: dict[int, list[SourceFileDocument]] = defaultdict(list)
        for document in self._gone:
            left[document.size_bytes].append(document)
        new = [(scanned, {"pooled", "unmatched"}) for scanned in self._plan.pooled]
        new += [(scanned, {"unmatched"}) for scanned, _ in self._plan.unmatched]
        for scanned, roles in new:
            if scanned.full_path in self._documents or not left.get(scanned.size_bytes):
                continue
            alike = left[scanned.size_bytes]
            # Of several files of the same content (such as empty ones), prefer the same name.
            for document in sorted(alike, key=partial(_unlike, scanned)):
                if document.role in roles and _has_digest(scanned, document.sha256):
                    moved[scanned.full_path] = document
                    alike.remove(document)
                    break
        return moved

    def _follow(self) -> None:
        """Record the new paths of moved files."""
        found_at = {
            f.full_path: f for f in (*self._plan.pooled, *(f for f, _ in self._plan.unmatched))
        }
        for path, old in list(self._moved.items()):
            scanned = found_at[path]
            try:
                data = scanned.path.read_bytes()
                if digest_of_bytes(data) != old.sha256:
                    raise SourceFileError("changed while it was read", where=path)
                if old.role == "pooled":
                    move_rows(
                        self._dataset,
                        (table_name(old.rel_path), old.path),
                        (table_name(scanned.rel_path), path),
                    )
            except StorageError:
                raise
            except (KymflowZarrError, OSError):
                del self._moved[
                    path
                ]  # It is treated as a new file, whose reader reports the error.
                continue
            document = _document(scanned, old.sha256, old.role)
            document.kept_as = old.kept_as
            self._documents[path] = document
            self._to_keep[path] = (document, data)
            self._instead_of.add(old.path)

    def _with_move(self, reason: str, scanned: ScannedFile) -> str:
        old = self._moved.get(scanned.full_path)
        return reason if old is None else f"{reason}; it was {old.path}"

    def _missing(self) -> Iterator[IngestItem]:
        moved = {old.path for old in self._moved.values()}
        for document in self._gone:
            path = Path(document.path)
            if document.path in moved or not path.is_relative_to(self._root):
                continue
            stays = "its rows stay" if document.role == "pooled" else "what was kept of it stays"
            reason = f"the file is gone; {stays} in the dataset"
            yield IngestItem("missing", document.path, None, reason)

    def _with_an_image(self) -> set[str]:
        """Return the paths of files that belonged to no image and now belong to one."""
        loose = {(path, d.sha256) for path, d in self._documents.items() if d.role == "unmatched"}
        if loose:
            attached = {
                a.scanned.full_path for acq in self._plan.acquisitions for a in acq.attached
            }
            loose = {key for key in loose if key[0] in attached}
        if not loose:
            return set()
        return {
            file.path
            for image in self._known
            for file in image.files
            if file.kept_as is not None and (file.path, file.sha256) in loose
        }

    # New and changed files
    # --------------------------------------------------------------------------

    def _images(self) -> ImageIdsByPath:
        """Return the image of each TIFF by its path below the folder."""
        images = {}
        for image in self._known if self._plan.pooled else ():
            for file in image.files:
                path = Path(file.path)
                if file.role == "image" and path.is_relative_to(self._root):
                    images[path.relative_to(self._root).as_posix()] = image.image_id
        return ImageIdsByPath(images)

    def _pooled(
        self, scanned: ScannedFile, images: Mapping[str, str], mode: str, overwrite_edits: bool
    ) -> IngestItem:
        path = scanned.full_path
        earlier_document = self._documents.get(path)
        # A file that was not a valid table last time is kept too, but has no rows.
        known = (
            earlier_document
            if earlier_document is not None and earlier_document.role == "pooled"
            else None
        )
        data = None
        try:
            same = earlier_document is not None and _same(earlier_document, scanned)
            if known is not None and same:
                unresolved = unresolved_paths(self._dataset, scanned)
                if unresolved is not None and images.keys().isdisjoint(unresolved):
                    reason = self._with_move(_with_count("unchanged", len(unresolved)), scanned)
                    return IngestItem("pooled", path, None, reason)
            before = None if earlier_document is None else self._kept.read(earlier_document)
            data = before if same and before is not None else scanned.path.read_bytes()
            digest = digest_of_bytes(data)
            if known is not None and digest != known.sha256 and mode == "skip":
                return IngestItem("skipped", path, None, "changed since it was ingested")
            notes: list[str] = []
            rows = pooled_rows(data, scanned, images, notes=notes)
            earlier = None
            if known is not None and before is not None and not overwrite_edits:
                earlier = pooled_rows(before, scanned, images)
            if known is not None and same and not self._resolves_more(scanned, rows):
                reason = self._with_move(_with_count("unchanged", _unresolved(rows)), scanned)
                return IngestItem("pooled", path, None, reason)
            name = table_name(scanned.rel_path)
            if name in self._new_tables:
                self._commit()  # Of a file that differs from this one only in its suffix.
            document = _document(scanned, digest, "pooled")
            if earlier is None and not self._dataset.tables.exists(name):
                table = rows.to_bytes()
                self._new_tables[name] = (scanned, table)
                document.feeds = {table_key(name): digest_of_bytes(table)}
            elif not save_pooled(self._dataset, scanned, rows, earlier):
                reason = "its rows were edited in the dataset and left as they are"
                return IngestItem("skipped", path, None, reason)
            self._to_keep[path] = (document, data)
            what = "; ".join([_with_count(f"table {name}", _unresolved(rows)), *notes])
            return IngestItem("pooled", path, None, self._with_move(what, scanned))
        except StorageError:
            raise  # A full disk has nothing to do with this file: stop.
        except (KymflowZarrError, OSError) as error:
            if known is not None or data is None:
                return IngestItem("failed", path, None, str(error))
            if not same:
                self._to_keep[path] = (_document(scanned, digest, "unmatched"), data)
            return IngestItem("failed", path, None, f"{error}; it is kept as it is")

    def _resolves_more(self, scanned: ScannedFile, rows: Rows) -> bool:
        """Return True if more rows match images now than last time."""
        try:
            table = self._dataset.load_table(table_name(scanned.rel_path))
        except FileNotFoundError:
            return False  # A user has deleted it.
        if not {POOLED_PATH, IMAGE_ID} <= set(table.columns):
            return False
        now = table[table[POOLED_PATH] == scanned.full_path]
        return len(now) == rows.rows and int(now[IMAGE_ID].isna().sum()) > _unresolved(rows)

    def _keep(self, scanned: ScannedFile, reason: str) -> str:
        path = scanned.full_path
        known = self._documents.get(path)
        if known is not None and _same(known, scanned):
            return f"{reason}; it is kept as it is"
        if scanned.size_bytes > KEEP_BYTES:
            return f"{reason}; at {scanned.size_bytes} bytes it is too large to be kept"
        try:
            data = scanned.path.read_bytes()
        except OSError as error:
            self.is_at_rest = False
            return f"{reason}; it cannot be read: {error.strerror}"
        looks = known_file(scanned.name, data)
        reason = reason if looks is None else f"{looks}, and {reason}"
        self._to_keep[path] = (_document(scanned, digest_of_bytes(data), "unmatched"), data)
        return f"{reason}; it is kept as it is"


def _is_gone(path: str) -> bool:
    with contextlib.suppress(OSError):  # Its state is unknown, so do not report it.
        return is_gone(path)
    return False


def _unlike(scanned: ScannedFile, document: SourceFileDocument) -> tuple[bool, bool]:
    path = Path(document.path)
    return document.rel_path != scanned.rel_path, path.name != scanned.name


def _has_digest(scanned: ScannedFile, sha256: str) -> bool:
    with contextlib.suppress(OSError):  # The next reader of the file reports the error.
        return scanned.sha256() == sha256
    return False


def _same(known: SourceFileDocument, scanned: ScannedFile) -> bool:
    return (known.size_bytes, known.mtime_ns) == (scanned.size_bytes, scanned.mtime_ns)


def _document(scanned: ScannedFile, sha256: str, role: str) -> SourceFileDocument:
    return SourceFileDocument(
        path=scanned.full_path,
        rel_path=scanned.rel_path,
        role=role,
        size_bytes=scanned.size_bytes,
        mtime_ns=scanned.mtime_ns,
        sha256=sha256,
    )


def _unresolved(rows: Rows) -> int:
    return int(rows.columns[IMAGE_ID].array.null_count)


def _with_count(what: str, count: int) -> str:
    return f"{what}; {count} rows name no image of the dataset" if count else what
