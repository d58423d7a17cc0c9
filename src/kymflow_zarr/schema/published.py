"""JSON Schemas of the documents, generated from their models."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.schema.artifacts.curation import CurationDocument
from kymflow_zarr.schema.artifacts.lineage import LineageDocument
from kymflow_zarr.schema.base import (
    ATTRIBUTES_KEY,
    FORMAT,
    FORMAT_VERSION,
    DatasetDocument,
    Document,
)
from kymflow_zarr.schema.image import ArrayArtifactDocument, ImageDocument
from kymflow_zarr.schema.payload import PayloadDocument

SchemaName: TypeAlias = Literal[
    "payload", "dataset", "image", "array_artifact", "curation", "lineage"
]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ARTIFACTS: Final[dict[str, type[msgspec.Struct]]] = {
    "payload": PayloadDocument,
    "curation": CurationDocument,
    "lineage": LineageDocument,
}
_GROUPS: Final[dict[str, type[Document]]] = {
    "dataset": DatasetDocument,
    "image": ImageDocument,
    "array_artifact": ArrayArtifactDocument,
}


def json_schema(name: SchemaName = "payload") -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document of the format.

    Parameters
    ----------
    name : {"payload", "dataset", "image", "array_artifact", "curation", "lineage"}
        ``"payload"`` is ``analysis/metadata.json``, ``"curation"`` ``analysis/curation.json``
        and ``"lineage"`` ``analysis/lineage.json``, as written. The others are the
        ``zarr.json`` of the dataset, of an image and of an array artifact.

    Returns
    -------
    dict
        The schema. It allows unknown keys everywhere, as the format does.

    Raises
    ------
    ArgumentError
        If there is no schema of that name.
    """
    if name in _ARTIFACTS:
        return {"$schema": _DIALECT, **_model_schema(_ARTIFACTS[name])}
    model = _GROUPS.get(name)
    if model is None:
        known = ", ".join(get_args(SchemaName))
        raise ArgumentError(
            f"there is no schema {name!r}", where="name", hint=f"There are {known}."
        )
    schema = _model_schema(model)
    own = schema["$defs"][model.__name__]
    for key, value in (("format", FORMAT), ("format_version", FORMAT_VERSION), ("document", name)):
        own["properties"][key] = {"const": value}
    own["required"] = ["format", "format_version", *own["required"]]
    return {
        "$schema": _DIALECT,
        "title": f"zarr.json of {name}",
        "type": "object",
        "properties": {
            "zarr_format": {"const": 3},
            "node_type": {"const": "group"},
            "attributes": {
                "type": "object",
                "properties": {ATTRIBUTES_KEY: {"$ref": schema["$ref"]}},
                "required": [ATTRIBUTES_KEY],
            },
        },
        "required": ["zarr_format", "node_type", "attributes"],
        "$defs": schema["$defs"],
    }


def _model_schema(model: type[msgspec.Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(model)
    for definition in schema["$defs"].values():
        _without_discriminator(definition)
    return schema


def _without_discriminator(node: Any) -> None:
    """Remove OpenAPI's "discriminator", which JSON Schema does not have."""
    if isinstance(node, dict):
        node.pop("discriminator", None)
        for item in node.values():
            _without_discriminator(item)
    elif isinstance(node, list):
        for item in node:
            _without_discriminator(item)
