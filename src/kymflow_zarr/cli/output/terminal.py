"""Write text, tables, JSON and progress to the terminal, with control characters escaped."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import click
import numpy as np
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kymflow_zarr.errors import printable

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType

    from kymflow_zarr.types import Progress

__all__ = [
    "add_column",
    "command_line",
    "new_table",
    "plain",
    "print_json",
    "print_title",
    "progress_bar",
    "say",
    "screen",
]

# Do not wrap piped text, which grep and cut may read.
_PIPE_WIDTH = 1000


def say(text: str, *, err: bool = False) -> None:
    """Print a line of text without a console, for errors and hints."""
    click.echo(printable(text), err=err)


class _Screen(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        # Escape before widths are measured, so that columns stay aligned.
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        # Text objects bypass render_str.
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, keep="\n"))

    def on_broken_pipe(self) -> NoReturn:
        # Rich would exit with 1, which means that problems were found.
        raise BrokenPipeError


def screen() -> Console:
    """Return a console on standard output that prints text verbatim, without markup."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return _Screen(width=width, highlight=False, markup=False, emoji=False)


def new_table() -> Table:
    """Return a table without rules, for the lists of commands."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def add_column(
    table: Table,
    title: str,
    *,
    justify: JustifyMethod = "left",
    overflow: OverflowMethod = "fold",
    keep: bool = False,
    style: str = "",
) -> None:
    """Add a column; `keep` disables wrapping, for values that users copy."""
    table.add_column(title, justify=justify, overflow=overflow, no_wrap=keep, style=style)


def print_title(console: Console, title: str) -> None:
    """Print the title of a section after an empty line."""
    console.print()
    console.print(Text(title, style="bold"))


def command_line(*parts: object) -> str:
    """Return a command quoted for the shell of this system."""
    words = [str(part) for part in parts]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def print_json(document: Any) -> None:
    """Print one JSON document.

    Values that JSON lacks are converted: NaN, infinities, NaT and NA to null, dates and times to
    ISO 8601, bytes to hexadecimal digits, arrays to lists, and paths, durations and complex numbers
    to text.
    """
    # DEL is the only control character that JSON does not escape.
    print(json.dumps(plain(document), indent=2).replace("\x7f", "\\u007f"))


def plain(value: Any) -> Any:
    """Return a value as JSON types; see :func:`print_json`."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value] if value.ndim else plain(value[()])
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.date | dt.time):
        text = value.isoformat()
        return None if text == "NaT" else text
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else plain(float(value))
    if type(value).__name__ == "NAType":
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def progress_bar(action: str) -> Iterator[Progress]:
    """Show a progress bar on standard error, if that is a terminal.

    The bar shows the amount done, the rate, and the estimated time left.

    Yields
    ------
    Progress
        To be passed on as ``progress=``.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s", style="dim")

    console = _Screen(stderr=True, highlight=False, emoji=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[label]}", style="dim", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(action, total=None, label="")

        def report(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, label=printable(label))

        yield report
