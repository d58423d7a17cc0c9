"""Publish a dataset with its page, as files that any static host serves."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.addresses import is_address
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.errors import (
    ArgumentError,
    KymflowZarrError,
    SchemaValidationError,
)
from kymflow_zarr.export.copying import listed_files, read_verified
from kymflow_zarr.export.publishing.places import Place, place_of
from kymflow_zarr.export.publishing.report import PublishItem, PublishReport
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.schema.base import (
    ATTRIBUTES_KEY,
    decodable,
    plain_group_document,
    read_dataset_document,
)
from kymflow_zarr.schema.checksums import FileSum, dump_checksums, parse_checksums
from kymflow_zarr.types import Progress, StrPath

_VERSION: Final = 1
_THREADS: Final = 4
_SAVE_EVERY_S: Final = 5.0

Write = Callable[[str, bytes], None]
Earlier = Callable[[str | None], tuple[list[str], bytes] | None]


class Page(Protocol):
    """The page that shows a dataset, as files."""

    def rows(self) -> Mapping[str, bytes]:
        """Return what the list shows of each image, by id."""

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the picture of an image, None if it cannot be drawn."""

    def write_image(
        self, image_id: str, prefix: str, digest: str, write: Write, earlier: Earlier
    ) -> tuple[str, list[str], int, str | None]:
        """Write the files of an image.

        Parameters
        ----------
        image_id : str
        prefix : str
            The folder of its files.
        digest : str
            Changes with all that is shown of it.
        write : callable
            Writes a file below the folder of the page.
        earlier : callable
            Returns, for the key of the pixels, the packs that hold them already and the facts
            that say where; None if other pixels were published.

        Returns
        -------
        facts : str
        packs : list of str
        n_pixel_packs : int
        pixels : str or None
            See :class:`Published`.
        """

    def files(
        self,
        folder: str,
        facts: Mapping[str, str],
        thumbnails: Mapping[str, str],
        tables: Mapping[str, str],
    ) -> Iterator[tuple[str, bytes]]:
        """Yield name and bytes of all files that belong to no image, the HTML last.

        Parameters
        ----------
        folder : str
            The folder of the page.
        facts, thumbnails : mapping of str to str
            The files of each image that was published.
        tables : mapping of str to str
            The file of each table.
        """


class Published(msgspec.Struct):
    """What was published of one image.

    Parameters
    ----------
    digest : str
        Changes with the files of the image and with its row in the list.
    facts : str
        The file with its facts, below the folder of the page.
    packs : list of str
        The files with its pixels and answers.
    n_pixel_packs : int
        How many of these, at the beginning, hold pixels.
    pixels : str or None
        Changes with the tiles.
    """

    digest: str
    facts: str
    packs: list[str]
    n_pixel_packs: int
    pixels: str | None


class State(msgspec.Struct):
    """What was published in a place: by this the next time writes only what differs.

    Parameters
    ----------
    dataset_id : str
    images : dict of str to Published
    files : dict of str to str
        Digests of the files that belong to no image, by name.
    """

    dataset_id: str
    images: dict[str, Published] = msgspec.field(default_factory=dict)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    document: str = "published page"
    format_version: int = _VERSION


def publish(
    source: OpenDataset,
    page: Page,
    target: StrPath,
    *,
    storage_options: Mapping[str, Any] | None,
    dry_run: bool,
    progress: Progress | None,
) -> PublishReport:
    """Publish a dataset; see :meth:`kymflow_zarr.ZarrDataset.publish`."""
    if source.storage.read(layout.CHECKSUMS) is None:
        raise ArgumentError(
            "only datasets with lists of checksums are published, as of format version 2 on",
            where=source.location,
            hint="Migrate it first.",
        )
    place = place_of(target, storage_options)
    _check_apart(source.location, place.location)
    state = _state_in(place, source.dataset_id)
    run = _Publication(source, page, place, state, dry_run=dry_run)
    items = run.publish(progress)
    return PublishReport(source.location, place.location, dry_run, tuple(items))


def _check_apart(source: str, target: str) -> None:
    if source == target:
        raise ArgumentError("a dataset is not published over itself", where=target)
    if is_address(source) or is_address(target):
        return
    one, other = Path(source).resolve(), Path(target).resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ArgumentError(
            "the dataset and where it is published are one within the other",
            where=target,
            hint="Choose a folder beside it.",
        )


def _state_in(place: Place, dataset_id: str) -> State:
    data = place.read(layout.PUBLISHED)
    if data is None:
        names = place.names()
        if names and names != [layout.INDEX]:
            raise SchemaValidationError(
                f"something else is there: {', '.join(names[:3])}",
                where=place.location,
                hint="Choose a folder or an address at which nothing is.",
            )
        return State(dataset_id)
    try:
        state = msgspec.json.decode(data, type=decodable(State))
    except msgspec.DecodeError as error:
        raise SchemaValidationError(
            f"the list of what was published is damaged: {error}",
            where=f"{place.location}/{layout.PUBLISHED}",
            hint="Delete what was published, and publish again.",
        ) from error
    if state.format_version != _VERSION:
        raise SchemaValidationError(
            f"this was published by another version, in form {state.format_version}",
            where=f"{place.location}/{layout.PUBLISHED}",
            hint="Delete what was published, and publish again.",
        )
    if state.dataset_id != dataset_id:
        raise SchemaValidationError(
            "another dataset was published there",
            where=place.location,
            hint="Choose a folder or an address at which nothing is.",
        )
    return state


class _Publication:
    """One run: what is to be published, and where."""

    def __init__(
        self, source: OpenDataset, page: Page, place: Place, state: State, *, dry_run: bool
    ) -> None:
        self._source = source
        self._storage = source.storage
        self._page = page
        self._place = place
        self._state = state
        self._dry_run = dry_run
        self._rows = page.rows()
        # Files that nothing names any more. They go last, as pages that are open still read them.
        self._stale: list[str] = []
        self._guard = threading.Lock()

    def publish(self, progress: Progress | None) -> list[PublishItem]:
        """Publish images, then what names them, and delete what is out of date."""
        if not self._dry_run and not self._state.files:
            self._save()  # So that an interrupted run is known to be ours.
        items: list[PublishItem] = []
        saved_s = time.monotonic()
        results = in_order(
            self._publish_image, list(self._rows), progress=progress, threads=_THREADS
        )
        for image_id, item, error in results:
            if item is None:
                items.append(PublishItem(image_id, "failed", reason=str(error)))
                continue
            items.append(item)
            # What an interrupted run has published need not be published again.
            if not self._dry_run and time.monotonic() - saved_s > _SAVE_EVERY_S:
                self._save()
                saved_s = time.monotonic()
        for image_id in sorted(self._state.images.keys() - self._rows.keys()):
            self._forget_image(image_id)
            items.append(PublishItem(image_id, "deleted"))
        try:
            items.append(self._publish_top())
        except KymflowZarrError as error:
            items.append(PublishItem(None, "failed", reason=str(error)))
            with contextlib.suppress(KymflowZarrError):  # The report says what is wrong.
                if not self._dry_run:
                    self._save()
            return items
        if not self._dry_run:
            if any(item.status != "unchanged" for item in items):
                self._save()
            self._place.delete(sorted(set(self._stale)))
        return items

    def _save(self) -> None:
        with self._guard:
            data = msgspec.json.encode(self._state, order="sorted")
        self._place.write(layout.PUBLISHED, data)

    # Images ------------------------------------------------------------------------------

    def _publish_image(self, image_id: str) -> PublishItem:
        scope = layout.image_prefix(image_id)
        listed = listed_files(self._storage, scope)
        if listed is None:
            raise SchemaValidationError("the image has no list of checksums", where=scope)
        shown = b"\n".join([self._rows[image_id], f"{_VERSION} {__version__}".encode()])
        digest = _digest(dump_checksums(listed) + shown)
        before = self._state.images.get(image_id)
        if before is not None and before.digest == digest:
            return PublishItem(image_id, "unchanged")
        earlier = self._listed_there(scope)
        changed = [key for key in listed if earlier.get(key) != listed[key]]
        status: Any = "published" if before is None else "updated"
        if self._dry_run:
            return PublishItem(image_id, status, sum(listed[key].size_bytes for key in changed))
        n_bytes = 0

        def write(name: str, data: bytes) -> None:
            nonlocal n_bytes
            self._place.write(name, data)
            n_bytes += len(data)

        for key in changed:
            write(f"{scope}/{key}", read_verified(self._storage, scope, key, listed[key]))
        if changed or earlier.keys() != listed.keys():
            write(f"{scope}/{layout.CHECKSUMS}", dump_checksums(listed))
        now = self._publish_page(image_id, digest, before, write)
        with self._guard:
            self._state.images[image_id] = now
            self._stale += [f"{scope}/{key}" for key in earlier.keys() - listed.keys()]
            if before is not None:
                gone = {before.facts, *before.packs} - {now.facts, *now.packs}
                self._stale += [f"{layout.PUBLISHED_PAGE}/{name}" for name in gone]
        return PublishItem(image_id, status, n_bytes)

    def _listed_there(self, scope: str) -> Mapping[str, FileSum]:
        data = self._place.read(f"{scope}/{layout.CHECKSUMS}")
        if data is None:
            return {}
        try:
            return parse_checksums(data, where=f"{self._place.location}/{scope}")
        except KymflowZarrError:
            return {}  # Written again.

    def _publish_page(
        self, image_id: str, digest: str, before: Published | None, write: Write
    ) -> Published:
        def write_below(name: str, data: bytes) -> None:
            write(f"{layout.PUBLISHED_PAGE}/{name}", data)

        def earlier(pixels: str | None) -> tuple[list[str], bytes] | None:
            if before is None or before.pixels != pixels:
                return None
            data = self._place.read(f"{layout.PUBLISHED_PAGE}/{before.facts}")
            return None if data is None else (before.packs[: before.n_pixel_packs], data)

        picture = self._page.thumbnail(image_id)
        if picture is not None:
            write(layout.thumbnail_key(image_id), picture)
        prefix = layout.image_prefix(image_id)
        shown = self._page.write_image(image_id, prefix, digest, write_below, earlier)
        return Published(digest, *shown)

    def _forget_image(self, image_id: str) -> None:
        scope = layout.image_prefix(image_id)
        before = self._state.images.pop(image_id)
        self._stale += [f"{scope}/{key}" for key in self._listed_there(scope)]
        self._stale += [f"{layout.PUBLISHED_PAGE}/{name}" for name in (before.facts, *before.packs)]
        self._stale += [f"{scope}/{layout.CHECKSUMS}", layout.thumbnail_key(image_id)]

    # What belongs to no image --------------------------------------------------------------

    def _publish_top(self) -> PublishItem:

        earlier, now = self._state.files, {}
        n_bytes = 0

        def write(name: str, digest: str, data: Callable[[], bytes], size: int) -> None:
            nonlocal n_bytes
            if earlier.get(name) != digest:
                n_bytes += size
                if not self._dry_run:
                    self._place.write(name, data())
            now[name] = digest

        def write_bytes(name: str, data: bytes) -> None:
            write(name, _digest(data), lambda: data, len(data))

        listed = listed_files(self._storage, "") or {}
        for key, file_sum in listed.items():
            write(
                key, file_sum.sha256,
                lambda key=key, file_sum=file_sum: read_verified(self._storage, "", key, file_sum),  # type: ignore[misc]
                file_sum.size_bytes,
            )  # fmt: skip
        own = self._own_documents()
        sums = {**listed, **{name: FileSum.of(data) for name, data in own.items()}}
        for name, data in {**own, layout.CHECKSUMS: dump_checksums(sums), **self._index()}.items():
            write_bytes(name, data)
        facts = {image_id: each.facts for image_id, each in self._state.images.items()}
        thumbnails = {image_id: layout.thumbnail_key(image_id) for image_id in facts}
        tables = {name: layout.table_key(name) for name in self._source.list_table_names()}
        for name, data in self._page.files(layout.PUBLISHED_PAGE, facts, thumbnails, tables):
            write_bytes(name, data)
        self._stale += sorted(earlier.keys() - now.keys())
        self._state.files = now
        status: Any = "unchanged" if now == earlier else "updated" if earlier else "published"
        return PublishItem(None, status, n_bytes)

    def _own_documents(self) -> dict[str, bytes]:
        """Return the root of the published dataset, in format version 2 wherever it comes from."""
        raw: Any = load(self._storage, layout.GROUP)
        group = read_dataset_document(raw, where=self._storage.location).to_group()
        attributes = {k: v for k, v in raw["attributes"].items() if k != ATTRIBUTES_KEY}
        group["attributes"].update(attributes)
        return {
            f"{layout.IMAGES}/{layout.GROUP}": dump(plain_group_document()),
            layout.GROUP: dump(group),
        }

    def _index(self) -> dict[str, bytes]:
        """Return the index, from which hosts that list no files know the images."""
        import pyarrow as pa

        from kymflow_zarr.engine.index import file, order
        from kymflow_zarr.engine.index.columns import INDEX
        from kymflow_zarr.engine.index.index import Index

        published = self._state.images
        table = Index(self._storage).columns(list(INDEX)).select(list(INDEX))
        known = [image_id in published for image_id in file.values(table, "image_id")]
        table = table.filter(pa.array(known, pa.bool_()))
        ids = file.values(table, "image_id")
        # Versions that change with the images, in place of the times of a machine's files.
        versions = pa.array([int(published[i].digest, 16) >> 2 for i in ids], pa.int64())
        table = table.set_column(table.column_names.index("changed_ns"), "changed_ns", versions)
        columns = {name: file.values(table, name) for name in order.COLUMNS}
        return {layout.MANIFEST: file.to_bytes(table), layout.ORDER: order.to_bytes(columns)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
