"""``kymflow-zarr schema``."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import click

from kymflow_zarr.cli.options import debug_option, json_option

__all__ = ["schema"]

_Document: TypeAlias = Literal[
    "payload", "dataset", "image", "array_artifact", "curation", "lineage"
]


@click.command(short_help="Print the JSON Schema of a document.")
@click.argument("document", type=click.Choice(get_args(_Document)), default="payload")
@json_option
@debug_option
def schema(document: _Document, as_json: bool) -> None:  # noqa: ARG001 - JSON is the only output
    """Print the JSON Schema (draft 2020-12) of a DOCUMENT.

    \b
    payload          analysis/metadata.json of an image: header, conditions, regions (default)
    dataset          zarr.json of the dataset
    image            zarr.json of an image
    array_artifact   zarr.json of an array artifact
    curation         analysis/curation.json of an image: verdict, note, history

    \b
    Examples:
      kymflow-zarr schema > payload.schema.json
      kymflow-zarr schema image
    """
    from kymflow_zarr import json_schema
    from kymflow_zarr.cli.output.terminal import print_json

    print_json(json_schema(document))
