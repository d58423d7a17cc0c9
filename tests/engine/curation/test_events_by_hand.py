"""Events that a person adds, moves and removes; detection that runs again keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import ArgumentError, EditConflictError

EVENTS = pd.DataFrame(
    {
        "roi_id": [1, 1, 2],
        "t_start_s": [0.1, 0.5, 0.5],
        "t_end_s": [0.2, 0.6, np.nan],
        "event_type": pd.Categorical(["drop", "rise", "drop"]),
        "user_type": ["unreviewed", "unreviewed", "noise"],
        "i_start": np.array([10, 50, 50], np.int32),
    }
)


@pytest.fixture
def rec(tmp_path: Path) -> Iterator[ZarrImageRecord]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        record = ds.add_image(np.zeros((8, 8), np.uint8), image_id="a")
        record.save_df_parquet("events", EVENTS)
        yield record


def events_of(rec: ZarrImageRecord) -> pd.DataFrame:
    return rec.load_df_parquet("events")


def test_events_are_added_moved_and_removed_and_each_can_be_undone(rec: ZarrImageRecord) -> None:
    with rec.edit(who="maria") as edit:
        added = edit.add_event("events", 0.8, 0.9, type="stall", roi_id=2)
    with rec.edit(who="maria") as edit:
        moved = edit.change_event("events", 1, t_start_s=0.55, t_end_s=0.7)
    with rec.edit(who="maria") as edit:
        edit.remove_event("events", 0)
    frame = events_of(rec)
    assert frame["t_start_s"].tolist() == [0.55, 0.5, 0.8]
    assert frame["user_type"].tolist() == ["unreviewed", "noise", "stall"]
    assert frame["roi_id"].tolist() == [1, 2, 2]
    assert frame["event_id"].tolist()[::2] == [moved, added]
    assert frame["event_id"].is_unique
    assert frame["event_type"].dtype == "category"
    said = [str(change) for entry in rec.curation().history for change in entry.changes]
    assert said[:2] == [f"event {added} of 'events'", f"event {moved} of 'events'"]
    for entry in reversed(rec.curation().history):
        rec.undo(entry.edit_id)
    back = events_of(rec).drop(columns="event_id")
    pd.testing.assert_frame_equal(back, EVENTS, check_dtype=False)
    rec.undo(rec.curation().history[-1].edit_id)
    assert added in events_of(rec)["event_id"].tolist()


def test_ids_stay_when_events_change(rec: ZarrImageRecord) -> None:
    with rec.edit() as edit:
        edit.change_event("events", 0, user_type="good")
    before = events_of(rec)["event_id"].tolist()
    with rec.edit() as edit:
        edit.set_event_type("events", 1, "noise")
        edit.remove_event("events", 2)
    assert events_of(rec)["event_id"].tolist() == before[:2]
    assert events_of(rec)["user_type"].tolist() == ["good", "noise"]


def test_an_edit_of_a_type_from_before_ids_can_be_undone_after(rec: ZarrImageRecord) -> None:
    with rec.edit() as edit:
        edit.set_event_type("events", 0, "noise")
    first = rec.curation().history[0].edit_id
    with rec.edit() as edit:
        edit.add_event("events", 2.0)
    rec.undo(first)
    assert events_of(rec)["user_type"].tolist()[0] == "unreviewed"


def test_an_event_that_was_changed_since_is_not_undone(rec: ZarrImageRecord) -> None:
    with rec.edit() as edit:
        event = edit.change_event("events", 0, t_end_s=0.3)
    with rec.edit() as edit:
        edit.change_event("events", event, t_end_s=0.4)
    with pytest.raises(EditConflictError):
        rec.undo(rec.curation().history[0].edit_id)


def test_an_image_without_events_gets_some(rec: ZarrImageRecord) -> None:
    with rec.edit() as edit:
        edit.add_event("by hand", 0.25, type="drop", kind="parquet")
    frame = rec.load_df_parquet("by hand")
    assert frame[["t_start_s", "user_type"]].to_numpy().tolist() == [[0.25, "drop"]]


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(1.0, 0.5), (float("nan"), None), (0.0, float("inf")), ("1", None)]
)
def test_times_that_are_none_are_refused_and_nothing_is_written(
    rec: ZarrImageRecord, start_s: float, end_s: float | None
) -> None:
    def adds() -> None:
        with rec.edit() as edit:
            edit.set_note("x")
            edit.add_event("events", start_s, end_s)

    with pytest.raises(ArgumentError):
        adds()
    assert rec.curation().history == ()
    pd.testing.assert_frame_equal(events_of(rec), EVENTS)


def test_detection_that_runs_again_keeps_what_a_person_judged_and_doubles_nothing(
    rec: ZarrImageRecord,
) -> None:
    with rec.edit() as edit:
        edit.add_event("events", 0.9, 1.0, type="stall", roi_id=1)
        edit.change_event("events", 1, t_start_s=0.55)
        edit.remove_event("events", 0)
    detected = EVENTS.assign(t_start_s=[0.11, 0.56, 0.5]).iloc[[0, 1, 2, 0]].reset_index(drop=True)
    detected.loc[3, ["t_start_s", "t_end_s"]] = [3.0, 3.1]
    for _ in range(2):
        with rec.edit() as edit:
            edit.replace_detected("events", detected)
        frame = events_of(rec)
        # The moved one, the one that has a type, the added one, and one that is new.
        assert frame["t_start_s"].tolist() == [0.55, 0.5, 0.9, 3.0]
        assert frame["user_type"].tolist() == ["unreviewed", "noise", "stall", "unreviewed"]
