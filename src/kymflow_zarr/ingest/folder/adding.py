"""New images of a folder: made ready by several workers, committed several at a time.

Making one ready is reading, packing and digesting, which threads and processes do side by side.
What makes it durable is paid once for a group, by the one who called.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.draft import RecordDraft, commit_drafts
from kymflow_zarr.errors import RecordExistsError
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.image import image_id_of, stage_image
from kymflow_zarr.storage.interface import Storage

# So many images wait for their commit at most; made ready are twice as many, so that the
# workers have something to do meanwhile. They wait on the disk and take no memory.
GROUP: Final = 16
_GROUP_BYTES: Final = 128 << 20


@contextmanager
def staging_area(dataset: OpenDataset) -> Iterator[str]:
    """Give a folder in which workers, of other processes too, put what this one commits.

    This process holds the lock of the session that it is in: a worker that dies leaves what
    this one deletes, and if both die the next writer does.
    """
    with dataset.storage.stage() as tree, tree.in_use():
        yield tree.area


@dataclass(slots=True)
class Ready:
    """The images of one new file, ready to be committed.

    Parameters
    ----------
    drafts : list of (RecordDraft, tuple of str)
        Each with what there is to note of it.
    error : Exception, optional
        What ended it; the drafts made before count.
    sha256 : str, optional
        Digest of the first TIFF, if there are drafts.
    outcomes : list of RecordExistsError or None
        After the commit: an error for each image that another writer has added meanwhile.
    """

    drafts: list[tuple[RecordDraft, tuple[str, ...]]] = field(default_factory=list)
    error: Exception | None = None
    sha256: str | None = None
    outcomes: list[RecordExistsError | None] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """What its files take."""
        return sum(draft.size_bytes for draft, _ in self.drafts)

    def drop(self) -> None:
        """Delete what was not committed."""
        for draft, _ in self.drafts:
            draft.__exit__(None, None, None)


def make_ready(
    dataset: OpenDataset,
    acquisition: Acquisition,
    taken: Container[int],
    area: str,
    *,
    verify: bool = False,
) -> Ready:
    """Read an acquisition into drafts, one for each image of its file.

    Parameters
    ----------
    dataset : OpenDataset
    acquisition : Acquisition
    taken : container of int
        Images of the file that are in the dataset already.
    area : str
        Of :func:`staging_area`.
    verify : bool
        Whether the pixels are read back and compared with the file's.
    """
    ready = Ready()
    series, count = 0, 1
    try:
        while series < count:
            if series not in taken:
                with ExitStack() as stack:
                    image_id = image_id_of(dataset, acquisition, series)
                    draft = stack.enter_context(RecordDraft(dataset.storage, image_id, area=area))
                    notes, count = stage_image(draft, acquisition, series=series, verify=verify)
                    stack.pop_all()
                ready.drafts.append((draft, notes))
                ready.sha256 = acquisition.primary.sha256()
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

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: list[tuple[Ready, Callable[[Ready], object]]] = []

    def add(self, ready: Ready, then: Callable[[Ready], object]) -> None:
        """Take in what is ready; `then` is called with it when it is committed."""
        self._waiting.append((ready, then))
        size = sum(waiting.size_bytes for waiting, _ in self._waiting)
        if len(self._waiting) >= GROUP or size >= _GROUP_BYTES:
            self.commit()

    def commit(self) -> None:
        """Commit all that waits."""
        waiting, self._waiting = self._waiting, []
        try:
            drafts = [draft for ready, _ in waiting for draft, _ in ready.drafts]
            outcomes = iter(commit_drafts(self._storage, drafts))
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
