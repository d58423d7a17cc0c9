"""Where it is known that a dataset is a folder of a disk."""

from __future__ import annotations

import ast
from pathlib import Path

import kymflow_zarr

PACKAGE = Path(kymflow_zarr.__file__).parent
STORAGE = PACKAGE / "storage"
# Helpers for files of users: sources of an ingest, targets of an export.
FILES = "kymflow_zarr.storage.local.files"
ALLOWED = {
    "engine/opening.py": {"LocalStorage", "PackedStorage"},
    "engine/opening/wiping.py": {"LocalStorage"},
    "legacy_v1/migrate.py": {"LocalStorage"},
    # Only files have a time at which a table was saved.
    "engine/dataset.py": {"LocalStorage"},
    # The folder that an export writes to is locked as a dataset is.
    "export/staging_area.py": {"LockFile"},
    # A file that is served as it is.
    "api/dataset.py": {"local_path"},
    "api/image.py": {"local_path"},
    "legacy_v1/storage.py": {"local_path"},
}


def imported(path: Path) -> set[tuple[str, str]]:
    """Return the modules that a file imports and the names it takes from them."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {(alias.name, "") for node in nodes if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    return names | {
        (node.module or "", alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_only_opening_knows_that_a_dataset_is_a_folder() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(("storage/", "testing/")):
            continue
        wrong += [
            f"{place} takes {name} from {module}"
            for module, name in imported(path)
            if module.startswith("kymflow_zarr.storage.local")
            and module != FILES
            and name not in ALLOWED.get(place, set())
        ]
    assert wrong == []


def test_the_interface_and_what_is_not_local_know_no_paths() -> None:
    modules = {module for path in STORAGE.glob("*.py") for module, _ in imported(path)}
    assert modules & {"os", "os.path", "pathlib", "shutil", "tempfile", "glob"} == set()
    assert not any(module.startswith("kymflow_zarr.storage.local") for module in modules)
