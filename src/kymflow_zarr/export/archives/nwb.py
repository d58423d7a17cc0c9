"""Datasets as NWB files, one for each session: the file format of neurophysiology archives.

Source: the NWB schema (https://nwb-schema.readthedocs.io), written by pynwb.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import (
    ArgumentError,
    TargetExistsError,
    UnsupportedDataError,
    extra_module,
)
from kymflow_zarr.export.archives.metadata import (
    ArchiveMetadata,
    iso_age,
    latin_name,
    moment,
    sex_letter,
    text,
    texts,
    zone,
)
from kymflow_zarr.export.archives.report import ArchiveReport
from kymflow_zarr.export.archives.session import Session, chosen_images
from kymflow_zarr.export.complete import complete_file
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.types import Progress, StrPath

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

_SUBJECT: Final = {
    "subject_id": (text, "the name of the animal or person"),
    "species": (latin_name, 'a Latin name such as "Mus musculus"'),
    "sex": (sex_letter, 'one of "M", "F", "O" (other) and "U" (unknown)'),
}
_OF_SUBJECT: Final = {
    "genotype": (text, "text"),
    "strain": (text, "text"),
}
_OF_FILE: Final = ("session_description", "experiment_description", "institution", "lab")
_LISTS: Final = ("experimenter", "keywords", "related_publications")
METADATA: Final = (
    "timezone", *_SUBJECT, "age", "date_of_birth", *_OF_SUBJECT, "session_id",
    "session_start_time", *_OF_FILE, *_LISTS,
)  # fmt: skip
_EPOCH: Final = dt.datetime(1970, 1, 1)


def export_nwb(
    dataset: OpenDataset,
    folder: StrPath,
    *,
    metadata: Mapping[str, Any] | None,
    image_ids: Collection[str] | None,
    dry_run: bool,
    progress: Progress | None,
) -> ArchiveReport:
    """Write NWB files; see :meth:`kymflow_zarr.ZarrDataset.export_nwb`."""
    pynwb = extra_module("pynwb", extra="nwb", needs="export_nwb() needs the package pynwb")
    from kymflow_zarr.export.archives.nwb_file import left_out_of, write_session

    images = chosen_images(dataset, image_ids)
    for image in images:
        if image.dtype.kind == "c" or image.dtype.hasobject:
            raise UnsupportedDataError(
                f"NWB has no place for pixels of type {image.dtype}",
                where=image.image_id,
                hint="Leave the image out by image_ids.",
            )
    known = ArchiveMetadata.of(metadata, METADATA, "export_nwb")
    names = dataset.image_names()
    sessions = _sessions(images, known, names)
    target = Path(folder).expanduser().absolute()
    report = ArchiveReport(
        str(target),
        tuple(sorted(session.path for session in sessions)),
        known.gaps,
        tuple(name for image in images for name in left_out_of(image)),
    )
    if dry_run:
        return report
    known.require_complete()
    for session in sessions:
        if (target / session.path).exists():
            raise TargetExistsError(
                "there is such a file already",
                where=str(target / session.path),
                hint="Choose another folder, or delete it.",
            )
    common = {key: known.common(key) for key in _OF_FILE if known.common(key) is not None}
    common |= {key: texts(known.common(key)) for key in _LISTS if known.common(key) is not None}
    for done, session in enumerate(sessions):
        if progress is not None:
            progress(done, len(sessions), session.path)
        path = target / session.path
        with os_errors("write", str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        with complete_file(path) as part:
            write_session(
                pynwb, part, session, known, common,
                names={image.image_id: names[image.image_id] for image, _ in session.images},
                identifier=f"{dataset.dataset_id}/{session.path}",
            )  # fmt: skip
    if progress is not None:
        progress(len(sessions), len(sessions), "")
    return report


def _sessions(
    images: Sequence[StoredImage], known: ArchiveMetadata, names: Mapping[str, str]
) -> list[Session]:
    """Return the sessions of images, and note what is missing of their metadata."""
    tz = known.require_common("timezone", 'the time zone of the microscope, "Europe/Berlin"')
    tzinfo = None if tz is None else zone(str(tz))
    if tz is not None and tzinfo is None:
        raise ArgumentError(
            f"{tz!r} is no time zone",
            where="metadata: timezone",
            hint='Use a name such as "America/New_York" or an offset such as "+02:00".',
        )
    sessions: dict[tuple[str, str], Session] = {}
    for image in images:
        subject = _subject(image, known)
        start = _start(image, known, tzinfo)
        stated_id = known.value(image, "session_id", text, "text")
        session_id = stated_id or Path(names[image.image_id]).stem
        if stated_id is None and (str(subject.get("subject_id")), session_id) in sessions:
            session_id = f"{session_id}-{image.image_id}"
        key = str(subject.get("subject_id")), session_id
        session = sessions.setdefault(key, Session(subject, session_id))
        if start is not None:
            session.images.append((image, start))
        for name in sorted(set(session.subject) | set(subject)):
            if session.subject.get(name) != subject.get(name):
                known.conflict(name, [image], f"it differs within the session {session_id!r}")
    paths: dict[str, Session] = {}
    for session in sessions.values():
        if "subject_id" in session.subject and paths.setdefault(session.path, session) != session:
            session.session_id += f"-{len(paths)}"
    return [s for s in sessions.values() if s.images and "subject_id" in s.subject]


def _subject(image: StoredImage, known: ArchiveMetadata) -> dict[str, Any]:
    subject: dict[str, Any] = {
        key: known.require(image, key, *form) for key, form in _SUBJECT.items()
    }
    subject |= {key: known.value(image, key, *form) for key, form in _OF_SUBJECT.items()}
    born = known.value(image, "date_of_birth", moment, 'a date such as "2026-05-01"')
    age_form = 'a duration of ISO 8601 such as "P12W", or "12 weeks"'
    if born is None:
        subject["age"] = known.require(image, "age", iso_age, age_form)
    else:
        subject["age"] = known.value(image, "age", iso_age, age_form)
        subject["date_of_birth"] = born if born.tzinfo else born.replace(tzinfo=dt.UTC)
    return {key: value for key, value in subject.items() if value is not None}


def _start(
    image: StoredImage, known: ArchiveMetadata, tzinfo: dt.tzinfo | None
) -> dt.datetime | None:
    """Return when an image was acquired, in the time zone of the microscope."""
    header = known.payload(image).get("header")
    epoch_ns = header.get("acquired_local_epoch_ns") if isinstance(header, Mapping) else None
    form = 'a date and time such as "2026-05-01T14:30:00", as the file has no acquisition time'
    if isinstance(epoch_ns, int):
        start: dt.datetime | None = _EPOCH + dt.timedelta(microseconds=epoch_ns // 1000)
    else:
        start = known.require(image, "session_start_time", moment, form)
    if start is None:
        return None
    # While the zone is missing, any one does: nothing is written.
    return start if start.tzinfo is not None else start.replace(tzinfo=tzinfo or dt.UTC)
