"""The legacy naming convention: group the files of a folder and determine their roles.

Beside ``<stem>.tif``:

=========================================  ==================================================
``<stem>.txt``                             instrument header
``<stem>.json``, ``<stem>.metadata.json``  metadata payload
``<stem>.<name>.json|csv|csv.gz|...``      an artifact called ``<name>``
``<stem>.roi``, ``<stem>_RoiSet.zip``      regions of ImageJ
``flow-analysis/<stem>_kymanalysis.*``     velocity, events and analysis, until March 2026
``flow-analysis/<stem>_radon.*``           velocity and analysis since
``flow-analysis/<stem>_events.json``       events since
``<folder name>-analysis/<stem>.csv``      velocity of the oldest program ("v0")
=========================================  ==================================================

Names are compared exactly first, and then case-folded in Unicode normal form C, since macOS and
Windows may write the same name in different code points. ``<stem>`` of ``scan.ome.tif`` is
``scan.ome``, and also ``scan`` where no other TIFF has that stem.

Channel files ``<base>_C001T001.tif``, ``<base>_C002T001.tif`` are one acquisition and share the
sidecars of ``<base>``. The files of a set that the format itself defines, such as multi-file
OME-TIFF, are one image too. Tables called ``*_db.csv`` are pooled over a folder.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from kymflow_zarr.ingest.folder.scan import ScannedFile
from kymflow_zarr.ingest.folder.source_index import KnownImage
from kymflow_zarr.ingest.sources.interface import FileSet
from kymflow_zarr.ingest.sources.registry import file_sets, is_image_file, may_tell_sets
from kymflow_zarr.layout import parse_sidecar_name
from kymflow_zarr.types import ROI_SUFFIXES

Role: TypeAlias = Literal[
    "image",
    "member",
    "companion",
    "picture",
    "header",
    "metadata",
    "analysis",
    "sidecar",
    "unknown",
]

SIDECAR_SUFFIXES: Final = (".csv.gz", ".json", ".csv", ".parquet", ".npy")
ANALYSIS_FOLDER: Final = "flow-analysis"
_POOLED: Final = "_db.csv"
_ANALYSIS_FILES: Final = {
    "_kymanalysis.csv": "kymanalysis_csv",
    "_kymanalysis.json": "kymanalysis_json",
    "_radon.csv": "radon_csv",
    "_radon.json": "radon_json",
    "_events.json": "events_json",
}
# "scan.ome.tif": converters keep the suffix of the microscope's file before that of the TIFF.
_INNER_ENDINGS: Final = frozenset(
    {"ome", "czi", "lsm", "nd2", "oib", "oif", "oir", "vsi", "lif", "ims", "zvi", "stk", "dv"}
)
# Matches what may follow a stem in the name of a sidecar, or of a file in an analysis folder.
_ENDS_STEM: Final = re.compile(r"\.|_diameter$")
# People call the ZIP of the ROI Manager "<stem>_RoiSet.zip", as it proposes.
IMAGEJ_KIND: Final = "imagej"
_ENDS_STEM_OF_ROIS: Final = re.compile(r"\.|_RoiSet$", re.IGNORECASE)
_ENDS_STEM_OF_ANALYSIS: Final = re.compile(r"[._]")
_CHANNEL_FILE: Final = re.compile(r"(?P<base>.+)_C(?P<channel>\d{3})T(?P<time>\d{3})")


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that belongs to an acquisition.

    Parameters
    ----------
    scanned : ScannedFile
    role : str
    kind : str
        The rule of the convention that it matches.
    name : str
        Name of the artifact, for sidecars.
    """

    scanned: ScannedFile
    role: Role
    kind: str
    name: str = ""


@dataclass(slots=True)
class Acquisition:
    """The files of one image and their sidecars.

    Parameters
    ----------
    images : tuple of ScannedFile
        The files to open, in order of their channels.
    attached : list of Attached
        Sidecars.
    members : tuple of ScannedFile
        Other files of a set that the first one reads pixels from.
    """

    images: tuple[ScannedFile, ...]
    attached: list[Attached] = field(default_factory=list)
    members: tuple[ScannedFile, ...] = ()

    @property
    def primary(self) -> ScannedFile:
        """The TIFF that identifies the acquisition."""
        return self.images[0]


@dataclass(slots=True)
class FolderPlan:
    """The files of a folder, grouped.

    Parameters
    ----------
    acquisitions : list of Acquisition
    pooled : list of ScannedFile
        Tables over the whole folder.
    unmatched : list of (ScannedFile, str)
        Files that no rule covers, and why.
    """

    acquisitions: list[Acquisition]
    pooled: list[ScannedFile]
    unmatched: list[tuple[ScannedFile, str]]


def matches(name: str, pattern: str) -> bool:
    """Return True if a file name matches, whatever its case; ``*.tif`` takes ``.tiff`` too."""
    patterns = {pattern.casefold()}
    if pattern.casefold().endswith(".tif"):
        patterns.add(f"{pattern.casefold()}f")
    return any(fnmatch.fnmatchcase(name.casefold(), p) for p in patterns)


def is_pooled(path: str) -> bool:
    """Return True if a file, by its name or path, is a table over the whole folder."""
    return path[-len(_POOLED) :].casefold() == _POOLED


def plan_folder(
    files: Iterable[ScannedFile],
    takes: Callable[[ScannedFile], bool],
    *,
    include_sidecars: bool,
    known: Callable[[ScannedFile], KnownImage | None] = lambda _: None,
) -> FolderPlan:
    """Group the files of a folder into acquisitions: sets, channel files, single files.

    Parameters
    ----------
    files : iterable of ScannedFile
        All files of the folder, in order of their paths.
    takes : callable
        Returns True for image files that are to be ingested.
    include_sidecars : bool
        False ingests the images alone and ignores all other files.
    known : callable
        Returns the known image of an unchanged file. In a folder where all files are known, none is
        opened to find sets.
    """
    files = list(files)
    wanted = {f.rel_path for f in files if takes(f)}
    # Sidecars of an image that was not requested still belong to that image.
    images = [f for f in files if f.rel_path in wanted or is_image_file(f.full_path)]
    sets = _sets(files, wanted, known)
    claimed = {f for each in sets for f in (*each.images, *each.members)}
    claimed |= {attached.scanned for each in sets for attached in each.attached}
    everything = [*sets, *_acquisitions([f for f in images if f not in claimed])]
    plan = FolderPlan([], [], [])
    if include_sidecars:
        owners = _Owners(everything)
        taken = {f.rel_path for f in (*images, *claimed)}
        for scanned in files:
            if scanned.rel_path in taken:
                continue
            if is_pooled(scanned.name):
                plan.pooled.append(scanned)
            elif not owners.attach(scanned):
                plan.unmatched.append((scanned, _reason(scanned)))
    plan.acquisitions += sets
    for acquisition in everything[len(sets) :]:
        acquisition.images = tuple(f for f in acquisition.images if f.rel_path in wanted)
        if acquisition.images:
            plan.acquisitions.append(acquisition)
    plan.acquisitions.sort(key=lambda acquisition: acquisition.primary.rel_path)
    return plan


def _sets(
    files: list[ScannedFile], wanted: set[str], known: Callable[[ScannedFile], KnownImage | None]
) -> list[Acquisition]:
    """Return the sets of files that are one image each and contain a requested file."""
    sets: dict[Path, FileSet] = {}
    unsettled: set[Path] = set()
    for f in files:
        if not may_tell_sets(f.full_path):
            continue
        image = known(f)
        if image is None:
            # A picture lies in a subfolder of its set's folder.
            unsettled |= {f.path.parent, f.path.parent.parent}
        elif len(image.files) > 1:
            each = _known_set(image)
            sets[each.primary] = each
    if not sets and not unsettled:
        return []
    by_path = {f.path: f for f in files}
    for each in sets.values():
        if not {each.primary, *each.members, *each.companions} <= by_path.keys():
            unsettled.add(each.primary.parent)
    settled = [
        each
        for each in sets.values()
        if not unsettled & {each.primary.parent, each.primary.parent.parent}
    ]
    asked = [path for path in by_path if unsettled & {path.parent, path.parent.parent}]
    acquisitions = []
    for each in [*settled, *file_sets(asked)]:
        if each.primary not in by_path or not (each.members or each.companions or each.pictures):
            continue
        members = tuple(by_path[path] for path in each.members if path in by_path)
        primary = by_path[each.primary]
        if not any(f.rel_path in wanted for f in (primary, *members)):
            continue
        attached = [
            Attached(by_path[path], role, role)
            for role, paths in _roles_of(each)
            for path in paths
            if path in by_path
        ]
        acquisitions.append(Acquisition((primary,), attached, members))
    return acquisitions


def _roles_of(files: FileSet) -> list[tuple[Role, tuple[Path, ...]]]:
    return [("companion", files.companions), ("picture", files.pictures)]


def _known_set(image: KnownImage) -> FileSet:
    def files(role: str) -> tuple[Path, ...]:
        return tuple(Path(file.path) for file in image.files if file.role == role)

    return FileSet(Path(image.file.path), files("member"), files("companion"), files("picture"))


def _acquisitions(images: list[ScannedFile]) -> list[Acquisition]:
    groups: dict[tuple[str, ...], list[ScannedFile]] = defaultdict(list)
    for scanned in images:
        match = _CHANNEL_FILE.fullmatch(scanned.stem)
        folder = scanned.folder
        if match is None:
            groups[folder, scanned.name].append(scanned)
        else:
            suffix = scanned.name[len(scanned.stem) :]
            groups[folder, match["base"], match["time"], suffix].append(scanned)
    return [Acquisition(tuple(sorted(g, key=lambda f: f.rel_path))) for g in groups.values()]


class _Stems:
    """The acquisitions of one folder by stem."""

    def __init__(self) -> None:
        self._exact: dict[str, list[Acquisition]] = {}
        self._by_folded: dict[str, list[str]] | None = None

    def add(self, stem: str, acquisition: Acquisition) -> None:
        """Register an acquisition under a stem."""
        own = self._exact.setdefault(stem, [])
        if acquisition not in own:
            own.append(acquisition)

    def add_short_stems(self) -> None:
        """Register ``scan.ome.tif`` under ``scan`` too, unless another TIFF has that stem."""
        short: dict[str, list[str]] = defaultdict(list)
        for stem in self._exact:
            base, dot, ending = stem.rpartition(".")
            if dot and base and ending.casefold() in _INNER_ENDINGS:
                short[base].append(stem)
        for base, stems in short.items():
            if len(stems) == 1 and _folded(base) not in self._folded_stems():
                self._exact[base] = self._exact[stems[0]]
        self._by_folded = None

    def owners(self, stem: str) -> list[Acquisition]:
        """Return the acquisitions of a stem; a case-folded match counts only if it is unique."""
        if stem in self._exact:
            return self._exact[stem]
        alike = self._folded_stems().get(_folded(stem), [])
        return self._exact[alike[0]] if len(alike) == 1 else []

    def longest(self, name: str, ends: re.Pattern[str]) -> tuple[list[Acquisition], str]:
        """Return the acquisitions of the longest stem that starts a name, and the rest of the name.

        Stems may contain dots, so the name may start with several of them.

        Parameters
        ----------
        name : str
        ends : re.Pattern
            Matches what may follow a stem.
        """
        for stem, rest in _splits(name, ends):
            if stem in self._exact:
                return self._exact[stem], rest
        for stem, rest in _splits(unicodedata.normalize("NFC", name), ends):
            alike = self._folded_stems().get(_folded(stem))
            if alike:
                return self._exact[alike[0]], rest
        return [], ""

    def _folded_stems(self) -> dict[str, list[str]]:
        if self._by_folded is None:
            self._by_folded = defaultdict(list)
            for stem in self._exact:
                self._by_folded[_folded(stem)].append(stem)
            self._by_folded = dict(self._by_folded)
        return self._by_folded


_NO_STEMS: Final = _Stems()


class _Owners:
    """Finds the acquisitions that a file belongs to, by folder and stem."""

    def __init__(self, acquisitions: Iterable[Acquisition]) -> None:
        self._by_folder: dict[str, _Stems] = defaultdict(_Stems)
        for acquisition in acquisitions:
            stems = self._by_folder[acquisition.primary.folder]
            for scanned in (*acquisition.images, *acquisition.members):
                stems.add(scanned.stem, acquisition)
                match = _CHANNEL_FILE.fullmatch(scanned.stem)
                if match is not None:
                    stems.add(match["base"], acquisition)
        for stems in self._by_folder.values():
            stems.add_short_stems()

    def attach(self, scanned: ScannedFile) -> bool:
        """Attach a file to the acquisitions it belongs to; return False if there are none."""
        name, lower = scanned.name, scanned.name.casefold()
        if self._attach_to_above(scanned):
            return True
        # An analysis folder may itself hold images with sidecars.
        stems = self._stems(scanned.folder)
        if lower.endswith(".txt"):
            return self._give(scanned, stems.owners(name[: -len(".txt")]), "header", "header")
        if lower.endswith(ROI_SUFFIXES):
            owners, _ = stems.longest(name[: -len(".roi")], _ENDS_STEM_OF_ROIS)
            return self._give(scanned, owners, "sidecar", IMAGEJ_KIND)
        suffix = next((s for s in SIDECAR_SUFFIXES if lower.endswith(s)), "")
        owners, rest = stems.longest(name[: len(name) - len(suffix)], _ENDS_STEM)
        if not suffix:
            return self._give(scanned, owners, "unknown", "unknown")
        if suffix == ".json" and rest in ("", "metadata"):
            return self._give(scanned, owners, "metadata", f"payload{rest and '_own'}")
        if not rest:
            return self._give(scanned, owners, "unknown", "unknown")
        return self._give(scanned, owners, "sidecar", suffix, parse_sidecar_name(rest))

    def _stems(self, folder: str) -> _Stems:
        return self._by_folder.get(folder) or _NO_STEMS

    def _attach_to_above(self, scanned: ScannedFile) -> bool:
        """Attach a file of an analysis folder to the acquisitions of the parent folder."""
        above, _, folder = scanned.folder.rpartition("/")
        if folder == ANALYSIS_FOLDER:
            return self._attach_analysis(scanned, self._stems(above))
        # Use the absolute path: at the top of the scan, the folder's name is not in ``rel_path``.
        if folder.endswith("-analysis") and folder == f"{scanned.path.parent.parent.name}-analysis":
            return self._attach_v0(scanned, self._stems(above))
        return False

    def _attach_analysis(self, scanned: ScannedFile, stems: _Stems) -> bool:
        name = scanned.name
        for suffix, kind in _ANALYSIS_FILES.items():
            if name.casefold().endswith(suffix):
                return self._give(scanned, stems.owners(name[: -len(suffix)]), "analysis", kind)
        return self._give(
            scanned, stems.longest(name, _ENDS_STEM_OF_ANALYSIS)[0], "unknown", "unknown"
        )

    def _attach_v0(self, scanned: ScannedFile, stems: _Stems) -> bool:
        name = scanned.name
        if not name.casefold().endswith(".csv"):
            return False
        return self._give(scanned, stems.owners(name[: -len(".csv")]), "analysis", "v0_csv")

    def _give(
        self,
        scanned: ScannedFile,
        owners: list[Acquisition],
        role: Role,
        kind: str,
        name: str = "",
    ) -> bool:
        for owner in owners:
            owner.attached.append(Attached(scanned, role, kind, name))
        return bool(owners)


def _splits(name: str, ends: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield each possible stem of a name, longest first, and the rest of the name."""
    yield name, ""
    for match in reversed(list(ends.finditer(name))):
        yield name[: match.start()], name[match.start() + 1 :]


def _folded(name: str) -> str:
    """Return a name in NFC and case-folded, for comparisons across systems."""
    return unicodedata.normalize("NFC", name).casefold()


def _reason(scanned: ScannedFile) -> str:
    folder = scanned.folder.rpartition("/")[2]
    if folder == ANALYSIS_FOLDER or folder.endswith("-analysis"):
        return "the TIFF that it analyzes is not in the folder"
    if scanned.name.casefold().endswith((".txt", *SIDECAR_SUFFIXES)):
        return "there is no TIFF of its name in the folder"
    return "no rule covers such a file"
