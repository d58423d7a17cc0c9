"""The napari widget that lists a dataset's images; napari imports it on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import Container, FileEdit, Label, LineEdit, PushButton, Select

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.viewer.napari.reader import folder_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DatasetImages"]

_COLUMNS = ("image_id", "shape", "dtype", "acquired", "rel_path", "out_of_date")


class DatasetImages(Container[Any]):
    """A widget to choose a dataset, search its images, and open the selected ones.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._dataset: ZarrDataset | None = None
        self._all_images: list[tuple[str, str]] = []
        self.folder = FileEdit(mode=FileDialogMode.EXISTING_DIRECTORY, label="dataset")
        self.find = LineEdit(label="find", tooltip="Words of path, date, shape or id.")
        # A function, because napari recomputes the choices when a layer is added or removed.
        self.images = Select(label="images", choices=self._matching)
        self.open = PushButton(text="Open")
        self.message = Label(value="")
        super().__init__(widgets=[self.folder, self.find, self.images, self.open, self.message])
        self.folder.changed.connect(self._read_dataset)
        self.find.changed.connect(self._show_matching)
        self.open.changed.connect(self._open_chosen)
        shown = next(self._datasets_shown(), None)
        if shown is not None:
            self.folder.value = Path(shown)

    def _datasets_shown(self) -> Iterator[str]:
        for layer in self._viewer.layers:
            about = layer.metadata.get("kymflow_zarr")
            if isinstance(about, dict) and "dataset" in about:
                yield about["dataset"]

    def _read_dataset(self) -> None:
        self._dataset, self._all_images = None, []
        try:
            dataset = ZarrDataset(str(self.folder.value), mode="r")
            self._all_images = list(_lines(dataset.images(_COLUMNS)))
            self._dataset = dataset
        except KymflowZarrError as error:
            self._show_matching()
            self.message.value = str(error)
        else:
            self._show_matching()

    def _matching(self, _: object) -> list[tuple[str, str]]:
        words = self.find.value.casefold().split()
        return [
            line
            for line in self._all_images
            if all(word in " ".join(line).casefold() for word in words)
        ]

    def _show_matching(self) -> None:
        self.images.reset_choices()
        self.message.value = f"{len(self.images.choices)} of {len(self._all_images)} images"

    def _open_chosen(self) -> None:
        if self._dataset is None:
            return
        for image_id in self.images.value:
            try:
                self._viewer.open(folder_of(self._dataset, image_id), plugin="kymflow-zarr")
            except KymflowZarrError as error:
                self.message.value = str(error)


def _lines(images: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield the list entry and id of each image, in order of acquisition."""
    images = images.sort_values(["acquired", "rel_path", "image_id"], na_position="last")
    for image_id, shape, dtype, acquired, rel_path, out_of_date in images[
        list(_COLUMNS)
    ].itertuples(index=False, name=None):
        facts = [str(rel_path) if isinstance(rel_path, str) else image_id]
        if isinstance(shape, tuple):  # None for an unreadable image.
            facts.append(f"{' x '.join(map(str, shape))} {dtype}")
        # NaT is not equal to itself.
        if acquired == acquired:
            facts.append(f"{acquired:%Y-%m-%d %H:%M}")
        if isinstance(out_of_date, str) and out_of_date:
            facts.append("results out of date")
        yield "   ".join(facts), image_id
