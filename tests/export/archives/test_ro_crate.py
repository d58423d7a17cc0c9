"""A dataset as an RO-Crate with REMBI terms."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError, TargetExistsError
from tests.cli.run import run

STUDY = {
    "title": "Blood flow", "description": "Line scans of capillaries", "license": "CC-BY-4.0",
    "authors": "Jane Doe (0000-0002-1825-0097); John Roe", "species": "mouse",
    "institution": "University <https://ror.org/00x>", "instrument": "FV1000",
    "imaging_method": "two-photon microscopy FBbi:00000254", "sample_preparation": "window",
}  # fmt: skip


@pytest.fixture
def ds(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    for name, condition in (("a", "Control"), ("b", "Control"), ("c", "Drug")):
        rec = ds.add_image(
            np.ones((9, 3), "uint8"), image_id=name, line_period_s=0.1, pixel_size_um=0.5
        )
        rec.save_metadata_objects(experiment={"condition": condition, "note": f"note {name}"})
    ds.record("a").save_result("v", 3, program="fit", version="2", params={"w": 1})
    return ds


def entities(folder: Path) -> dict[str, Any]:
    crate = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    return {entity["@id"]: entity for entity in crate["@graph"]}


def test_a_crate_holds_the_dataset_and_leads_from_each_image_to_its_organism(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    report = ds.export_ro_crate(tmp_path / "crate", metadata=STUDY)
    assert report.files == ("Blood-flow.ozx", "ro-crate-metadata.json")
    found = entities(tmp_path / "crate")
    root, file = found["./"], found["Blood-flow.ozx"]
    assert root["name"] == "Blood flow"
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert root["hasPart"] == {"@id": "Blood-flow.ozx"}
    assert found["https://orcid.org/0000-0002-1825-0097"]["name"] == "Jane Doe"
    assert found["https://ror.org/00x"]["name"] == "University"
    data = (tmp_path / "crate" / "Blood-flow.ozx").read_bytes()
    assert (file["sha256"], file["contentSize"]) == (
        hashlib.sha256(data).hexdigest(), str(len(data)),
    )  # fmt: skip
    acquisition = found[found["#image-a"]["resultOf"]["@id"]]
    assert acquisition["fbbi_id"] == {"@id": "obo:FBbi_00000254"}
    specimen = found[acquisition["specimen"]["@id"]]
    assert specimen["preparation_method"] == "window"
    biosample = found[specimen["biosample"]["@id"]]
    organism = biosample["organism_classification"]["@id"]
    assert organism == "http://purl.obolibrary.org/obo/NCBITaxon_10090"
    assert found[organism]["name"] == "Mus musculus"
    # Images of one condition are of one specimen, and of one acquisition.
    assert found["#image-b"]["resultOf"] == found["#image-a"]["resultOf"]
    assert found["#image-c"]["resultOf"] != found["#image-a"]["resultOf"]
    [analysis] = [e for e in found.values() if e["@type"] == "CreateAction"]
    assert found[analysis["instrument"]["@id"]]["softwareVersion"] == "2"
    with ZarrDataset(tmp_path / "crate" / "Blood-flow.ozx", "r") as packed:
        assert packed.list_image_ids() == ["a", "b", "c"]


def test_every_reference_of_a_crate_leads_to_an_entity(ds: ZarrDataset, tmp_path: Path) -> None:
    ds.export_ro_crate(tmp_path / "crate", metadata=STUDY, image_ids=["c"])
    found = entities(tmp_path / "crate")

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [each for item in value for each in references(item)]
        return [value["@id"]] if isinstance(value, dict) else []

    named = {
        each for entity in found.values() for value in entity.values() for each in references(value)
    }
    assert {each for each in named - set(found) if not each.startswith("obo:")} == {
        "https://w3id.org/ro/crate/1.1"
    }
    assert not any(entity_id.startswith("#image-a") for entity_id in found)
    with ZarrDataset(tmp_path / "crate" / "Blood-flow.ozx", "r") as packed:
        assert packed.list_image_ids() == ["c"]


def test_the_library_rocrate_reads_a_crate(ds: ZarrDataset, tmp_path: Path) -> None:
    rocrate: Any = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    ds.export_ro_crate(tmp_path / "crate", metadata=STUDY)
    crate = rocrate.ROCrate(tmp_path / "crate")
    assert crate.root_dataset["name"] == "Blood flow"
    assert [entity.id for entity in crate.data_entities] == ["Blood-flow.ozx"]


def test_what_a_repository_requires_is_listed_before_anything_is_written(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    report = ds.export_ro_crate(tmp_path / "crate", dry_run=True)
    assert [gap.key for gap in report.missing] == [
        "title", "description", "license", "authors", "imaging_method", "instrument",
        "sample_preparation", "species",
    ]  # fmt: skip
    assert report.missing[-1].image_ids == ("a", "b", "c")
    with pytest.raises(ArgumentError, match=r"experiment_metadata\.species"):
        ds.export_ro_crate(tmp_path / "crate")
    assert not (tmp_path / "crate").exists()


def test_a_crate_never_overwrites_another_one(ds: ZarrDataset, tmp_path: Path) -> None:
    ds.export_ro_crate(tmp_path / "crate", metadata=STUDY)
    before = (tmp_path / "crate" / "ro-crate-metadata.json").read_bytes()
    with pytest.raises(TargetExistsError):
        ds.export_ro_crate(tmp_path / "crate", metadata=STUDY | {"title": "Other"})
    assert (tmp_path / "crate" / "ro-crate-metadata.json").read_bytes() == before


def test_the_command_lists_what_is_missing_and_writes_what_is_complete(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    study = tmp_path / "study.json"
    study.write_text(json.dumps(STUDY), encoding="utf-8")
    arguments = ["archive", str(ds.path), str(tmp_path / "crate"), "--as", "ro-crate"]
    missing = run(*arguments)
    assert missing.exit_code == 1
    assert "missing: title" in missing.stdout
    tried = run(*arguments, "--metadata", str(study), "--dry-run")
    assert tried.exit_code == 0
    assert "would write" in tried.stdout
    assert not (tmp_path / "crate").exists()
    done = run(*arguments, "--metadata", str(study), "--set", "title=Flow")
    assert done.exit_code == 0
    assert (tmp_path / "crate" / "Flow.ozx").exists()
    assert run(*arguments, "--set", "title").exit_code == 2
