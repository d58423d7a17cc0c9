"""Charts of the figures as SVG files, which a light and a dark page can show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmarks.measure import Found, Row, shown

WIDTH = 9.5  # Inches, as matplotlib has it.
MOST = 2.0  # What has missed its goal by more is drawn as if by so much.
# Each stands out from white and from black alike.
INK, MET, MISSED, LINE = "#7a7a7a", "#2a9d6f", "#d1495b", "#3f88c5"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "the same figures give the same file",
    "font.family": "sans-serif",
    "font.size": 9,
    **{
        f"{part}.{what}": INK
        for part, what in [
            ("text", "color"),
            ("axes", "edgecolor"),
            ("axes", "labelcolor"),
            ("xtick", "color"),
            ("ytick", "color"),
            ("grid", "color"),
        ]
    },
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_all(path: Path, found: Found) -> None:
    """Draw the ratios, and beside that file, if there are any, the curves (``...-growth.svg``)."""
    rows = [(name, row) for name, row in found if isinstance(row, Row)]
    draw_ratios(path, [row for _, row in rows if row.goal is not None])
    if curves := [row for name, row in rows if name == "growth"]:
        draw_growth(path.with_stem(f"{path.stem}-growth"), curves)


def draw_ratios(path: Path, rows: Sequence[Row]) -> None:
    """Draw how far each comparison is from its goal, as bars."""
    with rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH, 0.9 + 0.24 * len(rows)), layout="constrained")
        ax = drawn.subplots()
        parts = [_part(row) for row in rows]
        colors = [MET if row.met else MISSED for row in rows]
        ax.barh(range(len(rows)), parts, color=colors, height=0.65)
        ax.set_yticks(range(len(rows)), [f"{row.name} : {row.against}" for row in rows])
        right = ax.secondary_yaxis("right")
        right.set_yticks(range(len(rows)), [row.cells[4] for row in rows])
        right.spines[:].set_visible(False)
        right.tick_params(right=False)
        ax.axvline(1, color=INK, linewidth=1)
        ax.set(xlim=(0, MOST), xlabel="part of what the goal allows; shorter is better")
        ax.invert_yaxis()
        ax.margins(y=0.01)
        ax.tick_params(left=False)
        _save(drawn, path)


def draw_growth(path: Path, rows: Sequence[Row]) -> None:
    """Draw what each call costs by the number of images: a small panel for each."""
    across = 4
    down = -(-len(rows) // across)
    with rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH, 1.9 * down + 0.3), layout="constrained")
        panels = drawn.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for ax, row in zip(panels.flat, rows, strict=False):
            _curve(ax, row)
        for ax in panels.flat[len(rows) :]:
            ax.set_visible(False)
        drawn.supxlabel("images in the dataset", fontsize=9)
        _save(drawn, path)


def _part(row: Row) -> float:
    assert row.goal is not None
    return min(MOST, row.ratio / row.goal if row.at_most else row.goal / row.ratio)


def _curve(ax: Axes, row: Row) -> None:
    sizes = [size for size, _ in row.points]
    costs = [seconds for _, seconds in row.points]
    ax.loglog(sizes, costs, color=LINE, marker="o", markersize=4, linewidth=1.6)
    # A line that grows as the dataset does, for comparison.
    ends = sizes[0], sizes[-1]
    ax.loglog(ends, [costs[0] * size / sizes[0] for size in ends], color=INK, linestyle=":")
    ax.set_title(row.name.rsplit(" at ", 1)[0], fontsize=9)
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_formatter(EngFormatter("s"))
    ax.grid(visible=True, alpha=0.3, linewidth=0.5)
    text, place = shown(costs[-1], "s"), (sizes[-1], costs[-1])
    ax.annotate(text, place, (0, 5), textcoords="offset points", ha="right", fontsize=8)


def _save(drawn: Figure, path: Path) -> None:
    drawn.savefig(path, format="svg", transparent=True, metadata={"Date": None})
