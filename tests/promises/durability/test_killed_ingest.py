"""Ingest and refresh, killed at any moment and run again, end as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import SyntheticVessel, write_experiment

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGKILL for a process to be killed by"
)

# Kills itself at the n-th time that it is about to change something below the dataset.
CHILD = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path

    from kymflow_zarr import ZarrDataset

    lab, path, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
    changes = 0

    def watch(event, args):
        global changes
        if event == "open":
            changing = args[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            changing = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if changing and str(args[0]).startswith(path):
            changes += 1
            if changes == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    with ZarrDataset(path) as ds:
        ds.refresh_from_folder(lab, mode="reingest_if_changed")
    print(changes)
""")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with analyzed kymographs, pooled tables and a file that no rule covers."""
    folder = tmp_path_factory.mktemp("killed") / "lab"
    vessels = [SyntheticVessel(name=f"v{i}", n_lines=200, seed=i) for i in range(6)]
    write_experiment(folder, vessels=vessels)
    (folder / "notes.xml").write_text("<note/>")
    return folder


def change(lab: Path) -> None:
    """Change a TIFF, metadata, an analysis and a pooled table, and add a sidecar."""
    first, second, third, *_ = sorted(lab.rglob("*.tif"))
    tifffile.imwrite(first, tifffile.imread(first) + 1)
    sidecar = second.with_suffix(".json")
    payload = json.loads(sidecar.read_text())
    payload["experiment_metadata"]["species"] = "rat"
    sidecar.write_text(json.dumps(payload))
    (csv,) = third.parent.glob(f"flow-analysis/{third.stem}_kymanalysis.csv")
    csv.write_text("\n".join(csv.read_text().splitlines()[:-3]) + "\n")
    third.with_name(f"{third.stem}.note.json").write_text('{"good": true}')
    pooled = lab / "radon_report_db.csv"
    pooled.write_text("\n".join(pooled.read_text().splitlines()[:-1]) + "\n")


def run_killed(lab: Path, path: Path, at: int) -> int:
    """Refresh in a process that is killed at a change; return how many changes it would make."""
    command = [sys.executable, "-c", CHILD, str(lab), str(path), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if at:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return at
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(path: Path) -> dict[str, Any]:
    """Return all that a dataset holds, images by the file they came from instead of the id."""
    with ZarrDataset(path, mode="r") as ds:
        assert [p for p in ds.validate().problems if p.code != "leftover"] == []
        rel_paths = {rec.image_id: rec.source_files[0].rel_path for rec in ds.iter_records()}
        found: dict[str, Any] = {"count": len(ds)}
        for rec in ds.iter_records():
            folder = path / "images" / rec.image_id
            found[rel_paths[rec.image_id]] = {
                "pixels": digest(rec.load_array().tobytes()),
                "axes": (rec.axes, rec.dtype.str, rec.channel_names),
                "payload": rec.load_metadata_payload(),
                "artifacts": {
                    (i.kind, i.name): digest((path / i.key).read_bytes())
                    for i in rec.list_artifacts()
                },
                "arrays": {n: rec.load_array_artifact(n) for n in rec.list_array_artifacts()},
                "earlier": [key.split("/", 2)[2] for key in rec.list_earlier_artifacts()],
                "files": rec.source_files,
                "kept": {
                    file.kept_as: digest((folder / file.kept_as).read_bytes())
                    for file in rec.source_files
                    if file.kept_as is not None
                },
            }
        for name in ds.list_table_names():
            table = ds.load_table(name)
            table["image_id"] = table["image_id"].map(rel_paths)
            found[f"table {name}"] = table.to_csv()
        found["loose"] = {
            key: (document.sha256, digest(ds._open.source_files.read(document)))
            for key, document in ds._open.source_files.documents().items()
        }
    return found


@pytest.fixture(scope="module")
def whole(lab: Path) -> tuple[int, dict[str, Any]]:
    """How many changes an ingest makes that nobody kills, and what comes of it."""
    path = lab.with_name("whole.zarr")
    return run_killed(lab, path, 0), contents(path)


@pytest.mark.parametrize("part", [0.0, 0.02, 0.2, 0.5, 0.75, 0.97, 1.0])
def test_a_killed_ingest_run_again_ends_as_one_that_was_not(
    lab: Path, whole: tuple[int, dict[str, Any]], tmp_path: Path, part: float
) -> None:
    changes, expected = whole
    path = tmp_path / "killed.zarr"
    run_killed(lab, path, max(1, int(part * changes)))
    with ZarrDataset(path) as ds:
        report = ds.ingest_legacy_folder(lab)
        assert report.failed == ()
        assert ds.refresh_from_folder(lab, mode="reingest_if_changed") == []
    assert contents(path) == expected


@pytest.mark.parametrize("images", [1, 4])
def test_a_killed_command_run_again_ends_as_one_that_was_not(
    lab: Path, whole: tuple[int, dict[str, Any]], tmp_path: Path, images: int
) -> None:
    path = tmp_path / "killed.zarr"
    command = [sys.executable, "-m", "kymflow_zarr", "ingest", str(lab), str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(path.glob("images/*/"))) < images:
            time.sleep(0.001)
        process.kill()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert contents(path) == whole[1]


@pytest.fixture(scope="module")
def changed(lab: Path, whole: tuple[int, dict[str, Any]]) -> tuple[Path, Path, int, dict[str, Any]]:
    """A folder that has changed since its ingest, the dataset, and what is to come of it."""
    folder = lab.parent / "again" / "lab"
    shutil.copytree(lab, folder)
    old, new = folder.with_name("old.zarr"), folder.with_name("new.zarr")
    run_killed(folder, old, 0)
    shutil.copytree(old, new)
    change(folder)
    changes = run_killed(folder, new, 0)
    return folder, old, changes, contents(new)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.3, 0.45, 0.6, 0.8, 0.9, 1.0])
def test_a_killed_refresh_run_again_ends_as_one_that_was_not(
    changed: tuple[Path, Path, int, dict[str, Any]], tmp_path: Path, part: float
) -> None:
    folder, old, changes, expected = changed
    path = tmp_path / "killed.zarr"
    shutil.copytree(old, path)
    run_killed(folder, path, max(1, int(part * changes)))
    with ZarrDataset(path) as ds:
        again = ds.refresh_from_folder(folder, mode="reingest_if_changed")
        assert "edited" not in str(again.report)
        assert ds.refresh_from_folder(folder, mode="reingest_if_changed") == []
    assert contents(path) == expected


def test_the_change_that_is_killed_is_a_change(
    changed: tuple[Path, Path, int, dict[str, Any]],
) -> None:
    _, old, changes, expected = changed
    before = contents(old)
    differing = [key for key in expected if before.get(key) != expected[key]]
    assert len([key for key in differing if key.endswith(".tif")]) == 3
    assert "table radon_report_db" in differing
    assert changes > 10
    assert os.path.lexists(old)
