"""The rooms of the package: which may import which, and what an import costs."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kymflow_zarr
from tests.helpers.docs.imports import (
    BEGIN,
    CONTRIBUTING,
    END,
    LEVEL,
    OUTSIDE,
    ROWS,
    circle,
    drawing,
    imports,
    modules,
    room_of,
)

ROOT = Path(__file__).parents[2]
MAX_FILES = 12
# Users import these from the package and from its tests; the command line begins in `cli`.
NAMED = {"kymflow_zarr", "kymflow_zarr.testing", "kymflow_zarr.cli", "kymflow_zarr.ingest"}
# ``ds.view()`` starts the server of the page, and ``ds.publish()`` writes it as files; both are
# made of the face. `ingest` forwards names that the package offers now.
UPWARDS = {
    ("api.dataset", "viewer.web.serving"),
    ("api.dataset", "viewer.web.publishing.page"),
    ("ingest", "kymflow_zarr"),
}

# What the face does not offer: a look at a source before a dataset is created.
BESIDE_THE_FACE = {("kymflow_zarr.cli.exchange.ingest", "ingest")}


def test_a_room_imports_only_rooms_below_it() -> None:
    wrong = []
    for item in imports():
        room, other = room_of(item.importer), room_of(item.imported)
        importer, imported = (
            name.removeprefix("kymflow_zarr.") for name in (item.importer, item.imported)
        )
        if item.importer in OUTSIDE or (importer, imported) in UPWARDS or room == other:
            continue
        # `import kymflow_zarr`, the package itself, is for the rooms that use the face.
        below = LEVEL["api"] if other == "" else LEVEL[other]
        if below >= LEVEL[room]:
            wrong.append(f"{importer} imports {imported}")
    assert wrong == []


def test_the_rooms_on_top_use_the_face_only() -> None:
    # `api.internals` returns objects of the engine, which annotations name.
    used = {"", "api", "testing", "views", "errors", "types", "_version"}
    wrong = [
        f"{item.importer} imports {item.imported}"
        for item in imports()
        if room_of(item.importer) in ROWS[0]
        and not item.typing_only
        and room_of(item.imported) not in {*used, room_of(item.importer)}
        and (item.importer, room_of(item.imported)) not in BESIDE_THE_FACE
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle() == []


def test_a_folder_holds_at_most_twelve_files() -> None:
    others = [path for name in ("tests", "benchmarks") for path in (ROOT / name).rglob("*.py")]
    others += (ROOT / "frontend" / "src").rglob("*.ts*")
    counts = Counter(path.parent for path in (*modules().values(), *others))
    assert {str(folder): n for folder, n in counts.items() if n > MAX_FILES} == {}


def test_the_rooms_themselves_offer_no_names() -> None:
    # An import names the file that it needs, and costs what that file costs.
    offering = [
        name
        for name, path in modules().items()
        if path.name == "__init__.py"
        and name not in NAMED
        and len(ast.parse(path.read_text(encoding="utf-8")).body) > 1
    ]
    assert offering == []


def test_the_picture_of_the_rooms_is_what_the_imports_are() -> None:
    assert f"{BEGIN}{drawing()}{END}" in CONTRIBUTING.read_text(encoding="utf-8")


def test_every_file_is_in_a_known_room() -> None:
    assert {room_of(name) for name in modules()} - LEVEL.keys() <= {"", "__main__"}


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
        "xarray", "dask", "asyncio", "difflib", "shutil", "gzip", "tempfile",
        "getpass",
    }  # fmt: skip
    assert loaded & heavy - modules_after("import numpy") == set()
    # What edits, reports, ingests and exports, and the older format.
    parts = {
        "engine.curation.document", "engine.curation.editing", "engine.rois.values",
        "engine.rois.planes", "ingest.report", "check.report", "engine.images.draft",
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
        "ArchiveGap", "ArchiveReport",
        "ArtifactInfo", "Axis", "ComputeItem", "ComputeReport", "CopyItem",
        "CopyReport", "Curation", "Damage",
        "DatasetChange", "Edit", "EditChange", "EllipseRoi", "ExportDifference", "ExportFailure",
        "ExportReport", "ImageBounds", "IngestItem", "IngestReport", "KymflowZarrError",
        "Level", "Limits", "LineRoi", "MapResult", "MaskRoi",
        "MergeConflict", "MergeReport", "MetadataField", "MetadataNotFoundError",
        "MigrationItem", "MigrationReport", "PointsRoi", "PolygonRoi", "PolylineRoi",
        "Problem", "PublishItem", "PublishReport", "ReadingRecord", "RecordEdit", "RectRoi",
        "RefreshResult", "RefusedCell",
        "RepairAction", "RepairReport", "Result", "ResultInput", "RoiStatistics",
        "SchemaValidationError", "SheetReport", "UnknownRoi", "ValidationReport", "VerifyReport",
        "Viewer",
        "ZarrDataset", "ZarrImageRecord", "__version__", "copy_dataset", "errors", "get_limits",
        "json_schema", "migrate_dataset", "migrate_in_place", "set_limits",
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


def test_a_program_that_lists_images_in_an_order_starts_with_less(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with kymflow_zarr.ZarrDataset(path) as ds:
        ds.add_image([[1, 2]], image_id="a")
        os.utime(path / "images" / "a", (1, 1))
        ds.update_manifest()
    code = (
        f"from kymflow_zarr import ZarrDataset; ds = ZarrDataset({str(path)!r}, mode='r'); "
        "assert [rec.image_id for rec in ds.iter_records('created_utc')] == ['a']"
    )
    # Each of them takes longer to load than the list takes.
    assert modules_after(code) & {"numpy", "pandas", "pyarrow", "zarr", "imagecodecs"} == set()
