"""The list of images that ``ls`` prints: its facts, and its table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kymflow_zarr.cli.look.select import Selection, column_name, read_images
from kymflow_zarr.cli.output.cells import cell_text, is_missing, print_rows
from kymflow_zarr.errors import ArgumentError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from kymflow_zarr import ZarrDataset

__all__ = ["choose_columns", "is_broken", "list_images", "print_chosen", "print_images"]

_GAP = 2
_MIN_SOURCE = 14
_FACTS = ("shape", "dtype", "axes", "created_utc", "source_path")
_EVERYTHING = Selection()


def choose_columns(dataset: ZarrDataset, names: str) -> list[str]:
    """Return the columns that a list with commas names; ``all`` is every one.

    Raises
    ------
    ArgumentError
        If it names none.
    """
    if names == "all":
        return [str(name) for name in dataset.images().columns]
    chosen = [column_name(dataset, name.strip()) for name in names.split(",") if name.strip()]
    if not chosen:
        raise ArgumentError(
            "no column is named", where="--columns", hint="Separate names with commas: id,shape."
        )
    return list(dict.fromkeys(chosen))


def list_images(
    dataset: ZarrDataset,
    selection: Selection = _EVERYTHING,
    *,
    columns: Sequence[str] | None = None,
    with_axes: bool = False,
) -> list[dict[str, Any]]:
    """Return the facts of each image; of a broken one, its id and what is wrong.

    Parameters
    ----------
    dataset : ZarrDataset
    selection : Selection
    columns : sequence of str, optional
        Columns of the list of images, instead of the usual facts.
    with_axes : bool
        Read of each image what its axes mean, which the list does not tell.
    """
    if columns is not None:
        rows = selection.of(read_images(dataset, [*columns, *selection.columns]))
        return [_broken(row) or {name: row[name] for name in columns} for row in rows]
    found = read_images(dataset, [*_FACTS, *_steps("y"), *_steps("x"), *selection.columns])
    rows = selection.of(_with_other_steps(dataset, found))
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
    """Return the rows with the calibration of axes other than y and x, which few images have."""
    axes = {axis for row in rows if is_missing(row["error"]) for axis in row["axes"]}
    found: dict[str, dict[str, Any]] = {row["image_id"]: row for row in rows}
    for axis in sorted(axes - {"y", "x"}):
        try:
            told = dataset.images(["image_id", *_steps(axis)])
        except ArgumentError:
            continue  # Axes of channels have no calibration.
        for image_id, step, unit in told.itertuples(index=False):
            if image_id in found:
                found[image_id] |= {f"{axis}_step": step, f"{axis}_unit": unit}
    return rows


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    from kymflow_zarr.cli.output.facts import local_iso

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
    """Print a table of images with the columns that were asked for."""
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
    """Tell whether the facts of an image are that it cannot be read."""
    return not is_missing(image.get("error"))


def print_images(console: Console, images: Sequence[dict[str, Any]]) -> None:
    """Print a table of images, one line each; what a narrow terminal cannot hold is left out."""
    from rich.text import Text

    from kymflow_zarr.cli.output.facts import shortest_prefixes
    from kymflow_zarr.cli.output.terminal import add_column, new_table

    ids = [image["image_id"] for image in images]
    shown = shortest_prefixes(ids) if console.is_terminal else dict(zip(ids, ids, strict=True))
    shown = {key: printable(text) for key, text in shown.items()}
    rows = {image["image_id"]: _cells(image) for image in images if "error" not in image}
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
            # The end of a file name tells more than its beginning.
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


def _cells(image: dict[str, Any]) -> dict[str, str]:
    from kymflow_zarr.cli.output.facts import axes_text, local_minute, shape_text, source_name

    return {
        "shape": shape_text(image["shape"]),
        "dtype": image["dtype"],
        "axes": axes_text(image["axes"]),
        "acquired": (image["acquired"] or "")[:16].replace("T", " "),
        "created": local_minute(image["created_utc"])[:10],
        "source": cell_text(source_name(image["source"])),
    }


def _fit(rows: Sequence[dict[str, str]], width: int) -> dict[str, int]:
    """Return the columns that fit into a width, and the letters that each may have."""
    if not rows:
        return {}
    room = {title: max(len(title), *(len(row[title]) for row in rows)) for title in rows[0]}

    def excess() -> int:
        return sum(letters + _GAP for letters in room.values()) - width

    for title in ("created", "dtype", "axes", "acquired"):
        if excess() > max(0, room["source"] - _MIN_SOURCE):
            del room[title]
    room["source"] = max(1, room["source"] - max(0, excess()))
    return room


def _last(text: str, room: int) -> str:
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]
