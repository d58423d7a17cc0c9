"""Questions about the results of all images, answered from the index. Imports pandas and Arrow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import pandas as pd
import pyarrow as pa

from kymflow_zarr.engine.results.indexed import IndexedResult
from kymflow_zarr.engine.results.lineage import Params
from kymflow_zarr.engine.results.staleness import program_reasons, table_reason

_DECODER: Final = msgspec.json.Decoder(list[list[IndexedResult] | None])
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
    """

    def __init__(self, table: pa.Table, tables: Callable[[], Mapping[str, str]]) -> None:
        has_results = table.filter(table["results"].is_valid())
        ids: list[Any] = has_results["image_id"].to_pylist()
        lists = decoded(has_results["results"].to_pylist())
        self.of_image: dict[str, list[IndexedResult]] = {
            image_id: found or [] for image_id, found in zip(ids, lists, strict=True)
        }
        self._digests = tables

    def __iter__(self) -> Iterator[tuple[str, IndexedResult]]:
        for image_id, results in self.of_image.items():
            for result in results:
                yield image_id, result

    @functools.cached_property
    def _tables(self) -> Mapping[str, str]:
        return self._digests()

    @functools.cached_property
    def _latest(self) -> dict[tuple[str, str | None], IndexedResult]:
        """The result that was computed last of each name and variant."""
        latest: dict[tuple[str, str | None], IndexedResult] = {}
        for _, result in self:
            key = result.name, result.variant
            known = latest.get(key)
            if known is None or result.computed_utc > known.computed_utc:
                latest[key] = result
        return latest

    def reasons(
        self, result: IndexedResult, *, version: str | None = None, params: Params | None = None
    ) -> list[str]:
        """Return why a result is out of date.

        Parameters
        ----------
        result : IndexedResult
        version : str, optional
        params : Params, optional
            What it should be made by; the same as the latest result of its name and variant if
            left out.
        """
        found = list(result.reasons)
        for name, digest in result.tables:
            now = self._tables.get(name)
            if now != digest:
                found.append(table_reason(name, digest, now))
        if version is None or params is None:
            latest = self._latest[result.name, result.variant]
            version, params = latest.version, Params(latest.params, latest.params_sha256)
        if result.status != "accepted by hand":
            made_by = Params(result.params, result.params_sha256)
            found += program_reasons(result.version, made_by, version, params)
        return found

    def stale(self, name: str | None) -> pd.DataFrame:
        """Return the results that are out of date; see :meth:`OpenDataset.stale`."""
        rows = []
        for image_id, result in self:
            if name is None or result.name == name:
                reasons = self.reasons(result)
                if reasons:
                    rows.append((image_id, *result.result_id, result.status, "; ".join(reasons)))
        return _frame(rows, _STALE)

    def texts(self) -> dict[str, str]:
        """Return for each image what is out of date, and why, as one text."""
        texts: dict[str, list[str]] = {}
        for image_id, result in self:
            reasons = self.reasons(result)
            if reasons:
                text = f"{result.result_id.label}: {', '.join(reasons)}"
                texts.setdefault(image_id, []).append(text)
        return {image_id: "; ".join(found) for image_id, found in texts.items()}

    def frame(self, name: str | None) -> pd.DataFrame:
        """Return a row for each result; see :meth:`OpenDataset.results`."""
        rows = [
            (
                image_id, *r.result_id, r.counts, r.status, r.error, r.program, r.version, r.params,
                r.params_sha256, r.computed_utc, r.seconds, r.artifact, r.edited,
                bool(self.reasons(r)),
            )
            for image_id, r in self
            if name is None or r.name == name
        ]  # fmt: skip
        return _frame(rows, _RESULTS)


def _frame(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, str]) -> pd.DataFrame:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=dtype)
            for (name, dtype), column in zip(columns.items(), values, strict=True)
        }
    )
