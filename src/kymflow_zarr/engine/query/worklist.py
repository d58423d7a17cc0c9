"""Lists of images to go through: chosen at random, saved, and in files of other programs."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from kymflow_zarr.errors import (
    ArgumentError,
    SchemaValidationError,
    SourceFileError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.types import StrPath, WorklistLayout

# Where lists are saved, and the column of paths in the files of both programs.
_FOLDER: Final = "worklists"
_PATHS: Final[Mapping[WorklistLayout, str]] = {"acqstore": "_rel_path", "kymflow": "rel_path"}

T = TypeVar("T")


def worklist(
    dataset: OpenDataset, n: int, balance: str | Iterable[str], seed: int, ids: Iterable[str] | None
) -> list[str]:
    """Choose images at random; see :meth:`kymflow_zarr.ZarrDataset.worklist`."""
    columns = [balance] if isinstance(balance, str) else list(balance)
    images = dataset.images(["image_id", "error", *columns])
    images = images[images["error"].isna()]
    if ids is not None:
        images = images[images["image_id"].isin(list(ids))]
    if not 0 <= n <= len(images):
        raise ArgumentError(f"{n} images are asked for, and there are {len(images)}", where="n")
    groups: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for image_id, _, *facts in images.sort_values("image_id").itertuples(index=False):
        groups[tuple(map(str, facts))].append(str(image_id))
    # Python keeps the sequence of random() from version to version, that of shuffle() not.
    chance = random.Random(seed)
    piles = [groups[key] for key in sorted(groups)]
    for pile in piles:
        _shuffle(pile, chance)
    chosen: list[str] = []
    while len(chosen) < n:
        # One of each group in turn, the groups in another order each time.
        piles = [pile for pile in piles if pile]
        _shuffle(piles, chance)
        chosen += [pile.pop() for pile in piles]
    del chosen[n:]
    _shuffle(chosen, chance)
    return chosen


def _shuffle(values: list[T], chance: random.Random) -> None:
    for last in range(len(values) - 1, 0, -1):
        other = int(chance.random() * (last + 1))
        values[last], values[other] = values[other], values[last]


def save_worklist(dataset: OpenDataset, name: str, ids: Iterable[str]) -> str:
    """Save a list as a table; see :meth:`kymflow_zarr.ZarrDataset.save_worklist`."""
    import pandas as pd

    listed = list(dict.fromkeys(ids))
    known = set(dataset.list_image_ids())
    unknown = [image_id for image_id in listed if image_id not in known]
    if unknown:
        raise ArgumentError(f"there is no image {unknown[0]!r}", where="ids")
    frame = pd.DataFrame({"position": range(1, len(listed) + 1), "image_id": listed})
    return dataset.save_table(f"{_FOLDER}/{name}", frame)


def load_worklist(dataset: OpenDataset, name: str) -> list[str]:
    """Return a saved list; see :meth:`kymflow_zarr.ZarrDataset.load_worklist`."""
    table = f"{_FOLDER}/{name}"
    try:
        frame = dataset.load_table(table)
    except TableNotFoundError as error:
        saved = [n for n in dataset.list_table_names() if n.startswith(f"{_FOLDER}/")]
        names = ", ".join(n.removeprefix(f"{_FOLDER}/") for n in saved) or "none"
        raise TableNotFoundError(
            f"there is no worklist {name!r}", where=table, hint=f"Saved: {names}."
        ) from error
    if not {"position", "image_id"} <= set(frame):
        raise SchemaValidationError("the table is no worklist", where=table)
    known = set(dataset.list_image_ids())
    listed = frame.sort_values("position", kind="stable")["image_id"]
    return [str(image_id) for image_id in listed if image_id in known]


def read_worklist(dataset: OpenDataset, path: StrPath, *, skip_missing: bool) -> list[str]:
    """Read a list file; see :meth:`kymflow_zarr.ZarrDataset.read_worklist`."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            column = next((name for name in _PATHS.values() if name in columns), None)
            if column is None:
                raise SourceFileError(
                    "the file is no list of images",
                    where=str(path),
                    hint=f"It needs a column {' or '.join(_PATHS.values())}.",
                )
            paths = [(row.get(column) or "").replace("\\", "/") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceFileError(f"cannot read the list: {error}", where=str(path)) from error
    of_path = _images_by_path(dataset)
    listed: list[str] = []
    missing = []
    for stated in filter(None, paths):
        image_ids = of_path.get(stated) or _by_end(of_path, stated)
        listed += image_ids
        if not image_ids:
            missing.append(stated)
    if missing and not skip_missing:
        raise ArgumentError(
            f"{len(missing)} of {len(paths)} files of the list are no images here, {missing[0]!r} "
            "first",
            where=str(path),
            hint="skip_missing=True leaves them out.",
        )
    return list(dict.fromkeys(listed))


def _images_by_path(dataset: OpenDataset) -> dict[str, list[str]]:
    images = dataset.images(["image_id", "rel_path"])
    of_path: defaultdict[str, list[str]] = defaultdict(list)
    for image_id, rel_path in zip(images["image_id"], images["rel_path"], strict=True):
        if isinstance(rel_path, str) and rel_path:
            of_path[rel_path].append(str(image_id))
    return dict(of_path)


def _by_end(of_path: Mapping[str, list[str]], stated: str) -> list[str]:
    """Return the images of the one path that ends so: a list may lie in a folder below."""
    fits = [path for path in of_path if path.endswith(f"/{stated}")]
    return of_path[fits[0]] if len(fits) == 1 else []


def write_worklist(
    dataset: OpenDataset,
    path: StrPath,
    ids: Iterable[str],
    *,
    layout: WorklistLayout,
    by: str | None,
) -> None:
    """Write a list file; see :meth:`kymflow_zarr.ZarrDataset.write_worklist`."""
    if layout not in _PATHS:
        raise ArgumentError(
            f"there is no layout {layout!r}", where="layout", hint=f"One of: {', '.join(_PATHS)}."
        )
    path_of = {i: name for name, image_ids in _images_by_path(dataset).items() for i in image_ids}
    listed = list(dict.fromkeys(ids))
    without = [image_id for image_id in listed if image_id not in path_of]
    if without:
        raise ArgumentError(
            f"the image {without[0]!r} comes from no file of a folder, so that no list can name it",
            where="ids",
        )
    groups = _groups(dataset, listed, by)
    # Images of one file are one row.
    rows = list(dict.fromkeys((groups[image_id], path_of[image_id]) for image_id in listed))
    if by is not None:
        rows.sort(key=lambda row: row[0])
    source_index = {name: at for at, name in enumerate(sorted(set(path_of.values())))}
    column = _PATHS[layout]
    more = ("_group", "_random_order", "_source_index") if by is not None else ()
    counts: defaultdict[str, int] = defaultdict(int)
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([column, *more])
        for group, name in rows:
            facts = (group, counts[group], source_index[name]) if more else ()
            counts[group] += 1
            out.writerow([name, *facts])


def _groups(dataset: OpenDataset, ids: Sequence[str], by: str | None) -> dict[str, str]:
    if by is None:
        return dict.fromkeys(ids, "")
    images = dataset.images(["image_id", by])
    group_of = dict(zip(images["image_id"], images[by], strict=True))
    groups = {image_id: group_of[image_id] for image_id in ids}
    empty = [i for i, group in groups.items() if group is None or group != group or group == ""]
    if empty:
        raise ArgumentError(f"the image {empty[0]!r} has no {by!r}", where="by")
    return {image_id: str(group) for image_id, group in groups.items()}
