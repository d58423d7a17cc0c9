"""`ds.merge_edits()`: copies that were edited apart become equal, and no decision is lost."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset
from kymflow_zarr.errors import ArgumentTypeError, ReadOnlyError

EVENTS = "events"


def make(path: Path, n_images: int = 4) -> None:
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        for number in range(n_images):
            rec = ds.add_image(np.zeros((40, 40), np.uint8), image_id=f"i{number}")
            rec.save_rois([RectRoi(roi_id=1, x0=0, x1=5, y0=0, y1=5)])
            rec.save_df_parquet(
                EVENTS, pd.DataFrame({"t_start_s": [1.0, 2.0], "t_end_s": [1.5, 2.5]})
            )


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[tuple[ZarrDataset, ZarrDataset]]:
    make(tmp_path / "a.zarr")
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    options: Any = {"mode": "r+", "durability": "relaxed"}
    with ZarrDataset(tmp_path / "a.zarr", **options) as a, ZarrDataset(
        tmp_path / "b.zarr", **options
    ) as b:  # fmt: skip
        yield a, b


def state_of(ds: ZarrDataset) -> dict[str, Any]:
    """Return all that people decided, without the order of regions and events."""
    found: dict[str, Any] = {}
    for image_id in ds:
        rec = ds[image_id]
        curation = rec.curation()
        payload = rec.load_metadata_payload()
        events = rec.load_df_parquet(EVENTS)
        rows: list[dict[str, Any]] = [
            {str(k): (None if pd.isna(v) else v) for k, v in row.items()}
            for row in events.to_dict("records")
        ]
        found[image_id] = {
            "verdict": curation.verdict,
            "note": curation.note,
            "history": [edit.to_dict() for edit in curation.history],
            "rois": {roi["roi_id"]: roi for roi in payload["rois"]},
            "metadata": payload["experiment_metadata"],
            "events": sorted(rows, key=repr),
        }
    return found


def test_what_each_copy_decided_apart_is_in_both_afterwards(
    copies: tuple[ZarrDataset, ZarrDataset],
) -> None:
    a, b = copies
    with a["i0"].edit("ada") as edit:
        edit.set_verdict("accepted")
        edit.save_roi({"roi_type": "rect", "data": {"x0": 1, "x1": 3, "y0": 1, "y1": 3}})
    with b["i0"].edit("bob") as edit:
        edit.set_note("a vessel")
        edit.set_metadata("condition", "drug")
        edit.add_event(EVENTS, 7.0, 8.0, type="stall")
    b["i1"].edit  # noqa: B018 - not edited: not in the report
    report = a.merge_edits(b)
    assert (report.n_images, report.n_edits, report.conflicts) == (1, 1, ())
    back = b.merge_edits(a)
    assert (back.n_images, back.n_edits, back.conflicts) == (1, 1, ())
    assert state_of(a) == state_of(b)
    merged = state_of(a)["i0"]
    assert (merged["verdict"], merged["note"]) == ("accepted", "a vessel")
    assert merged["metadata"] == {"condition": "drug"}
    assert sorted(merged["rois"]) == [1, 2]
    assert [row["user_type"] for row in merged["events"]].count("stall") == 1
    assert a.merge_edits(b).n_edits == 0
    assert a.validate().ok
    assert a.verify().ok


def test_two_notes_are_joined_and_of_two_verdicts_the_later_one_counts(
    copies: tuple[ZarrDataset, ZarrDataset],
) -> None:
    a, b = copies
    with a["i0"].edit("ada") as edit:
        edit.set_note("blurred")
        edit.set_verdict("rejected")
    with b["i0"].edit("bob") as edit:
        edit.set_note("fine below 20 um")
        edit.set_verdict("accepted")
    conflicts = {str(c.what): c for c in a.merge_edits(b).conflicts}
    assert sorted(conflicts) == ["note", "verdict"]
    verdict = conflicts["verdict"]
    assert (verdict.earlier_who, verdict.earlier) == ("ada", "rejected")
    assert (verdict.later_who, verdict.later, verdict.kept) == ("bob", "accepted", "accepted")
    b.merge_edits(a)
    assert state_of(a) == state_of(b)
    assert a["i0"].curation().note == "blurred\nfine below 20 um"
    assert [edit.who for edit in a["i0"].curation().history] == ["ada", "bob", "merge"]


def test_two_regions_that_got_the_same_number_become_two(
    copies: tuple[ZarrDataset, ZarrDataset],
) -> None:
    a, b = copies
    for ds, x1 in ((a, 3), (b, 9)):
        with ds["i0"].edit() as edit:
            edit.save_roi({"roi_type": "rect", "data": {"x0": 1, "x1": x1, "y0": 1, "y1": 3}})
    [conflict] = b.merge_edits(a).conflicts
    assert "the earlier one is region 3 now" in conflict.reason
    a.merge_edits(b)
    assert state_of(a) == state_of(b)
    rois = state_of(a)["i0"]["rois"]
    assert {key: roi["data"]["x1"] for key, roi in rois.items()} == {1: 5, 2: 9, 3: 3}


def test_undone_edits_stay_undone_and_copies_are_merged_again_and_again(
    copies: tuple[ZarrDataset, ZarrDataset],
) -> None:
    a, b = copies
    with a["i0"].edit("ada") as edit:
        edit.set_verdict("accepted")
    a["i0"].undo()
    for text in ("one", "two"):
        with b["i0"].edit("bob") as edit:
            edit.set_note(text)
        a.merge_edits(b)
        with a["i0"].edit("ada") as edit:
            edit.set_metadata("seen", text)
        b.merge_edits(a)
        assert state_of(a) == state_of(b)
    curation = a["i0"].curation()
    assert (curation.verdict, curation.note, len(curation.history)) == (None, "two", 6)


def test_images_of_the_other_copy_alone_are_named_and_a_read_only_one_is_refused(
    copies: tuple[ZarrDataset, ZarrDataset],
) -> None:
    a, b = copies
    with b["i3"].edit() as edit:
        edit.set_note("x")
    a.delete_image("i3")
    assert a.merge_edits(b).unknown == ("i3",)
    with ZarrDataset(b.path, "r") as read_only, pytest.raises(ReadOnlyError):
        read_only.merge_edits(a)


def edited(ds: ZarrDataset, who: str, n_edits: int, seed: int, model: dict[Any, list[Any]]) -> None:
    """Edit at random, and write down every value that was set."""
    chance = random.Random(seed)
    for number in range(n_edits):
        image_id = f"i{chance.randrange(4)}"
        with ds[image_id].edit(who) as edit:
            kinds = ["verdict", "note", "metadata", "roi", "new roi", "event"]
            # Few events: each is a data frame that is written again.
            what = chance.choices(kinds, [4, 4, 4, 4, 4, 1])[0]
            if what == "verdict":
                value: Any = chance.choice(["accepted", "rejected", None])
                edit.set_verdict(value)
            elif what == "note":
                value = f"{who} {number}"
                edit.set_note(value)
            elif what == "metadata":
                what, value = f"metadata {chance.randrange(3)}", number
                edit.set_metadata(what, value)
            elif what in ("roi", "new roi"):
                data = {"x0": 0, "x1": chance.randrange(1, 40), "y0": 0, "y1": 1}
                given: dict[str, Any] = {"roi_type": "rect", "data": data, "name": f"{who}{number}"}
                saved = edit.save_roi({**given, **({"roi_id": 1} if what == "roi" else {})})
                what, value = f"region {saved.roi_id}", saved.name
            else:
                value = edit.add_event(EVENTS, float(number), number + 0.5, type=who)
        model.setdefault((image_id, what), []).append(value)


def test_no_edit_of_two_times_500_is_lost_and_every_conflict_is_named(
    copies: tuple[ZarrDataset, ZarrDataset],
) -> None:
    a, b = copies
    models: tuple[dict[Any, list[Any]], dict[Any, list[Any]]] = {}, {}
    edited(a, "ada", 500, 1, models[0])
    edited(b, "bob", 500, 2, models[1])
    before = state_of(a), state_of(b)
    conflicts = a.merge_edits(b).conflicts
    assert b.merge_edits(a).n_images == 4
    merged = state_of(a)
    assert merged == state_of(b)
    # Every entry of both histories is there, and every event and region that both have added.
    for image_id, image in merged.items():
        ids = {edit["edit_id"] for edit in image["history"]}
        names = {roi.get("name") for roi in image["rois"].values()}
        events = {row["event_id"] for row in image["events"]}
        for state, model in zip(before, models, strict=True):
            assert {edit["edit_id"] for edit in state[image_id]["history"]} <= ids
            assert set(model.get((image_id, "event"), [])) <= events
            new = {roi["name"] for key, roi in state[image_id]["rois"].items() if key > 1}
            assert new <= names
    # The values are those of a dictionary, where one copy alone has set them.
    named = {(c.image_id, c.what.replace("'", "")) for c in conflicts}
    for key in models[0].keys() | models[1].keys():
        image_id, what = key
        values = [model[key] for model in models if key in model]
        changed = [each[-1] for each in values]
        if what == "event" or (what.startswith("region") and what != "region 1"):
            continue
        is_conflict = len(values) == 2 and changed[0] != changed[1]
        label = what.replace("metadata ", "metadata metadata ")
        assert ((image_id, label) in named) == is_conflict, key
        if not is_conflict and what in ("verdict", "note"):
            assert merged[image_id][what] == changed[0]
        if what.startswith("metadata"):
            assert merged[image_id]["metadata"][what] in changed
        if what == "note" and is_conflict:
            assert sorted(merged[image_id]["note"].split("\n")) == sorted(changed)


def test_a_path_in_place_of_a_dataset_is_refused_with_what_to_do(ds: ZarrDataset) -> None:
    path: Any = "other.zarr"
    for call in (ds.merge_edits, ds.merge):
        with pytest.raises(ArgumentTypeError, match=r"is no ZarrDataset.*Open it: ZarrDataset"):
            call(path)
