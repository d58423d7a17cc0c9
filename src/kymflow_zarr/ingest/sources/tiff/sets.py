"""Find the TIFF files that are one image: OME-TIFF sets and Prairie View scans."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kymflow_zarr.ingest.sources.interface import FileSet
from kymflow_zarr.ingest.sources.tiff.ome import (
    files_named,
    is_ome,
    read_description,
    root_uuid,
    text_of_companion,
)
from kymflow_zarr.ingest.sources.tiff.prairie import SCAN_NAME, is_scan_document, line_scan_of

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
    ours = _of_one_line([*(each for each in sets if each.primary in scanned), *alone])
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


def _of_one_line(sets: list[FileSet]) -> list[FileSet]:
    """Return the cycles of one line as one set, cycles of other lines as they are."""
    joined: list[FileSet] = []
    left = sorted(sets, key=lambda each: each.primary.name)
    while left:
        first = left.pop(0)
        scan = line_scan_of(first.primary)
        names = {name for cycle in scan.cycles for name in cycle.files.values()} if scan else set()
        same = [each for each in left if each.primary.name in names]
        members = {path for each in (first, *same) for path in (each.primary, *each.members)}
        left = [each for each in left if each not in same]
        rest = tuple(sorted(members - {first.primary}))
        joined.append(FileSet(first.primary, rest, first.companions))
    return joined
