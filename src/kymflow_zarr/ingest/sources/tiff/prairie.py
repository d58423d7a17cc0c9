"""What Prairie View writes beside its OME-TIFFs: ``<base>.xml`` knows that rows are times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

__all__ = ["SCAN_NAME", "is_scan_document", "line_period_s"]

SCAN_NAME: Final = re.compile(r"(?P<base>.+)_Cycle(?P<cycle>\d+)_.*\.ome\.tiff?", re.IGNORECASE)
_HEAD_BYTES: Final = 4096


def is_scan_document(path: Path) -> bool:
    """Return True if an XML file describes a scan of Prairie View."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return b"<PVScan" in head and b"<!DOCTYPE" not in head
    except OSError:
        return False


def line_period_s(tiff: Path) -> float | None:
    """Return the seconds from one line to the next of a line scan, None for other images.

    Parameters
    ----------
    tiff : Path
        One of its files; the document is looked for beside it.
    """
    match = SCAN_NAME.fullmatch(tiff.name)
    document = None if match is None else tiff.with_name(f"{match['base']}.xml")
    if match is None or document is None or not is_scan_document(document):
        return None
    period: str | None = None
    is_ours = False
    try:
        for event, element in ET.iterparse(document, events=("start", "end")):
            if event == "start" and element.tag == "Sequence":
                kind = element.get("type", "").casefold().replace(" ", "")
                is_ours = int(element.get("cycle", "-1")) == int(match["cycle"])
                if is_ours and "linescan" not in kind:
                    return None
            elif event == "end" and element.get("key") == "scanLinePeriod":
                # Of the whole scan first; a frame may state another one, which is its own.
                period = element.get("value") if is_ours or period is None else period
            elif event == "end" and element.tag == "Sequence" and is_ours:
                return None if period is None else float(period)
    except (ET.ParseError, OSError, ValueError):
        return None
    return None
