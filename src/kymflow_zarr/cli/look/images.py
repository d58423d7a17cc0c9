"""Select, sort and print the images that ``ls`` lists."""

from __future__ import annotations

import dataclasses
import datetime as dt
import fnmatch
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.cli.output.cells import cell_text, is_missing, print_rows
from kymflow_zarr.errors import ArgumentError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from kymflow_zarr import ZarrDataset

__all__ = [
    "Condition",
    "Selection",
    "choose_columns",
    "chosen_ids",
    "column_name",
    "is_broken",
    "list_images",
    "parse_condition",
    "print_chosen",
    "print_images",
    "read_images",
]

# Headings of the columns of ls on a terminal.
_SHORT_NAMES: Final = {
    "id": "image_id",
    "created": "created_utc",
    "source": "source_path",
}
_NEEDED: Final = ("image_id", "error", "acquired_local_epoch_ns", "n_rois", "artifacts")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NS: Final = 10**9
_EPOCH: Final = dt.datetime(1970, 1, 1)


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with a text, as ``condition=Control`` is."""

    column: str
    operator: str
    text: str

    def holds(self, value: Any) -> bool:
        """Return True if a cell meets the condition.

        Numbers are compared as numbers, and so are numeric texts in order comparisons; but "007"
        and "7" are not equal.
        """
        text = cell_text(value)
        if self.operator == "~":
            return self.text.casefold() in text.casefold()
        if is_missing(value) and self.text:
            return self.operator == "!="  # A missing value has no order.
        compare = _COMPARE[self.operator]
        same = self.operator in ("=", "!=")
        numbers = _number(value), _number(self.text)
        if None not in numbers and not (same and isinstance(value, str)):
            return compare(*numbers)
        if same and isinstance(value, tuple | list):
            among = self.text == text or self.text in map(cell_text, value)
            return among == (self.operator == "=")
        return compare(text, self.text.replace("T", " ") if _is_time(value) else self.text)


def parse_condition(text: str) -> Condition:
    """Parse a condition.

    Raises
    ------
    ArgumentError
        If the text is not a condition.
    """
    match = re.fullmatch(r"\s*([^=!<>~]+?)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", text, re.DOTALL)
    if match is None:
        raise ArgumentError(
            f"{text!r} is no condition",
            where="--where",
            hint="Write COLUMN=VALUE; != < <= > >= compare too, and ~ looks for a part of a text.",
        )
    return Condition(match[1], match[2], match[3])


@dataclass(frozen=True)
class Selection:
    """The options of ``ls`` that select and sort images.

    Parameters
    ----------
    where : sequence of Condition
        All of them must hold.
    since, until : datetime, optional
        Start (inclusive) and end (exclusive) of the microscope's wall clock.
    min_rois : int
    has : sequence of str
        Names of artifacts, with ``*`` as wildcard; the image must have all of them.
    sort : str, optional
        Column; the time of acquisition if left out.
    reverse : bool
    limit : int, optional
    ids : collection of str, optional
        Of these images only.
    """

    where: Sequence[Condition] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    min_rois: int = 0
    has: Sequence[str] = ()
    sort: str | None = None
    reverse: bool = False
    limit: int | None = None
    ids: Collection[str] | None = None

    @property
    def columns(self) -> list[str]:
        """The columns needed to select."""
        return [condition.column for condition in self.where] + ([self.sort] if self.sort else [])

    def of(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the selected rows in order.

        Broken images come last in any case: it is unknown whether they match.
        """
        if self.ids is not None:
            rows = [row for row in rows if row["image_id"] in self.ids]
        broken = [row for row in rows if not is_missing(row["error"])]
        chosen = [row for row in rows if is_missing(row["error"]) and self._takes(row)]
        column = self.sort or "acquired_local_epoch_ns"
        # Sort equal rows by acquisition time.
        chosen.sort(key=lambda row: _time_key(row["acquired_local_epoch_ns"]))
        known = [row for row in chosen if not is_missing(row[column])]
        known.sort(key=lambda row: _sort_key(row[column]), reverse=self.reverse)
        ordered = known + [row for row in chosen if is_missing(row[column])]
        return ordered[: self.limit] + broken

    def _takes(self, row: Mapping[str, Any]) -> bool:
        return (
            row["n_rois"] >= self.min_rois
            and self._is_in_time(row["acquired_local_epoch_ns"])
            and all(_is_among(name, row["artifacts"]) for name in self.has)
            and all(condition.holds(row[condition.column]) for condition in self.where)
        )

    def _is_in_time(self, epoch_ns: Any) -> bool:
        if self.since is None and self.until is None:
            return True
        if is_missing(epoch_ns):
            return False
        after = self.since is None or epoch_ns >= _epoch_ns(self.since)
        return after and (self.until is None or epoch_ns < _epoch_ns(self.until))


def read_images(dataset: ZarrDataset, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each image with the given columns and those needed to select.

    Raises
    ------
    ArgumentError
        If a column does not exist.
    """
    from kymflow_zarr.cli.output.cells import records
    from kymflow_zarr.cli.output.facts import did_you_mean

    wanted = list(dict.fromkeys([*_NEEDED, *columns]))
    try:
        frame = dataset.images(wanted)
    except ArgumentError:
        known = list(map(str, dataset.images().columns))
        unknown = [name for name in wanted if name not in known]
        if not unknown:
            raise
        raise ArgumentError(
            f"the images have no column {unknown[0]!r}",
            where=dataset.location,
            hint=f"{did_you_mean(unknown[0], known)}kymflow-zarr ls --columns all shows them.",
        ) from None
    return records(frame)


def column_name(dataset: ZarrDataset, name: str) -> str:
    """Return the column of a name, which may be the heading that ls prints."""
    if name in _SHORT_NAMES:
        return _SHORT_NAMES[name]
    prefix = "experiment_metadata."
    if not name.startswith(prefix) or name in dataset.images().columns:
        return name
    return name.removeprefix(prefix)  # Only a taken short name gets the prefix.


def _time_key(epoch_ns: Any) -> tuple[bool, int]:
    missing = is_missing(epoch_ns)
    return missing, 0 if missing else int(epoch_ns)


def _is_among(name: str, artifacts: Sequence[str]) -> bool:
    return any(name == each or fnmatch.fnmatchcase(each, name) for each in artifacts)


def _number(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | float | np.number):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,30}\s*", value):
        return int(value)  # A float cannot represent nanoseconds exactly.
    try:
        number = value if isinstance(value, int) else float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _is_time(value: Any) -> bool:
    return hasattr(value, "isoformat")


def _sort_key(value: Any) -> tuple[int, Any]:
    """Return a sort key that groups numbers, times and texts."""
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return (0, float(value)) if isinstance(value, np.floating) else (0, value)
    if isinstance(value, tuple | list):
        return 2, [_sort_key(item) for item in value]
    if isinstance(value, str):
        return 3, value
    return (1, value.isoformat()) if _is_time(value) else (4, cell_text(value))


def _epoch_ns(moment: dt.datetime) -> int:
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * _NS + passed.microseconds * 1000


_GAP = 2
_MIN_NAME = 14
_MOST_REASONS = 40
_FACTS = ("shape", "dtype", "axes", "created_utc", "source_path", "out_of_date")
_EVERYTHING = Selection()


def choose_columns(dataset: ZarrDataset, names: str) -> list[str]:
    """Return the columns in a comma-separated list; ``all`` selects every column.

    Raises
    ------
    ArgumentError
        If the list is empty.
    """
    if names == "all":
        return [str(name) for name in dataset.images().columns]
    chosen = [column_name(dataset, name.strip()) for name in names.split(",") if name.strip()]
    if not chosen:
        raise ArgumentError(
            "no column is named", where="--columns", hint="Separate names with commas: id,shape."
        )
    return list(dict.fromkeys(chosen))


def chosen_ids(dataset: ZarrDataset, ids: Sequence[str], where: Sequence[str]) -> list[str] | None:
    """Return the ids of the images that ``--ids`` and ``--where`` choose; None if neither is given.

    Raises
    ------
    ArgumentError
        If a text is no condition, a column does not exist, or a name means several images.
    RecordNotFoundError
        If no image has a name.
    """
    if not ids and not where:
        return None
    chosen = [dataset.find(name).image_id for text in ids for name in text.split(",") if name]
    if not where:
        return list(dict.fromkeys(chosen))
    conditions = [parse_condition(text) for text in where]
    conditions = [replace(c, column=column_name(dataset, c.column)) for c in conditions]
    rows = read_images(dataset, [condition.column for condition in conditions])
    held = Selection(conditions, ids=chosen if ids else None).of(rows)
    return [row["image_id"] for row in held if is_missing(row["error"])]


def list_images(
    dataset: ZarrDataset,
    selection: Selection = _EVERYTHING,
    *,
    columns: Sequence[str] | None = None,
    with_axes: bool = False,
) -> list[dict[str, Any]]:
    """Return the facts of each image; for a broken one, its id and the error.

    Parameters
    ----------
    dataset : ZarrDataset
    selection : Selection
    columns : sequence of str, optional
        Columns of the list of images, instead of the default facts.
    with_axes : bool
        Also read the calibration of each image's axes, which the list does not contain.
    """
    if columns is not None:
        rows = selection.of(read_images(dataset, [*columns, *selection.columns]))
        return [_broken(row) or {name: row[name] for name in columns} for row in rows]
    rows_read = read_images(dataset, [*_FACTS, *_steps("y"), *_steps("x"), *selection.columns])
    rows = selection.of(_with_other_steps(dataset, rows_read))
    images = [_broken(row) or _facts(row) for row in rows]
    return [_with_axes(dataset, image) for image in images] if with_axes else images


def _broken(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if is_missing(row["error"]):
        return None
    return {"image_id": row["image_id"], "error": row["error"]}


def _steps(axis: str) -> list[str]:
    return [f"{axis}_step", f"{axis}_unit"]


def _with_other_steps(
    dataset: ZarrDataset, rows: Sequence[dict[str, Any]]
) -> Sequence[dict[str, Any]]:
    """Return the rows, with the calibration of axes other than y and x added."""
    axes = {axis for row in rows if is_missing(row["error"]) for axis in row["axes"]}
    by_id: dict[str, dict[str, Any]] = {row["image_id"]: row for row in rows}
    for axis in sorted(axes - {"y", "x"}):
        try:
            dataframe = dataset.images(["image_id", *_steps(axis)])
        except ArgumentError:
            continue  # Axes of channels have no calibration.
        for image_id, step, unit in dataframe.itertuples(index=False):
            if image_id in by_id:
                by_id[image_id] |= {f"{axis}_step": step, f"{axis}_unit": unit}
    return rows


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    from kymflow_zarr.views.markup import local_iso

    epoch_ns = row["acquired_local_epoch_ns"]
    return {
        "image_id": row["image_id"],
        "shape": list(row["shape"]),
        "dtype": row["dtype"],
        "axes": [
            {"name": axis, "unit": _cell(row, f"{axis}_unit"), "step": _cell(row, f"{axis}_step")}
            for axis in row["axes"]
        ],
        "acquired": None if is_missing(epoch_ns) else local_iso(int(epoch_ns)),
        "created_utc": row["created_utc"],
        "source": _cell(row, "source_path"),
        "out_of_date": _cell(row, "out_of_date"),
    }


def _cell(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    return None if is_missing(value) else value


def _with_axes(dataset: ZarrDataset, image: dict[str, Any]) -> dict[str, Any]:
    from kymflow_zarr import KymflowZarrError

    if "error" in image:
        return image
    try:
        axes = [dataclasses.asdict(axis) for axis in dataset.record(image["image_id"]).axes]
    except KymflowZarrError as error:
        return {"image_id": image["image_id"], "error": str(error)}
    return {**image, "axes": axes}


def print_chosen(
    console: Console, columns: Sequence[str], images: Sequence[dict[str, Any]]
) -> None:
    """Print a table of images with the requested columns."""
    from kymflow_zarr.cli.output.facts import shape_text, shortest_prefixes

    whole = [image for image in images if not is_broken(image)]
    if console.is_terminal and "image_id" in columns:
        short = shortest_prefixes([image["image_id"] for image in whole])
        whole = [{**image, "image_id": short[image["image_id"]]} for image in whole]
    if "shape" in columns:
        whole = [{**image, "shape": shape_text(image["shape"])} for image in whole]
    print_rows(console, columns, whole)
    _print_broken(console, [image for image in images if is_broken(image)])


def is_broken(image: Mapping[str, Any]) -> bool:
    """Return True if an image cannot be read."""
    return not is_missing(image.get("error"))


def print_images(
    console: Console, images: Sequence[dict[str, Any]], names: Mapping[str, str]
) -> None:
    """Print a table of images, one line each; omit columns that do not fit the terminal."""
    from rich.text import Text

    from kymflow_zarr.cli.output.facts import shortest_prefixes
    from kymflow_zarr.cli.output.terminal import add_column, new_table

    ids = [image["image_id"] for image in images]
    shown = shortest_prefixes(ids) if console.is_terminal else dict(zip(ids, ids, strict=True))
    shown = {key: printable(text) for key, text in shown.items()}
    rows = {
        image["image_id"]: _cells(image, names[image["image_id"]])
        for image in images
        if "error" not in image
    }
    width = max(map(len, shown.values()))
    titles = _fit(list(rows.values()), console.width - width)
    table = new_table()
    add_column(table, "id", keep=True, style="cyan")
    for title in titles:
        add_column(table, title, keep=True, justify="right" if title == "shape" else "left")
    for image in images:
        cells = rows.get(image["image_id"])
        if cells is None:
            table.add_row(shown[image["image_id"]], Text("broken", "red"))
        else:
            # The end of a file name is more informative than its start.
            values = [_last(cells[title], room) for title, room in titles.items()]
            table.add_row(shown[image["image_id"]], *values)
    console.print(table)
    broken = [image for image in images if "error" in image]
    _print_broken(console, [{**image, "image_id": shown[image["image_id"]]} for image in broken])


def _print_broken(console: Console, broken: Sequence[Mapping[str, Any]]) -> None:
    from rich.text import Text

    for image in broken:
        name = (printable(image["image_id"]), "cyan")
        console.print(Text.assemble(name, " is broken: ", (printable(image["error"]), "red")))


def _cells(image: dict[str, Any], name: str) -> dict[str, str]:
    from kymflow_zarr.cli.output.facts import axes_text, local_minute, shape_text

    return {
        "shape": shape_text(image["shape"]),
        "dtype": image["dtype"],
        "axes": axes_text(image["axes"]),
        "acquired": (image["acquired"] or "")[:16].replace("T", " "),
        "created": local_minute(image["created_utc"])[:10],
        "out of date": _first(cell_text(image["out_of_date"] or ""), _MOST_REASONS),
        "name": "" if name == image["image_id"] else cell_text(name),
    }


def _fit(rows: Sequence[dict[str, str]], width: int) -> dict[str, int]:
    """Return the columns that fit into a width, and the maximum width of each."""
    if not rows:
        return {}
    room = {title: max(len(title), *(len(row[title]) for row in rows)) for title in rows[0]}
    if not any(row["out of date"] for row in rows):
        del room["out of date"]

    def excess() -> int:
        return sum(letters + _GAP for letters in room.values()) - width

    for title in ("created", "dtype", "axes", "acquired"):
        if excess() > max(0, room["name"] - _MIN_NAME):
            del room[title]
    room["name"] = max(1, room["name"] - max(0, excess()))
    return room


def _first(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _last(text: str, room: int) -> str:
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]
