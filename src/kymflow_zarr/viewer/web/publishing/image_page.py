"""All that the page asks about one image, answered beforehand and packed into files."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
import numpy.typing as npt
from starlette.requests import Request

from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.types import ARTIFACT_SUFFIXES
from kymflow_zarr.viewer.web.answers import plain
from kymflow_zarr.viewer.web.image.artifacts import artifact, events, series
from kymflow_zarr.viewer.web.image.facts import image_facts
from kymflow_zarr.viewer.web.image.pixels import Pixels, open_pixels, wire_dtype
from kymflow_zarr.viewer.web.image.windows import intensities

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from kymflow_zarr import ZarrImageRecord
    from kymflow_zarr.viewer.web.site import Site

TILE: Final = 512
"""Samples along each side of a tile, as in `frontend/src/lib/tiles.ts`."""
# A pack is written in one piece, and held in memory until then.
_PACK_BYTES: Final = 2**25
_ROWS: Final = 5000
_MAX_ARRAY_BYTES: Final = 2**26

Write = Callable[[str, bytes], None]


class Pack:
    """Parts that are compressed one by one and written together, as a few files.

    Parameters
    ----------
    write : callable
        Called with the name of a file, below the folder of the page, and its bytes.
    name : str
        The name of the first file up to its number.
    first : int
        Position of its first file among those that the index of the parts counts.
    """

    def __init__(self, write: Write, name: str, first: int = 0) -> None:
        self._write = write
        self._name = name
        self._first = first
        self._data = bytearray()
        self.files: list[str] = []
        self.parts: dict[str, tuple[int, int, int]] = {}

    def add(self, key: str, data: bytes) -> None:
        """Add a part."""
        packed = zlib.compress(data, 6)
        if self._data and len(self._data) + len(packed) > _PACK_BYTES:
            self._flush()
        self.parts[key] = self._first + len(self.files), len(self._data), len(packed)
        self._data += packed

    def add_json(self, key: str, value: Any) -> None:
        """Add a part that is a JSON document."""
        self.add(key, msgspec.json.encode(value))

    def close(self) -> None:
        """Write what is left."""
        if self._data:
            self._flush()

    def _flush(self) -> None:
        name = f"{self._name}-{len(self.files)}.bin"
        self._write(name, bytes(self._data))
        self.files.append(name)
        self._data.clear()


def levels_of(height: int, width: int) -> list[tuple[int, int]]:
    """Return the steps (down, across) for which tiles are made, the finest first.

    Each level halves the axes that are longer than a tile, so that the coarsest is one tile.
    """
    levels = [(1, 1)]
    while True:
        down, across = levels[-1]
        rows, columns = -(-height // down), -(-width // across)
        if max(rows, columns) <= TILE:
            return levels
        levels.append((down * 2 if rows > TILE else down, across * 2 if columns > TILE else across))


def shuffled(values: npt.NDArray[Any]) -> bytes:
    """Return the first bytes of all values, then their second bytes, ...: these compress better."""
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return raw.reshape(-1, values.dtype.itemsize).T.tobytes()


def pixels_key(record: ZarrImageRecord, site: Site) -> str | None:
    """Return a text that changes with the tiles of an image; None if its pixels are unreadable."""
    try:
        pixels = open_pixels(site, record.image_id)
    except KymflowZarrError:
        return None
    plane = pixels.plane
    axes = [(axis.name, size) for axis, size in zip(plane.axes, plane.shape, strict=True)]
    names = json.dumps([pixels.version, plane.rows, plane.columns, axes])
    return f"{zlib.crc32(names.encode()):08x}{pixels.version[:8]}"


def pack_pixels(site: Site, image_id: str, pack: Pack) -> None:
    """Add the histogram of each plane, and its tiles, the coarsest first."""
    pixels = open_pixels(site, image_id)
    for at in _planes(pixels):
        key = ",".join(f"{axis}:{position}" for axis, position in sorted(at.items()))
        pack.add_json(f"histogram|{key}", plain(intensities(site, pixels, at)))
        height, width = pixels.size
        for down, across in reversed(levels_of(height, width)):
            for top in range(0, height, TILE * down):
                for left in range(0, width, TILE * across):
                    rows = slice(top, min(height, top + TILE * down))
                    columns = slice(left, min(width, left + TILE * across))
                    values = pixels.window(at, rows, columns, (down, across))
                    pack.add(f"window|{key}|{top}|{left}|{down}|{across}", shuffled(values))


def _planes(pixels: Pixels) -> Iterator[dict[str, int]]:
    plane = pixels.plane
    if 0 in plane.shape:
        return
    others = [
        (axis.name, range(size))
        for position, (axis, size) in enumerate(zip(plane.axes, plane.shape, strict=True))
        if position not in (plane.rows, plane.columns)
    ]
    for positions in itertools.product(*(sizes for _, sizes in others)):
        yield {name: at for (name, _), at in zip(others, positions, strict=True)}


def facts_of(site: Site, image_id: str, prefix: str) -> dict[str, Any]:
    """Return the facts about an image as the page shows them where nothing is served.

    Its neighbors are those of a list, and are found in the page.
    """
    facts: dict[str, Any] = plain(image_facts(site, image_id, _NO_QUERY))
    for name in ("previous", "next", "position", "n_listed"):
        facts.pop(name, None)
    facts["ome_zarr"] = quote(prefix)
    for each in facts.get("artifacts", ()):
        key = each.get("key")
        suffix = "" if key is None else ARTIFACT_SUFFIXES[each["kind"]]
        each["forms"] = [suffix.removeprefix(".")] if suffix else []
        if key is not None:
            each["href"] = quote(key)
    if facts.get("plane"):
        pixels = open_pixels(site, image_id)
        dtype = wire_dtype(pixels.dtype)
        facts["levels"] = levels_of(*pixels.size)
        facts["wire_dtype"] = f"{dtype.kind}{dtype.itemsize}"
    return facts


def pack_answers(
    app: Starlette, record: ZarrImageRecord, facts: Mapping[str, Any], pack: Pack
) -> None:
    """Add the curves, events and artifacts of an image; what is damaged is left out."""
    image_id = record.image_id

    def add(what: str, answer: Callable[[Request], Any], **query: str) -> None:
        try:
            body: bytes = answer(_request(app, image_id, query)).body
        except KymflowZarrError:
            return  # The facts say what cannot be read.
        asked = [value for name, value in query.items() if name != "limit"]
        pack.add(json.dumps([what, *asked], separators=(",", ":"), ensure_ascii=False), body)

    for each in facts.get("series", ()):
        for column in each["columns"]:
            add("series", series, kind=each["kind"], name=each["name"], column=column["name"])
    for each in facts.get("events", ()):
        add("events", events, kind=each["kind"], name=each["name"])
    for each in facts.get("artifacts", ()):
        add("artifact", artifact, kind=each["kind"], name=each["name"], limit=str(_ROWS))
    for roi in facts.get("rois", ()):
        name = (roi.get("data") or {}).get("mask_ref")
        if name:
            _add_mask(record, name, pack)


def _add_mask(record: ZarrImageRecord, name: str, pack: Pack) -> None:
    import io

    try:
        array = record.open_array_artifact(name)
        if array.nbytes > _MAX_ARRAY_BYTES:
            return
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(array[...]), allow_pickle=False)
    except KymflowZarrError:
        return  # A region whose mask cannot be read is listed and not drawn.
    key = json.dumps(["npy", name], separators=(",", ":"), ensure_ascii=False)
    pack.add(key, file.getvalue())


def _request(app: Starlette, image_id: str, query: Mapping[str, str]) -> Request:
    path = f"/api/images/{quote(image_id, safe='')}/answer"
    return Request(
        {
            "type": "http", "method": "GET", "app": app, "headers": [], "path": path,
            "raw_path": path.encode(), "query_string": urlencode(query).encode(),
        }
    )  # fmt: skip


_NO_QUERY: Final[Any] = Request({"type": "http", "query_string": b"", "headers": []}).query_params
