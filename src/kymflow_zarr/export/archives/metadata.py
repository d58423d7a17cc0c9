"""The metadata that archives require: where each value comes from, and which ones are missing."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, MetadataNotFoundError
from kymflow_zarr.export.archives.report import ArchiveGap

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

T = TypeVar("T")

# Common names of species, their Latin names and their numbers in the NCBI taxonomy.
_SPECIES: Final = {
    "Mus musculus": ("10090", "mouse", "mice", "house mouse", "m. musculus"),
    "Rattus norvegicus": ("10116", "rat", "rats", "norway rat", "r. norvegicus"),
    "Homo sapiens": ("9606", "human", "humans", "h. sapiens"),
    "Danio rerio": ("7955", "zebrafish", "d. rerio"),
    "Drosophila melanogaster": ("7227", "fruit fly", "d. melanogaster"),
    "Sus scrofa": ("9823", "pig"),
    "Oryctolagus cuniculus": ("9986", "rabbit"),
    "Macaca mulatta": ("9544", "rhesus macaque", "rhesus monkey"),
}
_LATIN: Final = re.compile(r"[A-Z][a-z]+ [a-z]+(-[a-z]+)?")
_SEXES: Final = {
    "m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O", "u": "U",
    "unknown": "U",
}  # fmt: skip
_AGE: Final = re.compile(
    r"(\d+(?:\.\d+)?)\s*(d|days?|w|wks?|weeks?|months?|y|yrs?|years?)", re.IGNORECASE
)
_ISO_DURATION: Final = re.compile(
    r"P(?!$)(\d+(?:\.\d+)?Y)?(\d+(?:\.\d+)?M)?(\d+(?:\.\d+)?W)?(\d+(?:\.\d+)?D)?"
    r"(T(?=\d)(\d+H)?(\d+M)?(\d+(?:\.\d+)?S)?)?"
)


@dataclass
class ArchiveMetadata:
    """The metadata of some images, and what is missing of it.

    Parameters
    ----------
    given : mapping
        Values for all images that have none of their own.
    call : str
        Name of the method that takes them, for the messages.
    """

    given: Mapping[str, Any]
    call: str
    _gaps: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    _payloads: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, given: Mapping[str, Any] | None, known: Sequence[str], call: str
    ) -> ArchiveMetadata:
        """Return the metadata of a call; raise ArgumentError for a name that nothing reads."""
        if given is not None and not isinstance(given, Mapping):
            raise ArgumentTypeError("metadata is not a mapping", where="metadata")
        for key in given or {}:
            if key not in known:
                raise ArgumentError(
                    f"{key!r} is not among the metadata of {call}()",
                    where="metadata",
                    hint=f"{did_you_mean(str(key), known)}They are {', '.join(known)}.",
                )
        return cls(given or {}, call)

    @property
    def gaps(self) -> tuple[ArchiveGap, ...]:
        """What is missing, in the order in which it was asked for."""
        return tuple(
            ArchiveGap(key, tuple(dict.fromkeys(ids)), reason, where)
            for (key, reason, where), ids in self._gaps.items()
        )

    def payload(self, image: StoredImage) -> dict[str, Any]:
        """Return the metadata payload of an image, an empty one if it has none."""
        if image.image_id not in self._payloads:
            try:
                payload = image.load_metadata_payload()
            except MetadataNotFoundError:
                payload = {}
            self._payloads[image.image_id] = payload
        return self._payloads[image.image_id]

    def experiment(self, image: StoredImage) -> dict[str, Any]:
        """Return the experiment's metadata of an image, without empty values."""
        metadata = self.payload(image).get("experiment_metadata")
        pairs = metadata.items() if isinstance(metadata, Mapping) else ()
        return {str(key): value for key, value in pairs if value is not None and value != ""}

    def common(self, key: str) -> Any:
        """Return a value of the whole dataset, None if there is none."""
        value = self.given.get(key)
        return None if value == "" else value

    def require_common(self, key: str, what: str) -> Any:
        """Return a value of the whole dataset; note that it is missing if there is none."""
        value = self.common(key)
        if value is None:
            self._gap(key, f"{what} is required", f"{self.call}(metadata={{{key!r}: ...}})", None)
        return value

    def value(
        self, image: StoredImage, key: str, understand: Callable[[str], T | None], form: str
    ) -> T | None:
        """Return a value of an image in an archive's form; note it if it is not understood.

        Parameters
        ----------
        image : StoredImage
        key : str
            In the experiment's metadata of the image, else, or if that is not understood, in what
            the call was given.
        understand : callable
            Returns the value in the archive's form, None if it has none.
        form : str
            What the archive takes, for the message.
        """
        candidates = [self.experiment(image).get(key), self.common(key)]
        stated = [str(value).strip() for value in candidates if value is not None]
        for value in stated:
            understood = understand(value)
            if understood is not None:
                return understood
        if stated:
            self._gap(key, f"{stated[0]!r} is not understood: {form}", self._where(key), image)
        return None

    def require(
        self, image: StoredImage, key: str, understand: Callable[[str], T | None], form: str
    ) -> T | None:
        """Return a value as `value` does; note that it is missing if there is none."""
        if self.experiment(image).get(key, self.common(key)) is None:
            self._gap(key, f"it is required: {form}", self._where(key), image)
        return self.value(image, key, understand, form)

    def conflict(self, key: str, images: Iterable[StoredImage], reason: str) -> None:
        """Note that values of several images contradict each other."""
        for image in images:
            self._gap(key, reason, self._where(key), image)

    def _where(self, key: str) -> str:
        return (
            f"Type it as experiment_metadata.{key} of each image, or for all as "
            f"{self.call}(metadata={{{key!r}: ...}})"
        )

    def _gap(self, key: str, reason: str, where: str, image: StoredImage | None) -> None:
        ids = self._gaps.setdefault((key, reason, where), [])
        if image is not None:
            ids.append(image.image_id)

    def require_complete(self) -> None:
        """Raise ArgumentError, with all that is missing, if anything is."""
        if self._gaps:
            lines = "\n".join(f"  {gap}" for gap in self.gaps)
            raise ArgumentError(
                f"{len(self._gaps)} values that the archive requires are missing, and nothing was "
                f"written:\n{lines}\n"
            )


# The forms of single values -----------------------------------------------------------------


def text(value: str) -> str | None:
    """Return a text that is not empty."""
    return value or None


def latin_name(value: str) -> str | None:
    """Return the Latin name of a species, None for a text that is no species."""
    for latin, (_, *names) in _SPECIES.items():
        if value.casefold() in (latin.casefold(), *names):
            return latin
    return value if _LATIN.fullmatch(value) else None


def taxon(latin: str) -> str | None:
    """Return the address of a species in the NCBI taxonomy, None if it is not in our table."""
    species = _SPECIES.get(latin)
    return None if species is None else f"http://purl.obolibrary.org/obo/NCBITaxon_{species[0]}"


def sex_letter(value: str) -> str | None:
    """Return M, F, O or U."""
    return _SEXES.get(value.casefold())


def iso_age(value: str) -> str | None:
    """Return an age as a duration of ISO 8601, such as ``P12W``; a range has a slash.

    ``P30`` is taken as it is used of rodents: 30 days after birth.
    """
    if all(not part or _ISO_DURATION.fullmatch(part) for part in value.split("/")):
        return value
    if re.fullmatch(r"[Pp]\d+", value):
        return f"P{value[1:]}D"
    match = _AGE.fullmatch(value)
    return None if match is None else f"P{match[1]}{match[2][0].upper()}"


def zone(value: str) -> dt.tzinfo | None:
    """Return a time zone by its IANA name, or by its offset such as ``+02:00``."""
    if re.fullmatch(r"[+-]\d\d:\d\d", value):
        return dt.datetime.fromisoformat(f"2000-01-01T00:00:00{value}").tzinfo
    try:
        return zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None


def moment(value: str) -> dt.datetime | None:
    """Return an ISO date and time."""
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError:
        return None


def texts(value: Any) -> list[str]:
    """Return a list of texts: a list as it is, a text cut at semicolons."""
    parts = value.split(";") if isinstance(value, str) else list(value or ())
    return [str(part).strip() for part in parts if str(part).strip()]
