"""A report of ingest or refresh as HTML: counts, then what is worth reading first."""

from __future__ import annotations

from collections.abc import Iterable

from kymflow_zarr.views.markup import guarded, page, section, table, text

# In this order; a file that was not touched is the last thing one wants to read.
_ORDER = (
    "failed", "skipped", "missing", "unmatched", "updated", "moved", "ingested", "pooled",
    "unchanged",
)  # fmt: skip


def report_html(folder: str, items: Iterable[tuple[str, str, str | None, str | None]]) -> str:
    """Return counts and a table of the files, those with trouble first.

    Parameters
    ----------
    folder : str
    items : iterable of tuple
        Status, path, image id and reason of each file.
    """
    return page(guarded(lambda: _report(folder, list(items))))


def _report(folder: str, items: list[tuple[str, str, str | None, str | None]]) -> str:
    counts: dict[str, int] = dict.fromkeys(_ORDER, 0)
    for status, *_ in items:
        counts[status] = counts.get(status, 0) + 1
    summary = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no files"
    order = {status: number for number, status in enumerate(counts)}
    rows = sorted(items, key=lambda item: order[item[0]])
    listing = table(["status", "path", "image", "reason"], rows)
    head = f"<div><strong>{text(folder)}</strong></div><div>{text(summary)}</div>"
    return head + section("Files", listing)
