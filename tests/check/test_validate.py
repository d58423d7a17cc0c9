"""Validation: what is wrong with a dataset, where, and what can be done."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import Axis, Problem, ZarrDataset
from kymflow_zarr.check.validate.findings import SEVERITIES
from kymflow_zarr.errors import RecordNotFoundError
from tests.conftest import files_of
from tests.helpers.v1_dataset import write_v1

LINE = "images/line"
STACK = "images/stack"
DATA = f"{LINE}/data"
MASK = f"{LINE}/analysis_arrays/mask"
PAYLOAD = f"{LINE}/analysis/metadata.json"
INDEX = "index/images.parquet"
CURATION = f"{LINE}/analysis/curation.json"
LINEAGE = f"{LINE}/analysis/lineage.json"
ENTRY = {"edit_id": "a", "who": "maria", "when_utc": "2026-01-05T09:00:00Z", "changes": []}
RECT = {"roi_id": 1, "roi_type": "rect", "data": {"x0": 0, "x1": 3, "y0": 0, "y1": 9}}
FLAT = {"id": 2, "dim0_start": 5, "dim0_stop": 9, "dim1_start": 1, "dim1_stop": 4}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with one of everything, and nothing wrong with it."""
    path = tmp_path_factory.mktemp("good") / "good.zarr"
    pixels = np.arange(200 * 30, dtype=np.uint16).reshape(200, 30)
    with ZarrDataset(path, mode="w-", durability="relaxed") as ds:
        line = ds.add_image(
            pixels, image_id="line", chunks=(100, 30), line_period_s=0.001, pixel_size_um=0.3
        )
        line.save_metadata_payload(
            {
                "version": "2.0",
                "header": {
                    "shape": [200, 30],
                    "acquired_local_epoch_ns": 1_667_392_215_461_000_000,
                },
                "experiment_metadata": {"species": "mouse"},
                "rois": [
                    RECT | {"roi_id": 1, "data": {"x0": 0, "x1": 30, "y0": 0, "y1": 200}},
                    {"roi_id": 3, "roi_type": "mask", "data": {"mask_ref": "mask"}},
                ],
            }
        )
        frame = pd.DataFrame({"time": [0.0, 0.1], "velocity": [1.0, float("nan")]})
        line.save_json("flow/Summary", {"mean": float("nan")})
        line.save_df_parquet("flow/velocity", frame)
        line.save_df_csv_gz("flow/velocity", frame)
        line.save_array_artifact("mask", pixels > 7)
        line.save_array_artifact("half", pixels[::2] / 2, axes=["t", "x"])
        ds.add_image(
            np.zeros((2, 5, 8, 9), np.float32), image_id="stack", channel_names=["red", "green"]
        )
        ds.save_table("events", pd.DataFrame({"image_id": ["line", "stack", "line"]}))
        ds.save_table("no_images", pd.DataFrame({"n": [1]}))
        ds.update_manifest()
    return path


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy of the good dataset, to be broken."""
    return Path(shutil.copytree(good, tmp_path / "copy.zarr"))


def validate(root: Path) -> tuple[Problem, ...]:
    with ZarrDataset(root, mode="r") as ds:
        return ds.validate().problems


# Ways to break it --------------------------------------------------------------------------


def edit(key: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def mutate(root: Path) -> None:
        path = root / key
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return mutate


def own(key: str, name: str, value: object) -> Callable[[Path], None]:
    """Set a key of a document of ours; a name may nest with dots."""

    def change(document: Any) -> None:
        target = document["attributes"]["kymflow_zarr"]
        *parents, last = name.split(".")
        for parent in parents:
            target = target[int(parent)] if isinstance(target, list) else target[parent]
        target[last] = value

    return edit(f"{key}/zarr.json".lstrip("/"), change)


def ome(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return edit(f"{LINE}/zarr.json", lambda d: change(d["attributes"]["ome"]))


def multiscale(**changes: object) -> Callable[[Path], None]:
    return ome(lambda block: block["multiscales"][0].update(changes))


def payload(**changes: object) -> Callable[[Path], None]:
    return edit(PAYLOAD, lambda d: d.update(changes))


def curation(**changes: object) -> Callable[[Path], None]:
    document: dict[str, object] = {
        "format": "kymflow_zarr",
        "document": "curation",
        "version": "1.0",
    }
    document |= {"verdict": None, "note": "", "history": [ENTRY]} | changes
    return write(CURATION, json.dumps(document).encode())


def roi(**changes: object) -> Callable[[Path], None]:
    """Leave a single region, a good one but for some keys."""
    return payload(rois=[RECT | changes])


def write(key: str, data: bytes = b"{") -> Callable[[Path], None]:
    def mutate(root: Path) -> None:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)

    return mutate


def remove(key: str) -> Callable[[Path], None]:
    return lambda root: (root / key).unlink()


def cut(key: str, size: int) -> Callable[[Path], None]:
    def mutate(root: Path) -> None:
        (root / key).write_bytes((root / key).read_bytes()[:size])

    return mutate


def rename(key: str, name: str) -> Callable[[Path], None]:
    def mutate(root: Path) -> None:
        (root / key).rename((root / key).parent / name)

    return mutate


def copy(key: str, name: str) -> Callable[[Path], None]:
    def mutate(root: Path) -> None:
        shutil.copytree(root / key, (root / key).parent / name)

    return mutate


def as_foreign_array(document: Any) -> None:
    document["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]


def endless_link(key: str) -> Callable[[Path], None]:
    """Put a link to itself at a key, which not even an administrator can follow."""

    def mutate(root: Path) -> None:
        (root / key).unlink()
        (root / key).symlink_to(root / key)

    return mutate


def damaged_page(root: Path) -> None:
    path = root / "tables/events.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(40) + data[44:])


def two_old_generations(root: Path) -> None:
    with ZarrDataset(root) as ds:
        ds["line"].save_array(np.ones((200, 30), np.uint16))
    shutil.copytree(root / DATA, root / LINE / "data-7")


def source_file(name: str, **said: Any) -> dict[str, Any]:
    document = {
        "path": f"/lab/{name}", "rel_path": name, "role": "header", "size_bytes": 1,
        "mtime_ns": 1, "sha256": "0" * 64,
    }  # fmt: skip
    return document | said


def kept_file_lost(root: Path) -> None:
    lost = source_file("a.txt", kept_as="source_files/a.gz")
    own(LINE, "source_files", [lost])(root)


def dataset_file_lost(root: Path) -> None:
    lost = source_file("b.txt", kept_as="source_files/b.gz")
    document = {"format": "kymflow_zarr", "format_version": 2, "files": [lost]}
    write("source_files/files.json", json.dumps(document).encode())(root)


def one_dimension(root: Path) -> None:
    own(LINE, "axes", [{"name": "x", "quantity": "space"}])(root)
    own(LINE, "pixels.shape", [200])(root)


def three_times(root: Path) -> None:
    with ZarrDataset(root, "r+") as ds:
        ds.record(LINE.rpartition("/")[2]).save_array_artifact("axis_times/y", [0.0, 1.0, 2.0])


def stray_rows(root: Path) -> None:
    with ZarrDataset(root) as ds:
        ids = ["line", "gone", "lost", "away", "past", "past", None]
        ds.save_table("events", pd.DataFrame({"image_id": ids}))


def inexpressible(root: Path) -> None:
    with ZarrDataset(root) as ds:
        ds.add_image(np.zeros((4, 5, 2), np.uint8), image_id="last", axes="yxc")


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


class Case(NamedTuple):
    code: str
    where: str
    mutate: Callable[[Path], None]
    says: str = ""


def as_version_1(root: Path) -> None:
    shutil.rmtree(root)
    write_v1(root)


CASES = [
    # Any document
    Case("format-version", f"{LINE}/zarr.json", own(LINE, "format_version", 99), "99"),
    Case("format-version", f"{MASK}/zarr.json", own(MASK, "format_version", 3), "Upgrade"),
    Case("format-version-1", "", as_version_1, "kymflow-zarr migrate"),
    Case("timestamp", "zarr.json", own("", "created_utc", "yesterday"), "yesterday"),
    Case("timestamp", f"{LINE}/zarr.json", own(LINE, "updated_utc", "2024-05-01T12:00:00")),
    Case("timestamp", f"{LINE}/zarr.json", own(LINE, "created_utc", "2024-05-01T12:00:00+02:00")),
    Case("timestamp", f"{MASK}/zarr.json", own(MASK, "updated_utc", "")),
    Case("digest", f"{LINE}/zarr.json", own(LINE, "pixels.sha256", "12")),
    Case(
        "digest",
        f"{STACK}/zarr.json",
        own(
            STACK,
            "source_files",
            [source_file("a.tif", sha256="?")],
        ),
    ),
    Case("foreign-file", "notes.txt", write("notes.txt")),
    Case("foreign-file", "images/notes.txt", write("images/notes.txt")),
    Case("foreign-file", "images/100%zz", write("images/100%zz/a.txt")),
    Case("foreign-file", "images/" + "x" * 220, write("images/" + "x" * 220 + "/a.txt")),
    Case("foreign-file", f"{LINE}/thumbnail.png", write(f"{LINE}/thumbnail.png")),
    Case("foreign-file", f"{LINE}/labels-2", write(f"{LINE}/labels-2/zarr.json")),
    Case("foreign-file", f"{LINE}/analysis/a.xlsx", write(f"{LINE}/analysis/a.xlsx")),
    Case("foreign-file", f"{LINE}/analysis/Upper.json", write(f"{LINE}/analysis/Upper.json")),
    Case(
        "foreign-file",
        f"{LINE}/analysis/{'x' * 220}.json",
        write(f"{LINE}/analysis/{'x' * 220}.json"),
    ),
    Case("foreign-file", f"{LINE}/analysis_arrays/a.npy", write(f"{LINE}/analysis_arrays/a.npy")),
    Case("foreign-file", f"{MASK}/a.npy", write(f"{MASK}/a.npy")),
    Case("foreign-file", "tables/events.csv", write("tables/events.csv")),
    Case("foreign-file", f"tables/{'x' * 220}.parquet", write(f"tables/{'x' * 220}.parquet")),
    Case("leftover", ".kymflow_zarr/sessions", write(f".kymflow_zarr/sessions/{'0' * 32}/a")),
    Case("leftover", ".kymflow_zarr/journal", write(f".kymflow_zarr/journal/{'0' * 32}-1.json")),
    Case("quarantine", "quarantine", write("quarantine/20260101T000000Z-1/why.json")),
    Case("leftover", "", write(".tmp-0123456789abcdef0123456789abcdef")),
    Case("leftover", LINE, write(f"{LINE}/.tmp-0123456789abcdef0123456789abcdef")),
    pytest.param(Case("unreadable", INDEX, endless_link(INDEX)), marks=POSIX),
    pytest.param(Case("unreadable", LINE, endless_link(f"{PAYLOAD}")), marks=POSIX),
    # The dataset
    Case("group-document", "images/zarr.json", remove("images/zarr.json")),
    Case("group-document", "images/zarr.json", write("images/zarr.json", b"[]")),
    Case(
        "group-document",
        f"{LINE}/analysis_arrays/zarr.json",
        remove(f"{LINE}/analysis_arrays/zarr.json"),
    ),
    Case("index", INDEX, write(INDEX)),
    Case("index", INDEX, write(INDEX, b"PAR1PAR1"), "update_manifest"),
    Case("index", INDEX, cut(INDEX, 300)),
    # An image
    Case("image-folder", "images/LINE", rename(LINE, "LINE")),
    Case("image-folder", "images/a%2fb", copy(LINE, "a%2fb")),
    Case("image-document-missing", f"{LINE}/zarr.json", remove(f"{LINE}/zarr.json")),
    Case("image-document", f"{LINE}/zarr.json", write(f"{LINE}/zarr.json"), "not JSON"),
    Case("image-document", f"{LINE}/zarr.json", write(f"{LINE}/zarr.json", b"[" * 100_000)),
    Case("image-document", f"{LINE}/zarr.json", own(LINE, "format", "another"), "carries no"),
    Case("image-document", f"{LINE}/zarr.json", own(LINE, "axes.0.quantity", "mass"), "mass"),
    Case("image-document", f"{LINE}/zarr.json", own(LINE, "axes", []), "0 axes for 2 dimensions"),
    Case("image-document", f"{LINE}/zarr.json", own(LINE, "pixels.path", "../stack/data")),
    Case("image-id", "images/copied/zarr.json", copy(LINE, "copied"), "'line'"),
    Case("dimensions", f"{LINE}/zarr.json", one_dimension, "1 dimension"),
    Case("axis-name", f"{LINE}/zarr.json", own(LINE, "axes.0.name", "x")),
    Case("axis-step", f"{LINE}/zarr.json", own(LINE, "axes.1.step", -0.3), "'x' is -0.3"),
    Case("axis-step", f"{LINE}/zarr.json", own(LINE, "axes.1.step", float("nan"))),
    Case("channel-names", f"{STACK}/zarr.json", own(STACK, "channel_names", ["red"]), "1 channel"),
    Case("ome", f"{LINE}/zarr.json", ome(lambda block: block.clear())),
    Case(
        "ome", f"{LINE}/zarr.json", edit(f"{LINE}/zarr.json", lambda d: d["attributes"].pop("ome"))
    ),
    Case("ome", f"{LINE}/zarr.json", ome(lambda block: block.update(version="0.4")), "0.4"),
    Case("ome", f"{LINE}/zarr.json", multiscale(axes=[{"name": "y"}, {"name": "x"}]), "axes"),
    Case("ome", f"{LINE}/zarr.json", multiscale(axes="yx"), "axes"),
    Case("ome", f"{LINE}/zarr.json", multiscale(datasets=[{"path": "0"}]), "level 0 at '0'"),
    Case("ome", f"{LINE}/zarr.json", own(LINE, "axes.0.step", 0.5), "scale"),
    Case(
        "ome",
        f"{LINE}/zarr.json",
        ome(lambda block: block["multiscales"][0]["datasets"].append({"path": "half"})),
        "a level at 'half'",
    ),
    Case(
        "ome",
        f"{LINE}/zarr.json",
        ome(lambda block: block.update(omero={"channels": [{}, {}]})),
        "2 channels of 1",
    ),
    Case("ome-not-expressible", "images/last/zarr.json", inexpressible, "In the order c y x"),
    # An array
    Case("array-missing", f"{DATA}/zarr.json", remove(f"{DATA}/zarr.json")),
    Case("array-missing", f"{LINE}/data-7/zarr.json", own(LINE, "pixels.path", "data-7")),
    Case("array-missing", f"{MASK}/data/zarr.json", remove(f"{MASK}/data/zarr.json")),
    Case("array-document", f"{DATA}/zarr.json", write(f"{DATA}/zarr.json", b"{}")),
    Case(
        "array-document",
        f"{DATA}/zarr.json",
        edit(f"{DATA}/zarr.json", lambda d: d.update(dimension_names=5)),
    ),
    Case(
        "array-document",
        f"{DATA}/zarr.json",
        edit(f"{DATA}/zarr.json", lambda d: d.update(codecs=[{"name": "mystery"}])),
        "mystery",
    ),
    Case("array-mismatch", f"{DATA}/zarr.json", own(LINE, "pixels.dtype", "int16"), "int16"),
    Case("array-mismatch", f"{DATA}/zarr.json", own(LINE, "pixels.chunks", [10, 10])),
    Case(
        "array-mismatch",
        f"{DATA}/zarr.json",
        edit(f"{DATA}/zarr.json", lambda d: d.update(shape=[2**61, 30])),
    ),
    Case("array-foreign", f"{DATA}/zarr.json", edit(f"{DATA}/zarr.json", as_foreign_array)),
    Case(
        "dimension-names",
        f"{DATA}/zarr.json",
        edit(f"{DATA}/zarr.json", lambda d: d.update(dimension_names=["x", "y"])),
    ),
    Case(
        "dimension-names",
        f"{DATA}/zarr.json",
        edit(f"{DATA}/zarr.json", lambda d: d.pop("dimension_names")),
    ),
    Case("chunk-missing", f"{DATA}/c/0/0", remove(f"{DATA}/c/0/0"), "1 of the 1"),
    Case("chunk-missing", f"{MASK}/data/c/0/0", remove(f"{MASK}/data/c/0/0")),
    Case("chunk-empty", f"{DATA}/c/0/0", cut(f"{DATA}/c/0/0", 0)),
    Case("chunk-stray", f"{DATA}/c/7/0", write(f"{DATA}/c/7/0")),
    Case("chunk-stray", f"{DATA}/c/00/0", write(f"{DATA}/c/00/0")),
    Case("chunk-stray", f"{DATA}/readme.txt", write(f"{DATA}/readme.txt")),
    Case("leftover-pixels", LINE, two_old_generations, "data, data-7"),
    Case("source-file", f"{LINE}/source_files/a.gz", kept_file_lost, "'a.txt'"),
    Case("source-file", "source_files/b.gz", dataset_file_lost, "'b.txt'"),
    Case("stored-bytes", DATA, cut(f"{DATA}/c/0/0", 50), "cut off"),
    # Artifacts and tables
    Case("json", f"{LINE}/analysis/flow/a.json", write(f"{LINE}/analysis/flow/a.json"), "JSON"),
    Case("json", PAYLOAD, cut(PAYLOAD, 20)),
    Case("parquet", f"{LINE}/analysis/a.parquet", write(f"{LINE}/analysis/a.parquet", b"PAR1")),
    Case("parquet", "tables/events.parquet", cut("tables/events.parquet", 200)),
    Case("parquet", "tables/events.parquet", damaged_page, "image_id"),
    Case("csv-gz", f"{LINE}/analysis/a.csv.gz", write(f"{LINE}/analysis/a.csv.gz", b"a,b\n1,2")),
    Case(
        "csv-gz",
        f"{LINE}/analysis/flow/velocity.csv.gz",
        cut(f"{LINE}/analysis/flow/velocity.csv.gz", -3),
        "cut off",
    ),
    Case("csv-gz", f"{LINE}/analysis/a.csv.gz", write(f"{LINE}/analysis/a.csv.gz", b"")),
    Case("array-artifact-document", f"{MASK}/zarr.json", write(f"{MASK}/zarr.json")),
    Case("array-artifact-document", f"{MASK}/zarr.json", own(MASK, "pixels", {})),
    Case(
        "array-artifact-name",
        f"{LINE}/analysis_arrays/other/zarr.json",
        rename(MASK, "other"),
        "'mask'",
    ),
    Case("array-artifact-name", f"{MASK}/zarr.json", own(MASK, "name", "a//b"), "a//b"),
    Case("axis-times", f"{LINE}/analysis_arrays/axis_times%2fy/zarr.json", three_times, "'y'"),
    Case(
        "table-image-id",
        "tables/events.parquet",
        stray_rows,
        "5 rows name images that are not in the dataset: 'away', 'gone', 'lost' and 1 more",
    ),
    # What people have judged
    Case("curation", CURATION, write(CURATION, b'{"verdict": "accepted"}'), "is not the record of"),
    Case("curation", CURATION, curation(verdict="perhaps"), "$.verdict"),
    Case("curation", CURATION, curation(history=[ENTRY, ENTRY]), "is there twice"),
    Case("curation", CURATION, curation(history=[ENTRY | {"undoes": "b"}]), "no earlier edit"),
    Case("lineage", LINEAGE, write(LINEAGE, b'{"results": 1}'), "does not say"),
    Case("format-version", CURATION, curation(version="2.0"), "version '2.0' of curation"),
    # The metadata payload
    Case("metadata-keys", PAYLOAD, write(PAYLOAD, b"[]"), "is list, not a mapping"),
    Case("metadata-keys", PAYLOAD, write(PAYLOAD, b"null")),
    Case("metadata-keys", PAYLOAD, edit(PAYLOAD, lambda d: d.pop("header")), "header is missing"),
    Case("metadata-keys", PAYLOAD, payload(experiment_metadata=[]), "experiment_metadata is []"),
    Case("metadata-keys", PAYLOAD, payload(experiment_metadata={"depth": "deep"}), ".depth is"),
    Case("metadata-keys", PAYLOAD, payload(version="7.5"), "version is '7.5'"),
    Case("metadata-keys", PAYLOAD, payload(header={"voxels": [1, "x"]}), "header.voxels[1] is"),
    Case("metadata-keys", PAYLOAD, payload(rois={}), "rois is dict, not a list"),
    Case("metadata-keys", PAYLOAD, payload(rois=[RECT, 5]), "rois[1] is int"),
    Case("metadata-keys", PAYLOAD, roi(roi_id="1"), "rois[0].roi_id is '1'"),
    Case("metadata-keys", PAYLOAD, roi(roi_type="star"), "rois[0].roi_type is 'star'"),
    Case("metadata-keys", PAYLOAD, payload(rois=[FLAT | {"id": None}]), "rois[0].id is None"),
    Case("metadata-form", PAYLOAD, payload(version="1.0"), "version is '1.0'"),
    Case("metadata-form", PAYLOAD, payload(rois=[RECT, FLAT]), "rois[1] has an older form"),
    Case("metadata-form", PAYLOAD, roi(name=None), "rois[0] has an older form"),
    Case("metadata-shape", PAYLOAD, payload(header={"shape": [30, 200]})),
    Case(
        "metadata-shape",
        PAYLOAD,
        payload(header={"shape": [200, 30], "ndim": 3, "labels": ["y"]}),
        "header.labels has 1 entries, header.ndim is 3",
    ),
    Case("metadata-acquired", PAYLOAD, payload(header={"acquired_local_epoch_ns": 1.5e18})),
    Case("roi-id", PAYLOAD, payload(rois=[RECT, FLAT, RECT]), "rois[2] and rois[0]"),
    Case("roi-outside", PAYLOAD, roi(data={"x0": 0, "x1": 31, "y0": 0, "y1": 9}), "31 of 30"),
    Case("roi-outside", PAYLOAD, payload(rois=[FLAT | {"dim0_start": -1}])),
    Case("roi-outside", PAYLOAD, roi(data={"x0": 5, "x1": 3, "y0": 0, "y1": 9})),
    Case("roi-outside", PAYLOAD, roi(channel=2), "channel 2 of 1"),
    Case("roi-outside", PAYLOAD, roi(z=1), "plane 1 of 1"),
    Case("roi-mask", PAYLOAD, roi(roi_type="mask", data={"mask_ref": "none"}), "'none'"),
    Case("roi-mask", PAYLOAD, roi(roi_type="mask", data={"mask_ref": ""}), "''"),
    Case("roi-mask", PAYLOAD, roi(roi_type="mask", data={"mask_ref": "half"}), "(100, 30)"),
]


def case_of(entry: Any) -> Case:
    case: Case = entry if isinstance(entry, Case) else entry.values[0]
    return case


@pytest.mark.parametrize("case", CASES, ids=[case_of(entry).code for entry in CASES])
def test_each_rule_broken_one_way_is_found_by_its_code(case: Case, root: Path) -> None:
    case.mutate(root)
    problems = validate(root)
    [found] = [p for p in problems if p.code == case.code and p.where == case.where]
    assert found.severity == SEVERITIES[case.code]
    assert case.says in found.message
    assert found.message.endswith(".")


def test_every_code_but_one_has_a_dataset_that_is_broken_that_way() -> None:
    # A dataset whose root document is damaged cannot be opened; see the test below.
    assert {case_of(entry).code for entry in CASES} == set(SEVERITIES) - {"root-document"}


def test_a_root_document_damaged_after_opening_is_found(root: Path) -> None:
    with ZarrDataset(root, mode="r") as ds:
        (root / "zarr.json").write_text("{}")
        assert [p.code for p in ds.validate().errors] == ["root-document"]


def test_what_is_good_is_valid_without_a_word(good: Path) -> None:
    with ZarrDataset(good, mode="r") as ds:
        report = ds.validate()
    assert report.problems == ()
    assert report.ok
    assert report.images_checked == 2


def test_an_empty_dataset_is_valid(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        report = ds.validate()
    assert (report.problems, report.images_checked) == ((), 0)


def test_warnings_alone_leave_it_valid(root: Path) -> None:
    (root / "notes.txt").write_text("a note")
    with ZarrDataset(root, mode="r") as ds:
        report = ds.validate()
    assert report.ok
    assert [p.where for p in report.warnings] == ["notes.txt"]


def test_validation_writes_nothing(root: Path) -> None:
    (root / DATA / "c/0/0").unlink()
    before = files_of(root)
    with ZarrDataset(root, mode="r+") as ds:
        assert not ds.validate().ok
    assert files_of(root) == before


def test_pixels_are_not_read(root: Path) -> None:
    # Bytes that changed and kept their number are for verify to find.
    chunk = root / DATA / "c/0/0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    assert validate(root) == ()


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_what_desktops_drop_is_no_problem(name: str, root: Path) -> None:
    folders = ["", "images", LINE, f"{LINE}/analysis", DATA, "tables"]
    for folder in folders:
        (root / folder / name).write_bytes(b"litter")
    assert validate(root) == ()


def test_arrays_replaced_twice_are_valid(root: Path) -> None:
    with ZarrDataset(root) as ds:
        for value in (1, 2):
            ds["line"].save_array(np.full((200, 30), value, np.uint16))
            ds["line"].save_array_artifact("mask", np.full((200, 30), value, bool))
    assert validate(root) == ()


def test_pixels_replaced_by_others_with_other_axes_are_valid(root: Path) -> None:
    with ZarrDataset(root) as ds:
        rec = ds.add_image(
            np.zeros((2, 8, 9)), axes="cyx", channel_names=["a", "b"], pixel_size_um=0.3
        )
        rec.save_array(np.zeros((3, 8, 9)), axes="cyx")
        rec.save_array(np.zeros((8, 9)), axes="yx")
        assert ds.validate().problems == ()
        rec.save_array(np.zeros((8, 9, 3)), axes="yxc")
        assert [p.code for p in ds.validate().problems] == ["ome-not-expressible"]


def test_pyramid_levels_of_another_program_are_valid(root: Path) -> None:
    shutil.copytree(root / DATA, root / LINE / "1")
    ome(lambda block: block["multiscales"][0]["datasets"].append({"path": "1"}))(root)
    assert validate(root) == ()


def test_display_settings_of_another_program_are_valid(root: Path) -> None:
    ome(lambda block: block.update(omero={"channels": [{"color": "FF0000"}]}, mine=True))(root)
    assert validate(root) == ()


def test_axes_without_an_order_for_ome_zarr_say_so(root: Path) -> None:
    axes = [Axis("a", "other"), Axis("b", "other"), Axis("x", "space")]
    with ZarrDataset(root) as ds:
        ds.add_image(np.zeros((2, 3, 4)), axes=axes, image_id="last")
    [problem] = validate(root)
    assert problem.code == "ome-not-expressible"
    assert "No order" in problem.message


@pytest.mark.parametrize("shape", [(0, 30), (30, 0), (0, 0, 0)])
def test_images_without_pixels_are_valid(shape: tuple[int, ...], tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        rec = ds.add_image(np.zeros(shape))
        rec.save_array_artifact("scalar", np.float64(3.5))
        assert ds.validate().problems == ()


@pytest.mark.parametrize("axes", ["tx", "xt", [Axis("lines", "time"), Axis("x", "space")]])
def test_line_scans_by_any_name_are_valid(axes: Any, tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        ds.add_image(np.zeros((4, 5)), axes=axes)
        assert ds.validate().problems == ()


def test_missing_chunks_are_counted_and_the_first_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kymflow_zarr.formats.array.write.SHARD_BYTES", 1)
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        ds.add_image(np.ones((3, 35, 41)), chunks=(1, 10, 10), image_id="a")
        assert ds.validate().problems == ()
        data = tmp_path / "new.zarr/images/a/data"
        shutil.rmtree(data / "c/1")
        (data / "c/0/3/4").unlink()
        [missing] = ds.validate().problems
    assert missing.code == "chunk-missing"
    assert missing.where == "images/a/data/c/0/3/4"
    assert "21 of the 60" in missing.message


def test_payload_of_a_multichannel_image_may_have_the_shape_of_one_channel(root: Path) -> None:
    with ZarrDataset(root) as ds:
        stack = ds["stack"]
        stack.save_metadata_objects({"shape": [5, 8, 9]}, {}, [])
        assert ds.validate().problems == ()
        stack.save_metadata_objects({"shape": [2, 5, 8, 9]}, {}, [])
        assert ds.validate().problems == ()


def test_one_image_alone(root: Path) -> None:
    (root / DATA / "c/0/0").unlink()
    (root / STACK / "zarr.json").unlink()
    (root / "notes.txt").write_text("a note")
    with ZarrDataset(root, mode="r") as ds:
        assert [p.code for p in ds.validate_image("line")] == ["chunk-missing"]
        # An image that cannot be opened any more is the one to ask about.
        assert [p.code for p in ds.validate_image("stack")] == ["image-document-missing"]
        assert len(ds.validate().problems) == 3


@pytest.mark.parametrize("image_id", ["nobody", "", "a/b", "x" * 300])
def test_one_image_that_is_not_there(image_id: str, good: Path) -> None:
    with ZarrDataset(good, mode="r") as ds, pytest.raises(RecordNotFoundError):
        ds.validate_image(image_id)


def test_progress_is_called_once_for_each_image(good: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    with ZarrDataset(good, mode="r") as ds:
        ds.validate(progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "line"), (2, 2, "stack")]


def test_progress_can_cancel(good: Path) -> None:
    def cancel(*_: object) -> None:
        raise KeyboardInterrupt

    with ZarrDataset(good, mode="r") as ds, pytest.raises(KeyboardInterrupt):
        ds.validate(progress=cancel)


def test_a_table_of_another_program_is_valid(root: Path) -> None:
    # A column of lists names nothing, whatever it is called.
    pq.write_table(pa.table({"image_id": [["line", "gone"]]}), root / "tables/other.parquet")
    assert validate(root) == ()


def test_an_image_deleted_meanwhile_is_no_problem(root: Path) -> None:
    with ZarrDataset(root) as ds:
        report = ds.validate(progress=lambda *_: "stack" in ds and ds.delete_image("stack"))
    assert report.problems == ()


def test_pixels_replaced_meanwhile_are_no_error(root: Path) -> None:
    def write() -> None:
        with ZarrDataset(root, mode="r+", durability="relaxed") as writer:
            for value in range(40):
                writer["line"].save_array(np.full((200, 30), value, np.uint16))
                writer["line"].save_array_artifact("mask", np.full((3, 4), value % 2, bool))

    with ThreadPoolExecutor(1) as pool, ZarrDataset(root, mode="r") as ds:
        writing = pool.submit(write)
        reports = [ds.validate()]
        while not writing.done():
            reports.append(ds.validate())
        writing.result()
    assert [report.errors for report in reports if not report.ok] == []


def test_names_of_every_kind_are_valid(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        for name in ("Zarr", "zarr", "a.json", "µ ~1", "x" * 95):
            rec = ds.add_image(np.zeros((2, 3)), image_id=name)
            rec.save_json(f"{name}/{name}", {})
            rec.save_array_artifact(f"{name}/{name}", np.zeros(3))
            ds.save_table(name, pd.DataFrame({"image_id": pd.Categorical([name])}))
        assert ds.validate().problems == ()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def nodes_of(value: Any) -> list[tuple[Any, Any]]:
    """Return container and key of every value inside a JSON value."""
    keys: Any = value if isinstance(value, dict) else range(len(value))
    nodes = [(value, key) for key in keys]
    for _, key in list(nodes):
        if isinstance(value[key], dict | list):
            nodes += nodes_of(value[key])
    return nodes


@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_to_a_document_stops_the_validation(data: st.DataObject, root: Path) -> None:
    path = data.draw(st.sampled_from(sorted(root.glob("images/**/*.json"))))
    before = path.read_bytes()
    document = json.loads(before)
    container, key = data.draw(st.sampled_from(nodes_of(document)))
    container[key] = data.draw(JSON_VALUES)
    try:
        path.write_text(json.dumps(document))
        with ZarrDataset(root, mode="r") as ds:
            assert ds.validate().images_checked == 2
    finally:
        path.write_bytes(before)


@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_to_a_file_stops_the_validation(data: st.DataObject, root: Path) -> None:
    files = sorted(path for path in root.glob("*/**/*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    damaged = bytearray(before[: data.draw(st.integers(0, len(before)))])
    for _ in range(data.draw(st.integers(0, 5)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        path.write_bytes(damaged)
        with ZarrDataset(root, mode="r") as ds:
            assert ds.validate().images_checked == 2
    finally:
        path.write_bytes(before)
