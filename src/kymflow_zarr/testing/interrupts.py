"""Ctrl-C at any bytecode of some files, not only where Python looks for signals today."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import kymflow_zarr


class InterruptPoint:
    """Raises KeyboardInterrupt at one bytecode while the ``with`` block runs.

    The block ends with the interrupt, which goes no further. Only this thread is interrupted, as
    only the main thread is by Ctrl-C.

    Parameters
    ----------
    at : int
        Number of the bytecode, from 1, counted over the functions that are defined in `files`.
    files : tuple of str, optional
        Beginnings of paths; the storage room's local implementation, and :mod:`contextlib` for it,
        if left out.

    Attributes
    ----------
    count : int
        How many bytecodes have come.
    error : KeyboardInterrupt or None
        The interrupt, with its traceback, as a notebook keeps it.
    place : str
        Function and line.
    """

    def __init__(self, at: int, *, files: tuple[str, ...] | None = None) -> None:
        local = str(Path(kymflow_zarr.__file__).parent / "storage" / "local")
        self._files = files or (local, contextlib.__file__)
        self._at = at
        self.count = 0
        self.error: BaseException | None = None
        self.place = ""

    @property
    def reached(self) -> bool:
        """Whether the bytecode came; if not, the work was done before."""
        return self.count >= self._at

    def __repr__(self) -> str:
        return f"<Ctrl-C at bytecode {self._at}: {self.place or 'not reached'}>"

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            if not frame.f_code.co_filename.startswith(self._files):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.count += 1
            if self.count == self._at:
                sys.settrace(None)
                name = Path(frame.f_code.co_filename).name
                self.place = f"{name}:{frame.f_lineno} in {frame.f_code.co_qualname}"
                raise KeyboardInterrupt(self.place)
        return self._trace

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        sys.settrace(None)
        self.error = error
        return self.reached and isinstance(error, KeyboardInterrupt)


def interrupt_points(*, first: int = 1, step: int = 1) -> Iterator[InterruptPoint]:
    """Yield the bytecodes at which Ctrl-C can come, one after the other, and one not reached.

    Parameters
    ----------
    first, step : int
        Number of the first, and from each to the next.

    Yields
    ------
    InterruptPoint

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import kymflow_zarr
    >>> ds = kymflow_zarr.ZarrDataset(mkdtemp())
    >>> rec = ds.add_image([[1, 2], [3, 4]])
    >>> for point in interrupt_points(step=500):
    ...     with point:
    ...         rec.save_json("note", 1)
    ...     rec.save_json("note", 2)
    """
    number = first
    while True:
        point = InterruptPoint(number)
        yield point
        if not point.reached:
            return
        number += step
