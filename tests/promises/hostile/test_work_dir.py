"""A dataset of a stranger, or one that other programs have been in: what opening it does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ReadOnlyError, StorageError

PIXELS = np.arange(16, dtype="uint16").reshape(4, 4)
WORK = ".kymflow_zarr"
SESSION, NUMBER = "a" * 32, "b" * 32
JOURNAL = f"{WORK}/journal/{SESSION}-{NUMBER}.json"
STAGED = f"{WORK}/sessions/{SESSION}/{NUMBER}"
posix = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


@pytest.fixture
def gift(tmp_path: Path) -> Path:
    """A closed dataset."""
    path = tmp_path / "gift.zarr"
    with ZarrDataset(path, durability="relaxed") as ds:
        ds.add_image(PIXELS, image_id="a").save_json("note", 1)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of the user's, with folders named like a session too."""
    folder = tmp_path / "home"
    for name in ("thesis", SESSION):
        (folder / name).mkdir(parents=True)
        (folder / name / "chapter").write_text("years of work")
    (folder / f"{SESSION}.lock").write_text("mine")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def link(at: Path, to: Path) -> None:
    if at.is_dir() and not at.is_symlink():
        shutil.rmtree(at)
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to)


def write_journal(root: Path, *operations: dict[str, Any], locks: tuple[str, ...] = ()) -> Path:
    body = json.dumps({"locks": locks, "steps": operations}).encode()
    path = root / JOURNAL
    path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return path


def put(root: Path, key: str, data: bytes = b"[666]", *, staged: str = STAGED) -> dict[str, Any]:
    place = root.joinpath(*staged.split("/"))
    if ".." not in staged:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return {"type": "put", "key": key, "staged": staged, "size_bytes": len(data), "sha256": digest}


@posix
@pytest.mark.parametrize("name", [WORK, f"{WORK}/sessions", f"{WORK}/journal", f"{WORK}/locks"])
@pytest.mark.parametrize("mode", ["a", "r+", "w", "r"])
def test_opening_a_dataset_whose_work_folder_is_a_link_changes_nothing_where_it_leads(
    gift: Path, home: Path, name: str, mode: Any
) -> None:
    link(gift / name, home)
    before, inside = files(home), files(gift / "images")
    if mode in ("r+", "w"):
        with pytest.raises(StorageError, match="no writer of this format"):
            ZarrDataset(gift, mode)
    elif mode == "a":
        with pytest.warns(UserWarning, match="for reading only"):
            ds = ZarrDataset(gift)
        assert ds.mode == "r"
        assert ds["a"].load_json("note") == 1
        with pytest.raises(ReadOnlyError):
            ds["a"].save_json("note", 2)
    else:
        assert ZarrDataset(gift, mode)["a"].load_json("note") == 1
    assert (files(home), files(gift / "images")) == (before, inside)


@posix
@pytest.mark.parametrize("entry", [f"sessions/{SESSION}", f"sessions/{SESSION}.lock", JOURNAL[14:]])
def test_a_link_in_the_place_of_a_session_or_a_journal_is_not_followed(
    gift: Path, home: Path, entry: str
) -> None:
    link(gift / WORK / entry, home / "thesis")
    before = files(home)
    with pytest.warns(UserWarning, match="for reading only"):
        ds = ZarrDataset(gift)
    assert ds["a"].load_json("note") == 1
    assert files(home) == before


HOSTILE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "out of the dataset": lambda root: put(root, "images/../../home/thesis/chapter"),
    "an absolute path": lambda root: put(root, "/etc/passwd"),
    "a file of no dataset": lambda root: put(root, "setup.py"),
    "into the work folder": lambda root: put(root, f"{WORK}/locks/top.lock"),
    "staged outside": lambda root: put(root, "images/x.json", staged="images/a/zarr.json"),
    "staged above": lambda root: put(root, "images/x.json", staged=f"{WORK}/sessions/../../../x"),
    "trash outside": lambda root: {"type": "remove", "key": "images/a", "aside": "../home/a"},
    "the home folder": lambda root: {"type": "remove", "key": "../home", "aside": STAGED},
    "another operation": lambda root: {"type": "run", "key": "images/a", "staged": STAGED},
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("mode", ["a", "r+", "r"])
def test_a_journal_that_no_writer_wrote_is_not_carried_out(
    gift: Path, home: Path, kind: str, mode: Any
) -> None:
    journal = write_journal(gift, HOSTILE[kind](gift))
    before = files(home), files(gift / "images"), journal.read_bytes()
    if mode == "r+":
        with pytest.raises(StorageError, match="no writer of this format"):
            ZarrDataset(gift, mode)
    elif mode == "a":
        with pytest.warns(UserWarning, match="for reading only"):
            ds = ZarrDataset(gift)
        assert ds["a"].load_json("note") == 1
    else:
        assert ZarrDataset(gift, mode)["a"].load_json("note") == 1
    assert (files(home), files(gift / "images"), journal.read_bytes()) == before


@posix
@pytest.mark.parametrize("through", ["images/a/analysis", "images/a", "tables"])
def test_a_journal_whose_key_goes_through_a_link_writes_nothing(
    gift: Path, home: Path, through: str
) -> None:
    link(gift / through, home / "thesis")
    write_journal(gift, put(gift, f"{through}/chapter", b"hostile"))
    before = files(home)
    with pytest.warns(UserWarning, match="for reading only"):
        ZarrDataset(gift).close()
    with pytest.raises(StorageError):
        ZarrDataset(gift, "r+")
    assert files(home) == before


@posix
def test_a_journal_whose_staged_file_is_a_link_reads_nothing_of_it(gift: Path, home: Path) -> None:
    secret = home / "thesis" / "chapter"
    operation = put(gift, "images/a/analysis/secret.json", b'"secret"')
    secret.write_bytes(b'"secret"')
    link_at = gift / STAGED
    link_at.unlink()
    link_at.symlink_to(secret)
    write_journal(gift, operation)
    with ZarrDataset(gift, "r") as ds, pytest.raises(KeyError):
        ds["a"].load_json("secret")
    assert secret.read_bytes() == b'"secret"'


def test_the_journal_of_a_writer_that_died_is_still_carried_out(gift: Path) -> None:
    write_journal(gift, put(gift, "images/a/analysis/more.json"))
    with ZarrDataset(gift) as ds:
        assert ds.mode == "a"
        assert ds["a"].load_json("more") == [666]
    assert list((gift / WORK / "journal").iterdir()) == []


LITTER = ["@eaDir", ".DS_Store", "._x", ".nfs0000000000000001", ".stfolder", "Thumbs.db"]
BAD = b"caf\xe9"  # A name in Latin-1.


@pytest.mark.parametrize("name", LITTER)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_dataset_with_names_of_other_programs_in_every_folder_works_in_every_mode(
    gift: Path, name: str, kind: str
) -> None:
    with ZarrDataset(gift, durability="relaxed") as ds:
        ds["a"].save_array_artifact("mask", PIXELS > 3)
        ds.images()
    for folder in [gift, *(path for path in gift.rglob("*") if path.is_dir())]:
        place = folder / name
        if kind == "file":
            place.write_bytes(b"x")
        elif folder.parent.name != name:
            place.mkdir()
            (place / "SYNO@.fileindexdb").write_bytes(b"x")
    for mode in ("r", "r+", "a"):
        with ZarrDataset(gift, mode, durability="relaxed") as ds:
            assert ds.list_image_ids() == ["a"]
            rec = ds["a"]
            assert (rec.load_json("note"), rec.list_array_artifacts()) == (1, ["mask"])
            assert np.array_equal(rec.load_array(), PIXELS)
            assert [info.name for info in rec.list_artifacts()] == ["note"]
            assert ds.verify().errors == ()
            assert ds.validate().ok
            assert len(ds.images()) == 1
            if mode != "r":
                rec.save_json("more", 2)
                rec.delete_analysis(["more"])
                assert ds.repair() is not None


@posix
def test_a_name_that_is_no_text_is_stepped_over_and_named(gift: Path) -> None:
    for folder in ("", "images", "images/a", "images/a/analysis", f"{WORK}/sessions"):
        try:
            os.mkdir(os.path.join(os.fsencode(gift / folder), BAD))  # noqa: PTH102, PTH118
        except OSError:
            pytest.skip("this file system keeps names in UTF-8 only")
    with ZarrDataset(gift, durability="relaxed") as ds:
        assert ds.list_image_ids() == ["a"]
        ds["a"].save_json("more", 2)
        assert ds.verify().errors == ()
        assert ds.validate().ok
        assert len(ds.images()) == 1


def test_validate_names_what_is_foreign_in_the_work_folder(gift: Path) -> None:
    (gift / WORK / "sessions" / "notes").write_bytes(b"x")
    (gift / WORK / "journal" / "@eaDir").mkdir()
    with ZarrDataset(gift, "r") as ds:
        found = {problem.where: problem.code for problem in ds.validate().problems}
    assert found[f"{WORK}/sessions/notes"] == "foreign-file"
    assert found[f"{WORK}/journal/@eaDir"] == "foreign-file"
