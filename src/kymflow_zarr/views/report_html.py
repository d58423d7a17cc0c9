"""A report of ingest or refresh as HTML: counts, then what is worth reading first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kymflow_zarr.views.markup import guarded, page, section, table, text

if TYPE_CHECKING:
    from kymflow_zarr.engine.reports import IngestReport

__all__ = ["report_html"]

# In this order; a file that was not touched is the last thing one wants to read.
_ORDER = (
    "failed", "skipped", "missing", "unmatched", "updated", "moved", "ingested", "pooled",
    "unchanged",
)  # fmt: skip


def report_html(report: IngestReport) -> str:
    """Return counts and a table of the files, those with trouble first."""
    return page(guarded(lambda: _report(report)))


def _report(report: IngestReport) -> str:
    counts: dict[str, int] = dict.fromkeys(_ORDER, 0)
    for item in report.items:
        counts[item.status] = counts.get(item.status, 0) + 1
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no files"
    order = {status: number for number, status in enumerate(counts)}
    items = sorted(report.items, key=lambda item: order[item.status])
    rows = [(item.status, item.path, item.image_id, item.reason) for item in items]
    listing = table(["status", "path", "image", "reason"], rows)
    head = f"<div><strong>{text(report.folder)}</strong></div><div>{text(said)}</div>"
    return head + section("Files", listing)
