"""Questions about the results of all images, answered from the index. Imports pandas and Arrow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias

import msgspec
import pandas as pd
import pyarrow as pa

from kymflow_zarr.engine.results.indexed import IndexedResult
from kymflow_zarr.engine.results.lineage import Params, ResultId
from kymflow_zarr.engine.results.result import SOURCE_COLUMN
from kymflow_zarr.engine.results.staleness import program_reasons, spread, table_reason
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.schema.base import decodable

MadeBy: TypeAlias = tuple[str, str | None]
"""Name and variant of a result: what is computed by the same program and parameters."""

_DECODER: Final = msgspec.json.Decoder(decodable(list[list[IndexedResult] | None]))
_RESULTS: Final = {
    "image_id": "str", "name": "str", "roi_id": "Int64", "channel": "Int64", "variant": "str",
    "counts": "bool", "status": "str", "error": "str", "program": "str", "version": "str",
    "params": "object", "params_sha256": "str", "computed_utc": "str", "seconds": "float64",
    "artifact": "str", "edited": "bool", "out_of_date": "bool",
}  # fmt: skip
_STALE: Final = {
    "image_id": "str", "name": "str", "roi_id": "Int64", "channel": "Int64", "variant": "str",
    "status": "str", "reason": "str",
}  # fmt: skip


def decoded(texts: Sequence[str | None]) -> list[list[IndexedResult] | None]:
    """Return the values of a column of the index that holds results."""
    return _DECODER.decode(f"[{','.join([text or 'null' for text in texts])}]")


class AllResults:
    """The results of all images, as the index has them now.

    Parameters
    ----------
    table : pyarrow.Table
        The columns ``image_id`` and ``results`` of the index.
    tables : callable
        Returns the digest of each table of the dataset, by its name.
    wanted : mapping, optional
        By name and variant, the version and the parameters that results are to be made by;
        others are compared with the result of their name and variant that was computed last.
    """

    def __init__(
        self,
        table: pa.Table,
        tables: Callable[[], Mapping[str, str]],
        wanted: Mapping[MadeBy, tuple[str, Params]] | None = None,
    ) -> None:
        has_results = table.filter(table["results"].is_valid())
        ids: list[Any] = has_results["image_id"].to_pylist()
        lists = decoded(has_results["results"].to_pylist())
        self.of_image: dict[str, list[IndexedResult]] = {
            image_id: of_image or [] for image_id, of_image in zip(ids, lists, strict=True)
        }
        self._digests = tables
        self._reasons: dict[str, list[list[str]]] = {}
        self._standard = {**self._latest(), **(wanted or {})}
        self._standards = {
            (*key, version, params.sha256) for key, (version, params) in self._standard.items()
        }

    def __iter__(self) -> Iterator[tuple[str, IndexedResult]]:
        for image_id, results in self.of_image.items():
            for result in results:
                yield image_id, result

    def find(self, image_id: str, result_id: ResultId) -> IndexedResult | None:
        """Return the result of an image and an id, None if there is none."""
        results = self.of_image.get(image_id, ())
        return next((result for result in results if result.result_id == result_id), None)

    def of_variant(self, name: str, variant: str | None) -> dict[str, list[IndexedResult]]:
        """Return the results of a name and a variant that hold anything, by image."""
        by_image: dict[str, list[IndexedResult]] = {}
        for image_id, result in self:
            is_one = result.name == name and result.variant == variant
            if is_one and result.artifact is not None and result.status != "empty":
                by_image.setdefault(image_id, []).append(result)
        return by_image

    @functools.cached_property
    def _tables(self) -> Mapping[str, str]:
        return self._digests()

    def _latest(self) -> dict[MadeBy, tuple[str, Params]]:
        """Return what made the result that was computed last of each name and variant."""
        latest: dict[MadeBy, IndexedResult] = {}
        for _, result in self:
            key = result.name, result.variant
            known = latest.get(key)
            if known is None or result.computed_utc > known.computed_utc:
                latest[key] = result
        return {
            key: (result.version, Params(result.params, result.params_sha256))
            for key, result in latest.items()
        }

    def reasons(self, image_id: str) -> list[list[str]]:
        """Return why each result of an image is out of date, in the order of its results."""
        results = self.of_image.get(image_id, [])
        if all(map(self._is_plainly_fine, results)):
            return [[] for _ in results]
        if image_id not in self._reasons:
            reasons = [self._own_reasons(result) for result in results]
            labels = [result.result_id.label for result in results]
            made_of = {label: r.made_of for label, r in zip(labels, results, strict=True)}
            spread(dict(zip(labels, reasons, strict=True)), made_of)
            self._reasons[image_id] = reasons
        return self._reasons[image_id]

    def _is_plainly_fine(self, result: IndexedResult) -> bool:
        """Return True if a result is as its standard, and made of nothing outside its image."""
        made_by = result.name, result.variant, result.version, result.params_sha256
        return not (result.reasons or result.tables) and made_by in self._standards

    def with_reasons(self) -> Iterator[tuple[str, IndexedResult, list[str]]]:
        """Yield each result with its image and the reasons why it is out of date."""
        for image_id, results in self.of_image.items():
            yield from zip(repeat(image_id), results, self.reasons(image_id), strict=False)

    def out_of_date(self) -> Iterator[tuple[str, IndexedResult, list[str]]]:
        """Yield each result that is out of date with its image and the reasons."""
        for image_id, results in self.of_image.items():
            if not all(map(self._is_plainly_fine, results)):
                for result, reasons in zip(results, self.reasons(image_id), strict=True):
                    if reasons:
                        yield image_id, result, reasons

    def _own_reasons(self, result: IndexedResult) -> list[str]:
        reasons = result.reasons.copy()
        for name, digest in result.tables:
            now = self._tables.get(name)
            if now != digest:
                reasons.append(table_reason(name, digest, now))
        version, params = self._standard[result.name, result.variant]
        is_same = params.sha256 == result.params_sha256 and version == result.version
        if not is_same and result.status != "accepted by hand":
            made_by = Params(result.params, result.params_sha256)
            reasons += program_reasons(result.version, made_by, version, params)
        return reasons

    def stale(self, name: str | None) -> pd.DataFrame:
        """Return the results that are out of date; see :meth:`OpenDataset.stale`."""
        rows = [
            (image_id, *result.result_id, result.status, "; ".join(reasons))
            for image_id, result, reasons in self.out_of_date()
            if name is None or result.name == name
        ]
        return _frame(rows, _STALE)

    def texts(self) -> dict[str, str]:
        """Return for each image what is out of date, and why, as one text."""
        texts: dict[str, list[str]] = {}
        for image_id, result, reasons in self.out_of_date():
            text = f"{result.result_id.label}: {', '.join(reasons)}"
            texts.setdefault(image_id, []).append(text)
        return {image_id: "; ".join(of_image) for image_id, of_image in texts.items()}

    def frame(self, name: str | None) -> pd.DataFrame:
        """Return a row for each result; see :meth:`OpenDataset.results`."""
        rows = [
            (
                image_id, *r.result_id, r.counts, r.status, r.error, r.program, r.version, r.params,
                r.params_sha256, r.computed_utc, r.seconds, r.artifact, r.edited, bool(reasons),
            )
            for image_id, r, reasons in self.with_reasons()
            if name is None or r.name == name
        ]  # fmt: skip
        return _frame(rows, _RESULTS)


_IDENTITY: Final = ("image_id", "roi_id", "channel")
_ROW: Final = "row"


def compare(
    one: Mapping[str, pd.DataFrame],
    other: Mapping[str, pd.DataFrame],
    variants: tuple[str | None, str | None],
    on: Sequence[str] | None,
) -> pd.DataFrame:
    """Return the rows of two variants, joined by image, region, channel and time.

    Parameters
    ----------
    one, other : mapping of str to DataFrame
        The rows of each image.
    variants : (str or None, str or None)
    on : sequence of str, optional
        The columns to join by; those whose names begin with ``time`` if left out, or else the
        number of the row.

    Raises
    ------
    ArgumentError
        If one of the variants has no rows, or a column is missing.
    """
    frames = []
    for rows, variant in zip((one, other), variants, strict=True):
        if not rows:
            raise ArgumentError(
                f"no image has a result of the variant {variant!r}",
                where="variant",
                hint="results() lists the variants.",
            )
        frames.append(pd.concat(list(rows.values()), ignore_index=True).drop(columns=SOURCE_COLUMN))
    shared = [name for name in frames[0].columns if name in frames[1].columns]
    by = [name for name in _IDENTITY if name in shared]
    times = [str(name) for name in shared if str(name).startswith("time")]
    keys = times if on is None else list(on)
    missing = [name for name in keys if name not in shared]
    if missing:
        raise ArgumentError(f"the results have no column {missing[0]!r} in common", where="on")
    if not keys:
        keys = [_ROW]
        for frame in frames:
            frame[_ROW] = frame.groupby(by).cumcount()
    first, second = (f"_{variant}" if variant else "_usual" for variant in variants)
    joined = frames[0].merge(frames[1], how="outer", on=[*by, *keys], suffixes=(first, second))
    return joined.sort_values([*by, *keys], ignore_index=True)


def _frame(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, str]) -> pd.DataFrame:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=dtype)
            for (name, dtype), column in zip(columns.items(), values, strict=True)
        }
    )
