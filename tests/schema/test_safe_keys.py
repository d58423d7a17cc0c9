"""One rule says whether a path leads out of its folder; one table of hostile paths tries it."""

from __future__ import annotations

import pytest

from kymflow_zarr import layout
from kymflow_zarr.engine.source_files import require_source_file_key
from kymflow_zarr.errors import CorruptDataError, SchemaValidationError, SourceFileError
from kymflow_zarr.export.manifest import journal_header, read_journal
from kymflow_zarr.ingest.from_export.files import ExportedFiles
from kymflow_zarr.schema.checksums import FileSum, dump_checksums, parse_checksums
from kymflow_zarr.testing.storage_contract import HOSTILE_KEYS

# Out of the folder on every system.
LEADS_OUT = ["", "a/..", "a/../../x", *HOSTILE_KEYS]
# On Windows alone: drives, streams, separators, devices, and what is dropped from the end.
LEADS_OUT_ON_WINDOWS = [
    "C:", "C:/x", "C:x", "c:\\x", "\\x", "\\\\server\\share\\x", "\\\\?\\C:\\x", "a\\..\\..\\x",
    "..\\x", "a\\b", "a:stream", "a/b::$DATA", "nul", "NUL", "a/con", "aux.txt", "com1",
    "LPT9.json", "com¹", "conin$", "nul .txt", ".. /x", "... ", "a/.. ", "...", "x.", "x ", "a. /x",
    "a/ ", "a?", "a*", 'a"b', "a<b", "a>b", "a|b", "a\nb", "a\x1b[2Jb",
]  # fmt: skip
# A source file of such a name was kept as it is called by the first versions of the package.
DEVICES = {"nul", "aux.txt", "com1", "lpt9.json", "com¹", "conin$", "nul .txt"}
# No system takes them out of the folder, but not every one can hold them.
NOT_EVERYWHERE = [
    "\ud800", "a/\udcff.tif", "x" * 256, "é" * 128, "a/" * 2048 + "a", "\u2025/x", "\uff0e\uff0e/x",
    "a/\u2024\u2024/x", "\uff0fetc", "a\uff1ab", "a\uff3cb",
]  # fmt: skip
SAFE = [
    "a", "a/b", "zarr.json", "images/a/data/c/0/0", "images/a/analysis/r^1.json", ".kymflow_zarr/x",
    "a..b", "..a", ".hidden", "a b", "%2e%2e/x", "null", "console", "comb", "com10", "~", "~1",
    "x" * 255, "\u00e9", "e\u0301", "流速", "source_files/a%2fb.gz", "a/...b",
]  # fmt: skip


@pytest.mark.parametrize("path", LEADS_OUT)
def test_a_path_that_leads_out_is_known_on_every_system(path: str) -> None:
    assert layout.leads_out(path, windows=False)
    assert layout.leads_out(path, windows=True)
    assert not layout.is_safe_key(path)


@pytest.mark.parametrize("path", LEADS_OUT_ON_WINDOWS)
def test_what_leads_out_on_windows_is_a_file_name_elsewhere(path: str) -> None:
    assert layout.leads_out(path, windows=True)
    assert not layout.is_safe_key(path)
    assert layout.leads_out(path, windows=False) == path.startswith("/")


@pytest.mark.parametrize("path", NOT_EVERYWHERE)
def test_a_key_is_safe_only_if_every_file_system_can_hold_it(path: str) -> None:
    assert not layout.is_safe_key(path)
    assert not layout.leads_out(path, windows=False)


@pytest.mark.parametrize("path", SAFE)
def test_a_key_that_stays_in_the_folder_is_safe(path: str) -> None:
    assert layout.is_safe_key(path)
    assert not layout.leads_out(path, windows=True)


@pytest.mark.parametrize("path", [*LEADS_OUT, *LEADS_OUT_ON_WINDOWS, *NOT_EVERYWHERE, "a", "a/b"])
def test_a_source_file_is_a_file_of_its_one_folder(path: str) -> None:
    assert not layout.is_source_file_key(path)
    assert not layout.is_source_file_key(f"{layout.SOURCE_FILES}/../{path}")
    name = f"{layout.SOURCE_FILES}/{path}"
    assert layout.is_source_file_key(name) == (path == "a" or path.lower() in DEVICES)


@pytest.mark.parametrize("path", LEADS_OUT)
def test_no_document_makes_a_file_outside_be_read_or_written(
    path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    entry = FileSum(1, "0" * 64)
    with pytest.raises(
        SchemaValidationError, match=r"leads out of the folder|control char|has the line"
    ):
        parse_checksums(dump_checksums({path: entry}), where="checksums.sha256")
    line = b'{"path":%s,"size_bytes":1,"sha256":"x","made_from":"y"}\n'
    journal = journal_header("id") + line % _json(path) + line % b'"ok.tif"'
    assert [name for name, _ in read_journal(journal, "id", where="journal")] == ["ok.tif"]
    folder = tmp_path_factory.mktemp("export")
    with pytest.raises(SourceFileError, match="outside of the folder"):
        ExportedFiles(folder, {}).place(path)


def test_a_source_file_is_read_from_its_folder_alone() -> None:
    for key in ("source_files/a.gz", "images/a/source_files/b%2fc.gz"):
        require_source_file_key(key)
    for path in [*LEADS_OUT, "a/b", "../a"]:
        for key in (path, f"source_files/{path}", f"images/a/source_files/{path}"):
            with pytest.raises(CorruptDataError, match="none of the kept source files"):
                require_source_file_key(key)


def test_a_source_file_that_is_called_like_a_device_is_stored_under_a_safe_name() -> None:
    for name in sorted(DEVICES):
        assert layout.is_safe_key(layout.source_file_key(name)), name
    assert layout.source_file_key("nul") == "source_files/%6eul.gz"


def _json(text: str) -> bytes:
    return ('"' + text.replace("\\", "\\\\").replace("\0", "\\u0000") + '"').encode()
