"""Copies of group documents where other programs look for them.

``images/<id>/zarr.json`` is a copy of the document in the head, in which the names of arrays are
those of the immutable objects. So ``images/<id>`` is an OME-Zarr image for every reader.
"""

from __future__ import annotations

import json
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr.schema.base import ATTRIBUTES_KEY
from kymflow_zarr.storage.object.heads import OBJECTS_VERSION, TOP, Files
from kymflow_zarr.storage.object.requests import Objects
from kymflow_zarr.storage.object.states import Seen

_SEQ: Final = "kymflow_zarr_head_seq"


def publish_group(bucket: Objects, scope: str, seen: Seen, *, is_new: bool) -> None:
    """Copy the group document of a scope to its key, unless a later copy is there.

    Parameters
    ----------
    bucket : Objects
    scope : str
    seen : Seen
        The head that was just written.
    is_new : bool
        Whether there was no head before, and so no copy.
    """
    name = layout.GROUP if scope == TOP else f"{scope}/{layout.GROUP}"
    entry, head = seen.files.get(layout.GROUP), seen.head
    if entry is None:
        bucket.delete([name])
        return
    if entry.text is None or head is None:
        return
    try:
        data = _for_viewers(entry.text, scope, seen.files, head.seq)
    except (ValueError, TypeError, AttributeError, KeyError):
        return  # A damaged document is not for viewers.
    tag: str | None = None
    while True:
        if not is_new:
            stored = bucket.get(name)
            if stored is not None and _seq(stored[0]) >= head.seq:
                return
            tag = None if stored is None else stored[1]
        if bucket.put_if(name, data, tag) is not None:
            return
        is_new = False


def _for_viewers(text: str, scope: str, files: Files, seq: int) -> bytes:
    group: Any = json.loads(text)
    attributes = group.setdefault("attributes", {})
    for image in (attributes.get("ome") or {}).get("multiscales") or []:
        for level in image.get("datasets") or []:
            level["path"] = _folder(scope, level["path"], files)
    own = attributes.get(ATTRIBUTES_KEY)
    if isinstance(own, dict):
        # Readers of the layout in folders must not take it for theirs.
        own["format_version"] = OBJECTS_VERSION
    attributes[_SEQ] = seq
    return json.dumps(group, indent=2, ensure_ascii=False).encode() + b"\n"


def _folder(scope: str, path: str, files: Files) -> str:
    entry = files.get(f"{path}/{layout.GROUP}")
    if entry is None or entry.object is None:
        return path
    return entry.object.removeprefix(f"{scope}/").removesuffix(f"/{layout.GROUP}")


def _seq(data: bytes) -> int:
    try:
        return int(json.loads(data)["attributes"][_SEQ])
    except (ValueError, KeyError, TypeError):
        return 0
