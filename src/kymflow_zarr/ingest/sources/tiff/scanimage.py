"""The description that ScanImage 3 writes into each page: lines ``state.<group>.<key>=<value>``."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ENTRY: Final = re.compile(r"(state\.[\w.]+)=(.*)")
_SAVED: Final = re.compile(r"state\.acq\.savingChannel(\d+)")
_EPOCH: Final = dt.datetime(1970, 1, 1)
_TIME: Final = "%m/%d/%Y %H:%M:%S.%f"


@dataclass(frozen=True, slots=True)
class ScanImageHeader:
    """What the description says of the acquisition.

    Parameters
    ----------
    entries : mapping of str to str
        All lines.
    """

    entries: Mapping[str, str]

    @property
    def channels(self) -> list[str]:
        """Names of the channels that were saved, in the order of the pages."""
        matches = ((_SAVED.fullmatch(key), value) for key, value in self.entries.items())
        numbers = sorted(int(match[1]) for match, value in matches if match and value == "1")
        return [f"channel {number}" for number in numbers]

    @property
    def slices(self) -> int:
        """Number of planes along z."""
        value = self.entries.get("state.acq.numberOfZSlices", "1")
        return int(value) if value.isdecimal() and int(value) > 0 else 1

    @property
    def frame_period_s(self) -> float | None:
        """Seconds from one frame to the next."""
        rate = self._number("state.acq.frameRate")
        return 1 / rate if rate and rate > 0 else None

    @property
    def line_period_s(self) -> float | None:
        """Seconds from one row to the next if all are of one line, None for pictures."""
        if self.entries.get("state.acq.linescan") != "1":
            return None
        period = self._number("state.acq.msPerLine")
        return period / 1000 if period and period > 0 else None

    @property
    def z_step_um(self) -> float | None:
        """Micrometers from one plane to the next."""
        step = self._number("state.acq.zStepSize")
        return abs(step) if step else None

    @property
    def acquired_local_epoch_ns(self) -> int | None:
        """Wall clock at the microscope, ns since 1970-01-01T00:00:00 of that same clock."""
        text = self.entries.get("state.internal.triggerTimeString", "").strip("'")
        try:
            since = dt.datetime.strptime(text, _TIME) - _EPOCH
        except ValueError:
            return None
        return ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000

    def _number(self, key: str) -> float | None:
        try:
            return float(self.entries.get(key, ""))
        except ValueError:
            return None


def parse_scanimage(description: str) -> ScanImageHeader | None:
    """Return the header in a page's description, None if it is of another program."""
    if not description.startswith("state."):
        return None
    lines = (_ENTRY.fullmatch(line.strip()) for line in re.split(r"[\r\n]+", description))
    entries = {match[1]: match[2] for match in lines if match}
    return ScanImageHeader(entries) if "state.acq.frameRate" in entries else None


def arranged(
    header: ScanImageHeader, axes: str, shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape of a stack whose pages are frames of planes of channels.

    Pages run through the channels first, then through z, then through time. A stack whose number
    of pages does not fit is frames alone.
    """
    if axes[:1] not in ("I", "Q", "Z", "T") or len(axes) != 3:
        return axes, shape
    channels, slices = max(1, len(header.channels)), header.slices
    pages = shape[0]
    if pages % (channels * slices):
        return f"T{axes[1:]}", shape
    sizes = {"T": pages // (channels * slices), "Z": slices, "C": channels}
    longer = {letter: n for letter, n in sizes.items() if n > 1}
    return "".join(longer) + axes[1:], (*longer.values(), *shape[1:])
