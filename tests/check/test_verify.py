"""Verify: every damage is named with the image, the part, what is wrong and what can be done."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from kymflow_zarr import VerifyReport, ZarrDataset
from kymflow_zarr.check.verify.checksum_scope import DAMAGES
from kymflow_zarr.cli.app import app
from kymflow_zarr.errors import ArgumentError, CorruptDataError, RecordNotFoundError
from tests.helpers.process_pool import process_pool
from tests.helpers.whole_dataset import files_below, write_whole

LINE = "images/line"
MASK = f"{LINE}/analysis_arrays/mask"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_whole(folder / "whole.zarr", folder / "source")
    return folder / "whole.zarr"


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy.zarr"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def remove(path: Path) -> None:
    path.unlink()


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def rename(path: Path) -> None:
    """Give an image the folder of another id."""
    path.rename(path.with_name("other"))


class Case(NamedTuple):
    code: str
    where: str
    damage: Callable[[Path], None]
    part: str
    fast: bool = True  # Whether a look at sizes finds it.
    key: str | None = None  # Where the damage is done, if elsewhere.


CASES = [
    Case("file-changed", f"{LINE}/data/c/0/0", flip, "pixels", False),
    Case("file-changed", f"{LINE}/zarr.json", flip, "document of the image", False),
    Case("file-changed", f"{MASK}/data/c/0/0", flip, "array artifact 'mask'", False),
    Case("file-changed", "tables/events.parquet", flip, "table 'events'", False),
    Case("file-size", f"{LINE}/data/c/0/0", cut, "pixels"),
    Case("file-size", f"{LINE}/analysis/flow/^summary.json", cut, "json artifact 'flow/Summary'"),
    Case("file-missing", f"{LINE}/data/c/0/0", remove, "pixels"),
    Case("file-missing", f"{MASK}/zarr.json", remove, "array artifact 'mask'"),
    Case("file-missing", "images/zarr.json", remove, "group document"),
    Case("file-missing", "source_files/files.json", remove, "list of kept source files"),
    Case("file-unlisted", f"{LINE}/analysis/mine.json", put, "json artifact 'mine'"),
    Case("file-unlisted", f"{LINE}/data/c/7/0", put, "pixels"),
    Case("file-unlisted", "tables/mine.parquet", put, "table 'mine'"),
    Case("checksums-missing", f"{LINE}/checksums.sha256", remove, "list of checksums"),
    Case("checksums-missing", "checksums.sha256", remove, "list of checksums"),
    Case("checksums-damaged", f"{LINE}/checksums.sha256", flip, "list of checksums"),
    Case("checksums-damaged", "checksums.sha256", cut, "list of checksums"),
    Case("document-missing", "images/new/zarr.json", put, "document of the image",
         key="images/new/analysis/notes.txt"),
    Case("contradiction", "images/other/zarr.json", rename, "document of the image", False,
         key=LINE),
    Case("foreign-file", f"{LINE}/notes.txt", put, "file"),
    Case("foreign-file", "notes.txt", put, "file"),
    Case("foreign-file", "images/notes.txt", put, "file"),
    Case("index", "index/images.parquet", flip, "index"),
    Case("quarantine", "quarantine", put, "quarantine", key="quarantine/1/why.json"),
]  # fmt: skip


UNREADABLE = Case("unreadable", LINE, link, "folder", key=f"{LINE}/data/c/0/0")


def place(root: Path, case: Case) -> Path:
    key = case.key or case.where
    if "^" in key:  # How the name is spelled is of no matter here.
        return next((root / LINE / "analysis/flow").glob("*.json"))
    return root / key


@pytest.mark.parametrize("case", [*CASES, UNREADABLE], ids=lambda c: f"{c.code} {c.where}")
def test_wrong_values_of_a_document_are_named(root: Path, case: Case) -> None:
    if case is UNREADABLE and sys.platform == "win32":
        pytest.skip("links need a privilege there")
    path = place(root, case)
    case.damage(path)
    with ZarrDataset(root, mode="r") as ds:
        report = ds.verify()
        fast = ds.verify(level="fast")
    named = [d for d in report.damages if d.code == case.code]
    where = path.relative_to(root).as_posix() if "^" in case.where else case.where
    assert [(d.where, d.part) for d in named] == [(where, case.part)], str(report)
    [damage] = named
    assert damage.severity == DAMAGES[case.code]
    of_image = (where.startswith("images/") and where.count("/") > 1) or where == LINE
    assert damage.image_id == (where.split("/")[1] if of_image else None)
    assert damage.advice.endswith(".")
    assert report.ok == (damage.severity == "warning")
    assert (case.code in [d.code for d in fast.damages]) == case.fast


def test_every_code_has_a_case_and_a_line_in_the_docs() -> None:
    assert {case.code for case in [*CASES, UNREADABLE]} == set(DAMAGES)
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning) \|", page, flags=re.MULTILINE)
    assert dict(rows) == DAMAGES


def test_verifying_writes_nothing(root: Path) -> None:
    before = files_below(root)
    with ZarrDataset(root, mode="r") as ds:
        assert ds.verify().ok
        assert ds["line"].verify().ok
    assert files_below(root) == before


def test_one_image_alone(root: Path) -> None:
    (root / "tables/events.parquet").write_bytes(b"")
    with ZarrDataset(root, mode="r") as ds:
        assert ds["line"].verify().damages == ()
        flip(root / LINE / "analysis/metadata.json")
        report = ds["line"].verify()
        assert (report.images_checked, len(report.errors)) == (1, 1)
        assert ds["line"].verify(level="fast").ok
        gone = ds["line"]
        shutil.rmtree(root / LINE)
        with pytest.raises(RecordNotFoundError):
            gone.verify()


def test_every_byte_is_counted_and_progress_is_reported(root: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    with ZarrDataset(root, mode="r") as ds:
        report = ds.verify(progress=lambda done, total, label: seen.append((done, total, label)))
        assert [label for _, _, label in seen] == ds.list_image_ids()
    assert [done for done, _, _ in seen] == [1, 2]
    held = {
        key: data
        for key, data in files_below(root).items()
        if not key.startswith((".kymflow_zarr/", "index/")) and not key.endswith(".sha256")
    }
    assert report.files_checked == len(held)
    assert report.bytes_checked == sum(map(len, held.values()))
    assert "whole: 2 images" in str(report)


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, process_pool])
def test_the_callers_executor_reads_the_files(root: Path, pool: Callable[[int], Executor]) -> None:
    flip(root / LINE / "data/c/0/0")
    with pool(2) as executor, ZarrDataset(root, mode="r") as ds:
        report = ds.verify(executor=executor)
    assert [damage.code for damage in report.damages] == ["file-changed"]


def test_an_unknown_level_is_refused(root: Path) -> None:
    with ZarrDataset(root, mode="r") as ds, pytest.raises(ArgumentError, match="level"):
        ds.verify(level="slow")  # type: ignore[arg-type]


def test_a_list_can_be_read_by_sha256sum(root: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("there is no sha256sum here")
    command = [program, "--check", "--strict", "--quiet", "checksums.sha256"]
    for folder in (root, root / LINE):
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr


def test_a_missing_chunk_is_an_error_for_every_reader(root: Path) -> None:
    (root / LINE / "data/c/0/0").unlink()
    with ZarrDataset(root, mode="r") as ds:
        with pytest.raises(CorruptDataError):
            ds["line"].load_array()
        with pytest.raises(CorruptDataError):
            np.asarray(ds["line"].open_array()[...])
        assert not ds.verify(level="fast").ok


def test_a_writer_at_work_makes_no_false_alarm(root: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with ZarrDataset(root, durability="relaxed") as ds:
            n = 0
            while not stop.is_set():
                n += 1
                rec = ds["line"]
                rec.save_json("flow/Summary", {"mean": n})
                rec.save_array(np.full((16, 6), n, np.uint16))
                rec.save_array_artifact("mask", np.full((16, 6), n % 2, bool))
                other = ds.add_image(np.full((4, 4), n, np.uint16), image_id=f"new-{n}")
                ds.delete_image(other.image_id)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            with ZarrDataset(root, mode="r") as ds:
                reports: list[VerifyReport] = [ds.verify() for _ in range(40)]
        finally:
            stop.set()
        writing.result()
    assert [str(damage) for report in reports for damage in report.damages] == []


# The command line ---------------------------------------------------------------------------


def test_the_commands(root: Path) -> None:
    run = CliRunner().invoke(app, ["verify", str(root)])
    assert (run.exit_code, run.stdout.split()[0]) == (0, "whole")
    run = CliRunner().invoke(app, ["repair", str(root)])
    assert (run.exit_code, run.stdout.strip()) == (0, "nothing to repair")
    flip(root / LINE / "analysis/metadata.json")
    run = CliRunner().invoke(app, ["verify", str(root), "--fast"])
    assert run.exit_code == 0
    run = CliRunner().invoke(app, ["verify", str(root)])
    assert run.exit_code == 1
    assert f"{LINE}/analysis/metadata.json" in run.stdout
    run = CliRunner().invoke(app, ["verify", str(root), "--json"])
    assert run.exit_code == 1
    assert json.loads(run.stdout)["damages"][0]["part"] == "json artifact 'metadata'"
    before = files_below(root)
    run = CliRunner().invoke(app, ["repair", str(root)])
    assert run.exit_code == 1
    assert "A plan: nothing was changed" in run.stdout
    assert files_below(root) == before
    run = CliRunner().invoke(app, ["repair", str(root), "--yes", "--json"])
    assert run.exit_code == 1  # Something was quarantined.
    assert json.loads(run.stdout)["actions"][0]["kind"] == "quarantine"
    assert CliRunner().invoke(app, ["verify", str(root)]).exit_code == 0


LINKS = [
    "images/b", "images/b/zarr.json", "images/b/data", "images/b/data/c", "images/b/analysis",
    "images/b/checksums.sha256", "images/gone", "tables", "tables/t.parquet", "source_files",
    "index", "checksums.sha256",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["elsewhere", "nowhere", "itself"])
@pytest.mark.parametrize("place", LINKS)
def test_a_link_is_an_entry_of_its_own_and_the_rest_is_verified(
    tmp_path: Path, place: str, kind: str
) -> None:
    path = tmp_path / "x.zarr"
    with ZarrDataset(path, "w", durability="relaxed") as ds:
        for image_id in ("a", "b", "c"):
            ds.add_image([[1, 2]], image_id=image_id).save_json("note", 1)
        ds.save_table("t", pd.DataFrame({"image_id": ["a"]}))
    note = path / "images" / "c" / "analysis" / "note.json"
    note.write_bytes(note.read_bytes().replace(b"1", b"2"))
    link = path.joinpath(*place.split("/"))
    target = tmp_path / "elsewhere"
    if link.exists():
        link.rename(target)
    else:
        target.mkdir()
    link.symlink_to({"elsewhere": target, "nowhere": tmp_path / "gone", "itself": link}[kind])
    with ZarrDataset(path, "r") as ds:
        report = ds.verify()
        ds.repair(dry_run=True)
    assert [d.image_id for d in report.damages if d.code == "file-changed"] == ["c"]
    # A folder that is empty but for a link lists no file, and so misses none.
    named = [d for d in report.damages if d.where.startswith(place) or place.startswith(d.where)]
    assert named or (place, kind) in {("source_files", "itself"), ("index", "elsewhere")}


class Losing(Executor):
    """An executor that counts its tasks and loses one, as a cluster does whose worker dies."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.tasks = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks += 1
        if self.tasks == self.lost:
            future.set_exception(RuntimeError("the worker was killed"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize("call", ["verify", "validate", "repair"])
def test_a_check_goes_on_without_a_task_that_the_executor_lost(tmp_path: Path, call: str) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w", durability="relaxed") as ds:
        for image_id in ("a", "b", "c"):
            ds.add_image(np.ones((4, 4)), image_id=image_id).save_json("note", 1)
        (ds.path / "images" / "b" / "analysis" / "note.json").write_bytes(b"{")
        with pytest.warns(RuntimeWarning, match=r"lost the checks of 1 of 3 images.*b: the worker"):
            report = getattr(ds, call)(executor=Losing(lost=4 if call == "verify" else 2))
        assert "images/b/analysis/note.json" in str(report.to_dict())


def test_an_executor_is_given_one_task_for_each_image(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w", durability="relaxed") as ds:
        for image_id in ("a", "b", "c"):
            record = ds.add_image(np.ones((64, 64)), image_id=image_id)
            for name in ("one", "two", "three"):
                record.save_json(name, 1)
        executor = Losing(lost=0)
        assert ds.verify(executor=executor).ok
    files = 2  # Of the top of the dataset.
    assert executor.tasks == 3 + files
