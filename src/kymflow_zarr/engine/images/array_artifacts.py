"""Save, replace, load and list the array artifacts of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.engine.images.draft import (
    check_array_axes,
    write_array_artifact,
)
from kymflow_zarr.engine.images.pixels import (
    array_artifact_document,
    load_pixels,
    new_target,
    open_pixels,
    replacement_target,
    write_pixels,
)
from kymflow_zarr.errors import (
    ArtifactNotFoundError,
    CorruptDataError,
    SchemaValidationError,
    StorageError,
)
from kymflow_zarr.formats.array.write import as_array
from kymflow_zarr.schema.base import is_own_group, plain_group_document
from kymflow_zarr.schema.image import (
    ArrayArtifactDocument,
    ImageDocument,
    read_array_artifact_document,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import ArrayLike

if TYPE_CHECKING:
    import numpy as np
    import zarr

    from kymflow_zarr.engine.images.labels import Labels


class ArrayArtifacts:
    """The array artifacts of the record at `prefix`."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._record = prefix

    def check(
        self, name: str, array: object, *, axes: Sequence[str] | None
    ) -> tuple[ArrayLike, list[str] | None]:
        """Return array and axes as :meth:`save` takes them; raise ArgumentError if invalid."""
        self._prefix(name)
        checked = as_array(array, what=f"array {name!r}")
        return checked, check_array_axes(axes, len(checked.shape))

    def save(
        self,
        change: Change,
        name: str,
        array: object,
        *,
        axes: Sequence[str] | None,
        chunks: int | Sequence[int] | None,
    ) -> str:
        """Add a new or replaced array artifact to a change of the image; return its SHA-256."""
        key = layout.array_artifact_prefix(name)
        checked, axes = self.check(name, array, axes=axes)
        is_new = self._storage.stat(f"{self._record}/{key}/{layout.GROUP}") is None
        if is_new and self._key(name) != key:
            self.delete(change, name)  # Labels of that name.
        if is_new:
            tree = change.stage(key)
            new = write_array_artifact(name, checked, tree, axes=axes, chunks=chunks)
            group = f"{layout.ANALYSIS_ARRAYS}/{layout.GROUP}"
            if self._storage.stat(f"{self._record}/{group}") is None:
                change.write(group, dump(plain_group_document()))
            return new.sha256

        target = replacement_target(self._storage, change, f"{key}/", self.document(name).pixels)
        pixels = write_pixels(checked, target, axes=None, chunks=chunks, dimension_names=axes)
        change.write_group(key, array_artifact_document(name, pixels, axes).to_group())
        return pixels.sha256

    def save_labels(self, change: Change, name: str, labels: Labels, image: ImageDocument) -> str:
        """Add new or replaced labels to a change of the image; return their key below it."""
        from kymflow_zarr.engine.images.labels import labels_document, write_labels

        full = f"{layout.LABELS}/{name}"
        key = layout.labels_prefix(full)
        assert key is not None, "the caller checks the name"
        usual = layout.array_artifact_prefix(full)
        if self._storage.stat(f"{self._record}/{usual}") is not None:
            change.remove(usual)
        where = f"{self._record}/{key}/{layout.GROUP}"
        raw = load(self._storage, where)
        if raw is None:
            tree = change.stage(key)
            document = write_labels(full, labels, image, new_target(tree))
            tree.write(layout.GROUP, dump(labels_document(document, labels.axes)))
        else:
            old = read_array_artifact_document(raw, where=where).pixels
            target = replacement_target(self._storage, change, f"{key}/", old)
            document = write_labels(full, labels, image, target)
            change.write_group(key, labels_document(document, labels.axes))
        self._list_labels(change, add=key)
        return key

    def _list_labels(
        self, change: Change, *, add: str | None = None, without: str | None = None
    ) -> None:
        """List the labels of the image in the document of their group."""
        from kymflow_zarr.engine.images.labels import labels_group, listed_labels

        names = [layout.labels_prefix(name) for name in self.label_names()]
        own = {key.removeprefix(f"{layout.LABELS}/") for key in (*names, add) if key is not None}
        # Other programs may have labels of their own there.
        raw = load(self._storage, f"{self._record}/{layout.LABELS}/{layout.GROUP}")
        folders = own.union(listed_labels(raw))
        if without is not None:
            folders.discard(without.removeprefix(f"{layout.LABELS}/"))
        if folders:
            change.write_group(layout.LABELS, labels_group(folders))
        else:
            change.remove(f"{layout.LABELS}/{layout.GROUP}")

    def label_names(self) -> list[str]:
        """Return the names of the array artifacts that are label images, sorted."""
        folder = f"{self._record}/{layout.LABELS}"
        folders = self._storage.children(folder)
        names = {each: layout.parse_labels(each) for each in folders if each != layout.GROUP}
        return sorted(
            name
            for each, name in names.items()
            if name is not None and self._is_own_label(f"{folder}/{each}")
        )

    def _is_own_label(self, folder: str) -> bool:
        """Return False for labels that another program has written."""
        try:
            raw = load(self._storage, f"{folder}/{layout.GROUP}")
        except SchemaValidationError:
            return True  # Reading it says what is damaged.
        return not self._is_foreign(folder) if raw is None else is_own_group(raw)

    def load(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array artifact."""
        return load_pixels(
            self._storage, self._prefix(name), self.document(name).pixels,
            lambda: self.document(name).pixels,
        )  # fmt: skip

    def open(self, name: str) -> zarr.Array[Any]:
        """Return an array artifact as a lazy array."""
        while True:
            pixels = self.document(name).pixels
            try:
                return open_pixels(self._storage, self._prefix(name), pixels)
            except (StorageError, CorruptDataError):
                # If its document is unchanged, it was not replaced but is damaged.
                if self.document(name).pixels.path == pixels.path:
                    raise

    def document(self, name: str) -> ArrayArtifactDocument:
        """Return the document of an array artifact.

        Raises
        ------
        ArtifactNotFoundError
            If there is none of that name.
        """
        key = f"{self._prefix(name)}/{layout.GROUP}"
        raw = load(self._storage, key)
        if raw is None:
            raise self._missing(name)
        return read_array_artifact_document(raw, where=key)

    def names(self, *, labels: bool = True) -> list[str]:
        """Return the names of the array artifacts, sorted, those of label images among them."""
        folder = f"{self._record}/{layout.ANALYSIS_ARRAYS}"
        folders = self._storage.children(folder)
        names = {each: layout.parse_array_artifact(each) for each in folders}
        own = {
            name
            for each, name in names.items()
            if name is not None and not self._is_foreign(f"{folder}/{each}")
        }
        return sorted(own.union(self.label_names() if labels else ()))

    def _is_foreign(self, folder: str) -> bool:
        """Return True if no file of an array artifact is in a folder."""
        if self._storage.stat(f"{folder}/{layout.GROUP}") is not None:
            return False
        return all(layout.parse_pixels_path(each) is None for each in self._storage.names(folder))

    def delete(self, change: Change, name: str) -> None:
        """Add the removal of an array artifact to a change of the image."""
        # Do not read its document: one with a damaged document must be deletable, too.
        if self._storage.stat(self._prefix(name)) is None:
            raise self._missing(name)
        key = self._key(name)
        change.remove(key)
        if key.startswith(f"{layout.LABELS}/"):
            self._list_labels(change, without=key)

    def _missing(self, name: str) -> ArtifactNotFoundError:
        return ArtifactNotFoundError(
            f"the image has no array artifact {name!r}",
            where=f"{self._prefix(name)}/{layout.GROUP}",
            hint=f"{did_you_mean(name, self.names())}list_array_artifacts() tells which there are.",
        )

    def _prefix(self, name: str) -> str:
        return f"{self._record}/{self._key(name)}"

    def _key(self, name: str) -> str:
        """Return the key below the record at which an artifact is, or would be."""
        usual, labels = layout.array_artifact_prefix(name), layout.labels_prefix(name)
        # An earlier version, which knows no labels, may have saved an artifact of that name since.
        if labels is None or self._storage.stat(f"{self._record}/{usual}") is not None:
            return usual
        return usual if self._storage.stat(f"{self._record}/{labels}") is None else labels
