"""Build HTML from plain values. Every text goes through :func:`text`, which escapes it."""

from __future__ import annotations

import datetime as dt
import html
import unicodedata
from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "error_box",
    "guarded",
    "is_blank",
    "local_iso",
    "page",
    "pairs",
    "section",
    "table",
    "text",
]

_MAX_LETTERS = 300
_YEAR_10000_NS = 253_402_300_800 * 10**9
# Control characters, lone surrogates and marks that change the text direction.
_UNSEEN = frozenset({"Cc", "Cs", "Cf", "Cn"})
_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere"
_LINE = "border-bottom:1px solid rgba(128,128,128,.35)"


def text(value: object, most: int = _MAX_LETTERS) -> str:
    """Return the text of a value, escaped; truncate a long one."""
    text = str(value)
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    shown = "".join("\ufffd" if _is_unseen(letter) else letter for letter in text)
    return html.escape(shown, quote=True)


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN and letter not in "\n\t"


def page(*parts: str) -> str:
    """Return the parts in one box with the notebook's colors, light or dark."""
    style = "font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:960px"
    return f'<div class="kymflow-zarr" style="{style}">{"".join(parts)}</div>'


def section(title: str, body: str) -> str:
    """Return a part with a heading; an empty text if the part is empty."""
    if not body:
        return ""
    return f'<div style="margin-top:10px"><strong>{text(title)}</strong>{body}</div>'


def is_blank(value: object) -> bool:
    """Return True if a value has nothing to show."""
    # Comparing an array with a text is elementwise: test the type first.
    return value is None or (isinstance(value, str) and not value)


def pairs(facts: Iterable[tuple[object, object]]) -> str:
    """Return names and values; leave out those without a value."""
    rows = [
        f'<tr><th style="{_CELL};font-weight:normal;opacity:.7;white-space:nowrap">{text(name)}'
        f'</th><td style="{_CELL}">{text(value)}</td></tr>'
        for name, value in facts
        if not is_blank(value)
    ]
    return _table("", rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, most: int = 50) -> str:
    """Return a table of at most `most` rows and the number of the other ones."""
    if not rows:
        return ""
    head = "".join(f'<th style="{_CELL};{_LINE}">{text(name)}</th>' for name in columns)
    body = [
        "<tr>"
        + "".join(f'<td style="{_CELL}">{"" if v is None else text(v)}</td>' for v in row)
        + "</tr>"
        for row in rows[:most]
    ]
    more = len(rows) - most
    note = f'<div style="opacity:.7">and {more} more</div>' if more > 0 else ""
    return _table(f"<thead><tr>{head}</tr></thead>", body) + note


def _table(head: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    # Override the notebook's stripes and right alignment.
    style = "border-collapse:collapse;margin:4px 0 0 0;font-size:inherit;background:none"
    return f'<table style="{style}">{head}<tbody>{"".join(rows)}</tbody></table>'


def error_box(error: Exception) -> str:
    """Return an error as HTML, in place of the part that could not be shown."""
    style = "border-left:3px solid #d33;padding:2px 8px;margin-top:4px;overflow-wrap:anywhere"
    return f'<div style="{style}">{text(type(error).__name__)}: {text(_said(error))}</div>'


def _said(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an unprintable error must not hide the rest
        return ""


def guarded(make: Callable[[], str]) -> str:
    """Return the result of `make`, or its error as HTML, so that intact parts stay visible."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - shown where the part would be
        return error_box(error)


def local_iso(epoch_ns: object) -> str | None:
    """Return the microscope's wall clock without a time zone, since none was recorded."""
    if isinstance(epoch_ns, bool) or not isinstance(epoch_ns, int):
        return None
    if not 0 <= epoch_ns < _YEAR_10000_NS:
        return None
    clock = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=epoch_ns // 1000)
    return clock.isoformat(timespec="milliseconds")
