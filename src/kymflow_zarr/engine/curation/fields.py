"""The fields of the experiment's metadata that a lab has agreed on: types, choices, units."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import pandas as pd

from kymflow_zarr.errors import ArgumentError, TableNotFoundError

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

FIELDS_TABLE: Final = "metadata_fields"
FieldType: TypeAlias = Literal["text", "number", "date", "flag"]
_COLUMNS: Final = ("name", "type", "choices", "unit", "required", "description")
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# Of the canonical metadata payload; its other fields are text.
_PAYLOAD_FIELDS: Final = (
    "species", "region", "cell_type", "direction", "sex", "genotype", "condition", "condition2",
    "treatment", "treatment2", "date", "note",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MetadataField:
    """One field of the experiment's metadata.

    Parameters
    ----------
    name : str
    type : {"text", "number", "date", "flag"}
        A date is ISO 8601, such as ``2026-05-31``; a flag is true or false.
    choices : tuple
        The values that it may have; any if empty.
    unit : str
        Of a number, in words or as ``um``; for people.
    required : bool
        Whether each image has it.
    description : str
    """

    name: str
    type: FieldType = "text"
    choices: tuple[Any, ...] = ()
    unit: str = ""
    required: bool = False
    description: str = ""

    def value_of(self, cell: Any) -> Any:
        """Return a cell of a sheet as a value of this field.

        Raises
        ------
        ArgumentError
            If it is none; its ``what`` says why.
        """
        value = self._typed(cell)
        if self.choices and value not in self.choices:
            raise ArgumentError(
                f"{value!r} is none of the choices, which are {', '.join(map(str, self.choices))}"
            )
        return value

    def _typed(self, cell: Any) -> Any:
        if self.type == "number":
            return _number(cell)
        if self.type == "flag":
            flag = cell if isinstance(cell, bool) else _FLAGS.get(str(cell).strip().casefold())
            if flag is None:
                raise ArgumentError(f"{cell!r} is neither true nor false")
            return flag
        if isinstance(cell, dt.datetime | dt.date):
            has_time = isinstance(cell, dt.datetime) and cell.time() != dt.time()
            cell = cell.isoformat() if has_time else cell.isoformat()[:10]
        text = _text(cell)
        if self.type == "date":
            try:
                dt.datetime.fromisoformat(text)
            except ValueError:
                raise ArgumentError(f"{text!r} is no date such as 2026-05-31") from None
        return text


def _number(cell: Any) -> float | int:
    if isinstance(cell, bool):
        raise ArgumentError(f"{cell!r} is no number")
    if isinstance(cell, int):
        return cell
    try:
        number = float(cell)
    except (TypeError, ValueError):
        comma = isinstance(cell, str) and "," in cell
        hint = "; the decimal sign is a point" if comma else ""
        raise ArgumentError(f"{cell!r} is no number{hint}") from None
    if not math.isfinite(number):
        raise ArgumentError(f"{cell!r} is no finite number")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _text(cell: Any) -> str:
    # Excel has all numbers as floats: 7 is not "7.0".
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def usual_field(name: str) -> MetadataField:
    """Return the field of a name that the lab has not agreed on."""
    if name == "depth":
        return MetadataField(name=name, type="number", unit="um")
    return MetadataField(name=name)


def is_usual(name: str) -> bool:
    """Return True if the metadata payload says of which type a field is."""
    return name == "depth" or name in _PAYLOAD_FIELDS


def fields_of(given: Mapping[str, Mapping[str, Any] | MetadataField]) -> dict[str, MetadataField]:
    """Return fields by name, from mappings of their keywords.

    Raises
    ------
    ArgumentError
        If a keyword or a type is unknown, or a choice is no value of the type.
    """
    fields = {}
    for name, keywords in given.items():
        where = f"fields: {name}"
        if isinstance(keywords, MetadataField):
            field = keywords
        else:
            unknown = sorted(set(keywords) - set(_COLUMNS[1:]))
            if unknown or not name:
                raise ArgumentError(
                    f"a field has no {unknown[0]!r}" if unknown else "a field has no name",
                    where=where, hint=f"It has {', '.join(_COLUMNS[1:])}.",
                )  # fmt: skip
            field = MetadataField(
                name=name, **{**keywords, "choices": tuple(keywords.get("choices", ()))}
            )
        if field.type not in get_args(FieldType):
            raise ArgumentError(
                f"the type is {field.type!r}", where=where,
                hint=f"It is one of {', '.join(get_args(FieldType))}.",
            )  # fmt: skip
        for choice in field.choices:
            MetadataField(name=name, type=field.type).value_of(choice)
        fields[name] = field
    return fields


def save_fields(
    dataset: OpenDataset, given: Mapping[str, Mapping[str, Any] | MetadataField]
) -> None:
    """Save the fields; see :meth:`kymflow_zarr.ZarrDataset.save_metadata_fields`."""
    fields = fields_of(given).values()
    rows = [
        (f.name, f.type, json.dumps(list(f.choices)), f.unit, f.required, f.description)
        for f in fields
    ]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    dataset.save_table(FIELDS_TABLE, frame.astype({"required": bool}))


def load_fields(dataset: OpenDataset) -> dict[str, MetadataField]:
    """Return the fields by name; none if none were saved."""
    try:
        frame = dataset.load_table(FIELDS_TABLE)
    except TableNotFoundError:
        return {}
    fields = {}
    for row in frame.to_dict("records"):
        keywords = {str(key): value for key, value in row.items() if key in _COLUMNS}
        name = str(keywords.pop("name"))
        fields[name] = {**keywords, "choices": json.loads(keywords.get("choices") or "[]")}
    return fields_of(fields)
