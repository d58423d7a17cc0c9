"""A random choice of images, balanced by what is known of them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

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
