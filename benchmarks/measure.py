"""Interleaved medians, and rows of a table that say whether a goal is met."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SCALES = {
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "us")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Parameters
    ----------
    name : str
        What was measured.
    against : str
        The floor or peer.
    ours, theirs : float
        What it costs: medians of times, or whatever `unit` says. Less is better.
    goal : float, optional
        For ``at_most``, the most that ``ours / theirs`` may be; else the least that
        ``theirs / ours`` has to be. Without one the row is shown, neither met nor missed.
    at_most : bool
        Whether the ratio is a cost, rather than a speed.
    unit : str
        ``"s"`` or ``"B"`` (bytes), which are shown in thousands, or any other word.
    points : tuple of (int, float)
        What it costs at each of several sizes, for a curve.
    """

    name: str
    against: str
    ours: float
    theirs: float
    goal: float | None = None
    at_most: bool = True
    unit: str = "s"
    points: tuple[tuple[int, float], ...] = ()

    @property
    def ratio(self) -> float:
        """How many times the cost of the floor, or how many times as fast as the peer."""
        return self.ours / self.theirs if self.at_most else self.theirs / self.ours

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Name, ours, against, theirs, ratio and goal, as a reader is to see them."""
        meaning = "x the cost" if self.at_most else "x as fast"
        bound = "at most" if self.at_most else "at least"
        return (
            self.name,
            shown(self.ours, self.unit),
            self.against,
            shown(self.theirs, self.unit),
            f"{figures(self.ratio)} {meaning}",
            "" if self.goal is None else f"{bound} {self.goal:g}",
        )

    def __str__(self) -> str:
        mark = {True: "ok", False: "MISS", None: ""}[self.met]
        name, ours, against, theirs, ratio, goal = self.cells
        return (
            f"{mark:4}  {name:56} {ours:>9}  {against:32} {theirs:>9}  {ratio:>17}  {goal}".rstrip()
        )


@dataclass(frozen=True, slots=True)
class Skipped:
    """A comparison that could not be made here: neither met nor missed."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"skip  {self.name:56} {self.why}"


# Each with the name of its section.
Found = list[tuple[str, Row | Skipped]]


def interleaved(
    ways: Mapping[str, Callable[[int], object]],
    *,
    repeat: int,
    warm: int = 1,
    between: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time each way in turn, so that a noisy moment strikes all alike; return medians in s.

    Parameters
    ----------
    ways : mapping of str to callable
        Called with the number of the repetition.
    repeat, warm : int
        How often it is timed, and called before.
    between : callable
        Called after each, and not timed.
    clock : callable
        Returns the time in s; ``time.process_time`` leaves out what other programs take.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-warm, repeat):
        for name, call in ways.items():
            start = clock()
            call(number + warm)
            if number >= 0:
                times[name].append(clock() - start)
            between()
    return {name: statistics.median(found) for name, found in times.items()}


def shown(value: float, unit: str) -> str:
    """Write a figure with a unit of its size.

    >>> shown(0.0123, "s"), shown(600e6, "B"), shown(100_000, "files")
    ('12.3 ms', '600 MB', '100,000 files')
    """
    steps = SCALES.get(unit, ((1, unit),))
    # Half a digit less, so that what is rounded to 1,000 us is shown as 1 ms.
    scale, name = next((step for step in steps if value >= 0.9995 * step[0]), steps[-1])
    return f"{figures(value / scale)} {name}".rstrip()


def figures(value: float) -> str:
    """Write a number with three figures, or all those before its point.

    >>> figures(0.01234), figures(7.1), figures(123.4), figures(1234.6)
    ('0.0123', '7.10', '123', '1,235')
    """
    return f"{value:,.0f}" if value >= 99.95 or value == 0 else f"{value:#.3g}"
