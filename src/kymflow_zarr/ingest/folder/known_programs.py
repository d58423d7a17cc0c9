"""Recognize files of known programs that could not be read as such.

A file is recognized by its name and its first bytes, and named in the report, so that what was not
understood does not look like what nobody knows.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KnownFile:
    """Files of a program.

    Parameters
    ----------
    what : str
        What the files are, for the report.
    suffixes : tuple of str
        Ends of their names, in lower case.
    matches : callable
        Takes the first bytes of a file; returns True if it is of this kind.
    """

    what: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool] = lambda _: True


def _header_has(*names: bytes) -> Callable[[bytes], bool]:
    def matches(start: bytes) -> bool:
        columns = start.partition(b"\n")[0].strip().replace(b'"', b"").split(b",")
        return all(name in columns for name in names)

    return matches


def _mentions(*words: bytes) -> Callable[[bytes], bool]:
    return lambda start: any(word in start for word in words)


# The first that matches counts.
_KNOWN: Final = (
    KnownFile(
        "a table of acqstore over a folder, which its sidecars hold too",
        (".csv",),
        _header_has(b"pool_row_id"),
    ),
    KnownFile("a list of files of acqstore", (".csv",), _header_has(b"_rel_path")),
    KnownFile(
        "a table of acqstore",
        (".csv",),
        _header_has(b"channel", b"roi_id"),
    ),
    KnownFile("a velocity table of kymflow", (".csv",), _header_has(b"velocity", b"algorithm")),
    KnownFile("a list of files of kymflow", (".csv",), _header_has(b"rel_path")),
    KnownFile(
        "a sidecar of acqstore",
        (".json",),
        _mentions(b'"image_header_metadata"', b'"detection_params"'),
    ),
    KnownFile(
        "an analysis of kymflow",
        (".json",),
        _mentions(b'"velocity_events"', b'"analysis_metadata"'),
    ),
    KnownFile(
        "a header of Olympus FluoView", (".txt",), _mentions(b'"[General]"', b'"[Dimensions]"')
    ),
    KnownFile("regions of ImageJ, which rec.ingest_rois() reads", (".roi", "roiset.zip")),
)
_START_BYTES: Final = 1 << 20


def known_file(name: str, data: bytes) -> str | None:
    """Return what a file looks like, None if it is of no known program.

    Parameters
    ----------
    name : str
    data : bytes
        The file, or its beginning.
    """
    lower, start = name.casefold(), data[:_START_BYTES].removeprefix(codecs.BOM_UTF8)
    for known in _KNOWN:
        if lower.endswith(known.suffixes) and known.matches(start):
            return f"it looks like {known.what}"
    return None
