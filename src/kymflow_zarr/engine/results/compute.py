"""Compute a result of many images: only what is missing or out of date."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, get_args

from kymflow_zarr.engine.results.image_results import Value, machine
from kymflow_zarr.engine.results.lineage import Lineage, Params, ResultId, checked_id
from kymflow_zarr.engine.results.questions import AllResults
from kymflow_zarr.engine.results.reading import ReadingImage
from kymflow_zarr.engine.results.result import SOURCE_COLUMN
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, StorageError
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.runtime.report import Report
from kymflow_zarr.types import Progress

if TYPE_CHECKING:
    import pyarrow as pa

    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.results.indexed import IndexedResult

Only: TypeAlias = Literal["stale", "missing", "all"]
Each: TypeAlias = int | Literal["all"] | None
Outcome: TypeAlias = Literal["ok", "empty", "failed", "up to date", "edited"]
_NOT_ARGUMENTS: Final = frozenset({"rec", "record", "roi", "channel"})


@dataclass(frozen=True, slots=True)
class ComputeItem:
    """What became of one result.

    Parameters
    ----------
    image_id : str
    roi_id, channel : int, optional
    outcome : {"ok", "empty", "failed", "up to date", "edited"}
        ``"edited"``: its value was changed by hand since, and so it was left alone.
    reason : str
        Why it was computed, the error if that failed, or empty.
    """

    image_id: str
    roi_id: int | None
    channel: int | None
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ComputeReport(Report[ComputeItem]):
    """What :meth:`~kymflow_zarr.ZarrDataset.compute` has done.

    Parameters
    ----------
    name : str
        Of the result.
    items : tuple of ComputeItem
        One for each result that was asked for, by image.
    table : str, optional
        Table that follows the results.
    table_images : int
        Number of images whose rows in the table were replaced.
    """

    ENTRIES: ClassVar[str] = "items"
    ENTRY: ClassVar[type] = ComputeItem

    name: str
    items: tuple[ComputeItem, ...]
    table: str | None = None
    table_images: int = 0

    @property
    def computed(self) -> tuple[ComputeItem, ...]:
        """The results that were computed, those that failed left out."""
        return tuple(item for item in self.items if item.outcome in ("ok", "empty"))

    @property
    def failed(self) -> tuple[ComputeItem, ...]:
        """The results whose computation raised an error."""
        return self._with(outcome="failed")

    @property
    def up_to_date(self) -> tuple[ComputeItem, ...]:
        """The results that were left, because nothing they are made of has changed."""
        return self._with(outcome="up to date")

    @property
    def edited(self) -> tuple[ComputeItem, ...]:
        """The results that were left, because their values were changed by hand."""
        return self._with(outcome="edited")

    @property
    def ok(self) -> bool:
        """True if no computation failed."""
        return not self.failed

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok}

    def __str__(self) -> str:
        head = (
            f"{self.name}: {len(self.computed)} computed, {len(self.up_to_date)} up to date, "
            f"{len(self.failed)} failed"
        )
        if self.edited:
            head += f", {len(self.edited)} changed by hand and left alone"
        if self.table is not None:
            head += f"; table {self.table!r}: rows of {self.table_images} images replaced"
        return self._text(head, *(f"{item.image_id}: {item.reason}" for item in self.failed[:20]))


@dataclass(frozen=True)
class Computation:
    """A function, with what is stored of it; it pickles if the function does.

    Parameters
    ----------
    fn : callable
        Called with an image, and with `params`, `roi` and `channel` as keywords.
    name, program, version : str
    params : mapping
    variant : str, optional
    with_roi, with_channel : bool
        True to call `fn` with these keywords.
    keep : int
        Number of replaced results to keep.
    """

    fn: Callable[..., Any]
    name: str
    program: str
    version: str
    params: Mapping[str, Any]
    variant: str | None
    with_roi: bool
    with_channel: bool
    keep: int

    def result_id(self, roi_id: int | None, channel: int | None) -> ResultId:
        """Return the id of the result of a region and a channel."""
        return ResultId(self.name, roi_id, channel, self.variant)


@dataclass(frozen=True)
class _Task:
    """One result to compute."""

    image_id: str
    roi_id: int | None
    channel: int | None
    reason: str


def compute(
    dataset: OpenDataset,
    computation: Computation,
    *,
    ids: Sequence[str] | None,
    only: Only,
    roi: Each,
    channel: Each,
    executor: Executor | None,
    progress: Progress | None,
    table: str | None,
) -> ComputeReport:
    """Compute a result of many images; see :meth:`kymflow_zarr.ZarrDataset.compute`."""
    if only not in get_args(Only):
        raise ArgumentError(
            f"{only!r} is not one of {', '.join(map(repr, get_args(Only)))}", where="only"
        )
    for where, each in (("roi", roi), ("channel", channel)):
        if isinstance(each, str) and each != "all":
            raise ArgumentTypeError(f"{each!r} is not a number, 'all' or None", where=where)
    taken = sorted(_NOT_ARGUMENTS & set(computation.params))
    if taken:
        raise ArgumentError(f"{taken[0]!r} is an argument of its own", where="params")
    checked_id(
        computation.name, roi if isinstance(roi, int) else None,
        channel if isinstance(channel, int) else None, computation.variant,
    )  # fmt: skip
    params = Params.of(computation.params)
    dataset.require_writable()
    rows = dataset.index.columns(["results", "roi_ids", "axes", "shape"])
    wanted = _wanted(rows, ids, roi, channel, dataset)
    items: list[ComputeItem] = []
    tasks: list[_Task] = []
    everything = AllResults(
        rows.select(["image_id", "results"]),
        dataset.tables.digests,
        {(computation.name, computation.variant): (computation.version, params)},
    )
    for image_id, roi_id, number in wanted:
        result_id = computation.result_id(roi_id, number)
        known = everything.find(image_id, result_id)
        reason = _why(everything, image_id, known, only)
        if reason is None:
            items.append(ComputeItem(image_id, roi_id, number, "up to date"))
        elif known is not None and known.edited and only != "all":
            items.append(ComputeItem(image_id, roi_id, number, "edited", reason))
        else:
            tasks.append(_Task(image_id, roi_id, number, reason))
    call = functools.partial(_compute_one, dataset, computation, params)
    for task, outcome, error in in_order(
        call, tasks, executor=executor, progress=progress, label=_label, drop=_saved,
        leased=dataset.storage.lease,
    ):  # fmt: skip
        items.append(
            outcome
            if outcome is not None
            else ComputeItem(task.image_id, task.roi_id, task.channel, "failed", str(error))
        )
    place = {key: number for number, key in enumerate(wanted)}
    items.sort(key=lambda item: place[item.image_id, item.roi_id, item.channel])
    replaced = 0
    if table is not None:
        chosen = None if ids is None else {image_id for image_id, _, _ in wanted}
        replaced = _follow(dataset, computation, table, chosen)
    return ComputeReport(computation.name, tuple(items), table, replaced)


def _label(task: _Task) -> str:
    return task.image_id


def _saved(_: ComputeItem) -> None:
    """Do nothing: a worker has saved its result before it returns."""


def _wanted(
    rows: pa.Table, ids: Sequence[str] | None, roi: Each, channel: Each, dataset: OpenDataset
) -> list[tuple[str, int | None, int | None]]:
    """Return image, region and channel of each result that is asked for."""
    names = ("image_id", "error", "roi_ids", "axes", "shape")
    facts: dict[str, Any] = {
        row[0]: row for row in zip(*(rows[name].to_pylist() for name in names), strict=True)
    }
    # An image that cannot be read has no results; validate() reports it.
    chosen = [row[0] for row in facts.values() if row[1] is None] if ids is None else ids
    wanted: list[tuple[str, int | None, int | None]] = []
    for image_id in dict.fromkeys(chosen):
        if image_id not in facts:
            dataset.record(image_id)  # It raises the error.
        _, _, roi_ids, axes, shape = facts[image_id]
        regions = [roi] if not isinstance(roi, str) else json.loads(roi_ids or "[]")
        channels = [channel] if not isinstance(channel, str) else _channels(axes, shape)
        wanted += [(image_id, r, c) for r in regions for c in channels]
    return wanted


def _channels(axes: str | None, shape: str | None) -> Iterable[int]:
    lengths = zip(json.loads(axes or "[]"), json.loads(shape or "[]"), strict=True)
    count = next((length for axis, length in lengths if axis[1] == "channel"), 1)
    return range(1, count + 1)


def _why(
    everything: AllResults, image_id: str, known: IndexedResult | None, only: Only
) -> str | None:
    """Return why a result is to be computed, None if it is not."""
    if known is None:
        return "not computed yet"
    if only == "missing":
        return None
    reasons = everything.reasons(image_id)[everything.of_image[image_id].index(known)]
    return "; ".join(reasons) or ("asked for" if only == "all" else None)


def _compute_one(
    dataset: OpenDataset, computation: Computation, params: Params, task: _Task
) -> ComputeItem:
    """Compute and save one result, in any process."""
    result_id = computation.result_id(task.roi_id, task.channel)
    image = ReadingImage(dataset.storage, task.image_id, result_id)
    options = dict(computation.params)
    begin = time.perf_counter()
    error = None
    value = Value(dataset.storage, image.prefix, result_id.label, None)
    try:
        if computation.with_roi and task.roi_id is not None:
            options["roi"] = image.region(task.roi_id)
        if computation.with_channel:
            options["channel"] = task.channel
        content = computation.fn(image, **options)
        seconds = time.perf_counter() - begin
        value = Value(dataset.storage, image.prefix, result_id.label, content)
    except StorageError:
        raise  # The disk failed, not the function: it is tried again by the next call.
    except Exception as raised:  # noqa: BLE001 - It becomes the result.
        seconds = time.perf_counter() - begin
        error = f"{type(raised).__name__}: {raised}"
    document = dataset.record(task.image_id).put_result(
        result_id, value, image.inputs(), params, keep=computation.keep, error=error,
        program=computation.program, version=computation.version, seconds=seconds,
        machine=machine(),
    )  # fmt: skip
    outcome: Any = document.status
    return ComputeItem(task.image_id, task.roi_id, task.channel, outcome, error or task.reason)


# The table that follows


def _follow(
    dataset: OpenDataset, computation: Computation, table: str, chosen: set[str] | None
) -> int:
    """Replace the rows of a table whose results are others now; return the number of images."""
    import pandas as pd

    there = _sources_of(dataset, table)
    index = dataset.index.columns(["results"])
    ids: list[Any] = index["image_id"].to_pylist()
    by_image = AllResults(index, dataset.tables.digests).of_variant(
        computation.name, computation.variant
    )
    now: dict[str, list[IndexedResult]] = {image_id: by_image.get(image_id, []) for image_id in ids}
    rows: dict[str, pd.DataFrame] = {}
    for image_id, results in now.items():
        wanted = {result.sha256 for result in results}
        if (chosen is None or image_id in chosen) and wanted != there.get(image_id, set()):
            rows[image_id] = rows_of(dataset, image_id, results)
    if rows and (there or any(len(frame) for frame in rows.values())):
        template = next((f for f in rows.values() if len(f)), None)
        dataset.tables.replace_rows(
            table,
            {i: f if len(f) or template is None else template.iloc[:0] for i, f in rows.items()},
            image_id_col="image_id",
        )
    return len(rows)


def _sources_of(dataset: OpenDataset, table: str) -> dict[str, set[str | None]]:
    """Return the digests of the results that a table has rows of, by image."""
    import pyarrow.parquet as pq

    from kymflow_zarr.formats.parquet.footer import arrow_reader

    if table not in dataset.tables.names():
        return {}
    data, key = dataset.tables.read(table)
    with pq.ParquetFile(arrow_reader(data)) as file:
        names = file.schema_arrow.names
        if "image_id" not in names or SOURCE_COLUMN not in names:
            raise ArgumentError(
                f"the table {table!r} was not made by compute(): it has no column "
                f"{SOURCE_COLUMN!r}",
                where=key,
                hint="Choose another name for the table, or delete it first.",
            )
        pairs = file.read(columns=["image_id", SOURCE_COLUMN]).group_by(["image_id", SOURCE_COLUMN])
        grouped = pairs.aggregate([])
    there: dict[str, set[str | None]] = {}
    for image_id, digest in zip(
        grouped["image_id"].to_pylist(), grouped[SOURCE_COLUMN].to_pylist(), strict=True
    ):
        there.setdefault(str(image_id), set()).add(digest)
    return there


def rows_of(dataset: OpenDataset, image_id: str, results: Sequence[IndexedResult]) -> Any:
    """Return the rows of the results of one image."""
    import pandas as pd

    image = dataset.record(image_id)
    lineage = Lineage(dataset.storage, image.prefix)
    frames = []
    for result in results:
        document = lineage.get(result.result_id)
        value = image.load_result(result.artifact or "", document.part if document else None)
        if not isinstance(value, pd.DataFrame):
            raise ArgumentTypeError(
                f"the result {result.name!r} is a {type(value).__qualname__}, of which a table "
                "can hold no rows",
                where=f"image {image_id!r}",
                hint="Return a data frame from the function, or leave out `table`.",
            )
        facts = {"image_id": image_id, "roi_id": result.roi_id, "channel": result.channel}
        present = {key: fact for key, fact in facts.items() if fact is not None}
        present = {key: fact for key, fact in present.items() if key not in value.columns}
        frame = value.reset_index(drop=True)
        for place, (key, fact) in enumerate(present.items()):
            frame.insert(place, key, fact)
        frame[SOURCE_COLUMN] = result.sha256
        frames.append(frame)
    if not frames:
        return pd.DataFrame({"image_id": pd.Series(dtype="str")})
    return pd.concat(frames, ignore_index=True)
