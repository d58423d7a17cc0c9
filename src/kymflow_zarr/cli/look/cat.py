"""``kymflow-zarr cat``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from kymflow_zarr.cli.complete import complete_artifacts
from kymflow_zarr.cli.options import (
    dataset_argument,
    debug_option,
    form_of,
    form_options,
    id_argument,
)
from kymflow_zarr.types import ArtifactKind

if TYPE_CHECKING:
    import numpy as np

    from kymflow_zarr import ArtifactInfo, ZarrImageRecord
    from kymflow_zarr.cli.output.cells import Form

__all__ = ["cat"]

_ARRAY: Final = "array"


@click.command(short_help="Print an artifact of an image.")
@dataset_argument
@id_argument
@click.argument("artifact", shell_complete=complete_artifacts)
@click.option(
    "--kind",
    type=click.Choice([*get_args(ArtifactKind), _ARRAY]),
    help="Which one, where artifacts of several kinds have the same name.",
)
@form_options
@debug_option
def cat(
    dataset: Path,
    image_id: str,
    artifact: str,
    kind: str | None,
    as_json: bool,
    as_csv: bool,
    as_table: bool,
) -> None:
    """Print an ARTIFACT of the image ID of DATASET.

    JSON is printed with indents. A data frame is printed as a table of its first rows on a
    terminal, and completely as CSV in a pipe. For an array a summary is printed; --csv prints its
    numbers, if it has one or two axes.

    \b
    Examples:
      kymflow-zarr cat all.zarr 3f9a metadata
      kymflow-zarr cat all.zarr 3f9a velocity_events/events --csv > events.csv
      kymflow-zarr cat all.zarr 3f9a masks/vessel
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.api.internals import kind_of
    from kymflow_zarr.cli.output.cells import print_frame

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    with ZarrDataset(dataset, mode="r") as ds:
        record = ds.find(image_id)
        info = _find(record, artifact, kind)
        if info is None:
            _print_array(artifact, record.load_array_artifact(artifact), form)
            return
        value = record.load_artifact(artifact, info.kind)
    if kind_of(info).is_dataframe:
        print_frame(value, form)
    else:
        _print_document(artifact, value, form)


def _find(record: ZarrImageRecord, name: str, kind: str | None) -> ArtifactInfo | None:
    """Return the one artifact of a name and kind, None if it is an array."""
    from kymflow_zarr.cli.output.facts import did_you_mean
    from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError

    infos: dict[tuple[str, str], ArtifactInfo | None] = {
        (info.name, info.kind): info for info in record.list_artifacts()
    }
    infos |= {(array, _ARRAY): None for array in record.list_array_artifacts()}
    kinds = [each for other, each in infos if other == name and kind in (None, each)]
    if len(kinds) == 1:
        return infos[name, kinds[0]]
    if kinds:
        raise ArgumentError(
            f"there are {len(kinds)} artifacts {name!r}: {', '.join(kinds)}",
            where=record.image_id,
            hint="--kind says which one.",
        )
    what = "artifact" if kind is None else f"artifact of the kind {kind}"
    names = sorted({other for other, _ in infos})
    raise ArtifactNotFoundError(
        f"the image has no {what} {name!r}",
        where=record.image_id,
        hint=f"{did_you_mean(name, names)}kymflow-zarr show lists them.",
    )


def _print_document(name: str, value: Any, form: Form | None) -> None:
    from kymflow_zarr.cli.output.cells import print_frame
    from kymflow_zarr.cli.output.terminal import print_json
    from kymflow_zarr.errors import ArgumentError

    if form in (None, "json"):
        print_json(value)
        return
    if not (isinstance(value, list) and all(isinstance(row, dict) for row in value)):
        raise ArgumentError(
            f"only a list of objects has rows, and the artifact {name!r} is none",
            hint="Leave out --csv and --table.",
        )
    import pandas as pd

    names = list(dict.fromkeys(key for row in value for key in row))
    # Use dtype object, so that missing values do not convert integers to floats.
    columns = {key: pd.Series([row.get(key) for row in value], dtype=object) for key in names}
    print_frame(pd.DataFrame(columns, index=pd.RangeIndex(len(value))), form)


def _print_array(name: str, array: np.ndarray[Any, Any], form: Form | None) -> None:
    from kymflow_zarr.cli.output.cells import cell_text, print_frame, print_rows
    from kymflow_zarr.cli.output.terminal import print_json, screen
    from kymflow_zarr.errors import ArgumentError

    if form == "csv":
        if array.ndim not in (1, 2):
            raise ArgumentError(
                f"the array has {array.ndim} axes, and CSV has rows and columns",
                where=name,
                hint="load_array_artifact() in Python returns all of it.",
            )
        import pandas as pd

        print_frame(pd.DataFrame(array if array.ndim == 2 else array[:, None]), form)
        return
    facts = _summary(name, array)
    if form == "json":
        print_json(facts)
        return
    shape = " x ".join(map(str, array.shape))
    rows = [{"fact": key, "value": cell_text(value)} for key, value in facts.items()]
    rows = [{**row, "value": shape} if row["fact"] == "shape" else row for row in rows]
    print_rows(screen(), ["fact", "value"], rows)


def _summary(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np

    facts: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
    if array.dtype.kind in "biuf" and array.size:
        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        if array.dtype.kind == "f":
            facts["not_finite"] = int(array.size - finite.size)
        if finite.size:
            mean = float(finite.mean(dtype=np.float64))
            facts |= {"min": finite.min(), "max": finite.max(), "mean": mean}
        facts["not_zero"] = int(np.count_nonzero(array))
    return facts
