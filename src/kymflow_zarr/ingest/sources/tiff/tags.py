"""Collect the metadata of a TIFF file as JSON-able values; suppress tifffile's messages."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import enum
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries, TiffTag


# Skip the tags that locate the pixels, and ImageJ's blob (50838, 50839), which tifffile returns
# decoded.
_STORAGE_TAGS: Final = frozenset({273, 279, 288, 289, 324, 325, 330, 513, 514, 50838, 50839})
_RATIONALS: Final = frozenset({5, 10})
# Formats whose metadata tifffile reads from outside of the kept tags.
_OUTSIDE_TAGS: Final = ("micromanager", "scanimage", "nuvu", "andor", "lsm", "stk", "metaseries")


def kind_of(series: TiffPageSeries) -> str:
    """Return the format of a series: ``"imagej"``, ``"ome"``, ...; ``"tiff"`` for plain ones."""
    return "tiff" if series.kind in {"", "shaped", "uniform", "generic"} else series.kind


def describe(tif: TiffFile, series: TiffPageSeries) -> dict[str, object]:
    """Collect the metadata of a file and of one of its series.

    Parameters
    ----------
    tif : tifffile.TiffFile
        An open file.
    series : tifffile.TiffPageSeries
        One of its series.

    Returns
    -------
    dict
        JSON-able, except that floats may be NaN or infinite. Bytes are
        ``{"base64": ...}``, rationals ``[numerator, denominator]``. Tags of later pages that differ
        from those of the first are in ``page_tags`` by page number.
    """
    first = series.keyframe
    compression = first.compression
    described: dict[str, object] = {
        "format": kind_of(series),
        "source_axes": series.axes,
        "source_shape": list(series.shape),
        "source_dtype": series.dtype.name,
        "byteorder": "little" if tif.byteorder == "<" else "big",
        "bigtiff": tif.is_bigtiff,
        "compression": getattr(compression, "name", str(compression)).lower(),
        "pages": len(series),
        "series_count": len(tif.series),
        "series_name": series.name,
        "levels": [{"axes": level.axes, "shape": list(level.shape)} for level in series.levels],
    }
    if series.is_multifile:
        described["files"] = sorted({p.parent.filename for p in series if p is not None})
    if tif.is_imagej:
        described["imagej"] = jsonable(tif.imagej_metadata)
    if tif.is_ome:
        described["ome_xml"] = tif.ome_metadata
    if tif.is_fluoview:
        described["fluoview"] = jsonable(tif.fluoview_metadata)
    for name in _OUTSIDE_TAGS:
        if getattr(tif, f"is_{name}") and (value := getattr(tif, f"{name}_metadata")):
            described[name] = jsonable(value)
    tags = _tags(first)
    described["image_description"] = tags.pop("ImageDescription", None)
    described["tags"] = tags
    later = _later_tags(tif, series, tags | {"ImageDescription": described["image_description"]})
    if later:
        described["page_tags"] = later
    return described


def _tags(page: TiffPage) -> dict[str, object]:
    values: dict[str, object] = {}
    for tag in page.tags:
        if tag.code in _STORAGE_TAGS:
            continue
        name, number = tag.name, 2
        # A page may repeat a tag: OME-TIFF written by ImageJ has two descriptions.
        while name in values:
            name, number = f"{tag.name}.{number}", number + 1
        values[name] = _tag_value(tag)
    return values


def _tag_value(tag: TiffTag) -> object:
    value = tag.value
    if tag.dtype in _RATIONALS and isinstance(value, tuple) and len(value) > 2:
        value = list(zip(value[::2], value[1::2], strict=True))
    return jsonable(value)


def _later_tags(
    tif: TiffFile, series: TiffPageSeries, first: Mapping[str, object]
) -> dict[str, object]:
    differing: dict[str, object] = {}
    if series.dataoffset is not None and len(tif.pages) < len(series):
        return differing  # planes without IFDs of their own
    for number, page in enumerate(series):
        if number == 0 or page is None or page.parent.filehandle.closed:
            continue
        tags = _tags(page.aspage())
        changed = {k: v for k, v in tags.items() if k not in first or first[k] != v}
        if changed:
            differing[str(number)] = changed
    return differing


def jsonable(value: Any) -> Any:
    """Return a value of a TIFF tag or of parsed metadata as a JSON value."""
    if isinstance(value, enum.Enum):
        return jsonable(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, Mapping):
        return {str(jsonable(k)): jsonable(v) for k, v in value.items()}
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Iterable):
        return [jsonable(v) for v in value]
    return str(value)


_IS_SILENT: ContextVar[bool] = ContextVar("kymflow_zarr_tiff_is_silent", default=False)


# Let log records of other threads, and of other users of tifffile, pass.
logging.getLogger("tifffile").addFilter(lambda _record: not _IS_SILENT.get())


@contextlib.contextmanager
def without_messages() -> Iterator[None]:
    """Suppress tifffile's log records and NumPy's warnings from its arithmetic.

    The readers detect the relevant problems themselves and report them. Other threads and other
    users of tifffile keep their messages.
    """
    token = _IS_SILENT.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _IS_SILENT.reset(token)
