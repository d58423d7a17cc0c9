"""Turn the sidecars of an image into artifacts, each made of one or several files."""

from __future__ import annotations

import codecs
import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from kymflow_zarr.engine.images.artifacts import encode
from kymflow_zarr.engine.images.draft import write_array_artifact
from kymflow_zarr.errors import KymflowZarrError, MissingDependencyError, SourceFileError
from kymflow_zarr.formats import acqstore as acqstore_files
from kymflow_zarr.ingest.folder.convention import IMAGEJ_KIND, Acquisition, Attached, Role
from kymflow_zarr.ingest.folder.known_programs import known_file
from kymflow_zarr.ingest.folder.scan import ScannedFile
from kymflow_zarr.ingest.sidecars import acqstore
from kymflow_zarr.ingest.sidecars.olympus import OlympusHeader, parse_olympus_header
from kymflow_zarr.layout import array_artifact_prefix, artifact_key
from kymflow_zarr.runtime.background import Content, arrived
from kymflow_zarr.runtime.limits import loads_json
from kymflow_zarr.schema.analysis_columns import EVENT_COLUMNS, VELOCITY_COLUMNS
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.local.files import digest_of_bytes

if TYPE_CHECKING:
    from kymflow_zarr.formats.rows.encoded import Rows


SourceArtifactKind: TypeAlias = Literal["json", "parquet", "csv_gz", "array"]

# Names of the artifacts that hold the content of sidecars.
TIFF_ARTIFACT: Final = "tiff"
HEADER_ARTIFACT: Final = "instrument_header"
METADATA_ARTIFACT: Final = "source_metadata"
VELOCITY: Final = "velocity"
EVENTS: Final = "velocity_events/events"
ANALYSIS: Final = "velocity_analysis"

_METADATA_ROLES: Final[tuple[Role, ...]] = ("header", "metadata")

# Generations of analysis programs. Where two of them analyzed one image, the older results are
# named after their generation.
AGES: Final = (
    ("radon", ("radon_csv", "radon_json", "events_json")),
    ("kymanalysis", ("kymanalysis_csv", "kymanalysis_json")),
    ("v0", ("v0_csv",)),
)


@dataclass(frozen=True, slots=True)
class SourceArtifact:
    """An unsaved artifact made of source files.

    Parameters
    ----------
    kind : {"json", "parquet", "csv_gz", "array"}
    name : str
    value : object
        As a caller would save it, or the rows of a CSV, which need no data frame.
    made_of : tuple of str
        ``rel_path`` of the files.
    """

    kind: SourceArtifactKind
    name: str
    value: Any
    made_of: tuple[str, ...]


@dataclass(slots=True)
class SidecarContents:
    """The content of the sidecars of an acquisition.

    Parameters
    ----------
    artifacts : list of SourceArtifact
        All but the payload, which needs the image too.
    header : OlympusHeader, optional
    payload : dict, optional
        The unchanged metadata sidecar.
    payload_made_of : list of str
    rois : list of dict
        Regions of files of ImageJ.
    data : dict of str to bytes
        Bytes of each file, by its ``rel_path``.
    unreadable : list of str
        ``rel_path`` of the files that could not be read.
    notes : list of str
        Notes on the files for the report.
    events : dict of str to mapping
        Events by region, of each file that lists some, by its ``rel_path``.
    """

    artifacts: list[SourceArtifact] = field(default_factory=list)
    header: OlympusHeader | None = None
    payload: dict[str, Any] | None = None
    payload_made_of: list[str] = field(default_factory=list)
    rois: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, bytes] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def read_sidecars(acquisition: Acquisition) -> SidecarContents:
    """Read the sidecars of an acquisition; note one that cannot be read."""
    contents = SidecarContents()
    readable: list[Attached] = []
    for number, attached in enumerate(acquisition.attached):
        try:
            data = attached.scanned.path.read_bytes()
        except OSError as error:
            contents.unreadable.append(attached.scanned.rel_path)
            contents.notes.append(f"{_name(attached)} cannot be read: {error.strerror}")
            continue
        contents.data[attached.scanned.rel_path] = data
        acquisition.attached[number] = _of_acqstore(attached, data, acquisition)
        readable.append(acquisition.attached[number])
    for role in _METADATA_ROLES:
        _read_metadata(contents, [a for a in readable if a.role == role])
    # Before the analysis: a file called "<stem>.velocity.parquet" is meant as that artifact.
    regions = [a for a in readable if a.kind == IMAGEJ_KIND]
    _read_sidecars(contents, [a for a in readable if a.role == "sidecar" and a not in regions])
    _read_rois(contents, regions)
    _read_analysis(contents, [a for a in readable if a.role == "analysis"])
    pictures = [_name(a) for a in readable if a.role == "picture"]
    if pictures:
        contents.notes.append(f"kept as pictures of where it was taken: {', '.join(pictures)}")
    for attached in readable:
        looks = known_file(_name(attached), contents.data[attached.scanned.rel_path])
        if attached in regions:
            continue
        if attached.role in ("unknown", "sidecar") and looks is not None:
            contents.notes.append(f"{_name(attached)} was not understood: {looks}")
        elif attached.role == "unknown":
            contents.notes.append(f"{_name(attached)} was kept as it is: no rule covers it")
    return contents


_ACQSTORE: Final = "acqstore"
_ACQSTORE_HEADERS: Final = (b"channel,roi_id,", b'"channel","roi_id",')


def _of_acqstore(attached: Attached, data: bytes, acquisition: Acquisition) -> Attached:
    """Return a sidecar with its role, if its name and its content are those of acqstore."""
    images = [scanned.name for scanned in acquisition.images]
    image = next((name for name in images if _name(attached).startswith(f"{name}.")), None)
    if attached.role != "sidecar" or image is None:
        return attached
    rest = _name(attached).removeprefix(f"{image}.")
    if rest == "json":
        try:
            value = loads_json(data, where=None)
        except ValueError:
            return attached  # It is noted when it is read.
        if acqstore_files.is_sidecar(value):
            return Attached(attached.scanned, "metadata", _ACQSTORE)
    if attached.kind == ".csv" and data.startswith(_ACQSTORE_HEADERS):
        return Attached(attached.scanned, "analysis", _ACQSTORE, rest.removesuffix(".csv"))
    return attached


def read_metadata_sidecar(files: Iterable[tuple[SourceFileDocument, bytes]]) -> SidecarContents:
    """Read headers and metadata from the source files inside the dataset."""
    contents = SidecarContents()
    for document, data in sorted(files, key=lambda file: (file[0].role, file[0].rel_path)):
        role = next((r for r in _METADATA_ROLES if r == document.role), None)
        if role is not None:
            scanned = ScannedFile(document.path, document.rel_path, len(data), document.mtime_ns)
            contents.data[document.rel_path] = data
            _read_metadata(contents, [Attached(scanned, role, role)])
    return contents


def _read_metadata(contents: SidecarContents, files: list[Attached]) -> None:
    for attached in files:
        with _Noted(contents, attached) as data:
            rel_path = attached.scanned.rel_path
            if attached.role == "header":
                header = parse_olympus_header(data)
                if header is None:
                    raise SourceFileError("is no instrument header")
                if contents.header is not None:
                    raise SourceFileError("is a second instrument header")
                contents.header = header
                value: Any = {"text": header.text, "sections": header.sections}
                contents.artifacts.append(
                    SourceArtifact("json", HEADER_ARTIFACT, value, (rel_path,))
                )
            else:
                value = _json(contents, attached, data)
                if not isinstance(value, dict):
                    raise SourceFileError("is not a JSON object, so no metadata")
                # Reject unencodable text ("\\ud800") here: later it would fail the whole image.
                encode("json", value, where=_name(attached))
                value, raw = _payload_of(contents, attached, value), value
                # "<stem>.metadata.json" is a payload as saved, and comes after "<stem>.json".
                if contents.payload is not None:
                    contents.notes.append(f"{_name(attached)} goes before another metadata file")
                    contents.artifacts = [
                        p for p in contents.artifacts if p.name != METADATA_ARTIFACT
                    ]
                contents.payload = value
                contents.artifacts.append(
                    SourceArtifact("json", METADATA_ARTIFACT, raw, (rel_path,))
                )
            contents.payload_made_of.append(rel_path)


def _payload_of(
    contents: SidecarContents, attached: Attached, value: dict[str, Any]
) -> dict[str, Any]:
    """Return the payload of a metadata file; of one of acqstore, add its analyses too."""
    if not acqstore_files.is_sidecar(value):
        return value
    made_of = (attached.scanned.rel_path,)
    suffix = PurePosixPath(_name(attached).removesuffix(".json")).suffix.casefold()
    note = acqstore_files.letter_labels(value, suffix=suffix)
    contents.notes += [] if note is None else [f"{_name(attached)}: {note}"]
    payload = acqstore_files.payload_of_sidecar(value, suffix=suffix)
    runs = acqstore_files.runs_of_sidecar(value)
    contents.artifacts.append(SourceArtifact("json", acqstore.ANALYSIS, runs, made_of))
    events = acqstore.events_of_runs(runs, payload)
    if events is not None:
        contents.artifacts.append(SourceArtifact("parquet", acqstore.EVENTS, events, made_of))
    return payload


def _acqstore_table(contents: SidecarContents, attached: Attached, data: bytes) -> SourceArtifact:
    dataframe = _csv(contents, attached, data).to_dataframe()
    table = acqstore.table_with_image_columns(dataframe, contents.payload)
    table.attrs = {
        "program": acqstore_files.PROGRAM,
        "units": acqstore.units_of(list(table.columns)),
    }
    name = acqstore.TABLE.format(name=attached.name)
    return SourceArtifact("parquet", name, table, (attached.scanned.rel_path,))


def _read_analysis(contents: SidecarContents, files: list[Attached]) -> None:
    for attached in files:
        if attached.kind == _ACQSTORE:
            with _Noted(contents, attached) as data:
                contents.artifacts.append(_acqstore_table(contents, attached, data))
    newest = True
    for age, kinds in AGES:
        here = [attached for attached in files if attached.kind in kinds]
        if not here:
            continue
        suffix = "" if newest else f"_{age}"
        newest = False
        documents: list[tuple[Attached, dict[str, Any]]] = []
        for attached in here:
            with _Noted(contents, attached) as data:
                if attached.kind.endswith("_csv"):
                    artifact = _velocity(contents, attached, data, f"{VELOCITY}{suffix}")
                    contents.artifacts.append(artifact)
                else:
                    documents.append((attached, _object(contents, attached, data)))
        _add_documents(contents, documents, suffix)


def _add_documents(
    contents: SidecarContents, documents: list[tuple[Attached, dict[str, Any]]], suffix: str
) -> None:

    parsed: dict[str, Any] = {}
    made_of: list[str] = []
    for attached, document in documents:
        with _Noted(contents, attached):
            where, rel_path = attached.scanned.full_path, attached.scanned.rel_path
            if "velocity_events" in document:
                events = events_rows(document["velocity_events"], where=where)
                folder, _, name = EVENTS.partition("/")
                artifact = SourceArtifact(
                    "parquet", f"{folder}{suffix}/{name}", events, (rel_path,)
                )
                contents.artifacts.append(artifact)
                contents.events[rel_path] = document["velocity_events"]
            parsed[attached.kind] = analysis_document(document, where=where)
            made_of.append(rel_path)
    if parsed:
        # Two files of one format complement each other: "radon" has the regions, "events" the rest.
        merged: dict[str, Any] = {"versions": {k: d.get("version") for k, d in parsed.items()}}
        regions: list[Any] = []
        for document in parsed.values():
            regions += document["regions"]
            merged |= {k: v for k, v in document.items() if k not in ("version", "regions")}
        merged["regions"] = regions
        contents.artifacts.append(
            SourceArtifact("json", f"{ANALYSIS}{suffix}", merged, tuple(made_of))
        )


def _velocity(
    contents: SidecarContents, attached: Attached, data: bytes, name: str
) -> SourceArtifact:
    rows = velocity_rows(_csv(contents, attached, data))
    return SourceArtifact("parquet", name, rows, (attached.scanned.rel_path,))


def _csv(contents: SidecarContents, attached: Attached, data: bytes) -> Rows:
    """Return the rows of a CSV; note how it was read, if in an unusual way."""
    from kymflow_zarr.formats.dataframe.csv_foreign import read_csv

    notes: list[str] = []
    rows = read_csv(data, notes=notes)
    contents.notes += [f"{_name(attached)} {note}" for note in notes]
    return rows


def _read_sidecars(contents: SidecarContents, files: list[Attached]) -> None:
    kinds: dict[tuple[str, str], str] = {}
    for attached in sorted(files, key=lambda a: (a.kind != ".parquet", a.scanned.rel_path)):
        with _Noted(contents, attached) as data:
            artifact = _sidecar(contents, attached, data)
            # Parquet holds everything that a CSV of the same name does, so prefer it.
            earlier = kinds.setdefault((artifact.kind, artifact.name), _name(attached))
            if earlier != _name(attached):
                contents.notes.append(f"{_name(attached)} was left out for {earlier}")
                continue
            contents.artifacts.append(artifact)


def _read_rois(contents: SidecarContents, files: list[Attached]) -> None:
    """Read regions of ImageJ, unless the metadata have regions: those are edited elsewhere."""
    stated = (contents.payload or {}).get("rois")
    for attached in sorted(files, key=lambda a: a.scanned.rel_path):
        if stated:
            contents.notes.append(
                f"{_name(attached)} was kept as it is: the metadata have regions; "
                "rec.ingest_rois() adds those of ImageJ"
            )
            continue
        with _Noted(contents, attached) as data:
            from kymflow_zarr.engine.rois.imagej import decode_rois

            first = 1 + len(contents.rois)
            try:
                rois = decode_rois(data, where=_name(attached), first_id=first)
            except MissingDependencyError as error:
                raise SourceFileError(f"{error.what}: {error.hint}") from error
            contents.rois += [roi.to_dict() for roi in rois]
            contents.payload_made_of.append(attached.scanned.rel_path)


def _sidecar(contents: SidecarContents, attached: Attached, data: bytes) -> SourceArtifact:
    where, made_of = attached.scanned.full_path, (attached.scanned.rel_path,)
    if attached.kind == ".json":
        return SourceArtifact("json", attached.name, _json(contents, attached, data), made_of)
    if attached.kind == ".npy":
        from kymflow_zarr.formats.array.npy import decode_npy

        return SourceArtifact("array", attached.name, decode_npy(data, where=where), made_of)
    from kymflow_zarr.formats.dataframe.csv_gz import decode_csv_gz
    from kymflow_zarr.formats.dataframe.parquet import decode_parquet

    if attached.kind == ".parquet":
        return SourceArtifact("parquet", attached.name, decode_parquet(data, where=where), made_of)
    if attached.kind == ".csv":
        rows = _csv(contents, attached, data)
        return SourceArtifact("parquet", attached.name, rows, made_of)
    return SourceArtifact("csv_gz", attached.name, decode_csv_gz(data, where=where), made_of)


def _json(contents: SidecarContents, attached: Attached, data: bytes) -> Any:
    """Return the value of a JSON file; note repeated keys, of which only the last value counts."""
    data = data.removeprefix(codecs.BOM_UTF8)
    repeated: set[str] = set()
    try:
        value = loads_json(data, where=None, repeated=repeated)
    except ValueError as error:
        raise SourceFileError(f"is not readable JSON: {error}") from error
    if repeated:
        names = ", ".join(map(repr, sorted(repeated)[:5])) + (", ..." if len(repeated) > 5 else "")
        contents.notes.append(
            f"{_name(attached)} has keys that occur twice in one object ({names}): "
            "the last value of each was taken, and the file was kept as it is"
        )
    return value


def _object(contents: SidecarContents, attached: Attached, data: bytes) -> dict[str, Any]:
    value = _json(contents, attached, data)
    if not isinstance(value, dict):
        raise SourceFileError("is not a JSON object")
    return value


def _name(attached: Attached) -> str:
    return attached.scanned.name


class _Noted:
    """Reads files, and notes errors instead of raising them."""

    def __init__(self, contents: SidecarContents, attached: Attached) -> None:
        self._contents = contents
        self._attached = attached

    def __enter__(self) -> bytes:
        return self._contents.data[self._attached.scanned.rel_path]

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> bool:
        # Parsers raise many exception types on damaged files. The file is kept verbatim.
        if kind is None or not issubclass(kind, Exception):
            return False
        message = error.what if isinstance(error, KymflowZarrError) else str(error)
        self._contents.notes.append(f"{_name(self._attached)} {message}; it was kept as it is")
        return True


def key_of(artifact: SourceArtifact) -> str:
    """Return the key of an artifact below its record.

    Raises
    ------
    ArgumentError
        If its name is not a valid artifact name.
    """
    if artifact.kind == "array":
        return array_artifact_prefix(artifact.name)
    return artifact_key(artifact.kind, artifact.name)


class _Digests:
    """Files that are digested only."""

    def write(self, key: str, data: Content) -> FileSum:  # noqa: ARG002 - as every tree has it
        """Return size and digest of a file."""
        return FileSum.of(arrived(data))

    def read(self, key: str) -> bytes:
        """Raise KeyError: nothing is kept."""
        raise KeyError(key)


def digest_of_artifact(artifact: SourceArtifact) -> str:
    """Return the SHA-256 that the stored artifact would have, without writing it."""
    if artifact.kind == "array":
        document = write_array_artifact(
            artifact.name, artifact.value, _Digests(), axes=None, chunks=None
        )
        return document.sha256
    return digest_of_bytes(encode_artifact(artifact))


def encode_artifact(artifact: SourceArtifact) -> bytes:
    """Return the bytes of an artifact that is no array.

    Raises
    ------
    UnsupportedDataError
        If its value would not come back equal.
    """
    assert artifact.kind != "array"
    if artifact.kind == "parquet":
        from kymflow_zarr.formats.rows.encoded import Rows

        if isinstance(artifact.value, Rows):
            return artifact.value.to_bytes()
    return encode(artifact.kind, artifact.value, where=artifact.name)


def distinct(
    artifacts: Iterable[SourceArtifact], contents: SidecarContents
) -> list[SourceArtifact]:
    """Return the artifacts with unique keys: the first of each key is kept, others are noted."""
    chosen: dict[str, SourceArtifact] = {}
    for artifact in artifacts:
        try:
            first = chosen.setdefault(key_of(artifact), artifact)
        except KymflowZarrError as error:
            contents.notes.append(f"{files_of(artifact)} was kept as it is: {error.what}")
            continue
        if first is not artifact:
            contents.notes.append(
                f"{files_of(artifact)} was kept as it is: it would be a second artifact called "
                f"{artifact.name!r}, which {files_of(first)} makes"
            )
    return list(chosen.values())


def files_of(artifact: SourceArtifact) -> str:
    """Return the names of the files that an artifact is made of."""
    return ", ".join(PurePosixPath(path).name for path in artifact.made_of)


def feeds_of(artifacts: Iterable[tuple[SourceArtifact, str, str]]) -> dict[str, dict[str, str]]:
    """Return, by ``rel_path``, the keys and digests of the artifacts made of a file."""
    feeds: dict[str, dict[str, str]] = {}
    for artifact, key, sha256 in artifacts:
        for rel_path in artifact.made_of:
            feeds.setdefault(rel_path, {})[key] = sha256
    return feeds


_EVENT_DTYPES: Final = {
    "roi_id": "Int64",
    "channel": "Int64",
    "event_type": "str",
    "i_start": "Int64",
    "i_peak": "Int64",
    "i_end": "Int64",
    "t_start_s": "float64",
    "t_peak_s": "float64",
    "t_end_s": "float64",
    "score_peak": "float64",
    "baseline_before": "float64",
    "baseline_after": "float64",
    "strength": "float64",
    "nan_fraction_in_event": "float64",
    "n_valid_in_event": "Int64",
    "duration_s": "float64",
    "machine_type": "str",
    "user_type": "str",
    "note": "str",
}


def velocity_rows(table: Rows) -> Rows:
    """Return a velocity table of any version with the columns of the schema.

    The oldest tables have an unnamed row number, which is dropped, and one region, the whole
    image: their ``roi_id`` is 0 and their ``channel`` 1.
    """
    from kymflow_zarr.formats.rows.encoded import Rows, repeated

    columns = [
        column.renamed(VELOCITY_COLUMNS.get(name, name))
        for name, column in table.columns.items()
        if not name.startswith("Unnamed:")
    ]
    for position, (name, value) in enumerate((("roi_id", 0), ("channel", 1))):
        if all(column.name != name for column in columns):
            columns.insert(position, repeated(name, value, table.rows))
    return Rows.of_columns(columns)


def events_rows(velocity_events: object, *, where: str) -> Rows:
    """Return the events of all regions as rows.

    Parameters
    ----------
    velocity_events : mapping
        Lists of events, by region id (``"1"``) or region and channel (``"1:1"``).
    where : str
        The file, for the error.

    Raises
    ------
    SourceFileError
        If `velocity_events` has another form.
    """
    from kymflow_zarr.formats.rows.encoded import Column, Rows

    rows: list[dict[str, Any]] = []
    for key, events in _mapping(velocity_events, where).items():
        roi_id, channel = _region(key, where)
        if not isinstance(events, list) or not all(isinstance(e, Mapping) for e in events):
            raise SourceFileError(f"the events of region {key!r} are no list", where=where)
        for event in events:
            named = {EVENT_COLUMNS.get(name, name): value for name, value in event.items()}
            rows.append(named | {"roi_id": roi_id, "channel": channel})
    kinds = _EVENT_DTYPES | {name: "" for row in rows for name in row if name not in _EVENT_DTYPES}
    columns = {name: [row.get(name, math.nan) for row in rows] for name in kinds}
    return Rows.of_columns(
        [Column(name, *_event_column(name, columns[name], kind)) for name, kind in kinds.items()]
    )


def _event_column(name: str, values: list[Any], kind: str) -> tuple[Any, dict[str, Any]]:
    """Return a column of events and its marker; values of another kind stay objects."""
    import pandas as pd
    import pyarrow as pa

    from kymflow_zarr.formats.dataframe.columns import encode_column

    present = [None if value != value else value for value in values]
    given = [value for value in present if value is not None]
    if kind in ("Int64", "float64") and all(isinstance(n, int | float) for n in given):
        with contextlib.suppress(OverflowError):
            # Keep fractions in columns that usually hold whole numbers.
            if kind == "float64":
                numbers = [None if n is None else float(n) for n in present]
                return pa.array(numbers, pa.float64()), {"kind": "numpy", "dtype": kind}
            if all(isinstance(n, int) or n.is_integer() for n in given):
                whole = [None if n is None else int(n) for n in present]
                return pa.array(whole, pa.int64()), {"kind": "nullable", "dtype": kind}
    column: Any = pd.Series(values) if values else pd.Series([], dtype=object)
    return encode_column(column.astype("object") if kind else column, f"column {name!r}")


def analysis_document(document: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the content of an analysis file without its events, regions as a list.

    Raises
    ------
    SourceFileError
        If its structure matches no known version.
    """
    rest = {k: v for k, v in document.items() if k not in ("analysis_metadata", "velocity_events")}
    regions = []
    for key, region in _mapping(document.get("analysis_metadata", {}), where).items():
        roi_id, channel = _region(key, where)
        regions.append({"roi_id": roi_id, "channel": channel, **_mapping(region, where)})
    return {**rest, "regions": regions}


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SourceFileError("a part of the analysis is not an object", where=where)
    return value


def _region(key: str, where: str) -> tuple[int, int]:
    """Return region and channel of ``"1"`` or ``"1:1"``; without a channel it is 1."""
    roi_id, _, channel = key.partition(":")
    try:
        return int(roi_id), int(channel or 1)
    except ValueError:
        raise SourceFileError(f"{key!r} is no region", where=where) from None
