"""A dataset as an RO-Crate: one packed file, and a description of it for a repository.

The description is RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the modules of REMBI
(https://doi.org/10.1038/s41592-021-01166-8) in the terms of the OME-Zarr RO-Crate profile: an image
is the result of an acquisition, of a specimen, of a biosample, of an organism. It is written from
the tables below; the library rocrate adds files and a page, but no terms.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr._version import __version__
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import TargetExistsError
from kymflow_zarr.export.archives.metadata import ArchiveMetadata, latin_name, taxon, text, texts
from kymflow_zarr.export.archives.report import ArchiveReport
from kymflow_zarr.export.archives.session import chosen_images, name_part
from kymflow_zarr.export.complete import complete_file
from kymflow_zarr.export.pack import pack
from kymflow_zarr.layout import PACKED_SUFFIX
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.types import Progress, StrPath

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

_FILE: Final = "ro-crate-metadata.json"
_CONTEXT: Final = [
    "https://w3id.org/ro/crate/1.1/context",
    {
        "obo": "http://purl.obolibrary.org/obo/",
        "organism_classification": "https://schema.org/taxonomicRange",
        "BioChemEntity": "https://schema.org/BioChemEntity",
        "biological_entity": "https://schema.org/about",
        "biosample": "http://purl.obolibrary.org/obo/OBI_0002648",
        "specimen": "http://purl.obolibrary.org/obo/HSO_0000308",
        "preparation_method": "https://www.wikidata.org/wiki/Property:P1537",
        "acquisiton_method": {"@reverse": "https://schema.org/result", "@type": "@id"},
        "resultOf": {"@reverse": "https://schema.org/result", "@type": "@id"},
        "image_acquisition": "http://purl.obolibrary.org/obo/FBbi_00000222",
        "fbbi_id": {"@id": "https://schema.org/measurementMethod", "@type": "@id"},
        "sha256": "https://schema.org/sha256",
    },
]
# Of the study: what REMBI requires of it, and what it may have.
_STUDY: Final = {
    "title": "the title of the study",
    "description": "what was studied",
    "license": 'the license of the data, such as "CC-BY-4.0"',
    "authors": 'the authors, such as "Jane Doe (0000-0002-1825-0097); John Roe"',
}
_MORE: Final = ("keywords", "institution", "funding", "related_publications")
# Of each image. What a biosample, a specimen and an acquisition differ in; the first is required.
_BIOSAMPLE: Final = ("species", "sex", "age", "genotype", "strain", "cell_type", "region")
_SPECIMEN: Final = ("sample_preparation", "condition", "condition2", "treatment", "treatment2")
_ACQUISITION: Final = ("imaging_method", "instrument")
_OF_IMAGES: Final = {
    "species": (latin_name, 'a Latin name such as "Mus musculus"'),
    "sample_preparation": (text, "how the specimen was prepared, in a sentence"),
    "imaging_method": (text, 'such as "two-photon microscopy", with its "FBbi:" number if known'),
    "instrument": (text, "maker and model of the microscope"),
}  # fmt: skip
METADATA: Final = tuple(dict.fromkeys([*_STUDY, *_MORE, *_BIOSAMPLE, *_SPECIMEN, *_ACQUISITION]))
_ORCID: Final = re.compile(r"(?:https://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")


def export_ro_crate(
    dataset: OpenDataset,
    folder: StrPath,
    *,
    metadata: Mapping[str, Any] | None,
    image_ids: Collection[str] | None,
    dry_run: bool,
    progress: Progress | None,
) -> ArchiveReport:
    """Write a crate; see :meth:`kymflow_zarr.ZarrDataset.export_ro_crate`."""
    images = chosen_images(dataset, image_ids)
    known = ArchiveMetadata.of(metadata, METADATA, "export_ro_crate")
    target = Path(folder).expanduser().absolute()
    title = known.common("title")
    packed = f"{name_part(str(title or 'dataset'))[:80]}{PACKED_SUFFIX}"
    crate = _Crate(dataset, known, packed)
    crate.describe(images)
    report = ArchiveReport(str(target), (packed, _FILE), known.gaps)
    if dry_run:
        return report
    known.require_complete()
    for name in report.files:
        if (target / name).exists():
            raise TargetExistsError(
                "there is such a file already",
                where=str(target / name),
                hint="Choose another folder.",
            )
    with os_errors("write", str(target)):
        target.mkdir(parents=True, exist_ok=True)
        pack(dataset, target / packed, image_ids=image_ids, progress=progress)
        data = target / packed
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        crate.add(packed, contentSize=str(data.stat().st_size), sha256=digest)
        # The description comes last: with it the folder is a crate.
        text_ = json.dumps(crate.document(), indent=2, ensure_ascii=False)
        with complete_file(target / _FILE) as part:
            part.write_text(f"{text_}\n", encoding="utf-8")
    return report


class _Crate:
    """The entities of a crate, by their ids."""

    def __init__(self, dataset: OpenDataset, known: ArchiveMetadata, packed: str) -> None:
        self._dataset = dataset
        self._known = known
        self._packed = packed
        self._entities: dict[str, dict[str, Any]] = {}

    def document(self) -> dict[str, Any]:
        """Return the content of ``ro-crate-metadata.json``."""
        return {"@context": _CONTEXT, "@graph": list(self._entities.values())}

    def add(self, entity_id: str, **values: Any) -> dict[str, str]:
        """Add values to an entity, and return a reference to it."""
        kind = values.pop("type", None)
        entity = self._entities.setdefault(entity_id, {"@id": entity_id})
        if kind is not None:
            entity["@type"] = kind
        for key, value in values.items():
            if value not in (None, [], ""):
                # RO-Crate 1.1 asks for a value in place of a list of one.
                is_one = isinstance(value, list) and len(value) == 1
                entity[key] = value[0] if is_one else value
        return {"@id": entity_id}

    def describe(self, images: list[StoredImage]) -> None:
        """Add all entities; what is missing is noted in the metadata."""
        self.add(
            _FILE,
            type="CreativeWork",
            conformsTo={"@id": "https://w3id.org/ro/crate/1.1"},
            about={"@id": "./"},
        )
        study = {key: self._known.require_common(key, what) for key, what in _STUDY.items()}
        self.add(
            "./",
            type="Dataset",
            name=study["title"],
            description=study["description"],
            identifier=self._dataset.dataset_id,
            datePublished=dt.datetime.now(dt.UTC).date().isoformat(),
            license=self._license(str(study["license"])),
            publisher=self._institution(),
            author=[self._author(name) for name in texts(study["authors"])],
            keywords=", ".join(texts(self._known.common("keywords"))),
            funding=self._known.common("funding"),
            citation=[
                self.add(url, type="ScholarlyArticle", name=url)
                for url in texts(self._known.common("related_publications"))
            ],
            hasPart=[{"@id": self._packed}],
            mentions=[],
        )
        self.add(
            self._packed,
            type="File",
            name="The dataset: images, metadata, regions, analysis and tables (OME-Zarr, one file)",
            encodingFormat="application/zip",
            conformsTo=self.add(
                "https://ngff.openmicroscopy.org/0.5/", type="CreativeWork", name="OME-Zarr 0.5"
            ),
        )
        names = self._dataset.image_names()
        mentioned = [self._image(image, names[image.image_id]) for image in images]
        mentioned += self._analyses(images)
        self.add("./", mentions=mentioned)

    def _license(self, license_: str) -> dict[str, str]:
        url = license_ if "://" in license_ else f"https://spdx.org/licenses/{license_}"
        return self.add(url, type="CreativeWork", name=license_, description=f"License {license_}")

    def _institution(self) -> dict[str, str] | None:
        name = self._known.common("institution")
        if name is None:
            return None
        url = re.search(r"https?://[^\s<>()]+", str(name))
        plain = str(name).replace(url[0], "").strip(" ()<>,") if url else str(name)
        return self.add(
            url[0] if url else f"#institution-{name_part(plain)}",
            type="Organization",
            name=plain,
            url=url[0] if url else None,
        )

    def _author(self, name: str) -> dict[str, str]:
        match = _ORCID.search(name)
        orcid = f"https://orcid.org/{match[1]}" if match else f"#author-{name_part(name)}"
        plain = _ORCID.sub("", name).strip(" ()<>,")
        return self.add(orcid, type="Person", name=plain or name, affiliation=self._institution())

    def _image(self, image: StoredImage, name: str) -> dict[str, str]:
        known = self._known
        header = known.payload(image).get("header")
        ns = header.get("acquired_local_epoch_ns") if isinstance(header, Mapping) else None
        acquired = None
        if isinstance(ns, int):
            acquired = (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=ns // 1000)).isoformat()
        rest = {
            key: value
            for key, value in known.experiment(image).items()
            if key not in (*_BIOSAMPLE, *_SPECIMEN, *_ACQUISITION)
        }
        verdict = image.curation().verdict
        if verdict is not None:
            rest["verdict"] = verdict
        rest["shape"] = " x ".join(map(str, image.shape))
        return self.add(
            f"#image-{image.image_id}",
            type="ImageObject",
            name=name,
            identifier=image.image_id,
            description=f"images/{image.image_id} of {self._packed}",
            isPartOf={"@id": self._packed},
            dateCreated=acquired,
            resultOf=self._acquisition(image),
            additionalProperty=self._properties(rest),
        )

    def _acquisition(self, image: StoredImage) -> dict[str, str]:
        values = self._values(image, _ACQUISITION)
        method = values.get("imaging_method", "")
        fbbi = re.search(r"FBbi[:_](\d+)", method)
        calibration = {
            f"step of {axis.name} ({axis.unit})": f"{axis.step:.12g}"
            for axis in image.axes
            if axis.step is not None and axis.unit is not None
        }
        channels = image.channel_names
        if channels:
            calibration["channels"] = ", ".join(channels)
        instrument = values.get("instrument")
        specimen = self._specimen(image)
        return self._numbered(
            "acquisition",
            type="image_acquisition",
            name=method,
            fbbi_id=None if fbbi is None else {"@id": f"obo:FBbi_{fbbi[1]}"},
            instrument=instrument
            and self.add(
                f"#instrument-{name_part(instrument)}", type="IndividualProduct", name=instrument
            ),
            specimen=specimen,
            additionalProperty=self._properties(calibration),
        )

    def _specimen(self, image: StoredImage) -> dict[str, str]:
        values = self._values(image, _SPECIMEN)
        biosample = self._biosample(image)
        return self._numbered(
            "specimen",
            type="specimen",
            name=", ".join(values.values()),
            preparation_method=values.pop("sample_preparation", None),
            biosample=biosample,
            additionalProperty=self._properties(values),
        )

    def _biosample(self, image: StoredImage) -> dict[str, str]:
        values = self._values(image, _BIOSAMPLE)
        species = values.pop("species", "")
        url = taxon(species)
        organism = self.add(
            url or f"#organism-{name_part(species)}",
            type="Taxon",
            name=species,
        )
        return self._numbered(
            "biosample",
            type="biosample",
            name=", ".join([species, *values.values()]),
            organism_classification=organism,
            biological_entity=values.get("cell_type") or values.get("region"),
            additionalProperty=self._properties(values),
        )

    def _values(self, image: StoredImage, keys: tuple[str, ...]) -> dict[str, str]:
        """Return the values of an image among some keys; the required ones are noted."""
        stated: dict[str, str] = {}
        for key in keys:
            if key in _OF_IMAGES:
                value = self._known.require(image, key, *_OF_IMAGES[key])
            else:
                value = self._known.value(image, key, text, "text")
            if value is not None:
                stated[key] = value
        return stated

    def _properties(self, values: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return key-value pairs as entities; equal ones are the same entity."""
        properties = []
        for key, value in values.items():
            digest = hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()[:12]
            properties.append(
                self.add(f"#property-{digest}", type="PropertyValue", name=key, value=str(value))
            )
        return properties

    def _numbered(self, kind: str, **values: Any) -> dict[str, str]:
        """Return the entity of a kind with these values, a new one if there is none."""
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        return self.add(f"#{kind}-{digest}", **values)

    def _analyses(self, images: list[StoredImage]) -> list[dict[str, str]]:
        """Return what was computed of the images, by which program and with which parameters."""
        actions: dict[str, dict[str, str]] = {}
        for image in images:
            for result in image.results():
                program = self.add(
                    f"#program-{name_part(f'{result.program}-{result.version}')}",
                    type="SoftwareApplication",
                    name=result.program,
                    softwareVersion=result.version,
                )
                params = (
                    None if result.params is None else json.dumps(result.params, sort_keys=True)
                )
                action = self._numbered(
                    "analysis",
                    type="CreateAction",
                    name=result.name,
                    instrument=program,
                    description=f"parameters: {params}" if params else None,
                    result={"@id": self._packed},
                )
                actions[action["@id"]] = action
        self.add(
            f"#program-kymflow-zarr-{name_part(__version__)}",
            type="SoftwareApplication",
            name="kymflow_zarr",
            softwareVersion=__version__,
        )
        return list(actions.values())
