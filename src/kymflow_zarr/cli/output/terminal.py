"""Writing to the terminal: text, tables, JSON and progress; control characters are spelled out."""

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

# Piped text is for grep and cut, so do not wrap it.
_PIPE_WIDTH = 1000


def say(text: str, *, err: bool = False) -> None:
    """Print a line of text outside of a console, as errors and hints are."""
    click.echo(printable(text), err=err)


class _Screen(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        # Before widths are measured, so that columns stay aligned.
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        # Text objects do not pass render_str.
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, keep="\n"))

    def on_broken_pipe(self) -> NoReturn:
        # Rich would exit with 1, which says that problems were found.
        raise BrokenPipeError


def screen() -> Console:
    """Return a console on standard output that takes text as it is, without markup."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return _Screen(width=width, highlight=False, markup=False, emoji=False)


def new_table() -> Table:
    """Return a table without lines, the way commands print lists."""
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
    """Add a column; `keep` is for what must not be wrapped because it is copied."""
    table.add_column(title, justify=justify, overflow=overflow, no_wrap=keep, style=style)


def print_title(console: Console, title: str) -> None:
    """Print the title of a section, with a line of space before it."""
    console.print()
    console.print(Text(title, style="bold"))


def command_line(*parts: object) -> str:
    """Return a command that can be pasted into the shell of this system."""
    words = [str(part) for part in parts]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def print_json(document: Any) -> None:
    """Print one JSON document.

    What JSON does not have: NaN, infinities, NaT and NA become null, dates and times ISO 8601,
    bytes hexadecimal digits, arrays lists; paths, durations and complex numbers become text.
    """
    # The only control character that JSON leaves as it is.
    print(json.dumps(plain(document), indent=2).replace("\x7f", "\\u007f"))


def plain(value: Any) -> Any:
    """Return a value as JSON has it; see :func:`print_json`."""
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
    """Show a bar on standard error while work goes on; nothing where that is no terminal.

    It tells how much is done, how fast that went, and how long the rest will take.

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
