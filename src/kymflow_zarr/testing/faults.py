"""Inject disk errors, crashes or Ctrl-C at any single operation."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import kymflow_zarr
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.storage.local.session import abandon_sessions
from kymflow_zarr.types import StrPath

FaultKind: TypeAlias = Literal["crash", "ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS", "Ctrl-C"]

FAULT_KINDS: Final[tuple[FaultKind, ...]] = (
    "crash", "ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS", "Ctrl-C",
)  # fmt: skip


class SimulatedCrash(BaseException):
    """The simulated death of the process, which ``except Exception`` does not catch."""


class FaultyDisk(Disk):
    """The operations of the operating system, with one injected fault.

    Fsync is not called, since it is slow and has no effect that tests could observe.

    Parameters
    ----------
    at : int, optional
        Number, from 1, of the operation that fails; none fails if left out.
    kind : {"crash", "ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS", "Ctrl-C"}
        ``"crash"``: the process dies there, and every later operation is refused. Otherwise the
        OSError or KeyboardInterrupt to raise.
    torn : bool
        Whether the failing operation is done in part (writing, deleting a tree).
    times : int, optional
        Number of consecutive failures; None: all later operations fail.

    Attributes
    ----------
    operations : list of str
        Name and target of each operation.
    struck : bool
        Whether the failing operation was reached.
    touched : set of Path
        The folders in which operations took place.
    """

    def __init__(
        self,
        at: int | None = None,
        kind: FaultKind = "crash",
        *,
        torn: bool = False,
        times: int | None = 1,
    ) -> None:
        self._at, self._kind, self._torn = at, kind, torn
        self._times = None if kind == "crash" else times
        self._guard = threading.RLock()
        self.operations: list[str] = []
        self.struck = False
        self.touched: set[Path] = set()

    def _next(self, name: str, path: Path, partly: Callable[[], object] | None = None) -> None:
        with self._guard:
            dead = self.struck and self._kind == "crash"
            self.operations.append(f"{name} {path.name}")
            self.touched.add(path.parent)
            number = len(self.operations)
            if self._at is None or number < self._at:
                return
            if self._times is not None and number >= self._at + self._times:
                return
            self.struck = True
            if partly is not None and self._torn and not dead:
                partly()
            if self._kind == "crash" and not dead:
                # Abandon them now: finalizers of the dead process must not clean up later.
                abandon_sessions(self.touched)
        if self._kind == "crash":
            raise SimulatedCrash(self.operations[self._at - 1])
        if self._kind == "Ctrl-C":
            raise KeyboardInterrupt
        code = getattr(errno, self._kind)
        raise OSError(code, os.strerror(code), str(path))

    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        """Write a new file."""
        half = bytes(data[: len(data) // 2])
        self._next("create", Path(path), lambda: Disk.create(self, path, half))
        super().create(path, data)

    def append(self, path: Path, data: bytes) -> None:
        """Add bytes to a file."""
        self._next("append", path, lambda: Disk.append(self, path, data[: len(data) // 2]))
        super().append(path, data)

    def sync(self, path: StrPath) -> None:
        """Make sure that there is something to sync."""
        self._next("sync", Path(path))
        Path(path).stat()

    def sync_folder(self, path: StrPath) -> None:
        """Make sure that there is something to sync."""
        self._next("sync_folder", Path(path))
        Path(path).stat()

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file."""
        self._next("replace", target)
        super().replace(source, target)

    def link(self, source: StrPath, target: StrPath) -> None:
        """Give a file a second name."""
        self._next("link", Path(target))
        super().link(source, target)

    def rename_folder(self, source: StrPath, target: StrPath) -> None:
        """Rename a folder."""
        self._next("rename_folder", Path(target))
        super().rename_folder(source, target)

    def make_folder(self, path: StrPath) -> None:
        """Make a folder."""
        self._next("make_folder", Path(path))
        super().make_folder(path)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        self._next("unlink", path)
        super().unlink(path)

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""
        self._next("remove_folder", path)
        super().remove_folder(path)

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and all below it."""
        self._next("remove_tree", path, lambda: _remove_half(path))
        super().remove_tree(path)

    def touch(self, path: Path) -> None:
        """Set a time to now."""
        self._next("touch", path)
        super().touch(path)


def _remove_half(path: Path) -> None:
    files = sorted(entry for entry in path.rglob("*") if not entry.is_dir())
    for file in files[::2]:
        file.unlink()


class FaultPoint:
    """One operation that fails while the ``with`` block runs.

    The end of the process, and an error of our tree that follows from the fault, end the block
    and go no further; any other exception does. After a crash the locks of the datasets that
    were worked on are free, as those of a dead process are, and everything lies as it lay.

    Parameters
    ----------
    disk : FaultyDisk
    number : int
        Number of the operation, from 1.
    kind : str
        As of :class:`FaultyDisk`.

    Attributes
    ----------
    error : BaseException or None
        What ended the block.
    """

    def __init__(self, disk: FaultyDisk, number: int, kind: FaultKind) -> None:
        self.disk, self.number, self.kind = disk, number, kind
        self.error: BaseException | None = None
        self._stack = ExitStack()

    @property
    def reached(self) -> bool:
        """Whether the operation came; if not, the work was done before."""
        return self.disk.struck

    def __repr__(self) -> str:
        if not self.reached:
            return f"<{self.kind} at {self.number}, not reached>"
        return f"<{self.kind} at {self.number}: {self.disk.operations[self.number - 1]}>"

    def __enter__(self) -> Self:
        self._stack.enter_context(disk_replaced(self.disk))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._stack.close()
        crashed = self.kind == "crash" and self.reached
        if crashed:
            abandon_sessions(self.disk.touched)
        self.error = error
        expected = SimulatedCrash if crashed else (KymflowZarrError, KeyboardInterrupt)
        return self.reached and isinstance(error, expected)


def fault_points(
    kind: FaultKind | Iterable[FaultKind] = "crash",
    *,
    first: int = 1,
    step: int = 1,
    torn: bool = True,
    disk: Callable[[int, FaultKind, bool], FaultyDisk] | None = None,
) -> Iterator[FaultPoint]:
    """Yield the points at which work can fail, one after the other, and one it does not reach.

    Parameters
    ----------
    kind : str or iterable of str
        As of :class:`FaultyDisk`; of several, each point takes the next.
    first, step : int
        Number of the first point, and the increment between points.
    torn : bool
        As of :class:`FaultyDisk`.
    disk : callable, optional
        ``disk(at, kind, torn)`` makes the disk of a point.

    Yields
    ------
    FaultPoint

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import kymflow_zarr
    >>> for point in fault_points("ENOSPC"):
    ...     ds = kymflow_zarr.ZarrDataset(mkdtemp())
    ...     with point:
    ...         rec = ds.add_image([[1, 2], [3, 4]])
    ...     assert len(ds) == (0 if point.reached else 1) or "sync_folder" in repr(point)
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    make = disk or (lambda at, what, half: FaultyDisk(at, what, torn=half))
    number = first
    while True:
        what = kinds[(number // step) % len(kinds)]
        point = FaultPoint(make(number, what, torn), number, what)
        yield point
        if not point.reached:
            return
        number += step


class InterruptPoint:
    """Raises KeyboardInterrupt at one bytecode while the ``with`` block runs.

    The ``with`` block ends with the interrupt, which is suppressed. Only this thread is
    interrupted, as Ctrl-C interrupts only the main thread. Nothing is garbage-collected meanwhile:
    Python drops what is raised in a finalizer.

    Parameters
    ----------
    at : int
        Number of the bytecode, from 1, counted over the functions defined in `files`.
    files : tuple of str, optional
        Path prefixes; by default the local storage implementation, the locks between threads,
        and :mod:`contextlib`.

    Attributes
    ----------
    count : int
        Number of bytecodes executed.
    error : KeyboardInterrupt or None
        The interrupt with its traceback, which a notebook would keep alive.
    place : str
        Function and line.
    """

    def __init__(self, at: int, *, files: tuple[str, ...] | None = None) -> None:
        top = Path(kymflow_zarr.__file__).parent
        runtime = [str(top / "runtime" / name) for name in ("scopes", "limits", "lease")]
        local = str(top / "storage" / "local")
        self._files = files or (local, *runtime, contextlib.__file__)
        self._at = at
        self._collects = False
        self.count = 0
        self.error: BaseException | None = None
        self.place = ""

    @property
    def reached(self) -> bool:
        """Whether the bytecode was reached; if not, the block completed before it."""
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
        self._collects = gc.isenabled()
        gc.disable()
        sys.settrace(self._trace)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        sys.settrace(None)
        if self._collects:
            gc.enable()
        self.error = error
        return self.reached and isinstance(error, KeyboardInterrupt)


def interrupt_points(*, first: int = 1, step: int = 1) -> Iterator[InterruptPoint]:
    """Yield an interrupt point for each bytecode, and finally one that is not reached.

    Parameters
    ----------
    first, step : int
        Number of the first bytecode, and the increment between points.

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
