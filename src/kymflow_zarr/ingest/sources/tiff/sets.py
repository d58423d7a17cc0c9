"""Find the TIFF files that are one image: OME-TIFF sets and Prairie View scans."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from kymflow_zarr.ingest.sources.interface import FileSet
from kymflow_zarr.ingest.sources.tiff.ome import (
    files_named,
    is_ome,
    read_description,
    root_uuid,
    text_of_companion,
)

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


@dataclass(frozen=True, slots=True)
class LineScan:
    """What Prairie View says of a line scan.

    Parameters
    ----------
    period_s : float
        Seconds from one line to the next.
    pixel_um : float, optional
        Micrometers from one pixel of the line to the next.
    path : list of [float, float]
        Points of a free-hand line as ``[x, y]``, in pixels of the source picture.
    """

    period_s: float
    pixel_um: float | None
    path: list[list[float]]


def line_scan_of(tiff: Path) -> LineScan | None:
    """Return the line scan that a file is of, None for other images.

    Parameters
    ----------
    tiff : Path
        One of its files; the scan's XML is searched beside it.
    """
    match = SCAN_NAME.fullmatch(tiff.name)
    document = None if match is None else tiff.with_name(f"{match['base']}.xml")
    if match is None or document is None or not is_scan_document(document):
        return None
    period: str | None = None
    pixel: str | None = None
    path: list[list[float]] = []
    is_ours = in_pixel_size = False
    try:
        for event, element in ET.iterparse(document, events=("start", "end")):
            if element.get("key") == "micronsPerPixel":
                in_pixel_size = event == "start"
            if event == "start" and element.tag == "Sequence":
                kind = element.get("type", "").casefold().replace(" ", "")
                is_ours = int(element.get("cycle", "-1")) == int(match["cycle"])
                if is_ours and "linescan" not in kind:
                    return None
            elif event == "end" and element.tag == "Freehand" and is_ours:
                path.append([float(element.get("x", "nan")), float(element.get("y", "nan"))])
            elif in_pixel_size and element.get("index") == "XAxis":
                pixel = element.get("value") if is_ours or pixel is None else pixel
            elif event == "end" and element.get("key") == "scanLinePeriod":
                # Prefer the value of the whole scan; a frame may state its own.
                period = element.get("value") if is_ours or period is None else period
            elif event == "end" and element.tag == "Sequence" and is_ours:
                if period is None:
                    return None
                return LineScan(float(period), None if pixel is None else float(pixel), path)
    except (ET.ParseError, OSError, ValueError):
        return None
    return None


_COMPANIONS: Final = (".companion.ome", ".ome", ".ome.xml")
_NUMBER: Final = re.compile(r"\d+")
_PICTURE_FOLDER: Final = "References"


def find_sets(images: Sequence[Path], others: Sequence[Path]) -> list[FileSet]:
    """Return the sets of files that are one image each; see :class:`ImageFormat`.

    This opens files called ``*.ome.*`` and all TIFFs of a folder that has a companion file. Of
    other files whose names differ only in numbers it opens the first, and the rest if the first is
    OME-TIFF. Of a set whose files all name each other it reads one file.
    """
    folders: dict[Path, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    for path in images:
        folders[path.parent][0].append(path)
    for path in others:
        folders[path.parent][1].append(path)
    all_sets = []
    for folder, (tiffs, rest) in folders.items():
        companions = [path for path in rest if path.name.casefold().endswith(_COMPANIONS)]
        named = [path for path in tiffs if ".ome." in path.name.casefold()]
        candidates = tiffs if companions else [*named, *_numbered_ome(tiffs)]
        sets = _ome_sets(candidates, [*tiffs, *companions]) if candidates else []
        scans = [path for path in rest if path.suffix.casefold() == ".xml"] if named else []
        for document in scans:
            pictures = [*tiffs, *folders.get(folder / _PICTURE_FOLDER, ([], []))[0]]
            sets = _with_scan(document, sets, named, pictures, rest)
        all_sets += sets
    return all_sets


def _numbered_ome(tiffs: Sequence[Path]) -> list[Path]:
    """Return the OME-TIFFs without ``.ome.`` in names that differ only in numbers."""
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in tiffs:
        if ".ome." not in path.name.casefold():
            alike[_NUMBER.sub("#", path.name)].append(path)
    return [
        path
        for paths in alike.values()
        if len(paths) > 1 and is_ome(read_description(min(paths)))
        for path in paths
    ]


def _ome_sets(candidates: Sequence[Path], files: Sequence[Path]) -> list[FileSet]:
    names = {path.name.casefold(): path for path in files}
    tiffs = set(files) - {path for path in files if path.name.casefold().endswith(_COMPANIONS)}

    @functools.cache
    def by_uuid() -> dict[str, Path]:
        texts = ((path, read_description(path)) for path in sorted(tiffs))
        stated = ((path, root_uuid(text)) for path, text in texts if text and is_ome(text))
        return {uuid: path for path, uuid in stated if uuid is not None}

    def with_uuid(uuid: str) -> Path | None:
        return by_uuid().get(uuid)

    sets: list[FileSet] = []
    claimed: set[Path] = set()
    for path in sorted(candidates):
        text = None if path in claimed else read_description(path)
        if text is None or not is_ome(text):
            continue
        named, refers = files_named(text, path, names, with_uuid)
        at, companions = path, []
        if refers and named and named[0] != path:
            at = named[0]
            text = text_of_companion(at)
            if text is None:
                continue
            named, _ = files_named(text, at, names, with_uuid)
            if at not in tiffs:
                companions = [at]
        members = [file for file in named if file in tiffs and file not in claimed]
        if path not in members or (len(members) == 1 and not companions):
            continue  # The file is of no set, or is a copy of a file of one.
        claimed |= {*members, *companions}
        primary = at if at in members else min(members)
        rest = tuple(sorted(file for file in members if file != primary))
        sets.append(FileSet(primary, rest, tuple(companions)))
    return sets


def _with_scan(
    document: Path,
    sets: list[FileSet],
    named: Sequence[Path],
    pictures: Sequence[Path],
    others: Sequence[Path],
) -> list[FileSet]:
    """Add a Prairie View scan's XML and reference pictures to its set of images."""
    base = document.stem
    scanned = [
        path for path in named if (m := SCAN_NAME.fullmatch(path.name)) and m["base"] == base
    ]
    if not scanned or not is_scan_document(document):
        return sets
    members = {path for each in sets for path in (each.primary, *each.members)}
    alone = [FileSet(path) for path in scanned if path not in members]
    ours = [each for each in sets if each.primary in scanned] + alone
    rest = [each for each in sets if each.primary not in scanned]
    source = re.compile(re.escape(base) + r"-Cycle\d+.*(Source|Reference)\.tiff?", re.IGNORECASE)
    shown = tuple(path for path in pictures if source.fullmatch(path.name))
    settings = [document, *(path for path in others if path.name == f"{base}.env")]
    described = [
        FileSet(
            each.primary,
            each.members,
            (*each.companions, *settings),
            shown if index == 0 else (),
        )
        for index, each in enumerate(ours)
    ]
    return [*rest, *described]
