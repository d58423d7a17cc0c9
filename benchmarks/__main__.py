"""Run all of it: ``python -m benchmarks [--quick] [--json FILE] [--svg FILE] [section ...]``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.images.durability import NeverSyncs
from benchmarks.machine import machine
from benchmarks.measure import Found, Row, Skipped
from kymflow_zarr.storage.local.disk import disk_replaced

# Each is a module with `run(folder, *, quick)`, in the folder that is named here.
# Those that make many small files come first, before others have filled the system's caches.
SECTIONS = {
    "pixels": "images",
    "records": "images",
    "codecs": "images",
    "tables": "datasets",
    "durability": "images",
    "peers": "datasets",
    "opening": "datasets",
    "ingest": "images",
    "memory": "images",
    "lists": "datasets",
    "viewer": "datasets",
    "growth": "datasets",
    "lab_folder": "images",
    "results": "datasets",
    "remote": "datasets",
    "clusters": "datasets",
}
# What it costs to be durable has a section of its own; in most others it would hide what is
# compared, so nothing that they write is synced.
SYNCED = {"durability", "opening", "ingest", "memory", "lab_folder"}


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each comparison; return 1 if one has missed its goal and that counts."""
    options = _options(arguments)
    if options.docs:
        page.rewrite()
        return 0
    names = options.sections or list(SECTIONS)
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    found: Found = []
    begun = time.monotonic()
    # Nothing is removed before the end: for half a minute after many files were deleted, some
    # file systems take ten times as long to make one.
    with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
        for name in names:
            for row in section(name, Path(folder), quick=options.quick):
                found.append((name, row))
                print(row, flush=True)
                if options.json:  # After each, so that what was measured is kept if one fails.
                    kept = {
                        "machine": facts,
                        "quick": options.quick,
                        "rows": [*map(_asdict, found)],
                    }
                    options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        _summarize(found, time.monotonic() - begun)
    if options.svg:
        from benchmarks.charts import draw_all

        draw_all(options.svg, found)
    return int(options.check and any(row.met is False for _, row in found if isinstance(row, Row)))


def section(name: str, folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Run one section below a folder."""
    module = importlib.import_module(f"benchmarks.{SECTIONS[name]}.{name}")
    syncs = "synced" if name in SYNCED else "nothing is synced"
    print(f"\n{name} ({syncs}): {(module.__doc__ or '').splitlines()[0]}", flush=True)
    (folder / name).mkdir()
    with nullcontext() if name in SYNCED else disk_replaced(NeverSyncs()):
        yield from module.run(folder / name, quick=quick)


def _summarize(found: Found, seconds: float) -> None:
    rows = [row for _, row in found if isinstance(row, Row)]
    goals = [row for row in rows if row.met is not None]
    missed = [row for row in goals if not row.met]
    print(
        f"\n{len(goals) - len(missed)} of {len(goals)} goals met, {len(rows) - len(goals)} rows"
        f" without a goal, {len(found) - len(rows)} skipped; {seconds:.0f} s"
    )
    for row in missed:
        print(row)


def _asdict(found: tuple[str, Row | Skipped]) -> dict[str, Any]:
    name, row = found
    if isinstance(row, Skipped):
        return {"section": name, "skipped": True, **asdict(row)}
    return {"section": name, "ratio": row.ratio, "met": row.met, **asdict(row)}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"all, if left out: {', '.join(SECTIONS)}"
    )
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw the ratios, each against its goal"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--folder", type=Path, help="where to write data; its disk is measured")
    parser.add_argument(
        "--docs", action="store_true", help="measure nothing; write docs/benchmarks.md anew"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
