"""Resolve OME-XML against the files of its folder and the pages of its file.

tifffile follows OME-XML literally: it opens the named files, skips missing ones, and reads as many
pages as are declared. But files get renamed and copied, and an acquisition may run longer than
planned, so the XML is first resolved against the folder.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from kymflow_zarr.ingest.sources.tiff.integrity import check_ome_xml

__all__ = [
    "OmeXml",
    "children",
    "files_named",
    "is_ome",
    "read_description",
    "resolve_ome",
    "root_uuid",
    "text_of_companion",
]

_DESCRIPTION: Final = 270
_MAX_TEXT_BYTES: Final = 64 << 20
_OWN: Final = "urn:own"
_HEAD_CHARACTERS: Final = 4096
_ROOT_UUID: Final = re.compile(r"<(?:\w+:)?OME\b[^>]*?\bUUID\s*=\s*[\"']([^\"']+)")
_BINARY_ONLY: Final = re.compile(r"<(?:\w+:)?BinaryOnly\b([^>]*)>")
_ATTRIBUTE: Final = re.compile(r"\b(MetadataFile|UUID|FileName)\s*=\s*[\"']([^\"']*)")
_UUID_ELEMENT: Final = re.compile(r"<(?:\w+:)?UUID\b([^>]*?)(?:/>|>\s*([^<\s]*)\s*<)")
_IMAGE_SUFFIXES: Final = (".tif", ".tiff", ".tf2", ".tf8", ".btf")


@dataclass(frozen=True, slots=True)
class OmeXml:
    """The OME-XML of a file, resolved.

    Parameters
    ----------
    text : str
        The original text, from the file itself or from the file that it refers to.
    root : Element
        The parsed XML, with the current names of all existing files.
    other_files : tuple of Path
        Further files that the image is read from.
    missing : tuple of str
        Names of missing files.
    notes : tuple of str
        For the report.
    """

    text: str
    root: ET.Element
    other_files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_ome(text: str | None) -> bool:
    """Return True if a TIFF's description is OME-XML."""
    return text is not None and text.rstrip(" \t\r\n\0").endswith("OME>")


def read_description(path: Path) -> str | None:
    """Return the ImageDescription of the first page of a TIFF, None if there is none.

    Reads a few hundred bytes besides the text itself; returns None for a file that is not a TIFF.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            order = {b"II": "<", b"MM": ">"}.get(head[:2])
            if order is None or len(head) < 16:
                return None
            is_big = struct.unpack(f"{order}H", head[2:4]) == (43,)
            entry = struct.Struct(f"{order}HHQ8s" if is_big else f"{order}HHI4s")
            number, offset = ("Q", head[8:16]) if is_big else ("I", head[4:8])
            file.seek(*struct.unpack(order + number, offset))
            count = struct.Struct(f"{order}Q" if is_big else f"{order}H")
            (tags,) = count.unpack(file.read(count.size))
            entries = file.read(min(tags, 4096) * entry.size)
            for code, _, size, value in entry.iter_unpack(entries[: tags * entry.size]):
                if code == _DESCRIPTION:
                    if size > len(value):
                        file.seek(*struct.unpack(order + number, value))
                        value = file.read(min(size, _MAX_TEXT_BYTES))
                    return bytes(value[:size]).rstrip(b"\0").decode("utf-8", errors="replace")
    except (OSError, struct.error, OverflowError, ValueError):
        return None
    return None


def children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Yield the children of an element that have a name, in any version of the schema."""
    return (child for child in element if _local_name(child) == name)


def _local_name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


# Sets of files ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _References:
    """References to other files in OME-XML, extracted without an XML parser."""

    uuid: str | None
    is_binary_only: bool
    named: tuple[tuple[str, str], ...]


def files_named(
    text: str, at: Path, names: Mapping[str, Path], with_uuid: Callable[[str], Path | None]
) -> tuple[list[Path], bool]:
    """Return the files named by OME-XML, and True if it only refers to another file's XML.

    An existing file of that name takes precedence over `at` with the same UUID: `at` is a copy.

    Parameters
    ----------
    text : str
    at : Path
        The file that holds the XML.
    names : mapping of str to Path
        The files of the folder by their case-folded names.
    with_uuid : callable
        Returns the file of the folder with a UUID; called for names that do not exist.
    """
    references = _scanned(text)
    paths = []
    for name, uuid in references.named:
        path = names.get(name.casefold())
        if path is None and uuid:
            path = at if uuid == references.uuid else with_uuid(uuid)
        if path is not None:
            paths.append(path)
    return list(dict.fromkeys(paths)), references.is_binary_only


def root_uuid(text: str) -> str | None:
    """Return the UUID that OME-XML states of its own file."""
    match = _ROOT_UUID.search(text[:_HEAD_CHARACTERS])
    return None if match is None else match[1]


def _scanned(text: str) -> _References:
    binary = _BINARY_ONLY.search(text)
    if binary is not None:
        attributes = dict(_ATTRIBUTE.findall(binary[1]))
        named = ((attributes.get("MetadataFile", ""), attributes.get("UUID", "")),)
        return _References(root_uuid(text), True, named)
    pairs = [
        (dict(_ATTRIBUTE.findall(match[1])).get("FileName", ""), match[2] or "")
        for match in _UUID_ELEMENT.finditer(text)
    ]
    return _References(root_uuid(text), False, tuple(dict.fromkeys(pairs)))


def _file_with_uuid(folder: Path, uuid: str) -> Path | None:
    """Return the TIFF of a folder whose own UUID is this one."""
    for path in sorted(folder.iterdir()):
        if path.name.casefold().endswith(_IMAGE_SUFFIXES) and path.is_file():
            text = read_description(path)
            if text is not None and is_ome(text) and root_uuid(text) == uuid:
                return path
    return None


# One file -----------------------------------------------------------------------------------


def resolve_ome(
    path: Path, text: str, pages: Callable[[], list[object]], page_count: int
) -> OmeXml:
    """Resolve the OME-XML of a file against the files of its folder and its actual pages.

    Parameters
    ----------
    path : Path
    text : str
        The description of its first page.
    pages : callable
        Returns shape and dtype of each page.
    page_count : int

    Raises
    ------
    SourceFileError
        If the XML names a file of another folder, or has a DTD.
    LimitExceededError
        If it declares more planes than the limit ``tiff_pages``.
    """
    own = root_uuid(text)
    others: list[Path] = []
    try:
        root = _parsed(text, str(path))
    except ET.ParseError as error:
        return _unusable(text, f"cannot be parsed ({error})")
    binary = next(children(root, "BinaryOnly"), None)
    if binary is not None:
        name, uuid = binary.get("MetadataFile", ""), binary.get("UUID", "")
        master = _file_called(path.parent, name) or (
            _file_with_uuid(path.parent, uuid) if uuid else None
        )
        master_text = None if master is None or master == path else text_of_companion(master)
        if master is None or master_text is None:
            return _unusable(text, f"is in {name!r}, which is not there", missing=(name,))
        try:
            text, root = master_text, _parsed(master_text, str(master))
        except ET.ParseError as error:
            return _unusable(text, f"in {master.name} cannot be parsed ({error})")
        others.append(master)
    missing = _resolve_names(root, path, own, others)
    root.set("UUID", _OWN)
    notes: list[str] = []
    if not others and not missing and page_count:
        notes = _fit_pages(root, page_count, pages)
    return OmeXml(text, root, tuple(dict.fromkeys(others)), missing, tuple(notes))


def _unusable(text: str, why: str, *, missing: tuple[str, ...] = ()) -> OmeXml:
    note = f"its OME-XML {why}: its pages are taken as they are"
    return OmeXml(text, ET.Element("OME"), missing=missing, notes=(note,))


def _parsed(text: str, where: str) -> ET.Element:
    check_ome_xml(text, where=where)
    return ET.fromstring(text)


def text_of_companion(master: Path) -> str | None:
    """Return the OME-XML of another file, a TIFF or plain text; None if it has none."""
    if master.name.casefold().endswith(_IMAGE_SUFFIXES):
        text = read_description(master)
        return text if is_ome(text) else None
    try:
        with master.open("rb") as file:
            return file.read(_MAX_TEXT_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return None


def _file_called(folder: Path, name: str) -> Path | None:
    return folder / name if name and (folder / name).is_file() else None


def _resolve_names(
    root: ET.Element, path: Path, own: str | None, others: list[Path]
) -> tuple[str, ...]:
    """Replace file names by the current ones; return the names of missing files."""
    elements = [element for element in root.iter() if _local_name(element) == "UUID"]
    place: dict[tuple[str, str], Path | None] = {}
    for element in elements:
        key = (element.get("FileName", ""), (element.text or "").strip())
        if key not in place:
            place[key] = _place_of(*key, path, own)
    if not others and path not in place.values() and len({name for name, _ in place}) == 1:
        # The XML names one file that is not this one: this file was renamed, or is a copy.
        place = dict.fromkeys(place, path)
    for element in elements:
        key = (element.get("FileName", ""), (element.text or "").strip())
        named = place[key]
        element.text = _OWN if named == path else f"urn:{key[0] if named is None else named.name}"
        element.set("FileName", key[0] or "?" if named is None else named.name)
    others += [named for named in place.values() if named is not None and named != path]
    return tuple(name or uuid for (name, uuid), named in place.items() if named is None)


def _place_of(name: str, uuid: str, path: Path, own: str | None) -> Path | None:
    if (uuid and uuid == own) or name.casefold() == path.name.casefold():
        return path
    by_name = _file_called(path.parent, name)
    return by_name or (_file_with_uuid(path.parent, uuid) if uuid else None)


def _fit_pages(root: ET.Element, page_count: int, pages: Callable[[], list[object]]) -> list[str]:
    """Add undeclared pages to the only image of a file; return notes."""
    images = [pixels for image in children(root, "Image") for pixels in children(image, "Pixels")]
    if len(images) != 1:
        return []
    (pixels,) = images
    try:
        sizes = {letter: int(pixels.get(f"Size{letter}", "1")) for letter in "ZCT"}
        samples = int(next(children(pixels, "Channel"), pixels).get("SamplesPerPixel", "1"))
        order = pixels.get("DimensionOrder", "XYZCT")[2:]
        declared = math.prod(sizes.values()) // max(1, samples)
    except ValueError:
        return []
    if declared < 1 or page_count <= declared:
        return []
    left = f"{page_count - declared} of its {page_count} pages are in no image that its OME-XML"
    note = [f"{left} declares, and were left out"]
    long = [letter for letter in order if sizes.get(letter, 1) > (samples if letter == "C" else 1)]
    grows = long[-1] if long else "T"
    rest = declared // sizes[grows]
    if (
        grows == "C"
        or page_count % rest
        or not _in_order(pixels, sizes, order, samples)
        or len(set(pages())) != 1
    ):
        return note
    pixels.set(f"Size{grows}", str(page_count // rest))
    data = list(children(pixels, "TiffData"))
    for element in data[1:]:
        pixels.remove(element)
    if data:
        data[0].attrib.clear()
        data[0].attrib.update({"IFD": "0", "PlaneCount": str(page_count)})
    mismatch = f"its OME-XML declares {declared} planes and it has {page_count}"
    return [f"{mismatch}: all are taken, as more {'time points' if grows == 'T' else 'slices'}"]


def _in_order(pixels: ET.Element, sizes: Mapping[str, int], order: str, samples: int) -> bool:
    """Return True if plane number i is declared to be page number i."""
    for data in children(pixels, "TiffData"):
        place, step = 0, 1
        try:
            for letter in order:
                place += int(data.get(f"First{letter}", "0")) * step
                step *= sizes[letter] // (samples if letter == "C" else 1)
            if place != int(data.get("IFD", "0")):
                return False
        except (ValueError, KeyError):
            return False
    return True
