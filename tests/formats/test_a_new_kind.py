"""A kind of artifacts is a row of the registry: all that shows or moves artifacts asks it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from kymflow_zarr import ZarrDataset, ZarrImageRecord, layout
from kymflow_zarr.check.validate.findings import SEVERITIES
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError, CorruptDataError, StorageError
from kymflow_zarr.formats.kinds import KINDS, Kind
from kymflow_zarr.testing import state_of
from kymflow_zarr.types import ARTIFACT_SUFFIXES
from tests.cli.run import json_of, run

NOTE = "flow\nµm/s"
ROWS = pd.DataFrame({"t": [0.0, 0.1], "who": ["a", "b"]})


def _encode_text(value: Any, *, where: str) -> bytes:
    if not isinstance(value, str):
        raise ArgumentError("a note is a str", where=where)
    return value.encode()


def _decode_text(data: bytes, *, where: str) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CorruptDataError("is not UTF-8", where=where) from error


def _encode_feather(value: Any, *, where: str) -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(value, file)
    return file.getvalue()


def _decode_feather(data: bytes, *, where: str) -> Any:
    try:
        return pyarrow.feather.read_feather(io.BytesIO(data))
    except pa.ArrowException as error:
        raise CorruptDataError("is not Feather", where=where) from error


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    text, feather = "text", "feather"
    for kind, suffix in (
        (Kind(text, False, _encode_text, _decode_text, media_type="text/plain"), ".txt"),  # type: ignore[arg-type]
        (Kind(feather, True, _encode_feather, _decode_feather), ".feather"),  # type: ignore[arg-type]
    ):
        monkeypatch.setitem(KINDS, kind.name, kind)
        monkeypatch.setitem(ARTIFACT_SUFFIXES, kind.name, suffix)
        monkeypatch.setitem(SEVERITIES, kind.name, "error")


@pytest.fixture(name="rec")
def _rec(ds: ZarrDataset) -> ZarrImageRecord:
    rec = ds.add_image(np.zeros((30, 4), "uint8"), image_id="a")
    rec.save_artifact("deep/note", NOTE, "text")  # type: ignore[arg-type]
    rec.save_artifact("rows", ROWS, "feather")  # type: ignore[arg-type]
    return rec


def test_it_is_saved_loaded_listed_and_gathered(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    assert rec.load_artifact("deep/note") == NOTE
    pd.testing.assert_frame_equal(rec.load_artifact("rows"), ROWS)
    listed = [(info.name, info.kind, info.key) for info in rec.list_artifacts()]
    assert listed == [
        ("deep/note", "text", "images/a/analysis/deep/note.txt"),
        ("rows", "feather", "images/a/analysis/rows.feather"),
    ]
    assert ds.images()["artifacts"][0] == ("deep/note", "rows")
    assert ds.gather("rows")["who"].tolist() == ["a", "b"]
    assert rec.delete_analysis("deep/note") == 1
    assert [info.name for info in rec.list_artifacts()] == ["rows"]


def test_the_kind_is_named_where_several_have_the_name(rec: ZarrImageRecord) -> None:
    rec.save_json("rows", [1])
    with pytest.raises(ArgumentError, match="2 artifacts 'rows': feather, json"):
        rec.load_artifact("rows")
    assert rec.load_artifact("rows", "json") == [1]
    with pytest.raises(ArgumentError, match="no kind 'xml'"):
        rec.load_artifact("rows", "xml")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no kind 'xml'"):
        rec.save_artifact("rows", 1, "xml")  # type: ignore[arg-type]
    with pytest.raises(ArtifactNotFoundError, match="Did you mean 'rows'"):
        rec.load_artifact("row")
    with pytest.raises(ArtifactNotFoundError, match="It was saved as text: use load_artifact"):
        rec.load_json("deep/note")


@pytest.mark.parametrize("export_layout", ["dataset", "kymflow"])
def test_it_is_exported(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path, export_layout: Any
) -> None:
    assert not ds.export_legacy_folder(tmp_path / "out", layout=export_layout).failed
    files = {path.name: path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    if export_layout == "kymflow":
        pd.testing.assert_frame_equal(pyarrow.feather.read_feather(files["a.rows.feather"]), ROWS)
        assert files["a.deep%2fnote.txt"].read_bytes() == NOTE.encode()
    else:
        assert files["note.txt"].read_bytes() == NOTE.encode()
        assert files["rows.csv"].read_text() == "t,who\n0.0,a\n0.1,b\n"
    assert state_of(ds)["image a"]["text deep/note"] == '"flow\\n\\u00b5m/s"'


def test_the_command_line_lists_and_prints_it(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    assert "deep/note" in run("show", ds.path, rec.image_id).stdout
    assert json_of(run("cat", ds.path, "a", "deep/note")) == NOTE
    assert run("cat", ds.path, "a", "rows", "--csv").stdout == "t,who\n0.0,a\n0.1,b\n"


def test_damage_to_it_is_found(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    assert ds.validate().ok
    assert ds.verify().ok
    (ds.path / "images/a/analysis/deep/note.txt").write_bytes(b"\xff")
    (ds.path / "images/a/analysis/rows.feather").write_bytes(b"ARROW1")
    assert {problem.code for problem in ds.validate().problems} >= {"text", "feather"}
    assert not ds.verify().ok
    with pytest.raises(CorruptDataError):
        rec.load_artifact("rows")


def test_the_page_shows_it_and_hands_it_out(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    pytest.importorskip("starlette")
    from tests.viewer.web.site import ask, client_of

    client = client_of(ds)
    forms = {one["name"]: one["forms"] for one in ask(client, "/api/images/a")["artifacts"]}
    assert forms == {"deep/note": ["txt"], "rows": ["csv", "parquet"]}
    assert ask(client, "/api/images/a/artifact?kind=text&name=deep/note") == {"json": NOTE}
    rows = ask(client, "/api/images/a/artifact?kind=feather&name=rows")
    assert rows["rows"] == [[0.0, "a"], [0.1, "b"]]
    note = client.get("/download/artifact/a?kind=text&name=deep/note")
    assert (note.content, note.headers["content-type"]) == (
        NOTE.encode(), "text/plain; charset=utf-8",
    )  # fmt: skip
    assert "attachment" in note.headers["content-disposition"]
    table = client.get("/download/artifact/a?kind=feather&name=rows&as=csv")
    assert table.text == "t,who\n0.0,a\n0.1,b\n"


def test_folders_are_spelled_the_same_whatever_kinds_there_are(rec: ZarrImageRecord) -> None:
    # On-disk format, "Names": these three suffixes, and no others.
    spelled = "analysis/a%2ejson/b%2ecsv.gz/c%2eparquet/d.json"
    assert layout.artifact_key("json", "a.json/b.csv.gz/c.parquet/d") == spelled
    assert layout.artifact_key("json", "a.txt/b") == "analysis/a.txt/b.json"
    rec.save_json("a.txt/b", 1)
    with pytest.raises(StorageError):
        rec.save_artifact("a", NOTE, "text")  # type: ignore[arg-type]
    assert rec.load_json("a.txt/b") == 1
    with pytest.raises(StorageError):
        rec.save_json("deep/note.txt/b", 1)
    assert rec.load_artifact("deep/note") == NOTE
