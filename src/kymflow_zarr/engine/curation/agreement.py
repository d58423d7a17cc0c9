"""How far people who judged the same images agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kymflow_zarr.engine.curation.document import load_curation, verdicts_in
from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.dataset import OpenDataset


def verdicts_by_person(
    dataset: OpenDataset, ids: Iterable[str] | None
) -> dict[str, dict[str, str | None]]:
    """Return the verdict that each person gave each image last, by person and image id."""
    by_person: dict[str, dict[str, str | None]] = {}
    for image_id in dataset.list_image_ids() if ids is None else ids:
        image = dataset.record(image_id)
        history = load_curation(image.storage, image.prefix).history
        for who, verdict in verdicts_in(history).items():
            by_person.setdefault(who, {})[image_id] = verdict
    return by_person


def agreement(
    dataset: OpenDataset, raters: Iterable[str] | None, ids: Iterable[str] | None
) -> pd.DataFrame:
    """Compare the verdicts of people; see :meth:`kymflow_zarr.ZarrDataset.agreement`."""
    import pandas as pd

    given = verdicts_by_person(dataset, ids)
    names = sorted(given) if raters is None else list(dict.fromkeys(raters))
    unknown = [name for name in names if name not in given]
    if unknown:
        raise ArgumentError(
            f"{unknown[0]!r} has judged none of these images",
            where="raters",
            hint=f"These have: {', '.join(sorted(given)) or 'nobody'}.",
        )
    rows = []
    for one, other in itertools.combinations(names, 2):
        pairs = [
            (given[one][i], given[other][i])
            for i in given[one]
            if i in given[other] and None not in (given[one][i], given[other][i])
        ]
        equal = sum(a == b for a, b in pairs)
        rows.append(
            {
                "rater_1": one,
                "rater_2": other,
                "n_images": len(pairs),
                "n_equal": equal,
                "share_equal": equal / len(pairs) if pairs else math.nan,
                "kappa": kappa(pairs),
            }
        )
    columns = ["rater_1", "rater_2", "n_images", "n_equal", "share_equal", "kappa"]
    return pd.DataFrame(rows, columns=columns)


def kappa(pairs: Sequence[tuple[Any, Any]]) -> float:
    """Return Cohen's kappa of pairs of labels, (p_o - p_e) / (1 - p_e).

    p_o is the share of equal pairs, p_e the one that chance would give: the sum over the labels
    of the product of both raters' shares. It is NaN without pairs, and where both raters gave one
    and the same label only, as 0 / 0 says nothing.

    Source: J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological
    Measurement 20 (1960) 37-46, equation 1.
    """
    if not pairs:
        return math.nan
    n = len(pairs)
    # Whole numbers: p_e of 1 is then found exactly.
    equal = sum(a == b for a, b in pairs) * n
    labels = {label for pair in pairs for label in pair}
    chance = sum(
        sum(a == label for a, _ in pairs) * sum(b == label for _, b in pairs) for label in labels
    )
    return (equal - chance) / (n * n - chance) if n * n != chance else math.nan


def event_agreement(
    dataset: OpenDataset,
    one: str,
    other: str,
    ids: Iterable[str] | None,
    *,
    of: str | None = None,
    by: str = "rater",
) -> pd.DataFrame:
    """Compare events of two people; see :meth:`kymflow_zarr.ZarrDataset.event_agreement`."""
    import pandas as pd

    rows = []
    raters: set[str] = set()
    for image_id in dataset.list_image_ids() if ids is None else ids:
        image = dataset.record(image_id)
        names = {info.name for info in image.list_artifacts()}
        if not names.issuperset((one, other) if of is None else (of,)):
            continue
        if of is None:
            first, second = (_spans(image.load_artifact(name), name) for name in (one, other))
        else:
            frame = image.load_artifact(of)
            if by not in getattr(frame, "columns", ()):
                raise ArgumentError(f"{of!r} has no column {by!r}", where=image_id)
            whose = frame[by].astype("str")
            raters |= set(whose[frame[by].notna()])
            first, second = (_spans(frame[whose == name], of) for name in (one, other))
        matched = len(matches(first, second))
        n = len(first) + len(second)
        rows.append(
            {
                "image_id": image_id,
                "n_1": len(first),
                "n_2": len(second),
                "n_matched": matched,
                "f1": 2 * matched / n if n else math.nan,
                "overlap": _overlap(first, second),
            }
        )
    unknown = [name for name in (one, other) if name not in raters]
    if of is not None and unknown:
        raise ArgumentError(
            f"no event of {of!r} is of {unknown[0]!r}", where=by,
            hint=f"They are of {', '.join(sorted(raters)) or 'nobody'}.",
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["image_id", "n_1", "n_2", "n_matched", "f1", "overlap"])


Span = tuple[float, float]


def _spans(frame: Any, name: str) -> list[Span]:
    if "t_start_s" not in getattr(frame, "columns", ()):
        raise ArgumentError(f"{name!r} has no column 't_start_s'", where=name)
    starts = frame["t_start_s"].to_numpy(dtype="float64", na_value=np.nan)
    ends = starts
    if "t_end_s" in frame:
        ends = frame["t_end_s"].to_numpy(dtype="float64", na_value=np.nan)
    spans = [
        (start, max(start, end))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        if math.isfinite(start)
    ]
    return sorted(spans)


def matches(first: Sequence[Span], second: Sequence[Span]) -> list[tuple[int, int]]:
    """Return as many pairs of spans that overlap as can be made, each span in one pair at most.

    A span without length overlaps one that contains it.
    """
    taken: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        # Augmenting paths (Kuhn 1955) give a maximum matching; the nearest in time can fail to.
        for j, (start, end) in enumerate(second):
            if j in tried or start > first[i][1] or end < first[i][0]:
                continue
            touches = start == first[i][1] or end == first[i][0]
            if touches and start < end and first[i][0] < first[i][1]:
                continue
            tried.add(j)
            if j not in taken or place(taken[j], tried):
                taken[j] = i
                return True
        return False

    for i in range(len(first)):
        place(i, set())
    return sorted((i, j) for j, i in taken.items())


def _overlap(first: Sequence[Span], second: Sequence[Span]) -> float:
    """Return the time that is in both divided by the time that is in one of them; NaN without."""
    edges = sorted({edge for span in (*first, *second) for edge in span})
    both = either = 0.0
    for start, end in itertools.pairwise(edges):
        inside = [any(a <= start and end <= b for a, b in spans) for spans in (first, second)]
        both += (end - start) * all(inside)
        either += (end - start) * any(inside)
    return both / either if either else math.nan
