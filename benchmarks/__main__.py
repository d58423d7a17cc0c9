"""Run all of it: ``python -m benchmarks [--quick] [--json FILE] [--svg FILE] [section ...]``."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import ingest, opening, pixels, tables
from benchmarks.durability import NeverSyncs
from benchmarks.measure import Row, write_chart
from kymflow_zarr._storage import Disk, disk_replaced

SECTIONS = {"pixels": pixels, "ingest": ingest, "tables": tables, "opening": opening}
# What it costs to be durable is measured by benchmarks/durability.py.
NO_SYNC = {"pixels", "tables"}


def main() -> None:
    """Print a line for each comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", help="all, if left out")
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer repetitions")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--svg", type=Path, help="draw the ratios, each against its goal")
    parser.add_argument("--folder", type=Path, help="where to write data; its disk is measured")
    options = parser.parse_args()
    found: dict[str, list[Row]] = {}
    for name in options.sections or SECTIONS:
        with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
            found[name] = []
            print(name)
            with disk_replaced(NeverSyncs() if name in NO_SYNC else Disk()):
                for row in SECTIONS[name].run(Path(folder), quick=options.quick):
                    print(f"  {row}", flush=True)
                    found[name].append(row)
    if options.json:
        figures = {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "quick": options.quick,
            "rows": [
                {"section": name, "ratio": row.ratio, "met": row.met, **asdict(row)}
                for name, rows in found.items()
                for row in rows
            ],
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.svg:
        write_chart(options.svg, [row for rows in found.values() for row in rows])


if __name__ == "__main__":
    main()
