"""Folders of the flow programs: every file has a home, whatever the version it is of."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import SyntheticVessel, write_experiment

PIXELS = np.arange(600, dtype=np.uint16).reshape(30, 20)
EVENT = {
    "event_type": "baseline_drop", "i_start": 3, "i_peak": 4, "i_end": None, "t_start": 0.1,
    "t_peak": 0.2, "t_end": None, "score_peak": -0.5, "baseline_before": 1.2, "baseline_after": 0.7,
    "strength": 1.6, "nan_fraction_in_event": None, "n_valid_in_event": None, "duration_sec": None,
    "machine_type": "stall_candidate", "user_type": "unreviewed", "note": "", "score_new": 7,
}  # fmt: skip
REGION = {"roi_id": 1, "algorithm": "mpRadon", "window_size": 16}
VELOCITY = (
    "roi_id,channel,time,velocity,parentFolder,file,algorithm,delx,delt,numLines,pntsPerLine,"
    "cleanVelocity,absVelocity\n1,1,0.0093597332015633,-0.2054962366819381,d,a.tif,mpRadon,0.284,"
    "0.0011699666666666,30,20,-0.2,0.2\n2,1,0.01,,d,a.tif,mpRadon,0.284,0.0011699,30,20,,\n"
)
V0 = ",time,velocity,parentFolder,file\n0,0.01,1.5,d,a.tif\n1,0.02,1.25,d,a.tif\n"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        tifffile.imwrite(path, content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    write(tmp_path / "lab" / "d" / "a.tif", PIXELS)
    return tmp_path / "lab"


def the_image(ds: ZarrDataset) -> Any:
    (rec,) = ds.iter_records()
    return rec


class TestAnalysis:
    def test_files_until_march_2026(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "d" / "flow-analysis" / "a_kymanalysis.csv", VELOCITY)
        document = {
            "version": "2.0", "accepted": False, "analysis_metadata": {"1": REGION},
            "velocity_events": {"1": [EVENT], "2": []},
        }  # fmt: skip
        write(lab / "d" / "flow-analysis" / "a_kymanalysis.json", document)
        ds.ingest_legacy_folder(lab)
        rec = the_image(ds)
        velocity = rec.load_df_parquet("velocity")
        assert velocity.columns.tolist()[:4] == ["roi_id", "channel", "time_s", "velocity_mm_s"]
        assert velocity["time_s"].tolist()[0] == 0.0093597332015633
        assert np.isnan(velocity["velocity_mm_s"][1])
        events = rec.load_df_parquet("velocity_events/events")
        (event,) = events.to_dict("records")
        assert (event["roi_id"], event["channel"], event["t_start_s"]) == (1, 1, 0.1)
        assert pd.isna(event["i_end"])
        assert event["score_new"] == 7
        analysis = rec.load_json("velocity_analysis")
        assert analysis["accepted"] is False
        assert analysis["regions"] == [{"roi_id": 1, "channel": 1, **REGION}]

    def test_files_since_march_2026_have_the_same_schema(self, ds: ZarrDataset, lab: Path) -> None:
        folder = lab / "d" / "flow-analysis"
        write(folder / "a_radon.csv", VELOCITY)
        write(folder / "a_radon.json", {"version": "3.0", "analysis_metadata": {"1:2": REGION}})
        events = {"1:2": [EVENT | {"channel": 2}]}
        write(folder / "a_events.json", {"version": "2.0", "velocity_events": events})
        ds.ingest_legacy_folder(lab)
        rec = the_image(ds)
        frame = rec.load_df_parquet("velocity_events/events")
        assert frame[["roi_id", "channel"]].to_numpy().tolist() == [[1, 2]]
        analysis = rec.load_json("velocity_analysis")
        assert analysis["versions"] == {"radon_json": "3.0", "events_json": "2.0"}
        assert analysis["regions"][0]["channel"] == 2

    def test_the_oldest_tables_are_of_one_region(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "d" / "d-analysis" / "a.csv", V0)
        ds.ingest_legacy_folder(lab)
        velocity = the_image(ds).load_df_parquet("velocity")
        assert velocity["roi_id"].tolist() == [0, 0]
        assert velocity["velocity_mm_s"].tolist() == [1.5, 1.25]
        assert not [name for name in velocity.columns if name.startswith("Unnamed")]

    def test_the_oldest_tables_at_the_top_of_the_folder_too(
        self, ds: ZarrDataset, lab: Path
    ) -> None:
        write(lab / "d" / "d-analysis" / "a.csv", V0)
        ds.ingest_legacy_folder(lab / "d")
        assert len(the_image(ds).load_df_parquet("velocity")) == 2
        rec = ds.ingest_tiff(lab / "d" / "a.tif", image_id="alone")
        assert len(rec.load_df_parquet("velocity")) == 2

    def test_results_of_three_ages_stand_beside_each_other(
        self, ds: ZarrDataset, lab: Path
    ) -> None:
        folder = lab / "d" / "flow-analysis"
        write(folder / "a_radon.csv", VELOCITY)
        write(folder / "a_kymanalysis.csv", VELOCITY.replace("mpRadon", "old"))
        write(lab / "d" / "d-analysis" / "a.csv", V0)
        ds.ingest_legacy_folder(lab)
        rec = the_image(ds)
        assert set(rec.load_df_parquet("velocity")["algorithm"]) == {"mpRadon"}
        assert set(rec.load_df_parquet("velocity_kymanalysis")["algorithm"]) == {"old"}
        assert len(rec.load_df_parquet("velocity_v0")) == 2

    def test_diameters(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "d" / "a.diameter.json", {"schema_version": 2})
        write(lab / "d" / "a.diameter.csv", "time_s,left_um_roi1\n0.1,2.5\n")
        ds.ingest_legacy_folder(lab)
        rec = the_image(ds)
        assert rec.load_json("diameter") == {"schema_version": 2}
        assert rec.load_df_parquet("diameter")["left_um_roi1"].tolist() == [2.5]


class TestVerbatim:
    def test_every_attached_file_is_stored_byte_for_byte(self, ds: ZarrDataset, lab: Path) -> None:
        write_experiment(lab, vessels=[SyntheticVessel(name="v", n_lines=300)])
        ds.ingest_legacy_folder(lab)
        kept = 0
        for rec in ds.iter_records():
            for file in rec.source_files:
                if file.kept_as is not None:
                    data = (ds.path / "images" / rec.image_id / file.kept_as).read_bytes()
                    assert gzip.decompress(data) == Path(file.path).read_bytes()
                    kept += 1
        assert kept == 4
        assert ds.validate().ok

    def test_files_that_cannot_be_read_are_stored_and_named(
        self, ds: ZarrDataset, lab: Path
    ) -> None:
        write(lab / "d" / "a.json", "{broken")
        write(lab / "d" / "flow-analysis" / "a_events.json", {"velocity_events": {"x": []}})
        write(lab / "d" / "flow-analysis" / "a_mystery.bin", "?")
        (item,) = ds.ingest_legacy_folder(lab).ingested
        for name in ("a.json", "a_events.json", "a_mystery.bin"):
            assert name in str(item.reason)
        kept = [file.rel_path for file in the_image(ds).source_files if file.kept_as]
        assert len(kept) == 3

    @pytest.mark.parametrize("name", ["provenance", "tiff", "instrument_header", "con", "x" * 190])
    def test_a_sidecar_whose_name_cannot_be_an_artifacts_is_stored_and_noted(
        self, ds: ZarrDataset, lab: Path, name: str
    ) -> None:
        write(lab / "d" / f"a.{name}.json", {"mine": True})
        write(lab / "d" / "b.tif", PIXELS)
        report = ds.ingest_legacy_folder(lab)
        assert len(report.ingested) == 2
        rec = ds[report.image_ids[0]]
        assert rec.load_json("provenance")["source_sha256"]
        assert any(file.rel_path.startswith(f"d/a.{name}") for file in rec.source_files)

    def test_files_of_no_image_are_stored_at_the_top_and_reported(
        self, ds: ZarrDataset, lab: Path
    ) -> None:
        write(lab / "d" / "flow-analysis" / "gone_kymanalysis.csv", VELOCITY)
        write(lab / "notes.docx", "x")
        report = ds.ingest_legacy_folder(lab)
        assert [Path(item.path).name for item in report.unmatched] == [
            "gone_kymanalysis.csv", "notes.docx",
        ]  # fmt: skip
        assert "TIFF that it analyzes" in str(report.unmatched[0].reason)
        kept = ds._open.source_files
        documents = kept.documents()
        assert kept.read(documents[report.unmatched[1].path]) == b"x"
        frame = report.to_dataframe()
        assert frame["status"].tolist() == [item.status for item in report.items]


class TestNames:
    def test_endings_in_capitals_count(self, ds: ZarrDataset, tmp_path: Path) -> None:
        lab = tmp_path / "lab"
        write(lab / "Vessel.TIF", PIXELS)
        write(lab / "vessel.JSON", {"version": "1.0", "experiment_metadata": {"species": "rat"}})
        write(lab / "Vessel.NOTE.CSV", "a\n1\n")
        ds.ingest_legacy_folder(lab)
        rec = the_image(ds)
        assert rec.load_metadata_payload()["experiment_metadata"]["species"] == "rat"
        assert rec.load_df_parquet("NOTE")["a"].tolist() == [1]

    def test_a_sidecar_belongs_to_the_longest_stem_even_of_an_image_not_asked_for(
        self, ds: ZarrDataset, lab: Path
    ) -> None:
        write(lab / "d" / "a.b.tif", PIXELS)
        write(lab / "d" / "a.b.v.json", {})
        ds.ingest_legacy_folder(lab, pattern="a.tif")
        assert [file.role for file in the_image(ds).source_files] == ["image"]
        rec = ds.ingest_tiff(lab / "d" / "a.b.tif")
        assert "v" in [info.name for info in rec.list_artifacts()]


class TestChannels:
    def test_channel_files_are_one_image_with_a_channel_axis(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        lab = tmp_path / "lab"
        for i in (1, 2):
            write(lab / f"run_C00{i}T001.tif", PIXELS + i)
        dims = '"T Dimension"\t"1, 0.000 - 0.060 [s], Interval FreeRun"\n'
        size = '"[Image]"\t""\n"Primary Dimensions"\t"X * T"\n"Image Size"\t"20 * 30 [pixel]"\n'
        dyes = '"[Channel 1]"\t""\n"Dye Name"\t"FITC"\n"[Channel 2]"\t""\n"Dye Name"\t"Cy3"\n'
        general = '"[General]"\t""\n"Scan Mode"\t"XT"\n"[Dimensions]"\t""\n'
        write(lab / "run.txt", general + dims + size + dyes)
        report = ds.ingest_legacy_folder(lab)
        (rec,) = ds.iter_records()
        assert rec.get_axes() == ["c", "y", "x"]
        np.testing.assert_array_equal(rec.load_array(), np.stack([PIXELS + 1, PIXELS + 2]))
        assert rec.channel_names == ["FITC", "Cy3"]
        assert rec.axes[1].step == pytest.approx(0.002)
        assert len(rec.source_files) == 3
        assert len(report.ingested) == 1
        assert ds.refresh_from_folder(lab) == []
        write(lab / "run_C002T001.tif", PIXELS)
        assert ds.refresh_from_folder(lab, mode="reingest_if_changed") == [rec.image_id]
        np.testing.assert_array_equal(rec.load_array()[1], PIXELS)

    def test_channels_that_do_not_fit_are_named(self, ds: ZarrDataset, tmp_path: Path) -> None:
        write(tmp_path / "lab" / "run_C001T001.tif", PIXELS)
        write(tmp_path / "lab" / "run_C002T001.tif", PIXELS[:5])
        (item,) = ds.ingest_legacy_folder(tmp_path / "lab").failed
        assert "run_C002T001.tif" in str(item.reason)


class TestPooledTables:
    CSV = (
        "roi_id,path,rel_path,code\n"
        "1,/Users/x/lab/d/a.tif,d/a.tif,007\n"
        "1,/Users/x/lab/d/gone.tif,d/gone.tif,NA\n"
    )

    def test_rows_name_images_through_rel_path(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "kym_event_db.csv", self.CSV)
        report = ds.ingest_legacy_folder(lab)
        assert "1 rows name no image" in str(report.pooled[0].reason)
        table = ds.load_table("kym_event_db")
        rec = the_image(ds)
        assert table["image_id"].tolist()[0] == rec.image_id
        assert table["image_id"].isna().tolist() == [False, True]
        assert table["code"].tolist() == ["007", "NA"]

    def test_a_row_finds_its_image_once_it_is_there(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "kym_event_db.csv", self.CSV)
        ds.ingest_legacy_folder(lab)
        write(lab / "d" / "gone.tif", PIXELS + 1)
        ds.refresh_from_folder(lab)
        assert not ds.load_table("kym_event_db")["image_id"].isna().any()

    def test_rows_edited_in_the_dataset_stay(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "kym_event_db.csv", self.CSV)
        ds.ingest_legacy_folder(lab)
        mine = ds.load_table("kym_event_db").assign(code="mine")
        ds.save_table("kym_event_db", mine)
        write(lab / "kym_event_db.csv", self.CSV.replace("007", "008"))
        (item,) = ds.refresh_from_folder(lab, mode="reingest_if_changed").report.skipped
        assert "edited" in str(item.reason)
        pd.testing.assert_frame_equal(ds.load_table("kym_event_db"), mine)

    def test_tables_of_two_folders_share_a_table(self, ds: ZarrDataset, lab: Path) -> None:
        write(lab / "kym_event_db.csv", self.CSV)
        shutil.copytree(lab, lab.with_name("lab2"))
        for folder in (lab, lab.with_name("lab2")):
            ds.ingest_legacy_folder(folder)
        assert len(ds.load_table("kym_event_db")) == 4
        assert ds.load_table("kym_event_db")["image_id"].nunique() == 2


@pytest.mark.parametrize("name", ["kymflow_folder", "kymflow_folder_2026_04"])
def test_every_file_of_a_real_folder_has_a_home(
    ds: ZarrDataset, shared_data: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    shutil.copytree(shared_data / name, folder)
    ds.ingest_legacy_folder(folder)
    homes: dict[str, bytes] = {}
    for rec in ds.iter_records():
        for file in rec.source_files:
            if file.role == "image":
                np.testing.assert_array_equal(rec.load_array(), tifffile.imread(file.path))
                homes[file.path] = Path(file.path).read_bytes()
            else:
                assert file.kept_as is not None
                packed = (ds.path / "images" / rec.image_id / file.kept_as).read_bytes()
                homes[file.path] = gzip.decompress(packed)
    kept = ds._open.source_files
    homes |= {path: kept.read(document) for path, document in kept.documents().items()}
    files = {str(p.resolve()): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert homes == files


def test_an_image_in_an_analysis_folder_has_what_lies_beside_it(ds: ZarrDataset, lab: Path) -> None:
    for folder in ("flow-analysis", "d-analysis"):
        write(lab / "d" / folder / "plot.tif", PIXELS + 1)
        write(lab / "d" / folder / "plot.json", {"experiment_metadata": {"note": folder}})
    write(lab / "d" / "d-analysis" / "a.csv", V0)
    report = ds.ingest_legacy_folder(lab)
    assert report.unmatched == ()
    notes = {
        rec.source.rel_path: rec.load_metadata_payload()["experiment_metadata"].get("note")
        for rec in ds.iter_records()
        if rec.source is not None
    }
    assert notes == {
        "d/a.tif": None,
        "d/d-analysis/plot.tif": "d-analysis",
        "d/flow-analysis/plot.tif": "flow-analysis",
    }
