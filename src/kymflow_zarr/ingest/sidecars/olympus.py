"""The header that Olympus FluoView writes beside an image: ``"key" <tab> "value"`` lines."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

from kymflow_zarr.schema.axes import normalize_unit

_LINE: Final = re.compile(r'\s*"(?P<key>[^"\t]*)"\s*\t\s*"(?P<value>.*)"\s*')
# X Dimension: "38, 0.0 - 10.796 [um], 0.284 [um/pixel]"
# T Dimension: "1, 0.000 - 35.099 [s], Interval FreeRun"
_DIMENSION: Final = re.compile(
    r"\s*(?P<count>\d+)\s*,\s*(?P<first>[-\d.eE+]+)\s*-\s*(?P<last>[-\d.eE+]+)\s*\[(?P<unit>[^\]]+)\]"
    r"(\s*,\s*(?P<step>[-\d.eE+]+)\s*\[(?P<step_unit>[^\]/]+)/[^\]]+\])?"
)
_SIZE: Final = re.compile(r"\s*(\d+)\s*\*\s*(\d+)")
_TIME_FORMATS: Final = (
    "%m/%d/%Y %I:%M:%S.%f %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S.%f",
    "%m/%d/%Y %H:%M:%S",
)
# Some versions write "12:30:15.461 PM", the clock of 24 hours "13:05:00 PM" all the same.
_EPOCH: Final = dt.datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One ``... Dimension`` line: count, extent and step with its unit."""

    count: int
    extent: float
    step: float | None
    unit: str | None


@dataclass(frozen=True, slots=True)
class OlympusHeader:
    """The parsed fields of an instrument header, and its whole text.

    Parameters
    ----------
    text : str
        The whole file.
    sections : dict of str to dict of str to str
        By section; a key may occur in several.
    """

    text: str
    sections: dict[str, dict[str, str]]

    def _value(self, section: str, key: str) -> str | None:
        return self.sections.get(section, {}).get(key)

    @property
    def is_line_scan(self) -> bool:
        """Whether the rows of the image are lines in time."""
        mode = (self._value("General", "Scan Mode") or "").replace(" ", "").upper()
        dims = (self._value("Image", "Primary Dimensions") or "").replace(" ", "").upper()
        return mode.startswith("XT") or dims.startswith("X*T")

    @property
    def acquired_local_epoch_ns(self) -> int | None:
        """Wall clock at the microscope, ns since 1970-01-01T00:00:00 of that same clock."""
        text = (self._value("General", "Date") or "").strip()
        for pattern in _TIME_FORMATS:
            try:
                moment = dt.datetime.strptime(text, pattern)
            except ValueError:
                continue
            since = moment - _EPOCH
            return ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000
        return None

    def dimension(self, axis: str) -> Dimension | None:
        """Return the line of an axis (``"X"``, ``"Y"``, ``"Z"``, ``"T"``), None if unreadable."""
        match = _DIMENSION.match(self._value("Dimensions", f"{axis} Dimension") or "")
        if match is None:
            return None
        step = match["step"]
        try:
            extent = float(match["last"]) - float(match["first"])
            return Dimension(
                count=int(match["count"]),
                extent=extent,
                step=None if step is None else float(step),
                unit=normalize_unit(match["step_unit"] or match["unit"]),
            )
        except ValueError:
            return None

    @property
    def line_period_s(self) -> float | None:
        """Seconds per line of a line scan: duration over lines."""
        time, size = self.dimension("T"), _SIZE.match(self._value("Image", "Image Size") or "")
        if not self.is_line_scan or time is None or size is None or time.unit != "second":
            return None
        lines = int(size[2])
        return time.extent / lines if lines and time.extent > 0 else None

    @property
    def channel_names(self) -> list[str]:
        """Dye of each channel, its name where it has no dye."""
        names = []
        for i in range(1, 100):
            section = self.sections.get(f"Channel {i}")
            if section is None:
                break
            dye = section.get("Dye Name", "").strip()
            names.append(dye if dye not in {"", "None"} else section.get("Channel Name", f"{i}"))
        return names


def parse_olympus_header(data: bytes) -> OlympusHeader | None:
    """Return the header in the bytes of a text file, None if it is some other text."""
    text = _decode(data)
    sections: dict[str, dict[str, str]] = {}
    current = ""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        key, value = match["key"].strip(), match["value"]
        if key.startswith("[") and key.endswith("]"):
            current = key[1:-1].strip()
            sections.setdefault(current, {})
        else:
            # Of a repeated key, the first belongs to the image and later ones to a reference image.
            sections.setdefault(current, {}).setdefault(key, value)
    if "General" not in sections and "Dimensions" not in sections:
        return None
    return OlympusHeader(text, sections)


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Windows programs write "µm" in Latin-1, in which every byte is a character.
        return data.decode("latin-1")
