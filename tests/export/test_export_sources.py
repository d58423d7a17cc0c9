"""Source files that a dataset keeps, in its export."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.export.dataset_layout import places
from kymflow_zarr.schema.image import SourceFileDocument
from tests.helpers.export_dataset import MANIFEST, files_of, manifest_of

HEADER = b"[General]\r\nName=\xb5m\r\n"
NOTES = b"free text\n"


def document(rel_path: str, data: bytes, role: str = "header") -> SourceFileDocument:
    return SourceFileDocument(
        path=f"/data/{rel_path}",
        rel_path=rel_path,
        role=role,
        size_bytes=len(data),
        mtime_ns=1_700_000_000_000_000_000,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def dataset(folder: Path, files: dict[str, bytes], loose: dict[str, bytes]) -> ZarrDataset:
    """One image that was made of files, and files that belong to no image."""
    ds = ZarrDataset(folder / "d.zarr", mode="w", durability="relaxed")
    with ds._open.new_record("a") as draft:
        draft.set_pixels(np.zeros((3, 4), "uint8"))
        documents = [document("day1/A.tif", b"pixels", "image")]
        for rel_path, data in files.items():
            documents.append(document(rel_path, data))
            documents[-1].kept_as = draft.keep_source_file(rel_path, data)
            documents[-1].feeds = {"analysis/metadata.json": "0" * 64}
        draft.set_source_files(documents)
        draft.commit()
    ds._open.source_files.keep(
        {f"/data/{k}": (document(k, data, "unmatched"), data) for k, data in loose.items()}
    )
    return ds


def test_source_files_are_exported_as_they_were(tmp_path: Path) -> None:
    ds = dataset(tmp_path, {"day1/A_0001.tif.TXT": HEADER}, {"Notes on day 1.txt": NOTES})
    report = ds.export_legacy_folder(tmp_path / "out")
    out = files_of(tmp_path / "out")
    assert (
        set(out)
        == set(report.files)
        == {
            MANIFEST,
            "images/a/image.tif",
            "images/a/source_files/day1/A_0001.tif.TXT",
            "source_files/Notes on day 1.txt",
        }
    )
    assert out["images/a/source_files/day1/A_0001.tif.TXT"] == HEADER
    assert out["source_files/Notes on day 1.txt"] == NOTES
    assert ds.export_legacy_folder(tmp_path / "out").written == ()


def test_the_manifest_states_all_that_is_known_of_source_files(tmp_path: Path) -> None:
    ds = dataset(tmp_path, {"day1/A.txt": HEADER}, {"notes": NOTES})
    ds.export_legacy_folder(tmp_path / "out")
    told = manifest_of(tmp_path / "out")
    image, header = told["images"]["a"]["source_files"]
    assert (image["role"], image["rel_path"], image["file"]) == ("image", "day1/A.tif", None)
    assert header["file"] == "images/a/source_files/day1/A.txt"
    known = ds["a"].source_files[1]
    for name in known.__struct_fields__:
        assert header.get(name, msgspec.UNSET) == getattr(known, name)
    (notes,) = told["source_files"]
    assert (notes["file"], notes["role"]) == ("source_files/notes", "unmatched")
    assert notes["path"] == "/data/notes"


def test_names_that_lead_out_of_the_folder_stay_in_it(tmp_path: Path) -> None:
    hostile = [
        "../../../escaped",
        "/etc/escaped",
        "a/../../escaped",
        "C:\\escaped",
        "nul",
        "x/",
        "long" * 60,
    ]
    files = {name: name.encode() for name in hostile}
    ds = dataset(tmp_path / "in", files, files)
    report = ds.export_legacy_folder(tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert set(files_of(tmp_path / "out")) == set(report.files)
    told = manifest_of(tmp_path / "out")
    for described in [*told["images"]["a"]["source_files"][1:], *told["source_files"]]:
        data = (tmp_path / "out" / described["file"]).read_bytes()
        assert data.decode() == described["rel_path"]


@pytest.mark.parametrize("key", ["../../zarr.json", "source_files/../x.gz", "x", "source_files/"])
def test_a_document_cannot_have_other_files_exported(tmp_path: Path, key: str) -> None:
    ds = dataset(tmp_path, {"A.txt": HEADER}, {})
    with ds._open.update_record("a") as update:
        update.document.source_files[1].kept_as = key
        update.commit(update.document.source_files)
    (failure,) = ds.export_legacy_folder(tmp_path / "out").failed
    assert failure.name == "a"
    assert "none of the kept source files" in failure.reason


def test_files_of_one_name_from_two_folders_both_arrive(tmp_path: Path) -> None:
    ds = dataset(tmp_path, {}, {"notes": b"one"})
    other = document("notes", b"two")
    other.path = "/other/notes"
    ds._open.source_files.keep({other.path: (other, b"two")})
    ds.export_legacy_folder(tmp_path / "out")
    out = files_of(tmp_path / "out")
    assert {out["source_files/notes"], out["source_files/^2/notes"]} == {b"one", b"two"}


def test_an_artifact_named_like_the_folder_of_source_files_has_its_own_place(
    tmp_path: Path,
) -> None:
    ds = dataset(tmp_path, {"x.json": b"source"}, {})
    ds["a"].save_json("source_files/x", 1)
    ds.export_legacy_folder(tmp_path / "out")
    out = files_of(tmp_path / "out")
    assert out["images/a/source_files/x.json"] == b"source"
    assert out["images/a/source%5ffiles/x.json"].strip() == b"1"


def test_stored_bytes_that_are_not_those_of_the_file_are_never_exported(tmp_path: Path) -> None:
    ds = dataset(tmp_path, {"A.txt": HEADER}, {"notes": NOTES, "more": b"more"})
    (stored,) = (ds.path / "images/a/source_files").iterdir()
    stored.write_bytes(gzip.compress(b"another"))
    notes = ds.path / str(ds._open.source_files.documents()["/data/notes"].kept_as)
    notes.write_bytes(notes.read_bytes()[:-9])
    report = ds.export_legacy_folder(tmp_path / "out")
    assert [(f.kind, f.name) for f in report.failed] == [
        ("image", "a"),
        ("source_file", "/data/notes"),
    ]
    assert set(report.files) == {MANIFEST, "source_files/more"}


def test_a_damaged_list_of_source_files_leaves_the_earlier_ones(tmp_path: Path) -> None:
    ds = dataset(tmp_path, {"A.txt": HEADER}, {"notes": NOTES})
    first = ds.export_legacy_folder(tmp_path / "out")
    told = manifest_of(tmp_path / "out")["source_files"]
    (ds.path / "source_files/files.json").write_text("{}")
    report = ds.export_legacy_folder(tmp_path / "out")
    assert [failure.kind for failure in report.failed] == ["source_file"]
    assert report.files == first.files
    assert manifest_of(tmp_path / "out")["source_files"] == told


NAMES = st.lists(
    st.sampled_from(
        ["a", "A", "..", ".", "", "~2", "^2", "con", "zarr", "\u00e9", "e\u0301", "a ", "\\"]
    ),
    min_size=1,
    max_size=3,
).map("/".join)


@given(st.lists(NAMES, max_size=10))
@settings(deadline=None)
def test_no_two_source_files_want_the_same_place(names: list[str]) -> None:
    documents = [document(name, b"") for name in names]
    for each in documents:
        each.kept_as = "source_files/x.gz"
    placed = places.source_places("images/a", documents)
    assert [each for each, _ in placed] == documents
    paths = [path.casefold() for _, path in placed if path is not None]
    folders = {str(parent) for path in paths for parent in Path(path).parents}
    assert len(set(paths)) == len(names)
    assert not set(paths) & folders
    for path in paths:
        assert path.startswith("images/a/source_files/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert path.isascii()
