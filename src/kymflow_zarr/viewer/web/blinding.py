"""What a blind page says: pixels, shapes and times, under codes, and what its user has said.

Only what is listed here is answered; all else is left out. The ids of images are codes,
new ones at each start, and the list is in the order of the codes, so that no place in it tells a
folder or a date.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from kymflow_zarr.api.internals import verdicts_in
from kymflow_zarr.errors import ArgumentError, KymflowZarrError, RecordNotFoundError
from kymflow_zarr.viewer.web.lists.rows import Rows

if TYPE_CHECKING:
    from kymflow_zarr import Curation, ZarrDataset

__all__ = ["Blinding"]

_COLUMNS: Final = ("shape", "dtype", "line_period_s", "pixel_size_um", "n_rois")
_EVENT_TEXTS: Final = frozenset({"event_type", "user_type", "machine_type", "event_id"})
_FACTS: Final = (
    "pixels", "shape", "dtype", "axes", "plane", "contrast", "series", "events",
    "previous", "next", "position", "n_listed",
)  # fmt: skip
_CRITICAL: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Blinding:
    """What is hidden in a page, and the codes of images.

    Parameters
    ----------
    dataset : ZarrDataset
    hidden : sequence of str
        Columns of the images, which the history of each judgement names.
    who : str, optional
        Whose judgements are shown; those of nobody if left out.

    Raises
    ------
    ArgumentError
        If the images have no such column.
    """

    def __init__(self, dataset: ZarrDataset, hidden: Sequence[str], who: str | None) -> None:
        self.hidden = tuple(hidden)
        self._dataset, self._who = dataset, who
        self._key = secrets.token_bytes(16)
        self._guard = threading.Lock()
        self._ids: dict[str, str] = {}
        known = [str(name) for name in dataset.images()]
        unknown = [name for name in self.hidden if name not in known]
        if unknown:
            raise ArgumentError(
                f"there is no column {unknown[0]!r} that could be hidden",
                where="blind",
                hint=f"Some: {', '.join(known[:20])}.",
            )

    def _digest(self, text: str) -> str:
        data = text.encode(errors="surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=6).hexdigest()

    def code_of(self, image_id: str) -> str:
        """Return the code of an image."""
        code = self._digest(image_id)
        with self._guard:
            self._ids[code] = image_id
        return code

    def id_of(self, code: str) -> str:
        """Return the id of the image that has a code; raise RecordNotFoundError if none has it."""
        with self._guard:
            image_id = self._ids.get(code)
        if image_id is None:
            for each in self._dataset.list_image_ids():
                self.code_of(each)
            image_id = self._ids.get(code)
        if image_id is None:
            raise RecordNotFoundError(f"there is no image {code!r}")
        return image_id

    def rows(self, images: pd.DataFrame) -> Rows:
        """Return the list of images as a blind page shows it."""
        shown = images[[name for name in _COLUMNS if name in images and name not in self.hidden]]
        own: list[tuple[Any, Any]] = [self._own(image_id) for image_id in images["image_id"]]
        damaged: Any = ["damaged" if text else None for text in images["error"].fillna("")]
        verdicts: Any = pd.Series([verdict for verdict, _ in own], images.index, dtype=object)
        notes: Any = [note or None for _, note in own]
        shown = shown.assign(
            image_id=[self.code_of(image_id) for image_id in images["image_id"]],
            verdict=verdicts,
            curation_note=notes,
            error=damaged,
            # The browser asks for the picture of an image again when the image has changed.
            updated_utc=images["updated_utc"].map(lambda when: self._digest(f"at {when}")),
            axes=images["axes"],
        )
        shown = shown.sort_values("image_id").reset_index(drop=True)
        return Rows(shown, searched=["image_id", "verdict", "curation_note"])

    def _own(self, image_id: str) -> tuple[str | None, str]:
        try:
            curation = self._dataset.record(image_id).curation()
        except KymflowZarrError:
            return None, ""  # Damaged: it is listed as such.
        return verdicts_in(curation.history).get(self._who or ""), self.note_of(curation)

    def note_of(self, curation: Curation) -> str:
        """Return what this person has written into the note of an image."""
        return self._notes(curation)[0]

    def _notes(self, curation: Curation) -> tuple[str, dict[str, tuple[str, str]]]:
        """Return the own part of the note, and its own part before and after each own edit."""
        own, steps = "", {}
        for edit in curation.history:
            for change in edit.changes:
                if change.what == "note" and edit.who == self._who:
                    others = _without(str(change.before), own)
                    before, own = own, str(change.after).removeprefix(others).lstrip("\n")
                    steps[edit.edit_id] = (before, own)
        return own, steps

    def joined_note(self, curation: Curation, text: str) -> str:
        """Return the note of an image with an own text, and what others have written kept."""
        others = _without(curation.note, self.note_of(curation))
        return "\n".join(filter(None, [others, text]))

    def curation(self, curation: Curation) -> dict[str, Any]:
        """Return what this person has said of an image."""
        own, notes = self._notes(curation)
        history = [edit.to_dict() for edit in curation.history if edit.who == self._who]
        for entry in history:
            for change in entry["changes"]:
                self._hide_values(change, notes.get(entry["edit_id"], ("", "")))
        verdict = verdicts_in(curation.history).get(self._who or "")
        return {"verdict": verdict, "note": own, "history": history}

    @staticmethod
    def _hide_values(change: dict[str, Any], note: tuple[str, str]) -> None:
        what = change["what"]
        if what == "note":
            change["before"], change["after"] = note
        elif what in ("roi", "event"):
            for key in ("before", "after"):
                change[key] = None if change[key] is None else {}
        else:
            change["before"] = None

    def facts(self, facts: dict[str, Any], image_id: str, curation: Curation) -> dict[str, Any]:
        """Return the facts about an image as a blind page shows them."""
        code = self.code_of(image_id)
        shown: dict[str, Any] = {key: facts[key] for key in _FACTS if key in facts}
        frames = {(each["kind"], each["name"]) for key in ("series", "events")
                  for each in facts.get(key, [])}  # fmt: skip
        return {
            **shown,
            "revision": facts.get("revision"),
            "image_id": code,
            "name": code,
            "sliders": [{**each, "labels": None} for each in facts.get("sliders", [])],
            "rois": [{**roi, "name": "", "note": "", "meta": {}} for roi in facts.get("rois", [])],
            "artifacts": [
                {
                    "kind": each["kind"], "name": each["name"], "key": each["name"],
                    "size_bytes": each["size_bytes"], "forms": [],
                    "stale": "it is out of date" if each.get("stale") else None,
                }
                for each in facts.get("artifacts", [])
                if (each["kind"], each["name"]) in frames
            ],
            "curation": self.curation(curation),
            "error": _DAMAGED if facts.get("error") else None,
        }  # fmt: skip

    def event_columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the times, numbers and types of events."""
        names = [
            name
            for name in frame
            if name not in self.hidden
            and (name in _EVENT_TEXTS or pd.api.types.is_numeric_dtype(frame[name]))
        ]
        return frame[names]

    def picture(self, png: bytes) -> bytes:
        """Return a PNG without its texts and times."""
        parts, at = [png[:8]], 8
        while at < len(png):
            (size,) = struct.unpack(">I", png[at : at + 4])
            if png[at + 4 : at + 8] in _CRITICAL:
                parts.append(png[at : at + 12 + size])
            at += 12 + size
        return b"".join(parts)


_DAMAGED: Final = "A part of the image is damaged. A page that is not blind says which."


def _without(note: str, own: str) -> str:
    return note.removesuffix(own).rstrip("\n") if own else note
