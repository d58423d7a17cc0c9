"""Interleaved medians, and rows of a table that say whether a goal is met."""

from __future__ import annotations

import html
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Parameters
    ----------
    name : str
        What was timed.
    against : str
        The floor or peer.
    ours_s, theirs_s : float
        Medians.
    goal : float
        For ``at_most``, the most that ``ours_s / theirs_s`` may be; else the least that
        ``theirs_s / ours_s`` has to be.
    at_most : bool
    """

    name: str
    against: str
    ours_s: float
    theirs_s: float
    goal: float
    at_most: bool

    @property
    def ratio(self) -> float:
        """How many times the cost of the floor, or how many times as fast as the peer."""
        return self.ours_s / self.theirs_s if self.at_most else self.theirs_s / self.ours_s

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def __str__(self) -> str:
        meaning = "x the cost of" if self.at_most else "x as fast as"
        bound = "at most" if self.at_most else "at least"
        return (
            f"{'ok  ' if self.met else 'MISS'} {self.name:48} {1e3 * self.ours_s:10.3f} ms  "
            f"{self.ratio:7.2f} {meaning} {self.against} ({bound} {self.goal:g})"
        )


def interleaved(
    ways: Mapping[str, Callable[[int], object]], *, repeat: int, warm: int = 1
) -> dict[str, float]:
    """Time each way in turn, so that a noisy moment strikes all alike; return medians in s.

    Parameters
    ----------
    ways : mapping of str to callable
        Called with the number of the repetition.
    repeat, warm : int
        How often it is timed, and called before.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-warm, repeat):
        for name, call in ways.items():
            start = time.perf_counter()
            call(number + warm)
            if number >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def write_chart(path: Path, rows: Sequence[Row]) -> None:
    """Draw how far each comparison is from its goal, as bars in an SVG file."""
    step, left, width = 22, 420, 900
    height, scale = step * len(rows) + 40, (width - left - 80) / 2
    size = f'width="{width}" height="{height}" font-family="sans-serif" font-size="12"'
    goal = f'x1="{left + scale}" x2="{left + scale}" y1="20" y2="{height - 6}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<text x="{left}" y="16">1 is the goal; shorter is better</text>',
        f'<line {goal} stroke="#888"/>',
    ]
    for i, row in enumerate(rows):
        part = min(2, row.ratio / row.goal if row.at_most else row.goal / row.ratio)
        y, color = 26 + step * i, "#2a7" if row.met else "#c53"
        name = html.escape(f"{row.name} : {row.against}")
        bar = f'x="{left}" y="{y + 3}" width="{scale * part:.0f}" height="14"'
        lines += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect {bar} fill="{color}"/>',
            f'<text x="{left + scale * part + 6:.0f}" y="{y + 14}">{row.ratio:.2f}</text>',
        ]
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")
