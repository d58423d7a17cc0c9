"""The public names, methods and parameters, held against the list of version 0.1."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import kymflow_zarr
from kymflow_zarr import ZarrDataset, ZarrImageRecord

LIST = Path(__file__).with_name("public_api.json")
PUBLISHED: dict[str, Any] = json.loads(LIST.read_text(encoding="utf-8"))
# Methods of 0.1 that belonged to the engine: forwarded for one release, and documented nowhere.
FORMER = {
    ZarrDataset: (
        "change_token", "kept_files", "new_record", "stored_table", "update_record", "work_storage",
    ),
    ZarrImageRecord: ("stored_file",),
}  # fmt: skip


def parameters_of(function: Any) -> list[list[str]]:
    """Return name, kind and default of each parameter, without its annotation."""
    return [
        [p.name, p.kind.name, "" if p.default is p.empty else repr(p.default)]
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


def described(value: Any) -> Any:
    """Return what the list holds of a public name."""
    if not inspect.isclass(value):
        return parameters_of(value) if callable(value) else "value"
    members: dict[str, Any] = {}
    for name in dir(value):
        if name.startswith("_"):
            continue
        static = inspect.getattr_static(value, name)
        if isinstance(static, property) or not callable(getattr(value, name)):
            members[name] = "attribute"
        elif value.__module__.startswith("kymflow_zarr") and "kymflow_zarr" in str(
            getattr(inspect.unwrap(getattr(value, name)), "__module__", "")
        ):
            members[name] = parameters_of(getattr(value, name))
    return members


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_what_programs_call_is_still_there_with_the_same_parameters(name: str) -> None:
    published, now = PUBLISHED[name], described(getattr(kymflow_zarr, name))
    if not isinstance(published, dict):
        assert now == published
        return
    for member, parameters in published.items():
        assert member in now, f"{name}.{member} is gone"
        if parameters == "attribute":
            assert now[member] == "attribute"
            continue
        # A newer version may have more parameters, as long as calls need not name them.
        missing = [p for p in parameters if p not in now[member]]
        assert missing == [], f"{name}.{member} has lost {missing}"
        positional = [p for p in now[member] if p[1] == "POSITIONAL_OR_KEYWORD"]
        assert positional[: len([p for p in parameters if p[1] == "POSITIONAL_OR_KEYWORD"])] == [
            p for p in parameters if p[1] == "POSITIONAL_OR_KEYWORD"
        ]
        assert all(p[2] for p in now[member] if p not in parameters and p[1] == "KEYWORD_ONLY")


@pytest.mark.parametrize("kind", FORMER)
def test_methods_of_the_engine_are_offered_by_no_completion(kind: Any, tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        rec = ds.add_image([[1, 2]])
        value: Any = ds if kind is ZarrDataset else rec
        assert [name for name in FORMER[kind] if name in dir(value)] == []
        assert [name for name in FORMER[kind] if not hasattr(value, name)] == []
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = value.nothing


def test_the_migration_is_where_programs_of_the_last_release_look_for_it() -> None:
    from kymflow_zarr import ingest

    for name in ("MigrationItem", "MigrationReport", "migrate_dataset", "migrate_in_place"):
        assert getattr(ingest, name) is getattr(kymflow_zarr, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ingest.nothing
