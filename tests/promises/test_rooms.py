"""The rooms of the package: which may import which, and what an import costs."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import kymflow_zarr

PACKAGE = Path(kymflow_zarr.__file__).parent
# A room imports only rooms of the rows above its own here; rooms of one row never each other.
ROWS = [
    {"errors", "types", "_version"},
    {"layout"},
    {"schema"},
    {"runtime"},
    {"storage"},
    {"formats"},
    {"engine"},
    {"adapters", "views"},
    {"ingest"},
    {"legacy_v1"},
    {"export"},
    {"check"},
    {"api"},
    {"testing"},
    {"cli", "viewer"},
    {"__main__"},
]
ROW_OF = {room: i for i, row in enumerate(ROWS) for room in row}
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FILES = 12
# Imports that the move of the files into rooms left behind, to be removed one by one.
NOT_YET = {
    ("adapters/kymflow.py", "api"), ("legacy_v1/validate.py", "check"),
    ("engine/query/map.py", "legacy_v1"), ("storage/blosc.py", "formats"),
    ("engine/opening/modes.py", "legacy_v1"), ("engine/opening/wiping.py", "legacy_v1"),
}  # fmt: skip


def room_of(module: str) -> str:
    """Return the room of a dotted name below the package, "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(path: Path) -> set[str]:
    """Return the dotted names a module imports, relative ones resolved."""
    here = ("kymflow_zarr", *path.relative_to(PACKAGE).with_suffix("").parts)
    package = here[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{name}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if room == "__init__":
        return  # The package itself re-exports.
    for name in imports_of(path):
        if not name.startswith("kymflow_zarr"):
            continue
        other = room_of(name)
        if other == room:
            continue
        if other not in ROW_OF:
            # `import kymflow_zarr`: the public API, which only the rooms on top may use.
            assert ROW_OF[room] >= ROW_OF["testing"], f"{room} imports the package itself"
            continue
        if (path.relative_to(PACKAGE).as_posix(), other) in NOT_YET:
            continue
        assert ROW_OF[other] < ROW_OF[room], f"{room} imports {other} ({name})"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_rooms_on_top_use_the_public_api_only(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if room not in ROWS[-2] | ROWS[-1]:
        return
    private = {
        name
        for name in imports_of(path)
        if name.startswith("kymflow_zarr._")
        and room_of(name) not in (room, "_types", "_version", "_cli")
    }
    assert private == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_room_is_known(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert room in ROW_OF or room == "__init__"


def modules_after(code: str) -> set[str]:
    """Return the names of all modules that are loaded after some code in a new process."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {
        "pandas", "zarr", "tifffile", "pyarrow", "numcodecs", "imagecodecs", "click", "rich",
        "matplotlib", "xarray",
    }  # fmt: skip
    assert modules_after("import kymflow_zarr") & heavy == set()


def test_a_program_that_reads_one_image_starts_with_little(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with kymflow_zarr.ZarrDataset(path) as ds:
        ds.add_image([[1, 2]], image_id="a")
    code = (
        f"from kymflow_zarr import ZarrDataset; ds = ZarrDataset({str(path)!r}, mode='r'); "
        "ds[ds.list_image_ids()[0]].load_array()"
    )
    loaded = modules_after(code)
    # Each takes as long as a good part of NumPy, or many of them do together.
    heavy = {
        "pandas", "zarr", "tifffile", "pyarrow", "numcodecs", "click", "rich", "matplotlib",
        "xarray", "dask", "filelock", "asyncio", "difflib", "shutil", "gzip", "tempfile",
        "getpass",
    }  # fmt: skip
    assert loaded & heavy - modules_after("import numpy") == set()
    # What edits, reports, ingests and exports, and the older format.
    parts = {
        "engine.curation.values", "engine.curation.editing", "engine.rois.values",
        "engine.rois.planes", "engine.reports", "engine.verify_reports", "engine.images.draft",
        "engine.query.map", "engine.index.images_dataframe", "schema.payload", "schema.published",
        "schema.tiff_skeleton", "legacy_v1.documents", "legacy_v1.storage", "ingest", "export",
        "check", "adapters", "viewer",
    }  # fmt: skip
    assert {f"kymflow_zarr.{part}" for part in parts} & loaded == set()
    assert all(importlib.util.find_spec(f"kymflow_zarr.{part}") for part in parts)


def test_reading_one_image_loads_neither_pandas_nor_zarr(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with kymflow_zarr.ZarrDataset(path) as ds:
        ds.add_image([[1, 2]], image_id="a").save_json("note", {"good": True})
    code = (
        f"from kymflow_zarr import ZarrDataset; ds = ZarrDataset({str(path)!r}, mode='r'); "
        "ds['a'].load_array(); ds['a'].load_json('note')"
    )
    assert modules_after(code) & {"pandas", "zarr", "tifffile", "pyarrow"} == set()


def test_the_public_names_are_these() -> None:
    assert sorted(kymflow_zarr.__all__) == [
        "ArtifactInfo", "Axis", "Curation", "Damage", "Edit", "EditChange", "ExportDifference",
        "ExportFailure", "ExportReport", "ImageBounds", "IngestItem", "IngestReport",
        "KymflowZarrError", "Limits", "MapResult", "MaskRoi", "MetadataNotFoundError", "Problem",
        "RecordEdit", "RectRoi", "RefreshResult", "RepairAction", "RepairReport", "RoiStatistics",
        "SchemaValidationError", "ValidationReport", "VerifyReport", "ZarrDataset",
        "ZarrImageRecord", "__version__", "errors", "get_limits", "json_schema", "set_limits",
    ]  # fmt: skip
    assert all(hasattr(kymflow_zarr, name) for name in kymflow_zarr.__all__)


def test_the_drawing_of_the_error_tree_is_the_tree() -> None:
    from kymflow_zarr import errors

    drawing = errors.__doc__ or ""
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert name in drawing
        assert kind.__doc__
        line = next(line for line in drawing.splitlines() if f" {name}" in f" {line}")
        builtin = next(base.__name__ for base in kind.__mro__ if base.__module__ == "builtins")
        if "(" in line:
            assert builtin in line
