"""New images of a folder: made ready by several threads, committed several at a time.

Making one ready is reading, packing and digesting, which threads do side by side. What makes
it durable is paid once for a group.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from kymflow_zarr._core import RecordDraft, ZarrDataset, commit_drafts
from kymflow_zarr.errors import RecordExistsError
from kymflow_zarr.ingest._convention import Acquisition
from kymflow_zarr.ingest._image import image_id_of, prepare_acquisition

_THREADS: Final = min(4, os.cpu_count() or 1)
_GROUP: Final = 16
_GROUP_BYTES: Final = 128 << 20


@dataclass(slots=True)
class Ready:
    """The images of one new file, ready to be committed.

    Parameters
    ----------
    drafts : list of (RecordDraft, tuple of str)
        Each with what there is to note of it.
    error : Exception, optional
        What ended it; the drafts made before count.
    outcomes : list of RecordExistsError or None
        After the commit: an error for each image that another writer has added meanwhile.
    """

    drafts: list[tuple[RecordDraft, tuple[str, ...]]] = field(default_factory=list)
    error: Exception | None = None
    outcomes: list[RecordExistsError | None] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """What its files take."""
        return sum(draft.size_bytes for draft, _ in self.drafts)

    def drop(self) -> None:
        """Delete what was not committed."""
        for draft, _ in self.drafts:
            draft.__exit__(None, None, None)


def make_ready(dataset: ZarrDataset, acquisition: Acquisition, taken: Container[int]) -> Ready:
    """Read an acquisition into drafts, one for each image of its file.

    Parameters
    ----------
    dataset : ZarrDataset
    acquisition : Acquisition
    taken : container of int
        Images of the file that are in the dataset already.
    """
    ready = Ready()
    series, count = 0, 1
    try:
        while series < count:
            if series not in taken:
                with ExitStack() as stack:
                    image_id = image_id_of(dataset, acquisition, series)
                    draft = stack.enter_context(dataset.new_record(image_id))
                    notes, count = prepare_acquisition(draft, acquisition, series=series)
                    stack.pop_all()
                ready.drafts.append((draft, notes))
            series += 1
    except Exception as error:  # noqa: BLE001 - told where it is known which file it was
        ready.error = error
    except BaseException:
        ready.drop()
        raise
    return ready


class Group:
    """Images that are ready and wait for others to be committed with; a context manager.

    Leaving it commits what waits, after an error too: it is complete.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Ready, Callable[[Ready], object]]] = []

    def add(self, ready: Ready, then: Callable[[Ready], object]) -> None:
        """Take in what is ready; `then` is called with it when it is committed."""
        self._waiting.append((ready, then))
        size = sum(waiting.size_bytes for waiting, _ in self._waiting)
        if len(self._waiting) >= _GROUP or size >= _GROUP_BYTES:
            self.commit()

    def commit(self) -> None:
        """Commit all that waits."""
        waiting, self._waiting = self._waiting, []
        try:
            drafts = [draft for ready, _ in waiting for draft, _ in ready.drafts]
            outcomes = iter(commit_drafts(drafts))
            for ready, then in waiting:
                ready.outcomes = [next(outcomes) for _ in ready.drafts]
                then(ready)
        finally:
            for ready, _ in waiting:
                ready.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.commit()


def ahead(
    work: Iterable[Callable[[], Ready] | None], executor: Executor | None = None
) -> Generator[Ready | None, None, None]:
    """Do work in threads, a few pieces ahead, and yield what comes of it in order.

    Parameters
    ----------
    work : iterable of callable or None
        None yields None at its turn.
    executor : Executor, optional
        Threads of its own if left out.
    """
    pieces = iter(work)
    waiting: deque[Future[Ready] | None] = deque()
    with ExitStack() as stack:
        pool = executor or stack.enter_context(ThreadPoolExecutor(_THREADS))
        try:
            for piece in pieces:
                waiting.append(None if piece is None else pool.submit(piece))
                if len(waiting) > 2 * _THREADS:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            for future in waiting:
                if future is not None and not future.cancel():
                    with suppress(Exception):
                        future.result().drop()


def _result(future: Future[Ready] | None) -> Ready | None:
    return None if future is None else future.result()
