"""The page of the docs: its tables and charts come from the figures that are kept beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.measure import Found, Row, Skipped, shown

DOCS = Path(__file__).parents[1] / "docs"
PAGE, KEPT = DOCS / "benchmarks.md", DOCS / "benchmarks"
_MARKED = re.compile(r"(<!-- (figures|growth) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def rewrite() -> None:
    """Write the tables of the page anew, and draw its charts."""
    from benchmarks.charts import draw_all

    figures = kept()
    text = filled(PAGE.read_text(encoding="utf-8"), figures)
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    draw_all(KEPT / "ratios.svg", [found for file in figures for found in found_in(file)])


def kept() -> list[dict[str, Any]]:
    """Return what ``--json`` wrote into the folder of the docs, a run each."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(KEPT.glob("*.json"))]


def filled(text: str, figures: list[dict[str, Any]]) -> str:
    """Return a page with what stands between its marks replaced."""
    parts = {"figures": _figures(figures), "growth": _growth(figures)}
    return _MARKED.sub(
        lambda mark: mark[1] + "\n" + "\n".join(parts[mark[2]]).strip() + "\n\n", text
    )


def found_in(figures: dict[str, Any]) -> Found:
    """Return the rows of a run, each with the name of its section."""
    return [(entry["section"], _row(entry)) for entry in figures["rows"]]


def _row(entry: dict[str, Any]) -> Row | Skipped:
    if entry.get("skipped"):
        return Skipped(entry["name"], entry["why"])
    names = ("name", "against", "ours", "theirs", "goal", "at_most", "unit")
    points = tuple((size, seconds) for size, seconds in entry["points"])
    return Row(**{name: entry[name] for name in names}, points=points)


def _figures(figures: list[dict[str, Any]]) -> Iterator[str]:
    every = [row for file in figures for _, row in found_in(file)]
    goals = [row for row in every if isinstance(row, Row) and row.goal is not None]
    yield f"{sum(bool(row.met) for row in goals)} of {len(goals)} goals are met.\n"
    for file in figures:
        yield f"{_taken_on(file)}\n"
        for section, rows in groupby(found_in(file), key=lambda found: found[0]):
            if section != "growth":  # It has a table of its own.
                yield f"### {section}\n"
                yield from _table(["", "ours", "against", "theirs", "ratio", "goal", ""])
                yield from (_line(_cells(row)) for _, row in rows)
                yield ""


def _growth(figures: list[dict[str, Any]]) -> Iterator[str]:
    found = [found for file in figures for found in found_in(file)]
    curves = [row for name, row in found if name == "growth" and isinstance(row, Row)]
    sizes = sorted({size for row in curves for size, _ in row.points})
    yield from _table(["images", *(f"{size:,}" for size in sizes)])
    for row in curves:
        costs = dict(row.points)
        name = row.name.rsplit(" at ", 1)[0]
        yield _line([name, *(shown(costs[s], row.unit) if s in costs else "" for s in sizes)])


def _taken_on(file: dict[str, Any]) -> str:
    facts = dict(file["machine"])
    shared = facts.pop("used by others") == "yes"
    cores, system = facts.pop("cores"), facts.pop("system")
    versions = ", ".join(f"{name} {version}" for name, version in facts.items())
    others = " Other programs used the machine meanwhile." if shared else ""
    return f"Taken on {cores} cores, {system}, with {versions}.{others}"


def _cells(row: Row | Skipped) -> list[str]:
    if isinstance(row, Skipped):
        return [row.name, "", "", "", "", "", f"skipped: {row.why}"]
    return [*row.cells, {True: "met", False: "**missed**", None: ""}[row.met]]


def _table(heads: list[str]) -> Iterator[str]:
    yield _line(heads)
    yield _line(["---"] * len(heads))


def _line(cells: Iterable[str]) -> str:
    # A bar would end its cell.
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
