"""Makes the pictures of the page that the README and the docs show.

``python -m tests.helpers.docs.screenshots`` rewrites ``docs/screenshots/*.png`` from a synthetic
experiment and with the Chromium of this machine; with the name of a folder it writes there.
"""

from __future__ import annotations

import io
import itertools
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from kymflow_zarr import ZarrDataset
from kymflow_zarr.cli.exchange.demo import _analyze
from kymflow_zarr.testing import SyntheticVessel, default_vessels, write_experiment
from tests.viewer.web.browser import drawn, point_at, settle, started, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parents[3] / "docs" / "screenshots"
SIZE = {"width": 1366, "height": 768}
MOST_BYTES = 300_000


def vessels(count: int) -> list[SyntheticVessel]:
    """Return an experiment of several animals and days, for a gallery worth looking through."""
    numbers = random.Random(3)
    found = []
    for i, vessel in enumerate(itertools.islice(itertools.cycle(default_vessels()), count)):
        animal, day = 81 + i // 4, 11 + i // 3
        speed = vessel.mean_velocity_mm_s * numbers.uniform(0.6, 1.5)
        name, clock = f"A{animal}_{i + 1:04d}", f"{10 + 2 * (i % 3):02d}:{(i * 17) % 60:02d}:12.250"
        found.append(
            replace(vessel, name=name, date=f"202511{day}", clock=clock, mean_velocity_mm_s=speed)
        )
    return found


def make_dataset(folder: Path) -> ZarrDataset:
    """Ingest the experiment, measure it, and judge some of it."""
    write_experiment(folder / "experiment", vessels=vessels(20))
    ds = ZarrDataset(folder / "bloodflow.zarr", "w-", durability="relaxed")
    ds.ingest_legacy_folder(folder / "experiment")
    _analyze(ds)
    for i, record in enumerate(ds.iter_records(order_by="acquired_local_epoch_ns")):
        if i % 5 != 3:
            with record.edit(who="ada") as edit:
                edit.set_verdict("rejected" if i % 5 == 2 else "accepted")
    return ds


def gallery(page: Page, at: str, _: str) -> None:
    """Show all images."""
    page.goto(f"{at}?sort=acquired")
    until(
        page,
        "() => { const all = [...document.querySelectorAll('[data-testid=card] img')];"
        " return all.length > 8 && all.every((one) => one.naturalWidth); }",
    )


def kymograph(page: Page, at: str, image_id: str) -> None:
    """Show a stall in a vessel: the image, its velocity and its events, and what is pointed at."""
    page.goto(f"{at}image/{image_id}")
    drawn(page)
    page.keyboard.press("n")
    page.keyboard.press("+")
    drawn(page)
    point_at(page, 0.62, 0.45)


def dark(page: Page, at: str, image_id: str) -> None:
    """Show the same in the dark, whole and in colors."""
    page.emulate_media(color_scheme="dark")
    page.goto(f"{at}image/{image_id}?map=magma")
    drawn(page)
    point_at(page, 0.4, 0.5)


def table(page: Page, at: str, _: str) -> None:
    """Show a table, plotted."""
    page.emulate_media(color_scheme="light")
    page.goto(f"{at}tables/flow?px=mean_speed_mm_s&by=condition")
    page.locator("[data-testid=plot-chart]").wait_for()


SHOTS: dict[str, Callable[[Page, str, str], None]] = {
    "gallery": gallery,
    "kymograph": kymograph,
    "dark": dark,
    "table": table,
}


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, make_dataset(Path(name)) as ds:
        stall = str(ds.load_table("stalls").iloc[0]["image_id"])
        with ds.view(edit=True, who="ada") as server, started() as browser:
            page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
            for shot, show in SHOTS.items():
                show(page, server.url, stall)
                page.wait_for_load_state("networkidle")
                settle(page)
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                target = folder / f"{shot}.png"
                picture.save(target, optimize=True)
                if target.stat().st_size > MOST_BYTES:
                    # Rare colors, as those of events, are kept.
                    few = picture.quantize(
                        method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                    )
                    few.save(target, optimize=True)
                print(target.name, target.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
