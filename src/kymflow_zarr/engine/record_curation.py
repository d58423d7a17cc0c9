"""What people judge of one image: verdict, note, regions and types of events, with undo."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kymflow_zarr import layout
from kymflow_zarr.engine.record_artifacts import RecordArtifacts
from kymflow_zarr.errors import EditConflictError

if TYPE_CHECKING:
    from kymflow_zarr.engine.curation.editing import EditedImage
    from kymflow_zarr.engine.curation.record_edit import RecordEdit
    from kymflow_zarr.engine.curation.values import Curation, Edit


class RecordCuration(RecordArtifacts):
    """Edits of an image and their history; a base of :class:`StoredImage`."""

    @property
    def revision(self) -> str:
        """Digest, 64 hexadecimal digits, that is another one when anything in the image is.

        It is the SHA-256 of the image's list of checksums, which each write of this package
        brings up to date. Of an image that has none, since another program wrote it, it is
        made of names, sizes and times of its files.
        """
        data = self._storage.read(f"{self._prefix}/{layout.CHECKSUMS}")
        if data is None:
            self._require_present()
            files = self._storage.walk_files(self._prefix)
            data = json.dumps([[key, *stat] for key, stat in files]).encode()
        return hashlib.sha256(data).hexdigest()

    def curation(self) -> Curation:
        """Return verdict, note and the history of edits.

        Raises
        ------
        FormatVersionError
            If a newer version of this package wrote them.
        SchemaValidationError
            If they are damaged.
        """
        from kymflow_zarr.engine.curation.document import load_curation

        curation = load_curation(self._storage, self._prefix)
        if not curation.history:
            self._require_present()
        return curation

    @contextlib.contextmanager
    def edit(self, who: str | None = None, expect: str | None = None) -> Iterator[RecordEdit]:
        """Change verdict, note, regions and types of events in one step.

        The image stays locked while the block runs. At its end all changes are written as one
        commit and one entry of the history: nothing if it raises, or if nothing is another one.

        Parameters
        ----------
        who : str, optional
            Name for the history; the user of the operating system if left out.
        expect : str, optional
            The :attr:`revision` that the changes were decided on.

        Yields
        ------
        RecordEdit

        Raises
        ------
        EditConflictError
            If the image is of another revision, or something else wrote to it inside of the
            block. Nothing is written.
        ReadOnlyError
            If the dataset was opened with mode ``"r"``.
        """
        with self._editing(who, expect) as (edit, _):
            yield edit

    def undo(
        self, edit_id: str | None = None, *, who: str | None = None, expect: str | None = None
    ) -> Edit:
        """Take an edit back; that is an entry of the history as well.

        Parameters
        ----------
        edit_id : str, optional
            Any edit, also one that took another one back. If left out, the last one that did not
            and is not taken back.
        who, expect : str, optional
            As for :meth:`edit`.

        Returns
        -------
        Edit
            The new entry.

        Raises
        ------
        ArgumentError
            If there is no such edit, or it is taken back already.
        EditConflictError
            If something that it changed has been changed since; names it. Nothing is written.
        """
        with self._editing(who, expect) as (_, image):
            image.take_back(edit_id)
        return image.written[0]

    @contextlib.contextmanager
    def _editing(
        self, who: str | None, expect: str | None
    ) -> Iterator[tuple[RecordEdit, EditedImage]]:
        # Most programs edit nothing, and need not wait for what edits.
        from kymflow_zarr.engine.curation.document import name_of
        from kymflow_zarr.engine.curation.editing import EditedImage
        from kymflow_zarr.engine.curation.record_edit import RecordEdit

        name = name_of(who)
        with self._changing() as change:
            revision = self.revision
            if expect is not None and expect != revision:
                raise EditConflictError(
                    "the image has been changed since it was looked at",
                    where=f"image {self.image_id!r}",
                    hint="Look at it as it is now, and decide again. Nothing was written.",
                )
            image = EditedImage(self._storage, self.image_id, who=name)
            edit = RecordEdit(image, revision=revision)
            try:
                yield edit, image
            finally:
                image.close()
            image.finish(change)
            if not image.written:
                return
            # The lock keeps others out, but not the block itself.
            if self.revision != revision:
                raise EditConflictError(
                    "the image was written to while the edit went on",
                    where=f"image {self.image_id!r}",
                    hint="Save before or after the block of edit(), not in it.",
                )
            change.commit()
            edit.edit_id = image.written[0].edit_id
            edit.revision = self.revision
