"""Data frames that an edit has changed a cell of, on their way to the disk."""

from __future__ import annotations

from collections.abc import Mapping

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import load, load_image
from kymflow_zarr.engine.images.update import digest_of_artifact
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.interface import Storage


def write_frames(
    storage: Storage, image_id: str, change: Change, frames: Mapping[str, bytes]
) -> None:
    """Put data frames into a change.

    A frame that was made from earlier pixels is still that: only what somebody thinks of a row
    has become another.

    Parameters
    ----------
    storage : Storage
    image_id : str
    change : Change
    frames : mapping of str to bytes
        By key below the image.
    """
    prefix = layout.image_prefix(image_id)
    document = load_image(storage, image_id)
    earlier = document.earlier_artifacts
    moved = {
        key: FileSum.of(data).sha256
        for key, data in frames.items()
        if key in earlier and earlier[key] == digest_of_artifact(storage, prefix, key)
    }
    for key, data in frames.items():
        change.write(key, data)
    if moved:
        document.earlier_artifacts = {**earlier, **moved}
        group = load(storage, f"{prefix}/{layout.GROUP}") or {}
        change.write_group("", document.to_group(ome=group.get("attributes", {}).get("ome")))
