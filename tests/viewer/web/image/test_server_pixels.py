"""Windows, histograms and thumbnails."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.errors import ArgumentError, LimitExceededError, UnsupportedDataError
from kymflow_zarr.viewer.web.image import pixels as blocks
from kymflow_zarr.viewer.web.image.pixels import block_means, check_cost, wire_dtype
from tests.viewer.web.site import PIXELS, ask, client_of

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float16", "float32", "float64", "complex64"]  # fmt: skip


def expected(
    plane: npt.NDArray[Any], rows: slice, columns: slice, step: tuple[int, int]
) -> npt.NDArray[Any]:
    """Return the means of blocks, one by one."""
    part = plane[rows, columns]
    part = np.abs(part) if part.dtype.kind == "c" else part
    out = wire_dtype(plane.dtype)
    if step == (1, 1):
        return part.astype(out)
    means = [
        [
            part[r : r + step[0], c : c + step[1]].astype(np.float64).mean()
            for c in range(0, part.shape[1], step[1])
        ]
        for r in range(0, part.shape[0], step[0])
    ]
    values = np.array(means)
    return (np.rint(values) if out.kind != "f" else values).astype(out)


@st.composite
def windows(draw: st.DrawFn) -> tuple[npt.NDArray[Any], slice, slice, tuple[int, int]]:
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 12)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    elements: Any = None
    if dtype.kind in "fc":
        elements = st.integers(-100, 100).map(float)
    elif dtype.itemsize == 8:
        elements = st.integers(0, 2**40)
    plane = draw(hnp.arrays(dtype, shape, elements=elements))
    spans = []
    for size in shape:
        first = draw(st.integers(0, size - 1))
        spans.append(slice(first, draw(st.integers(first + 1, size))))
    return plane, spans[0], spans[1], (draw(st.integers(1, 45)), draw(st.integers(1, 14)))


@given(windows(), st.sampled_from([64, 1000, 2**25]))
def test_a_window_is_the_means_of_its_blocks_however_it_is_read(
    window: tuple[npt.NDArray[Any], slice, slice, tuple[int, int]], band: int
) -> None:
    plane, rows, columns, step = window
    before, blocks._BAND_BYTES = blocks._BAND_BYTES, band  # type: ignore[misc]
    try:
        found = block_means(lambda r, c: plane[r, c], rows, columns, step, plane.dtype)
    finally:
        blocks._BAND_BYTES = before  # type: ignore[misc]
    wanted = expected(plane, rows, columns, step)
    assert found.dtype == wanted.dtype
    # Sums in another order end in other digits.
    tolerance = 1e-6 if found.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * 100)


def test_no_more_of_a_large_plane_is_held_than_agreed() -> None:
    most = 0

    def read(rows: slice, columns: slice) -> npt.NDArray[Any]:
        nonlocal most
        shape = rows.stop - rows.start, columns.stop - columns.start
        most = max(most, shape[0] * shape[1])
        return np.broadcast_to(np.uint8(3), shape)

    span = slice(0, 20_000)
    found = block_means(read, span, span, (4096, 4096), np.dtype("uint8"))
    assert found.shape == (5, 5)
    assert (found == 3).all()
    assert most <= 2**25


def test_what_would_decode_too_much_is_refused() -> None:
    span = slice(0, 200_000)
    with pytest.raises(LimitExceededError, match="MB"):
        check_cost((span, span), (512, 512), 2, deep=1)
    check_cost((slice(0, 600), slice(0, 600)), (512, 512), 2, deep=1)
    # A small part of a chunk costs all of the chunk.
    with pytest.raises(LimitExceededError):
        check_cost((slice(0, 1), slice(0, 1)), (40_000, 40_000), 2, deep=1)


def numbers(client: TestClient, address: str) -> npt.NDArray[Any]:
    response = client.get(address)
    assert response.status_code == 200, response.text
    shape = tuple(map(int, response.headers["X-Shape"].split(",")))
    return np.frombuffer(response.content, f"<{response.headers['X-Dtype']}").reshape(shape)


def test_windows_are_of_the_plane_that_is_asked_for(
    client: TestClient, dataset: ZarrDataset
) -> None:
    facts = ask(client, "/api/images/kymo")
    address = f"/api/images/kymo/window?v={facts['pixels']}"
    np.testing.assert_array_equal(numbers(client, address), PIXELS)
    found = numbers(client, f"{address}&rows=100:600&columns=4:17&step=64,2")
    np.testing.assert_array_equal(found, expected(PIXELS, slice(100, 600), slice(4, 17), (64, 2)))
    stack = dataset["stack"].load_array()
    found = numbers(client, "/api/images/stack/window?at=c:1,z:2&rows=3:9&columns=0:30")
    np.testing.assert_array_equal(found, stack[1, 2, 3:9])


def test_windows_are_cached_as_long_as_the_pixels_stay(
    client: TestClient, dataset: ZarrDataset
) -> None:
    version = ask(client, "/api/images/kymo")["pixels"]
    address = f"/api/images/kymo/window?v={version}&rows=0:10"
    assert "immutable" in client.get(address).headers["cache-control"]
    dataset["kymo"].save_array(PIXELS + 1)
    assert ask(client, address, 409)["error"]["type"] == "EditConflictError"
    found = client.get("/api/images/kymo/window?rows=0:10")
    assert found.headers["cache-control"] == "no-store"
    assert np.frombuffer(found.content, "<u2")[0] == PIXELS[0, 0] + 1


@pytest.mark.parametrize(
    "query",
    [
        "rows=0:601", "rows=5:5", "rows=5", "rows=a:b", "columns=0:21", "step=0,1", "step=2:2",
        "at=q:1", "at=y:1", "at=:", "at=z", "rows=-1:4",
    ],
)  # fmt: skip
def test_windows_that_are_not_there_are_refused(client: TestClient, query: str) -> None:
    ask(client, f"/api/images/kymo/window?{query}", 400)


def test_damaged_pixels_are_an_error_and_never_zeros(
    client: TestClient, dataset: ZarrDataset
) -> None:
    chunk = dataset.path / "images/kymo/data/c/0/0"
    data = bytearray(chunk.read_bytes())
    data[-9] ^= 1
    chunk.write_bytes(bytes(data))
    assert ask(client, "/api/images/kymo/window", 422)["error"]["type"] == "CorruptDataError"
    for part in ("thumbnail", "histogram"):
        assert ask(client, f"/api/images/kymo/{part}", 422)["error"]["type"] == "CorruptDataError"
    facts = ask(client, "/api/images/kymo")
    assert facts["error"]
    assert facts["rois"]  # The rest is told all the same.


def test_a_histogram_counts_every_number(client: TestClient) -> None:
    found = ask(client, "/api/images/kymo/histogram")
    assert sum(found["counts"]) == PIXELS.size
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert (found["min"], found["max"], found["sampled"]) == (0, PIXELS.size - 1, False)
    assert (found["low"], found["high"]) == tuple(np.percentile(PIXELS, [0.5, 99.5]))
    ask(client, "/api/images/stack/histogram?at=c:1")
    ask(client, "/api/images/stack/histogram?at=c:2", 400)


def test_a_histogram_of_a_large_plane_is_of_a_sample(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.add_image(np.tile(np.arange(2000, dtype="uint8"), (2000, 1)), image_id="a")
    found = ask(client_of(ds), "/api/images/a/histogram")
    assert found["sampled"]
    assert 2**20 <= sum(found["counts"]) <= 2**21


@pytest.mark.parametrize("fill", [np.nan, 5.0])
def test_pixels_of_one_value_and_of_none_have_a_contrast(tmp_path: Path, fill: float) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.add_image(np.full((6, 5), fill, np.float32), image_id="a")
    client = client_of(ds)
    assert ask(client, "/api/images/a")["error"] is None
    assert sum(ask(client, "/api/images/a/histogram")["counts"]) == (0 if np.isnan(fill) else 30)
    assert client.get("/api/images/a/thumbnail").status_code == 200


def test_an_image_without_pixels_is_shown_without_a_picture(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.add_image(np.zeros((0, 5), np.uint8), image_id="a")
    client = client_of(ds)
    facts = ask(client, "/api/images/a")
    assert facts["contrast"] is None
    ask(client, "/api/images/a/thumbnail", 400)
    ask(client, "/api/images/a/window", 400)


# Thumbnails ------------------------------------------------------------------------------


def test_a_thumbnail_shows_time_to_the_right(dataset: ZarrDataset) -> None:
    picture = imagecodecs.png_decode(dataset["kymo"].thumbnail())
    assert picture.shape == (128, 256)
    # Later lines are brighter, and so is each pixel along a line.
    assert (np.diff(picture[0].astype(int)) >= 0).all()
    assert picture[0, 0] == 0
    assert picture[-1, -1] == 255
    colored = imagecodecs.png_decode(dataset["stack"].thumbnail(64))  # Its channels in colors.
    assert colored.shape == (64, 48, 3)


def kept(ds: ZarrDataset) -> list[str]:
    folder = ds.path / "index" / "thumbnails"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_thumbnail_is_drawn_once_and_is_never_stale(
    dataset: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = dataset["kymo"]
    first = record.thumbnail()
    assert kept(dataset) == ["kymo.png"]

    def drawn(*_: object) -> bytes:
        raise AssertionError("drawn again")

    with monkeypatch.context() as patch:
        patch.setattr("kymflow_zarr.views.overview.thumbnail_png", drawn)
        assert record.thumbnail() == first
    record.save_array(PIXELS[::-1])
    assert record.thumbnail() != first
    record.save_array(PIXELS)
    assert record.thumbnail() == first


@pytest.mark.parametrize("damage", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(500)])
def test_a_damaged_thumbnail_is_drawn_again(dataset: ZarrDataset, damage: bytes) -> None:
    first = dataset["kymo"].thumbnail()
    file = dataset.path / "index" / "thumbnails" / "kymo.png"
    file.write_bytes(damage)
    assert dataset["kymo"].thumbnail() == first
    assert file.read_bytes() == first


def test_a_reader_without_permission_to_write_has_thumbnails_and_stores_none(
    dataset: ZarrDataset,
) -> None:
    with ZarrDataset(dataset.path, "r") as reader:
        assert imagecodecs.png_decode(reader["kymo"].thumbnail()).shape == (128, 256)
    assert kept(dataset) == []


def test_thumbnails_go_with_their_images(dataset: ZarrDataset) -> None:
    for record in dataset.iter_records():
        record.thumbnail()
    assert len(kept(dataset)) == 3
    dataset.delete_image("stack")
    assert len(kept(dataset)) == 2
    (dataset.path / "index" / "thumbnails" / "gone.png").write_bytes(b"x")
    dataset.update_manifest()
    assert len(kept(dataset)) == 2


def test_thumbnails_are_no_part_of_the_data(dataset: ZarrDataset) -> None:
    for record in dataset.iter_records():
        record.thumbnail()
    assert dataset.validate().ok
    assert dataset.verify().ok


def test_a_link_in_the_place_of_the_thumbnails_is_not_followed(
    dataset: ZarrDataset, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (dataset.path / "index").mkdir(exist_ok=True)
    (dataset.path / "index" / "thumbnails").symlink_to(outside)
    assert dataset["kymo"].thumbnail()
    dataset.update_manifest()
    assert list(outside.iterdir()) == []


def test_thumbnails_of_other_sizes_are_refused_with_the_reason(dataset: ZarrDataset) -> None:
    with pytest.raises(ArgumentError, match="0 is not"):
        dataset["kymo"].thumbnail(0)
    empty = dataset.add_image(np.zeros((0, 3), np.uint8))
    with pytest.raises(UnsupportedDataError, match="no pixels"):
        empty.thumbnail()


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((5, 6), 1e17),
        np.full((5, 6), -1e300),
        np.full((5, 6), np.finfo(np.float64).max),
        np.array([[1e308, -1e308], [np.nan, np.inf]]),
        np.full((5, 6), 2**62 + 5, np.int64),
        np.arange(30, dtype=np.int64).reshape(5, 6) + 2**62,
        np.array([[0, 2**64 - 1]], np.uint64),
    ],
)
def test_numbers_of_any_size_have_a_histogram(tmp_path: Path, pixels: npt.NDArray[Any]) -> None:
    ds = ZarrDataset(tmp_path / "large.zarr", "w-")
    ds.add_image(pixels, image_id="large")
    client = client_of(ds)
    facts = ask(client, "/api/images/large")
    assert facts["error"] is None
    assert facts["contrast"]["low"] <= facts["contrast"]["high"]
    found = ask(client, "/api/images/large/histogram")
    edges = found["edges"]
    assert all(before < after for before, after in pairwise(edges))
    assert edges[0] <= found["min"] <= found["max"] <= edges[-1]
    assert sum(found["counts"]) == np.isfinite(pixels).sum()


# Levels ----------------------------------------------------------------------------------


def without_its_pixels(ds: ZarrDataset, image_id: str) -> None:
    """Delete the chunks of the full resolution, so that a read of one fails."""
    shutil.rmtree(ds.path / "images" / image_id / "data" / "c")


@pytest.mark.parametrize(
    ("shape", "facts", "step"),
    [
        ((4000, 4100), {}, (4, 4)),
        ((4000, 4100), {}, (8, 16)),
        ((80_000, 60), {"line_period_s": 0.001}, (16, 1)),
    ],
)
def test_the_overview_of_a_large_image_reads_none_of_its_full_resolution(
    tmp_path: Path, shape: tuple[int, int], facts: dict[str, Any], step: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    rec = ds.add_image(pixels, image_id="a", **facts)
    without_its_pixels(ds, "a")
    client = client_of(ds)
    query = f"step={step[0]},{step[1]}"
    found = numbers(client, f"/api/images/a/window?{query}").astype(float)
    rows, columns = slice(0, shape[0]), slice(0, shape[1])
    exact = expected(pixels, rows, columns, step).astype(float)
    # Each level is rounded.
    assert np.abs(found - exact).max() <= 2
    assert np.abs((found - exact).mean()) < 0.1
    tile = numbers(client, f"/api/images/a/window?{query}&rows=1024:2048&columns=0:{shape[1]}")
    np.testing.assert_array_equal(tile, found[1024 // step[0] : 2048 // step[0]])
    assert imagecodecs.png_decode(rec.thumbnail()).max() > 0


def test_what_a_level_cannot_answer_is_read_from_the_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (2200, 2100)).astype(np.uint8)
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.add_image(pixels, image_id="a")
    client = client_of(ds)
    for rows, step in ((slice(1, 401), (4, 4)), (slice(0, 30), (1, 4)), (slice(0, 30), (3, 3))):
        address = f"/api/images/a/window?rows={rows.start}:{rows.stop}&step={step[0]},{step[1]}"
        wanted = expected(pixels, rows, slice(0, 2100), step)
        np.testing.assert_array_equal(numbers(client, address), wanted)


def test_magnitudes_of_complex_numbers_are_not_those_of_their_means(tmp_path: Path) -> None:
    pixels = np.tile(np.array([1, -1], np.complex64), (2100, 1050))
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    rec = ds.add_image(pixels, image_id="a")
    assert (rec.load_array(level=1) == 0).all()
    assert (numbers(client_of(ds), "/api/images/a/window?step=4,4") == 1).all()


def test_a_few_missing_samples_do_not_blank_an_overview(tmp_path: Path) -> None:
    pixels = np.full((2100, 2100), 3, np.float32)
    pixels[::2, ::2] = np.nan
    pixels[:64, :64] = np.nan
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.add_image(pixels, image_id="a")
    client = client_of(ds)
    for step in (2, 3, 4, 64):  # From the pixels and from a level.
        found = numbers(client, f"/api/images/a/window?step={step},{step}")
        assert np.isnan(found[0, 0])
        assert (found[64 // step + 1 :] == 3).all()


def test_the_histogram_of_a_large_image_reads_few_of_its_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.add_image(np.zeros((4096, 5000), np.uint8), image_id="a")
    opened: list[tuple[slice, slice]] = []
    load = StoredImage.load_array

    def counted(image: StoredImage, selection: Any = ..., *, level: int = 0) -> Any:
        opened.append(selection)
        return load(image, selection, level=level)

    monkeypatch.setattr(StoredImage, "load_array", counted)
    assert ask(client_of(ds), "/api/images/a/histogram")["sampled"]
    # Eight tiles of 512 x 512, each one chunk.
    assert len(opened) == 8
    assert all(r.start % 512 == c.start % 512 == 0 for r, c in opened)
    assert len({(r.start, c.start) for r, c in opened}) == 8
