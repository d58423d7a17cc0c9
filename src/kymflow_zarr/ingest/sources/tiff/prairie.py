"""What Prairie View says of a line scan, in ``<base>.xml`` beside the files of its cycles."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

__all__ = [
    "SCAN_NAME",
    "Cycle",
    "LineScan",
    "is_scan_document",
    "line_scan_of",
    "not_understood",
]

SCAN_NAME: Final = re.compile(r"(?P<base>.+)_Cycle(?P<cycle>\d+)_.*\.ome\.tiff?", re.IGNORECASE)
_HEAD_BYTES: Final = 4096
_PERIOD: Final = "scanLinePeriod"


@dataclass(frozen=True, slots=True)
class Cycle:
    """One run along the line.

    Parameters
    ----------
    time_s : float
        Start of the run, in seconds of the scan's clock; NaN if it is not stated.
    files, sources : mapping of str to str
        Names of the file with the lines, and of the picture that the line was drawn in, by name of
        the channel.
    """

    time_s: float
    files: Mapping[str, str]
    sources: Mapping[str, str]


@dataclass(slots=True)
class LineScan:
    """What Prairie View says of a line scan.

    Parameters
    ----------
    number : int
        The number of the cycle that the file is of.
    period_s : float
        Seconds from one line to the next.
    pixel_um : float, optional
        Micrometers from one pixel of the line to the next.
    path : list of [float, float]
        Points of the line as ``[x, y]``, in pixels of the source picture.
    mode : str
        How the line was drawn, such as ``freeHand``.
    length_um : float, optional
    started : datetime.time, optional
        Wall clock at the microscope when the cycle began.
    cycles : list of Cycle
        The cycles along this line with this period, in order.
    settings : dict of str to str
        The settings of the scan that have one value, such as ``objectiveLens``.
    """

    number: int
    period_s: float = math.nan
    pixel_um: float | None = None
    path: list[list[float]] = field(default_factory=list)
    mode: str = ""
    length_um: float | None = None
    started: dt.time | None = None
    cycles: list[Cycle] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def acquired_local_epoch_ns(self, written: int | None) -> int | None:
        """Return the start of the scan, given when its first file was written.

        Both are wall clocks at the microscope, in ns since 1970-01-01T00:00:00. The document has
        the day in the order that the computer was set to, so the day is that of the file.
        """
        if written is None or self.started is None:
            return written
        seconds, day = written // 10**9, 86400
        clock = self.started
        start = seconds - seconds % day + clock.hour * 3600 + clock.minute * 60 + clock.second
        # A scan that began before midnight.
        start -= day if start > seconds + day // 2 else 0
        return (start * 10**6 + clock.microsecond) * 1000

    def described(self) -> dict[str, object]:
        """Return all that is known of the line, JSON-able."""
        return {
            "mode": self.mode,
            "path": self.path,
            "length_um": self.length_um,
            "line_period_s": self.period_s,
            "cycle_times_s": [cycle.time_s for cycle in self.cycles],
            "sources": sorted({name for each in self.cycles for name in each.sources.values()}),
            "settings": self.settings,
        }


def is_scan_document(path: Path) -> bool:
    """Return True if an XML file describes a scan of Prairie View."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return b"<PVScan" in head and b"<!DOCTYPE" not in head
    except OSError:
        return False


def line_scan_of(tiff: Path) -> LineScan | None:
    """Return the line scan that a file is of, None for other images.

    Parameters
    ----------
    tiff : Path
        One of its files; the scan's XML is searched beside it.
    """
    try:
        return _read(tiff)
    except (ET.ParseError, OSError, ValueError):
        return None


def not_understood(tiff: Path) -> str | None:
    """Return what keeps the settings beside a file from being read; None if nothing does."""
    try:
        _read(tiff)
    except (ET.ParseError, OSError, ValueError) as error:
        match = SCAN_NAME.fullmatch(tiff.name)
        base = tiff.stem if match is None else match["base"]
        return f"{base}.xml of Prairie View is not understood and was left out: {error}"
    return None


def _read(tiff: Path) -> LineScan | None:
    """Return the line scan of a file, None for other images.

    Raises
    ------
    ParseError, OSError, ValueError
        If the document cannot be read, or does not state the time from one line to the next.
    """
    match = SCAN_NAME.fullmatch(tiff.name)
    document = None if match is None else tiff.with_name(f"{match['base']}.xml")
    if match is None or document is None or not is_scan_document(document):
        return None
    root = ET.parse(document).getroot()
    sequences = [each for each in root.iter("Sequence") if _is_line_scan(each)]
    ours = next((s for s in sequences if _number(s) == int(match["cycle"])), None)
    return None if ours is None else _line_scan(root, ours, sequences)


def _line_scan(root: ET.Element, ours: ET.Element, sequences: list[ET.Element]) -> LineScan:
    general = root.find("PVStateShard")
    settings = {} if general is None else dict(_settings(general))
    period = _period(ours) or settings.get(_PERIOD)
    period_s = _positive(period)
    if period_s is None:
        raise ValueError(f"its {_PERIOD} is {period or 'missing'}")
    line = ours.find("PVLinescanDefinition")
    pixel_um = _positive(_pixel_um(ours) or _pixel_um(root))
    length = None if line is None else line.find("Line[@lineLength]")
    alike = [s for s in sequences if _drawn(s) == _drawn(ours) and _period(s) == _period(ours)]
    return LineScan(
        _number(ours),
        period_s,
        pixel_um,
        [] if line is None else _path(line),
        "" if line is None else line.get("mode", ""),
        None if length is None else float(length.get("lineLength", "nan")),
        _clock(ours.get("time")),
        [_cycle(frame) for sequence in alike for frame in sequence.iter("Frame")],
        settings,
    )


def _positive(text: str | None) -> float | None:
    value = float(text or "nan")
    return value if math.isfinite(value) and value > 0 else None


def _is_line_scan(sequence: ET.Element) -> bool:
    return "linescan" in sequence.get("type", "").casefold().replace(" ", "")


def _number(sequence: ET.Element) -> int:
    return int(sequence.get("cycle", "-1"))


def _settings(shard: ET.Element) -> Iterator[tuple[str, str]]:
    for each in shard.iter("PVStateValue"):
        key, value = each.get("key"), each.get("value")
        if key is not None and value is not None:
            yield key, value


def _period(sequence: ET.Element) -> str | None:
    """Return the seconds per line that the frames of a cycle state."""
    return dict(_settings(sequence)).get(_PERIOD)


def _pixel_um(element: ET.Element) -> str | None:
    x = element.find(".//PVStateValue[@key='micronsPerPixel']/IndexedValue[@index='XAxis']")
    return None if x is None else x.get("value")


def _path(line: ET.Element) -> list[list[float]]:
    drawn = [[float(p.get("x", "nan")), float(p.get("y", "nan"))] for p in line.iter("Freehand")]
    straight = line.find("Line[@startPixelX]")
    if drawn or straight is None:
        return _known(drawn)
    y = float(straight.get("startPixelY", "nan"))
    ends = (straight.get("startPixelX", "nan"), straight.get("stopPixelX", "nan"))
    return _known([[float(x), y] for x in ends])


def _known(points: list[list[float]]) -> list[list[float]]:
    """Return the points of a line; none if one is not known, which would move the line."""
    return points if all(math.isfinite(value) for point in points for value in point) else []


def _drawn(sequence: ET.Element) -> tuple[str, list[list[float]]]:
    line = sequence.find("PVLinescanDefinition")
    return ("", []) if line is None else (line.get("mode", ""), _path(line))


def _clock(text: str | None) -> dt.time | None:
    try:
        return dt.time.fromisoformat(text or "")
    except ValueError:
        return None


def _cycle(frame: ET.Element) -> Cycle:
    channels = [(each.get("channelName", ""), each) for each in frame.iter("File")]
    return Cycle(
        float(frame.get("absoluteTime", "nan")),
        {name: each.get("filename", "") for name, each in channels},
        {name: source for name, each in channels if (source := each.get("source"))},
    )
