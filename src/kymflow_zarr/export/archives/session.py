"""The images that go into one file of an archive."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kymflow_zarr.engine.dataset import OpenDataset

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage


@dataclass
class Session:
    """The images of one NWB file.

    Parameters
    ----------
    subject : dict
        Arguments of ``pynwb.file.Subject``.
    session_id : str
    images : list
        Images and the time at which each was acquired.
    """

    subject: dict[str, Any]
    session_id: str
    images: list[tuple[StoredImage, dt.datetime]] = field(default_factory=list)

    @property
    def start(self) -> dt.datetime:
        """When the first image was acquired."""
        return min(start for _, start in self.images)

    @property
    def path(self) -> str:
        """Where the file goes, as DANDI arranges them."""
        subject = name_part(self.subject["subject_id"])
        return f"sub-{subject}/sub-{subject}_ses-{name_part(self.session_id)}.nwb"


def name_part(name: str) -> str:
    """Return a text as part of a file name of DANDI: letters, digits and hyphens."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-") or "x"


def chosen_images(dataset: OpenDataset, image_ids: Collection[str] | None) -> list[StoredImage]:
    """Return the images of some ids, all by default; raise if there is no image of an id."""
    return [dataset.record(image_id).snapshot() for image_id in dataset.chosen_ids(image_ids)]
