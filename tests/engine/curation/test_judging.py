"""Many images judged at once: one commit, one undo, and what each person said."""

from __future__ import annotations

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import (
    ArgumentError,
    EditConflictError,
    ReadOnlyError,
    RecordNotFoundError,
)
from kymflow_zarr.testing import state_of

PIXELS = np.zeros((4, 6), "uint8")
IDS = [f"i{number}" for number in range(6)]


@pytest.fixture
def six(ds: ZarrDataset) -> ZarrDataset:
    """A dataset of six images."""
    for image_id in IDS:
        ds.add_image(PIXELS, image_id=image_id)
    return ds


def verdicts(ds: ZarrDataset) -> list[str | None]:
    return [ds[image_id].curation().verdict for image_id in IDS]


def test_many_images_get_one_verdict_and_one_undo_takes_it_back(six: ZarrDataset) -> None:
    with six["i1"].edit(who="bob") as edit:
        edit.set_verdict("rejected")
    edit_id = six.judge(IDS[:4], "accepted", who="ada")
    assert edit_id is not None
    assert verdicts(six) == ["accepted"] * 4 + [None] * 2
    entries = [six[image_id].curation().history[-1] for image_id in IDS[:4]]
    assert {(entry.edit_id, entry.who, entry.n_images) for entry in entries} == {
        (edit_id, "ada", 4)
    }
    undone = six.undo(edit_id, who="ada")
    assert verdicts(six) == [None, "rejected", None, None, None, None]
    assert six["i0"].curation().history[-1].undoes == edit_id
    six.undo(undone, IDS)
    assert verdicts(six) == ["accepted"] * 4 + [None] * 2
    assert six.verify().ok


def test_nothing_is_written_where_one_of_many_was_judged_meanwhile(six: ZarrDataset) -> None:
    seen = dict.fromkeys(IDS)
    with six["i3"].edit(who="bob") as edit:
        edit.set_verdict("rejected")
    before = state_of(six)
    with pytest.raises(EditConflictError, match=r"1 of 6 images .* i3 is rejected"):
        six.judge(IDS, "accepted", who="ada", seen=seen)
    assert state_of(six) == before
    six.judge(IDS, "accepted", who="ada", seen={**seen, "i3": "rejected"})
    assert verdicts(six) == ["accepted"] * 6


@pytest.mark.parametrize(
    ("ids", "verdict", "error"),
    [
        ([*IDS, "nowhere"], "accepted", RecordNotFoundError),
        (IDS, "fine", ArgumentError),
    ],
)
def test_a_wrong_call_changes_no_image(
    six: ZarrDataset, ids: list[str], verdict: str, error: type[Exception]
) -> None:
    before = state_of(six)
    with pytest.raises(error):
        six.judge(ids, verdict)  # type: ignore[arg-type]
    assert state_of(six) == before
    with pytest.raises(ArgumentError, match="could be taken back"):
        six.undo("no edit")


def test_a_dataset_opened_for_reading_is_not_judged(six: ZarrDataset) -> None:
    with pytest.raises(ReadOnlyError):
        ZarrDataset(six.path, "r").judge(IDS, "accepted")


def test_a_second_rater_who_agrees_has_judged_too(six: ZarrDataset) -> None:
    assert six.judge(IDS[:2], "accepted", who="ada") is not None
    assert six.judge(IDS[:2], "accepted", who="ada") is None
    assert six.judge(IDS[:2], "accepted", who="bob") is not None
    history = six["i0"].curation().history
    assert [(entry.who, entry.changes[0].after) for entry in history] == [
        ("ada", "accepted"),
        ("bob", "accepted"),
    ]
    six.undo(history[1].edit_id)
    assert verdicts(six)[:2] == ["accepted"] * 2


def test_an_image_is_taken_out_of_a_common_edit_alone(six: ZarrDataset) -> None:
    edit_id = six.judge(IDS, "rejected", who="ada")
    assert edit_id is not None
    six["i2"].undo(edit_id, who="ada")
    assert verdicts(six)[2] is None
    six.undo(edit_id, who="ada")
    assert verdicts(six) == [None] * 6


@pytest.mark.parametrize("address", ["memory://judging"])
def test_a_dataset_in_memory_is_judged_at_once_too(address: str) -> None:
    with ZarrDataset(address, "w") as ds:
        for image_id in IDS:
            ds.add_image(PIXELS, image_id=image_id)
        edit_id = ds.judge(IDS, "rejected", who="ada")
        assert verdicts(ds) == ["rejected"] * 6
        assert edit_id is not None
        ds.undo(edit_id)
        assert verdicts(ds) == [None] * 6
