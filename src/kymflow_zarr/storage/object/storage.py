"""A dataset in an object store, addressed by keys."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Self

from kymflow_zarr import layout
from kymflow_zarr.errors import StorageError
from kymflow_zarr.runtime.background import Content, arrived
from kymflow_zarr.runtime.lease import committing, current_lease
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.interface import (
    ConflictError,
    InMemory,
    OpenFile,
    Staged,
    Stat,
    Storage,
    Transaction,
    check_key,
)
from kymflow_zarr.storage.object.heads import (
    HEADS,
    TOP,
    FileEntry,
    Files,
    State,
    checksums_of,
    is_deleted,
    is_pending,
    number_of,
    scope_of,
)
from kymflow_zarr.storage.object.lease import ObjectLease
from kymflow_zarr.storage.object.probe import probe
from kymflow_zarr.storage.object.requests import ObjectRanges, Objects, traffic_of
from kymflow_zarr.storage.object.states import (
    DamagedHeadError,
    NewerHeadError,
    OutcomeUnknownError,
    Seen,
    States,
)
from kymflow_zarr.storage.object.viewer_copies import publish_group
from kymflow_zarr.storage.thread_locks import ThreadLocks
from kymflow_zarr.storage.traffic import Traffic
from kymflow_zarr.types import ARTIFACT_SUFFIXES

_MAX_TEXT_BYTES: Final = 16 << 10
_TEXTS: Final = frozenset(
    layout.artifact_key("json", name)
    for name in (layout.METADATA, layout.PROVENANCE, layout.CURATION)
)
_REBASES: Final = 8


class _Session:
    """What one thread read while it holds locks: a transaction commits only if it still holds."""

    def __init__(self) -> None:
        self.depth = 0
        self.seen: dict[str, Seen] = {}
        # Keys that were read, and prefixes, ending in a slash, that were listed.
        self.read: dict[str, set[str]] = {}


class ObjectStorage(Storage):
    """The bytes of one dataset in an object store.

    Parameters
    ----------
    bucket : Objects
    writable : bool
    """

    derives_checksums = True
    reads_states = True

    def __init__(self, bucket: Objects, *, writable: bool) -> None:
        self.bucket = bucket
        self.location = bucket.address
        self.writable = writable
        self._states = States(bucket)
        self._local = threading.local()
        self._locks = _locks_of(self.location)

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectStorage._reopened, (self.bucket, self.writable)

    @classmethod
    def _reopened(cls, bucket: Objects, writable: bool) -> Self:
        return cls(bucket, writable=writable)

    # Reading ---------------------------------------------------------------------------

    def traffic(self) -> Traffic:
        """Return the requests to the store or host so far."""
        return traffic_of(self.bucket)

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""
        if _is_derived(check_key(key)):
            stored = self.bucket.get(key)
            return None if stored is None else stored[0]
        scope, rel = scope_of(key)
        if rel == layout.CHECKSUMS:
            seen = self._seen(scope)
            return checksums_of(self._checksummed(scope, seen)) if seen.exists else None
        entry = self._entry(scope, rel)
        return None if entry is None else self._bytes(key, entry)

    def _checksummed(self, scope: str, seen: Seen) -> Files:
        self._note(scope, "")
        return seen.files

    def _bytes(self, key: str, entry: FileEntry) -> bytes:
        if entry.text is not None:
            return entry.text.encode()
        stored = self.bucket.get(entry.object or "")
        if stored is None:
            raise StorageError("the object of the file is not there any more", where=key)
        return stored[0]

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[OpenFile | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""
        if _is_derived(check_key(key)):
            data = self.read(key)
            yield None if data is None else InMemory(data)
            return
        entry = self._entry(*scope_of(key))
        if entry is None:
            yield None
        elif entry.text is not None:
            yield InMemory(entry.text.encode())
        else:
            yield ObjectRanges(self.bucket, entry.object or "", entry.size)

    def stat(self, key: str) -> Stat | None:
        """Return size and version of the file or folder at a key, None if there is none."""
        _check(key)
        if _is_derived(key):
            data = self.read(key)
            if data is not None:
                return Stat(len(data), number_of(hashlib.sha256(data).hexdigest()))
            return Stat(0, 0) if self._derived_names(key) else None
        seen, rel = self._find(key)
        entry = seen.files.get(rel)
        if entry is not None:
            return Stat(entry.size, entry.version)
        return Stat(0, seen.version) if self._has_below(key, seen, rel) else None

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key. The key of the dataset itself is empty."""
        _check(key)
        if not key:
            return True
        if _is_derived(key):
            return bool(self._derived_names(key))
        try:
            seen, rel = self._find(key)
        except (DamagedHeadError, NewerHeadError):
            return True
        return self._has_below(key, seen, rel)

    def _find(self, key: str) -> tuple[Seen, str]:
        """Return the head that a file or folder is in, and its key there."""
        parts = key.split("/")
        if len(parts) == 2 and parts[0] == layout.IMAGES and parts[1] != layout.GROUP:
            image = self._seen(key)
            if image.exists:
                self._note(key, "")
                return image, ""
            # A file among the images is none of ours; look for one only if there was one.
            top = self._states.cached(TOP)
            if top is not None and not any(
                name.startswith(f"{layout.IMAGES}/") and name != f"{layout.IMAGES}/{layout.GROUP}"
                for name in top.files
            ):
                return image, key
        scope, rel = scope_of(key)
        self._note(scope, rel)
        return self._seen(scope), rel

    def _has_below(self, key: str, seen: Seen, rel: str) -> bool:
        if not rel:
            return seen.exists
        if any(name.startswith(f"{rel}/") for name in seen.files):
            return True
        return key == layout.IMAGES and bool(self._image_versions())

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key, in any order."""
        return list(self.versions(prefix))

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""
        _check(prefix)
        names = set(self._names(prefix))
        if prefix == layout.IMAGES:
            names |= self._image_versions().keys()
        if not prefix:
            names |= {layout.IMAGES} if self._image_versions() else set()
            names |= {layout.INDEX} if self._derived_names(layout.INDEX) else set()
        return sorted(names)

    def _names(self, prefix: str) -> dict[str, bool]:
        """Return the names below a key in its head, and whether each is a folder."""
        if _is_derived(prefix):
            return self._derived_names(prefix)
        seen, rel = self._find(prefix) if prefix else (self._seen(TOP), "")
        start = f"{rel}/" if rel else ""
        is_folder_of: dict[str, bool] = {}
        for key in seen.files:
            if key.startswith(start):
                name, _, below = key[len(start) :].partition("/")
                is_folder_of[name] = bool(below)
        return is_folder_of

    def _derived_names(self, prefix: str) -> dict[str, bool]:
        is_folder_of: dict[str, bool] = {}
        for item in self.bucket.list_below(f"{prefix}/"):
            name, _, below = item.name.removeprefix(f"{prefix}/").partition("/")
            is_folder_of[name] = bool(below)
        return is_folder_of

    def versions(self, prefix: str, file: str = "") -> dict[str, int]:  # noqa: ARG002
        """Return name and version of each folder that :meth:`children` names."""
        _check(prefix)
        versions: dict[str, int] = {}
        if prefix == layout.IMAGES:
            versions = self._image_versions()
        if prefix != layout.IMAGES or self._states.cached(TOP) is None:
            version = 0 if _is_derived(prefix) else self._find(prefix or TOP)[0].version
            names = self._names(prefix)
            versions |= {name: version for name, is_folder in names.items() if is_folder}
        return {name: version for name, version in versions.items() if not name.startswith(".")}

    def _image_versions(self) -> dict[str, int]:
        """Return the version of each image, by folder, sorted."""
        versions = {}
        prefix = f"{HEADS}/{layout.IMAGES}/"
        for name, size, tag, _ in self.bucket.list_below(prefix):
            folder = name.removeprefix(prefix).removesuffix(".json")
            if is_pending(size) and not self._states.read(f"{layout.IMAGES}/{folder}").exists:
                continue
            if not is_deleted(size):
                versions[folder] = number_of(tag)
        return dict(sorted(versions.items()))

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys."""
        _check(prefix)
        stats: dict[str, Stat] = {}
        if prefix in ("", layout.INDEX) or _is_derived(prefix):
            for item in self.bucket.list_below(f"{prefix or layout.INDEX}/"):
                stats[item.name] = Stat(item.size, number_of(item.tag))
        scopes = []
        if not _is_derived(prefix):
            if prefix in ("", layout.IMAGES):
                scopes = [(f"{layout.IMAGES}/{name}", "") for name in self._image_versions()]
                scopes.append((TOP, prefix))
            elif prefix.count("/") == 1 and prefix.startswith(f"{layout.IMAGES}/"):
                scopes = [(prefix, "")]
            else:
                scopes = [scope_of(prefix)]
        for scope, rel in scopes:
            start = f"{rel}/" if rel else ""
            self._note(scope, start)
            base = "" if scope == TOP else f"{scope}/"
            for key, entry in self._seen(scope).files.items():
                if key.startswith(start):
                    stats[base + key] = Stat(entry.size, entry.version)
        cut = len(prefix) + 1 if prefix else 0
        shown = (key for key in stats if not _is_hidden(key[cut:]))
        for key in sorted(shown, key=lambda key: key.split("/")):
            yield key, stats[key]

    def unfinished(self, prefix: str) -> set[str]:
        """Return the names below a key that were last read in the middle of a change."""
        start = f"{prefix}/"
        return {
            scope.removeprefix(start) for scope in [*self._states.pending]
            if scope.startswith(start)
        }  # fmt: skip

    def settled(self) -> Callable[[int], bool]:
        """Return a predicate that is True for the versions of heads that nothing decides."""
        return lambda version: version not in self._states.pending.values()

    def _entry(self, scope: str, rel: str) -> FileEntry | None:
        # The files of an array never change in place, and its document was read before.
        if _is_in_array(rel):
            cached = self._states.cached(scope)
            if cached is not None and rel in cached.files:
                return cached.files[rel]
        self._note(scope, rel)
        return self._seen(scope).files.get(rel)

    def _seen(self, scope: str) -> Seen:
        """Return a head: the current one, or what this thread saw since it holds locks."""
        session = self._session()
        if session is None:
            return self._states.read(scope)
        seen = session.seen.get(scope)
        if seen is None:
            seen = session.seen[scope] = self._states.read(scope)
        return seen

    def _note(self, scope: str, key: str) -> None:
        session = self._session()
        if session is not None:
            session.read.setdefault(scope, set()).add(key)

    def _session(self) -> _Session | None:
        return getattr(self._local, "session", None)

    # Writing ---------------------------------------------------------------------------

    @property
    def holds_locks(self) -> bool:  # type: ignore[override]
        """True if this thread is in the ``with`` block of a lock."""
        session = self._session()
        return session is not None and session.depth > 0

    @contextlib.contextmanager
    def one_state(self) -> Iterator[None]:
        """Read each head once in a ``with`` block of this thread."""
        if self._session() is not None:
            yield
            return
        self._local.session = _Session()
        try:
            yield
        finally:
            self._local.session = None

    @contextlib.contextmanager
    def lock(self, *scopes: str) -> Iterator[None]:
        """Lock scopes against other threads, and remember what is read in the ``with`` block.

        No lock keeps other hosts out. A transaction in the block raises
        :class:`~kymflow_zarr.storage.interface.ConflictError` if what was read has changed.
        """
        self.require_writable()
        with self._locks.lock(*scopes):
            outer = self._session()
            session = outer
            if session is None or not session.depth:
                session = self._local.session = _Session()
            session.depth += 1
            try:
                yield
            finally:
                session.depth -= 1
                if not session.depth:
                    self._local.session = outer

    def stage(self, area: str | None = None, *, key: str | None = None) -> ObjectStaged:  # noqa: ARG002
        """Return an empty staged folder; see :class:`kymflow_zarr.storage.interface.Storage`."""
        self.require_writable()
        return ObjectStaged(self, key)

    def publish(self, staged: Sequence[tuple[Staged, str]]) -> list[bool]:
        """Publish several staged folders, each at its key."""
        return [tree.publish(key) for tree, key in staged]

    def publish_one(self, staged: ObjectStaged, key: str) -> bool:
        """Publish a staged folder; False if something is at its key."""
        self.require_writable()
        scope = check_key(key)
        if scope_of(f"{key}/x") != (scope, "x"):
            raise StorageError("only images are published; put other folders", where=key)
        top = self._states.cached(TOP) or self._states.read(TOP)
        if not top.exists:
            raise StorageError("cannot publish: the dataset is not there", where=key)
        seen = self._states.cached(scope)
        if seen is None or seen.exists:
            seen = self._states.read(scope)
        while not seen.exists:
            try:
                with self._permitted((scope,)):
                    done = self._states.commit({scope: (seen, State(files=dict(staged.files)))})
            except ConflictError:
                seen = self._states.read(scope)
            except BaseException as error:
                staged.published = _may_be_done(error)
                raise
            else:
                staged.published = True
                self._after({scope: seen}, done)
                return True
        return False

    @contextlib.contextmanager
    def lease(self) -> Iterator[ObjectLease | None]:
        """Yield the permission of a call's workers to commit; withdraw it on exit."""
        if not self.writable:
            yield None
            return
        lease = ObjectLease(self.bucket, uuid.uuid4().hex)
        lease.grant()
        try:
            yield lease
        finally:
            lease.withdraw()

    def _permitted(self, scopes: Collection[str]) -> AbstractContextManager[None]:
        """Return the context manager in which this thread may swap heads that it has read."""
        lease = current_lease()
        if isinstance(lease, ObjectLease) and lease.bucket.address == self.bucket.address:
            return lease.committing_to(scopes)
        return committing()

    def transaction(self, prefix: str) -> Transaction:
        """Return a transaction; see :class:`kymflow_zarr.storage.interface.Storage`."""
        return Transaction(prefix, self._commit)

    def _commit(self, changes: Transaction) -> None:
        self.require_writable()
        derived = {key: data for key, data in changes.files.items() if _is_derived(key)}
        files = {
            key: data for key, data in changes.files.items()
            if not _is_derived(key) and scope_of(key)[1] != layout.CHECKSUMS
        }  # fmt: skip
        entries = {key: self._upload(key, data) for key, data in files.items()}
        session = self._session()
        # Known heads may be stale: outside of a lock they are checked by the swap alone.
        seen = {} if session is None else dict(session.seen)
        read = {} if session is None else {scope: {*keys} for scope, keys in session.read.items()}
        try:
            for last in (False,) * _REBASES + (True,):
                before = dict(seen)
                new = self._changed(changes, entries, seen)
                changed = {
                    scope: (seen[scope], state)
                    for scope, state in new.items()
                    if state.files != seen[scope].state.files
                }
                if not changed:
                    done: dict[str, Seen] = {}
                    break
                try:
                    with self._permitted(changed):
                        done = self._states.commit(changed)
                except ConflictError:
                    if last:
                        raise
                    for scope in [*seen]:
                        seen[scope] = self._states.read(scope)
                    if not _still_holds(read, before, seen):
                        raise
                else:
                    break
        except BaseException as error:
            if _may_be_done(error):
                _mark_published(changes)
            else:
                self._drop(entries)
            raise
        _mark_published(changes)
        if session is not None:
            session.seen |= seen | done
        self._after(seen, done)
        for key, data in derived.items():
            self.put_derived(key, bytes(data))
        for key in changes.removed:
            if _is_derived(key) and key not in derived:
                self.bucket.delete(
                    [item.name for item in self.bucket.list_below(f"{key}/")] or [key]
                )

    def _changed(
        self, changes: Transaction, entries: Mapping[str, FileEntry], seen: dict[str, Seen]
    ) -> dict[str, State]:
        """Return the new state of each scope that a transaction changes; fill `seen` with them."""
        new: dict[str, Files | None] = {}

        def files_of(scope: str) -> Files | None:
            if scope not in new:
                if scope not in seen:
                    seen[scope] = self._states.read(scope)
                files = seen[scope].state.files
                new[scope] = None if files is None else dict(files)
            return new[scope]

        def put(key: str, entry: FileEntry) -> None:
            scope, rel = scope_of(key)
            files = files_of(scope)
            if files is None:
                files = new[scope] = {}
            parents = rel.split("/")[:-1]
            for count in range(1, len(parents) + 1):
                if "/".join(parents[:count]) in files:
                    raise StorageError("cannot write: a file is where a folder must be", where=key)
            files[rel] = entry

        def take(key: str) -> Files:
            """Remove a file or folder; return its files by their keys below it."""
            taken: Files = {}
            scopes = [scope_of(key)]
            if key.count("/") == 1 and key.startswith(f"{layout.IMAGES}/"):
                scopes.append((key, ""))
            if key == layout.IMAGES:
                scopes += [(f"{key}/{name}", "") for name in self._image_versions()]
            for scope, rel in scopes:
                files = files_of(scope) or {}
                base = f"{scope.removeprefix(key)}/".lstrip("/") if not rel else ""
                for name in [*files]:
                    if name == rel or not rel or name.startswith(f"{rel}/"):
                        below = name[len(rel) :].lstrip("/") if rel else name
                        taken[base + below] = files.pop(name)
                if not files and scope != TOP and scope in new:
                    new[scope] = None
            return taken

        if changes.prefix:
            scope, rel = scope_of(f"{changes.prefix}/x")
            rel = rel.removesuffix("x")
            of_scope = files_of(scope)
            if of_scope is None or not any(name.startswith(rel) for name in of_scope):
                raise FileNotFoundError(changes.prefix)
        for key, to in changes.moves.items():
            moved = take(key)
            if not moved:
                raise StorageError("cannot move: nothing is there", where=key)
            for below, entry in moved.items():
                put(f"{to}/{below}" if below else to, entry)
        for key, staged in changes.staged.items():
            take(key)
            for below, entry in _as_own(staged).files.items():
                put(f"{key}/{below}", entry)
        for key, entry in entries.items():
            put(key, entry)
        for key in changes.removed:
            if key not in changes.files and not _is_derived(key):
                take(key)
        if files_of(TOP) is None if TOP in new else False:
            new[TOP] = {}
        return {scope: State(files=files) for scope, files in new.items()}

    def _upload(self, key: str, data: bytes | memoryview) -> FileEntry:
        check_key(key)
        _, rel = scope_of(key)
        size, sha256 = FileSum.of(data)
        text = short_text(rel, data)
        name = None
        if text is None or rel.rpartition("/")[2] != layout.GROUP:
            name = _object_name(key, uuid.uuid4().hex[:12])
            self.bucket.put(name, data)
        return FileEntry(size=size, sha256=sha256, object=name, text=text)

    def _drop(self, entries: Mapping[str, FileEntry]) -> None:
        with contextlib.suppress(StorageError):
            self.bucket.delete([e.object for e in entries.values() if e.object is not None])

    def _after(self, before: Mapping[str, Seen], done: Mapping[str, Seen]) -> None:
        """Copy changed groups to where viewers look for them; a crash leaves the earlier ones."""
        for scope, seen in done.items():
            old = before[scope]
            if old.files.get(layout.GROUP) != seen.files.get(layout.GROUP):
                with contextlib.suppress(StorageError):
                    publish_group(self.bucket, scope, seen, is_new=old.tag is None)
                    # Ours may have replaced a later copy: then it is for us to put that again.
                    while not self.bucket.replaces_if_unchanged:
                        seen, copied = self._states.read(scope), seen
                        if seen.tag == copied.tag:
                            break
                        publish_group(self.bucket, scope, seen, is_new=False)

    def put_derived(self, key: str, data: bytes | None) -> None:
        """Put derived bytes at a key, or remove them."""
        self.require_writable()
        if not _is_derived(check_key(key)):
            raise StorageError("only what is below index/ is derived", where=key)
        if data is None:
            self.bucket.delete([key])
        else:
            self.bucket.put(key, data)

    # Life cycle ------------------------------------------------------------------------

    def create(self) -> None:
        """Check that the store keeps its promises, unless there is a dataset already.

        Raises
        ------
        StorageError
            If it ignores conditions, so that writers would overwrite each other.
        """
        self.require_writable()
        if not self._states.read(TOP).exists:
            probe(self.bucket)

    def reader(self) -> ObjectStorage:
        """Return a read-only storage of the same dataset."""
        return ObjectStorage(self.bucket, writable=False)

    def recover(self) -> None:
        """Do nothing: who meets an unfinished change finishes it."""

    def leftovers(self) -> dict[str, list[str]]:
        """Return an empty dict: an object that no head names hinders no writer."""
        return {}

    def collect(self, *, dry_run: bool) -> list[str]:
        """Delete objects that no head has named for a week; return their names."""
        from kymflow_zarr.storage.object.garbage import collect

        if not dry_run:
            self.require_writable()
        return collect(self.bucket, dry_run=dry_run or not self.writable)

    def close(self) -> None:
        """Close the connections to a web host; those to stores are closed with the process."""
        self.bucket.close()


class ObjectStaged:
    """New files whose objects no head names yet.

    Parameters
    ----------
    storage : ObjectStorage
    key : str or None
        Where they will be published, if that is known.

    Attributes
    ----------
    area : str
    files : dict of str to FileEntry
    sums : dict of str to FileSum
    published : bool
    """

    def __init__(self, storage: ObjectStorage, key: str | None) -> None:
        self._storage = storage
        self._key = key
        self.area = uuid.uuid4().hex[:12]
        self.files: Files = {}
        self.sums: dict[str, FileSum] = {}
        self.published = False

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the staged folder; return its size and digest."""
        check_key(key)
        content = arrived(data)
        self.sums[key] = file_sum = FileSum.of(content)
        if key == layout.CHECKSUMS:
            return file_sum
        text = short_text(key, content)
        name = None
        if text is None or key != layout.GROUP or not self._is_image:
            name = self._name(key)
            self._storage.bucket.put(name, content)
        self.files[key] = FileEntry(size=file_sum[0], sha256=file_sum[1], object=name, text=text)
        return file_sum

    @property
    def _is_image(self) -> bool:
        return self._key is not None and scope_of(f"{self._key}/x")[1] == "x"

    def _name(self, key: str) -> str:
        if self._key is None:
            return f"staged/{self.area}/{key}"
        if not self._is_image:
            return f"{self._key}@{self.area}/{key}"
        first, slash, rest = key.partition("/")
        if not slash:
            return _object_name(f"{self._key}/{key}", self.area)
        return f"{self._key}/{first}@{self.area}/{rest}"

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""
        entry = self.files.get(key)
        if entry is None:
            raise StorageError("cannot read back: no such file was written", where=key)
        return self._storage._bytes(key, entry)  # noqa: SLF001 - one module

    def publish(self, key: str) -> bool:
        """Make all files visible below a key, in one step; False if something is there."""
        return self._storage.publish_one(self, key)

    def in_use(self) -> AbstractContextManager[None]:
        """Do nothing: closing the storage drops no files."""
        return contextlib.nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.published:
            self._storage._drop(self.files)  # noqa: SLF001 - one module
            self.files, self.sums = {}, {}


def short_text(key: str, data: bytes | memoryview) -> str | None:
    """Return the content of a short document that its head holds too, None for other files."""
    is_document = key.rpartition("/")[2] == layout.GROUP or key in _TEXTS
    if not is_document or len(data) > _MAX_TEXT_BYTES:
        return None
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        return None


def _object_name(key: str, tag: str) -> str:
    for suffix in (*ARTIFACT_SUFFIXES.values(), ".gz"):
        if key.endswith(suffix):
            return f"{key.removesuffix(suffix)}@{tag}{suffix}"
    return f"{key}@{tag}"


def _check(key: str) -> None:
    """Raise StorageError if a key leads out of the dataset; the dataset's own is empty."""
    if key:
        check_key(key)


def _is_derived(key: str) -> bool:
    return key == layout.INDEX or key.startswith(f"{layout.INDEX}/")


def _is_hidden(key: str) -> bool:
    return key.startswith(".") or "/." in key


def _is_in_array(rel: str) -> bool:
    parts = rel.split("/")[:-1]
    return any(layout.parse_pixels_path(part) is not None for part in parts)


def _still_holds(
    read: Mapping[str, set[str]], before: Mapping[str, Seen], now: Mapping[str, Seen]
) -> bool:
    """Return True if nothing that was read has changed."""
    for scope, keys in read.items():
        if scope not in before:
            continue
        old, new = before[scope], now[scope]
        if old.exists != new.exists:
            return False
        for key in keys:
            if key == "" or key.endswith("/"):
                old_part = {k: v for k, v in old.files.items() if k.startswith(key)}
                if old_part != {k: v for k, v in new.files.items() if k.startswith(key)}:
                    return False
            elif old.files.get(key) != new.files.get(key):
                return False
    return True


def _may_be_done(error: BaseException) -> bool:
    """Return True if a change that failed so may be committed: nothing is deleted then.

    Ctrl-C may come after the store has acted, and before its answer.
    """
    return isinstance(error, OutcomeUnknownError) or not isinstance(error, Exception)


def _mark_published(changes: Transaction) -> None:
    for staged in changes.staged.values():
        _as_own(staged).published = True


def _as_own(staged: Staged) -> ObjectStaged:
    assert isinstance(staged, ObjectStaged), "staged by another storage"
    return staged


_all_locks: weakref.WeakValueDictionary[str, ThreadLocks] = weakref.WeakValueDictionary()
_guard: Final = threading.Lock()


def _locks_of(location: str) -> ThreadLocks:
    with _guard:
        locks = _all_locks.get(location)
        if locks is None:
            locks = _all_locks[location] = ThreadLocks(location)
        return locks
