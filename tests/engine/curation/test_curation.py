"""What people judge of an image: one edit at a time, with who and when, and back again."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import Curation, LineRoi, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArtifactNotFoundError,
    EditConflictError,
    FormatVersionError,
    ReadOnlyError,
    RecordNotFoundError,
    SchemaValidationError,
    UnsupportedDataError,
)
from kymflow_zarr.testing import SyntheticVessel, state_of, write_experiment

PIXELS = np.zeros((40, 20), "uint16")
EVENTS = pd.DataFrame(
    {
        "roi_id": pd.array([1, None, 2], "Int64"),
        "t_start_s": [0.1, float("nan"), 0.5],
        "event_type": pd.Categorical(["drop", "rise", "drop"]),
        "user_type": ["unreviewed", None, float("nan")],
        "when": pd.to_datetime(["2026-01-01", "2026-01-02", "NaT"]),
    },
    index=pd.Index([7, 8, 9], name="event"),
)
EVENTS.attrs["made by"] = "a program"
SQUARE: Any = {"x0": 0, "x1": 4, "y0": 1, "y1": 9}


@pytest.fixture
def image(ds: ZarrDataset) -> ZarrImageRecord:
    """An image with events."""
    rec = ds.add_image(PIXELS, image_id="a")
    rec.save_df_parquet("events", EVENTS)
    return rec


def document_of(rec: ZarrImageRecord, ds: ZarrDataset) -> Path:
    return ds.path / "images" / rec.image_id / "analysis" / "curation.json"


def edit_with(rec: ZarrImageRecord, *calls: Callable[[Any], object]) -> None:
    with rec.edit() as edit:
        for call in calls:
            call(edit)


def judge(rec: ZarrImageRecord, **how: Any) -> str:
    with rec.edit(**how) as edit:
        edit.set_verdict("accepted")
        edit.set_note("good")
        edit.save_roi({"data": SQUARE})
        edit.set_event_type("events", 1, "stall")
    assert edit.edit_id is not None
    return edit.edit_id


# One edit ----------------------------------------------------------------------------------


def test_an_image_without_a_verdict(image: ZarrImageRecord) -> None:
    assert image.curation() == Curation(verdict=None, note="", history=())


def test_all_changes_of_a_block_are_one_entry(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    edit_id = judge(image, who="maria")
    told = image.curation()
    assert (told.verdict, told.note) == ("accepted", "good")
    [entry] = told.history
    assert (entry.edit_id, entry.who, entry.undoes, entry.undone_by) == (
        edit_id, "maria", None, None,
    )  # fmt: skip
    assert pd.Timestamp(entry.when_utc).tzname() == "UTC"
    assert [(c.what, c.before, c.after) for c in entry.changes[:2]] == [
        ("verdict", None, "accepted"),
        ("note", "", "good"),
    ]
    region, event = entry.changes[2:]
    assert (region.roi_id, region.before, region.after["data"]) == (1, None, SQUARE)
    assert (event.name, event.row, event.column) == ("events", 1, "user_type")
    assert image.load_rois() == [RectRoi(roi_id=1, **SQUARE)]
    assert image.load_df_parquet("events").loc[8, "user_type"] == "stall"
    assert (ds.validate().problems, ds.verify().ok) == ((), True)


def test_the_default_person_is_the_user_of_the_system(
    image: ZarrImageRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(image)
    assert image.curation().history[0].who == getpass.getuser()

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    image.undo()
    assert image.curation().history[1].who == "unknown"


def test_what_changes_nothing_writes_nothing(image: ZarrImageRecord) -> None:
    judge(image)
    before = image.revision
    with image.edit() as edit:
        edit.set_verdict("rejected")
        edit.set_verdict("accepted")
        edit.set_note("good")
        edit.set_event_type("events", 1, "stall")
        edit.set_event_type("events", 2, None)
        edit.save_roi({"data": SQUARE})
        edit.remove_roi(2)
    assert edit.edit_id is None
    assert edit.revision == image.revision == before
    assert len(image.curation().history) == 1


def test_a_block_that_raises_writes_nothing(image: ZarrImageRecord) -> None:
    before = image.revision

    def interrupted() -> Any:
        with image.edit() as edit:
            edit.set_verdict("rejected")
            edit.save_roi({"data": SQUARE})
            begun.append(edit)
            raise ZeroDivisionError

    begun: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert (image.revision, image.curation().verdict, image.load_rois()) == (before, None, [])
    with pytest.raises(ArgumentError, match="the edit is over"):
        begun[0].set_note("too late")


def test_a_dataset_opened_read_only_is_not_edited(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    judge(image)
    with ZarrDataset(ds.path, "r") as read:
        rec = read["a"]
        with pytest.raises(ReadOnlyError), rec.edit():
            pass
        with pytest.raises(ReadOnlyError):
            rec.undo()
        assert rec.curation() == image.curation()


def test_an_image_that_was_deleted(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    ds.delete_image("a")
    for call in (image.curation, image.undo, lambda: image.revision):
        with pytest.raises(RecordNotFoundError):
            call()


def test_wrong_values_are_named(image: ZarrImageRecord) -> None:
    wrong: list[tuple[type[Exception], str, Any]] = [
        (ArgumentError, "the verdict is 'fine'", lambda e: e.set_verdict("fine")),
        (ArgumentTypeError, "a note is text", lambda e: e.set_note(None)),
        (ArgumentError, "no region 3", lambda e: e.remove_roi(3)),
        (ArgumentTypeError, "roi_id is True", lambda e: e.remove_roi(True)),
        (ArgumentTypeError, "a RectRoi or a mapping", lambda e: e.save_roi([0, 4, 1, 9])),
        (ArgumentError, "data", lambda e: e.save_roi({"name": "no coordinates"})),
        (ArgumentError, "x1 is 21", lambda e: e.save_roi({"data": SQUARE | {"x1": 21}})),
        (ArgumentError, "older form", lambda e: e.save_roi({"id": 1, "data": SQUARE})),
        (ArtifactNotFoundError, "no parquet artifact", lambda e: e.set_event_type("x", 0, "a")),
        (ArgumentError, "row is 3", lambda e: e.set_event_type("events", 3, "a")),
        (ArgumentError, "row is -1", lambda e: e.set_event_type("events", -1, "a")),
        (ArgumentTypeError, "row is 'b'", lambda e: e.set_event_type("events", "b", "a")),
        (ArgumentTypeError, "text or None", lambda e: e.set_event_type("events", 0, 5)),
        (ArgumentError, "kind", lambda e: e.set_event_type("events", 0, "a", kind="xlsx")),
        (ArgumentError, "no column 'user_type'", lambda e: e.set_event_type("n", 0, "a")),
        (UnsupportedDataError, "Unicode", lambda e: e.set_note("\ud800")),
        (UnsupportedDataError, "mixes", lambda e: e.set_event_type("whole", 0, "a")),
    ]
    image.save_df_parquet("n", pd.DataFrame({"n": [1]}))
    image.save_df_parquet("whole", pd.DataFrame({"user_type": [1, 2]}))
    before = image.revision
    for error, says, call in wrong:
        with pytest.raises(error, match=says):
            edit_with(image, lambda edit: edit.set_verdict("accepted"), call)
    with pytest.raises(ArgumentTypeError, match="who is a name"), image.edit(who=5):  # type: ignore[arg-type]
        pass
    assert image.revision == before


# Regions -----------------------------------------------------------------------------------


def test_a_region_is_added_moved_and_removed(image: ZarrImageRecord) -> None:
    with image.edit() as edit:
        first = edit.save_roi({"name": "one", "data": SQUARE, "meta": {"img_mean": 2.5, "by": "x"}})
        second = edit.save_roi(RectRoi(roi_id=9, x0=0, x1=2, y0=0, y1=2))
        third = edit.save_roi({"data": SQUARE, "roi_id": None})
    assert [first.roi_id, second.roi_id, third.roi_id] == [1, 9, 10]
    with image.edit() as edit:
        edit.save_roi({"roi_id": 1, "data": {"x1": 5}})
        edit.remove_roi(9)
    one, three = image.load_rois()
    assert isinstance(one, RectRoi)
    assert (one.name, one.x0, one.x1, one.revision, one.meta) == ("one", 0, 5, 1, {"by": "x"})
    assert three == third


def test_what_other_programs_put_beside_stays_as_it_is(image: ZarrImageRecord) -> None:
    flat = {"id": 2, "dim0_start": 5, "dim0_stop": 9, "dim1_start": 1, "dim1_stop": 4, "hue": 3}
    mine = {"roi_id": 4, "roi_type": "rect", "data": SQUARE | {"angle": 0.5}, "color": "red"}
    payload = {"version": "2.0", "rois": [flat, "?", mine], "accepted": True}
    image.save_metadata_payload(payload)
    with image.edit() as edit:
        edit.save_roi({"roi_id": 4, "name": "moved", "data": {"y1": 20}})
    found = image.load_metadata_payload()
    assert found["accepted"] is True
    assert found["rois"][:2] == [flat, "?"]
    assert found["rois"][2]["color"] == "red"
    assert found["rois"][2]["data"] == SQUARE | {"angle": 0.5, "y1": 20}
    with image.edit() as edit:
        edit.remove_roi(2)
    image.undo()
    image.undo()
    assert image.load_metadata_payload() == payload


def test_a_mask_is_no_rectangle(image: ZarrImageRecord) -> None:
    image.save_mask("cell", PIXELS == 0)
    with pytest.raises(ArgumentError, match="region 1 is a mask"), image.edit() as edit:
        edit.save_roi({"roi_id": 1, "data": SQUARE})
    before = image.load_rois()
    with image.edit() as edit:
        edit.remove_roi(1)
    assert (image.load_rois(), image.list_array_artifacts()) == ([], ["cell"])
    image.undo()
    assert image.load_rois() == before


def test_lines_and_polygons_are_added_moved_and_undone(image: ZarrImageRecord) -> None:
    with image.edit() as edit:
        edit.save_roi(LineRoi(roi_id=1, points=[(0, 1), (3, 4)]))
        edit.save_roi({"roi_type": "polygon", "data": {"points": [[0, 0], [3, 0], [3, 3]]}})
    with image.edit() as edit:
        moved = edit.save_roi({"roi_id": 1, "name": "track", "data": {"points": [[1, 1], [3, 4]]}})
    assert moved == LineRoi(roi_id=1, points=[(1, 1), (3, 4)], name="track", revision=1)
    assert [roi.roi_type for roi in image.load_rois()] == ["line", "polygon"]
    image.undo()
    assert image.load_rois()[0] == LineRoi(roi_id=1, points=[(0, 1), (3, 4)])


def test_a_mapping_of_another_kind_does_not_replace_a_line(image: ZarrImageRecord) -> None:
    image.save_rois([LineRoi(roi_id=1, points=[(0, 1), (3, 4)])])
    with pytest.raises(ArgumentError, match="region 1 is a line, not a rect"), image.edit() as edit:
        edit.save_roi({"roi_id": 1, "roi_type": "rect", "data": SQUARE})
    with image.edit() as edit:
        edit.save_roi(RectRoi(roi_id=1, x0=0, x1=2, y0=0, y1=2))
    assert [roi.roi_type for roi in image.load_rois()] == ["rect"]


def test_regions_with_one_id_are_not_guessed(image: ZarrImageRecord) -> None:
    image.save_metadata_payload({"rois": [{"roi_id": 1, "data": SQUARE}] * 2})
    with pytest.raises(ArgumentError, match="2 regions have the id 1"), image.edit() as edit:
        edit.remove_roi(1)


# Events ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "csv_gz"])
def test_only_the_cell_becomes_another_one(image: ZarrImageRecord, kind: Any) -> None:
    image.save_df_csv_gz("events", EVENTS)
    load = image.load_df_parquet if kind == "parquet" else image.load_df_csv_gz
    before = load("events")
    with image.edit() as edit:
        edit.set_event_type("events", 0, "stall", kind=kind)
    after = load("events")
    assert after["user_type"].iloc[0] == "stall"
    put: Any = after.isetitem
    put(3, before["user_type"])
    pd.testing.assert_frame_equal(after, before)
    assert after.attrs == before.attrs


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["drop", "rise"], dtype="category"),
        pd.Series(["drop", None], dtype="string"),
        pd.Series(["drop", float("nan")], dtype=object),
        pd.Series([float("nan"), float("nan")]),
        pd.Series(["drop", "rise"], dtype="str"),
    ],
    ids=["category", "string", "object", "empty", "str"],
)
def test_each_kind_of_column_takes_a_new_type(image: ZarrImageRecord, column: Any) -> None:
    frame = pd.DataFrame({"n": [1, 2], "event_type": column})
    image.save_df_parquet("events", frame)
    with image.edit() as edit:
        edit.set_event_type("events", 0, "user added")
    found = image.load_df_parquet("events")
    assert found["event_type"].iloc[0] == "user added"
    assert found["n"].dtype == "int64"
    if column.notna().any():
        assert isinstance(found["event_type"].dtype, type(column.dtype))
    with image.edit() as edit:
        edit.set_event_type("events", 0, None)
    assert image.load_df_parquet("events")["event_type"].isna().iloc[0]
    image.undo()
    image.undo()
    back = image.load_df_parquet("events")["event_type"]
    assert back.astype(object).where(back.notna(), None).tolist() == (
        column.astype(object).where(column.notna(), None).tolist()
    )


def test_an_event_that_was_detected_again_is_not_mistaken_for_another(
    image: ZarrImageRecord,
) -> None:
    judge(image)
    again = image.load_df_parquet("events")
    again["t_start_s"] += 1
    image.save_df_parquet("events", again.iloc[[1, 0, 2]])
    before = image.revision
    with pytest.raises(EditConflictError, match="user_type of row 1 of 'events'"):
        image.undo()
    image.save_df_parquet("events", again.iloc[:1])
    with pytest.raises(EditConflictError, match="user_type of row 1 of 'events'"):
        image.undo()
    image.delete_analysis("events")
    with pytest.raises(EditConflictError, match="user_type of row 1 of 'events'"):
        image.undo()
    assert image.revision != before
    assert image.curation().verdict == "accepted"


# Undo --------------------------------------------------------------------------------------


def test_undo_is_an_entry_and_can_be_taken_back(image: ZarrImageRecord) -> None:
    edit_id = judge(image)
    undone = image.undo(who="jan")
    assert (undone.who, undone.undoes) == ("jan", edit_id)
    told = image.curation()
    assert (told.verdict, told.note, image.load_rois()) == (None, "", [])
    assert told.history[0].undone_by == undone.edit_id
    assert told.history[1] == undone
    pd.testing.assert_frame_equal(image.load_df_parquet("events"), EVENTS)
    with pytest.raises(ArgumentError, match="no edit that could be taken back"):
        image.undo()
    with pytest.raises(ArgumentError, match="taken back already"):
        image.undo(edit_id)
    with pytest.raises(ArgumentError, match="no edit 'x'"):
        image.undo("x")
    image.undo(undone.edit_id)
    told = image.curation()
    assert told.verdict == "accepted"
    assert [edit.undone_by is None for edit in told.history] == [True, False, True]
    assert image.undo().undoes == edit_id


def test_an_earlier_edit_can_be_taken_back_unless_its_values_are_others(
    image: ZarrImageRecord,
) -> None:
    first = judge(image)
    with image.edit() as edit:
        edit.set_note("better")
    before = image.revision
    with pytest.raises(EditConflictError, match="note has been changed since"):
        image.undo(first)
    assert image.revision == before
    image.undo()
    image.undo(first)
    assert image.curation().note == ""


@pytest.mark.parametrize("again", [{"roi_id": 3, "data": SQUARE}, {"data": SQUARE}])
def test_a_region_taken_out_and_put_in_again_by_one_edit_is_undone_where_it_was(
    image: ZarrImageRecord, again: dict[str, Any]
) -> None:
    image.save_rois([RectRoi(roi_id=n, x0=0, x1=n, y0=0, y1=1) for n in (3, 1, 2)])
    before = image.load_rois()
    with image.edit() as edit:
        edit.remove_roi(3)
        edit.save_roi(again)
    assert image.load_rois() != before
    image.undo()
    assert image.load_rois() == before


ROI_IDS = st.integers(1, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("verdict"), st.sampled_from(["accepted", "rejected", None])),
        st.tuples(st.just("note"), st.text(st.characters(codec="utf-8"), max_size=5)),
        st.tuples(st.just("save"), ROI_IDS, st.integers(0, 20)),
        st.tuples(st.just("new"), st.integers(0, 20)),
        st.tuples(st.just("remove"), ROI_IDS),
        st.tuples(
            st.just("event"),
            st.integers(0, 2),
            st.none() | st.sampled_from(["stall", "drop", "unreviewed"]),
        ),
    ),
    max_size=5,
)


def apply(edit: Any, ids: set[int], steps: list[Any]) -> None:
    for what, *values in steps:
        if what == "verdict":
            edit.set_verdict(*values)
        elif what == "note":
            edit.set_note(*values)
        elif what == "event":
            edit.set_event_type("events", *values)
        elif what == "new":
            ids.add(edit.save_roi({"data": SQUARE | {"x1": values[0]}}).roi_id)
        elif what == "save":
            roi_id, x1 = values
            ids.add(edit.save_roi(RectRoi(roi_id=roi_id, x0=0, x1=x1, y0=0, y1=3)).roi_id)
        elif values[0] in ids:
            edit.remove_roi(values[0])
            ids.remove(values[0])


def values_of(rec: ZarrImageRecord) -> Any:
    told = rec.curation()
    frame = rec.load_df_parquet("events").astype({"user_type": object})
    cells = frame["user_type"].where(frame["user_type"].notna(), None).tolist()
    return told.verdict, told.note, rec.load_metadata_payload()["rois"], cells


@settings(max_examples=40)
@given(edits=st.lists(STEPS, max_size=5))
def test_what_is_undone_step_by_step_is_as_it_was(
    edits: list[list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("undo") / "x.zarr"
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        rec = ds.add_image(PIXELS, image_id="a")
        rec.save_df_parquet("events", EVENTS)
        rec.save_rois([RectRoi(roi_id=n, x0=0, x1=n, y0=0, y1=1) for n in (3, 1, 2)])
        seen = [values_of(rec)]
        for steps in edits:
            with rec.edit() as edit:
                apply(edit, {roi.roi_id for roi in rec.load_rois()}, steps)
            if edit.edit_id is not None:
                seen.append(values_of(rec))
        forth = seen[-1]
        undone = []
        while seen:
            assert values_of(rec) == seen.pop()
            if seen:
                undone.append(rec.undo().edit_id)
        for edit_id in reversed(undone):
            rec.undo(edit_id)
        assert values_of(rec) == forth
        assert ds.verify().ok


# Several at once ---------------------------------------------------------------------------


def test_the_revision_changes_with_any_change(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    seen = [image.revision]
    changes: list[Any] = [
        lambda: image.save_json("x", 1),
        lambda: image.save_json("x", 2),
        lambda: image.save_array_artifact("m", PIXELS),
        lambda: judge(image),
        lambda: image.save_array(PIXELS + 1),
        image.undo,
        lambda: image.delete_analysis("x"),
    ]
    for change in changes:
        change()
        assert image.revision not in seen
        seen.append(image.revision)
    (ds.path / "images" / "a" / "checksums.sha256").unlink()
    without = image.revision
    assert without == image.revision
    document_of(image, ds).write_bytes(b"{}")
    assert len({*seen, without, image.revision}) == len(seen) + 2


def test_an_edit_of_another_revision_is_refused(image: ZarrImageRecord) -> None:
    seen = image.revision
    judge(image, expect=seen)
    before = image.revision
    with pytest.raises(EditConflictError, match="changed since it was looked at"):
        judge(image, expect=seen)
    with pytest.raises(RuntimeError):
        image.undo(expect=seen)
    assert image.revision == before


def test_what_the_block_itself_saves_is_not_overwritten(image: ZarrImageRecord) -> None:
    region = RectRoi(roi_id=5, x0=0, x1=1, y0=0, y1=1)
    with pytest.raises(EditConflictError, match="while the edit went on"):
        edit_with(
            image, lambda e: e.save_roi({"data": SQUARE}), lambda _: image.save_rois([region])
        )
    assert image.load_rois() == [region]


def test_of_threads_with_one_revision_one_wins(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    seen, start, won = image.revision, threading.Barrier(4), []

    def run(name: str) -> None:
        start.wait()
        try:
            with ds["a"].edit(who=name, expect=seen) as edit:
                edit.set_note(name)
            won.append(name)
        except EditConflictError:
            pass

    threads = [threading.Thread(target=run, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [edit.who for edit in image.curation().history] == won
    assert len(won) == 1


def test_of_processes_with_one_revision_one_wins(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    code = (
        "import sys; from kymflow_zarr import ZarrDataset, errors\n"
        "path, expect, who = sys.argv[1:]\n"
        "rec = ZarrDataset(path, 'r+')['a']; sys.stdin.readline()\n"
        "try:\n"
        "    with rec.edit(who=who, expect=expect) as edit: edit.set_note(who)\n"
        "    print('won')\n"
        "except errors.EditConflictError: print('lost')\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(ds.path), image.revision, f"p{n}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(2)
    ]  # fmt: skip
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    said = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert sorted(said) == ["lost", "won"]
    assert image.curation().note == f"p{said.index('won')}"


# The document ------------------------------------------------------------------------------


def test_unknown_keys_are_preserved(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    judge(image)
    path = document_of(image, ds)
    document = json.loads(path.read_bytes())
    document["mood"] = "bright"
    document["history"][0]["where"] = "lab 3"
    document["history"][0]["changes"][0]["why"] = {"__type__": "float", "value": "NaN"}
    path.write_text(json.dumps(document))
    image.undo()
    found = json.loads(path.read_bytes())
    assert found["mood"] == "bright"
    assert found["history"][0] == document["history"][0]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"version": "2.0"}, FormatVersionError, "version '2.0'"),
        ({"format": "other"}, SchemaValidationError, "not the record of what was judged"),
        ({"verdict": "maybe"}, SchemaValidationError, r"\$\.verdict"),
        ({"history": [{}]}, SchemaValidationError, r"\$\.history\[0\]"),
    ],
)
def test_a_document_that_cannot_be_read_is_named_and_left_alone(
    image: ZarrImageRecord, ds: ZarrDataset, changes: Any, error: Any, says: str
) -> None:
    judge(image)
    path = document_of(image, ds)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
    before = path.read_bytes()
    for call in (image.curation, image.undo, lambda: judge(image)):
        with pytest.raises(error, match=says):
            call()
    assert path.read_bytes() == before
    assert len(ds.images()) == 1


def test_an_artifact_of_that_name_from_before(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    image.save_json("curation", {"verdict": "accepted"})
    with pytest.raises(SchemaValidationError, match="Save it under another name"):
        image.curation()
    assert image.load_json("curation") == {"verdict": "accepted"}
    assert ds.images()["verdict"].isna().all()


def test_deleting_analysis_keeps_what_was_judged(image: ZarrImageRecord) -> None:
    judge(image)
    image.delete_analysis()
    assert image.curation().verdict == "accepted"
    assert image.delete_analysis("curation") == 1
    assert image.curation() == Curation()


# Around it ---------------------------------------------------------------------------------


def test_the_list_of_images_has_the_verdict(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    ds.add_image(PIXELS, image_id="b")
    judge(image)
    ds.update_manifest()
    assert ds.images(["verdict"])["verdict"].tolist()[0] == "accepted"
    assert ds.images()["verdict"].isna().tolist() == [False, True]
    with image.edit() as edit:
        edit.set_verdict("rejected")
    assert ds.images()["verdict"].tolist()[0] == "rejected"


def test_an_index_without_verdicts_is_rebuilt(
    image: ZarrImageRecord, ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa

    from kymflow_zarr.engine.index import file

    judge(image)
    schema = file.SCHEMA
    old = pa.schema([field for field in schema if field.name != "verdict"])
    monkeypatch.setattr(file, "SCHEMA", old)
    table = ds._open.index.columns(old.names)
    data = file.to_bytes(table.select(old.names))
    monkeypatch.undo()
    index = ds.path / "index" / "images.parquet"
    index.parent.mkdir(exist_ok=True)
    index.write_bytes(data)
    assert ds.images()["verdict"].tolist() == ["accepted"]


def test_a_refresh_keeps_what_people_have_set(ds: ZarrDataset, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    vessel = SyntheticVessel(name="a", condition="Control", n_lines=2000, stalls=((0.5, 1.2),))
    write_experiment(lab, vessels=[vessel])
    ds.ingest_legacy_folder(lab)
    [rec] = ds.iter_records()
    name = next(i.name for i in rec.list_artifacts() if i.name.endswith("events"))
    [first, *_] = rec.load_rois()
    with rec.edit() as edit:
        edit.set_verdict("rejected")
        edit.set_event_type(name, 0, "noise")
        edit.save_roi({"roi_id": first.roi_id, "name": "corrected"})
    for path in lab.rglob("*.json"):
        text = path.read_text().replace("Control", "Other")
        path.write_text(text.replace("unreviewed", "true stall"))
    ds.refresh_from_folder(lab, mode="reingest_if_changed")
    assert rec.curation().verdict == "rejected"
    assert rec.load_df_parquet(name)["user_type"].iloc[0] == "noise"
    assert rec.load_rois()[0].name == "corrected"
    assert ds.verify().ok


def test_events_of_earlier_pixels_stay_those_of_earlier_pixels(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    tifffile.imwrite(lab / "a.tif", PIXELS)
    ds.ingest_legacy_folder(lab)
    [rec] = ds.iter_records()
    rec.save_df_parquet("events", EVENTS)
    judge(rec)
    tifffile.imwrite(lab / "a.tif", PIXELS + 1)
    ds.refresh_from_folder(lab, mode="reingest_if_changed")
    events = f"images/{rec.image_id}/analysis/events.parquet"
    assert events in rec.list_earlier_artifacts()
    rec.undo()
    assert rec.load_df_parquet("events").equals(EVENTS)
    assert events in rec.list_earlier_artifacts()
    assert (ds.validate().errors, ds.verify().ok) == ((), True)
    rec.save_df_parquet("events", EVENTS)
    assert events in rec.list_earlier_artifacts()
    rec.save_df_parquet("events", EVENTS.iloc[:2])
    assert events not in rec.list_earlier_artifacts()


@pytest.mark.parametrize("layout", ["dataset", "kymflow"])
def test_an_export_carries_it_and_ingest_brings_it_back(
    ds: ZarrDataset, tmp_path: Path, layout: Any
) -> None:
    lab = tmp_path / "lab"
    write_experiment(lab, vessels=[SyntheticVessel(name="a", n_lines=200)])
    ds.ingest_legacy_folder(lab)
    [rec] = ds.iter_records()
    with rec.edit(who="maria") as edit:
        edit.set_verdict("rejected")
        edit.set_note("moved")
    rec.undo()
    with rec.edit(who="jan") as edit:
        edit.set_verdict("accepted")
    ds.export_legacy_folder(tmp_path / "out", layout=layout)
    with ZarrDataset(tmp_path / "back.zarr", "w-") as back:
        back.ingest_legacy_folder(tmp_path / "out")
        [again] = back.iter_records()
        assert again.curation() == rec.curation()
        with again.edit() as edit:
            edit.set_note("still editable")
        assert back.validate().ok


def test_a_dataset_of_version_1_has_revisions_and_no_verdicts(old: Path) -> None:
    with ZarrDataset(old, "r") as ds:
        revisions = {rec.revision for rec in ds.iter_records()}
        assert len(revisions) == len(list(ds.iter_records()))
        assert all(rec.curation() == Curation() for rec in ds.iter_records())
        assert ds.images()["verdict"].isna().all()


def test_repair_quarantines_damaged_judgements(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    judge(image)
    before = state_of(ds)
    path = document_of(image, ds)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"accepted", b"rejected"))
    [damage] = ds.verify().errors
    assert damage.where.endswith("analysis/curation.json")
    path.write_bytes(whole)
    assert state_of(ds) == before
    path.write_bytes(whole[:40])
    assert ds.repair().actions
    assert image.curation() == Curation()
    assert ds.verify().ok


def test_show_prints_verdict_and_note(image: ZarrImageRecord, ds: ZarrDataset) -> None:
    judge(image)
    command = [sys.executable, "-m", "kymflow_zarr", "show", str(ds.path), "a"]
    run = subprocess.run([*command, "--no-picture"], capture_output=True, text=True, check=True)
    assert "accepted" in run.stdout
    assert "good" in run.stdout
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["verdict"] == "accepted"


def test_a_copied_image_folder_keeps_its_judgement(
    image: ZarrImageRecord, ds: ZarrDataset, tmp_path: Path
) -> None:
    judge(image)
    shutil.copytree(ds.path, tmp_path / "copy.zarr")
    with ZarrDataset(tmp_path / "copy.zarr", "r") as copy:
        assert copy["a"].curation() == image.curation()
        assert copy["a"].revision == image.revision
