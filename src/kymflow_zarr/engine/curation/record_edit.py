"""What an edit of an image can change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kymflow_zarr.engine.curation.editing import EditedImage
from kymflow_zarr.engine.rois.values import RectRoi
from kymflow_zarr.types import FrameKind, Verdict


class RecordEdit:
    """What :meth:`StoredImage.edit` yields: the values to change in one step.

    Attributes
    ----------
    edit_id : str, optional
        Id of the entry of the history, once it is written; None where nothing changed.
    revision : str
        Of the image, before; and after the block, as it is then.
    """

    def __init__(self, image: EditedImage, *, revision: str) -> None:
        self._image = image
        self.edit_id: str | None = None
        self.revision = revision

    def set_verdict(self, verdict: Verdict | None) -> None:
        """Accept or reject the image; None takes the verdict back.

        Raises
        ------
        ArgumentError
            If it is another one.
        """
        self._image.set_verdict(verdict)

    def set_note(self, text: str) -> None:
        """Set the note; empty text is none.

        Raises
        ------
        ArgumentTypeError
            If it is not text.
        """
        self._image.set_note(text)

    def save_roi(self, roi: RectRoi | Mapping[str, Any]) -> RectRoi:
        """Add a rectangle to the regions, or replace one.

        Parameters
        ----------
        roi : RectRoi or mapping
            A mapping as the metadata payload holds it. Without `roi_id` it is a new region, of
            the next id that is free. One that is there counts one revision more; keys that a
            mapping does not speak of stay, and statistics of the pixels where it lay before go.

        Returns
        -------
        RectRoi
            As it will be saved.

        Raises
        ------
        ArgumentError
            If it is no rectangle, reaches out of the image, or the region of that id is a mask.
        """
        return self._image.rois().save(roi, self._image.planes())

    def remove_roi(self, roi_id: int) -> None:
        """Take a region out; the array artifact of a mask stays.

        Raises
        ------
        ArgumentError
            If there is none of that id.
        """
        self._image.rois().remove(roi_id)

    def set_event_type(
        self, name: str, row: int, value: str | None, kind: FrameKind = "parquet"
    ) -> None:
        """Set what somebody takes an event for.

        Parameters
        ----------
        name : str
            Of the data-frame artifact. Its column ``user_type`` is changed, and where it has
            none, ``event_type``.
        row : int
            Position of the event, from 0.
        value : str, optional
            None for a missing value.
        kind : {"parquet", "csv_gz"}
            Of the artifact.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such artifact.
        ArgumentError
            If it has neither column, or no such row.
        """
        self._image.events(kind, name).set_type(row, value)
