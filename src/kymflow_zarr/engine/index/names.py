"""The names that people know images by: file, then folder, then id."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from kymflow_zarr.errors import ArgumentError, RecordNotFoundError

__all__ = ["Named", "candidates", "find_one", "names_of"]

_MIN_PREFIX = 8
_SHOWN = 3


class Named(NamedTuple):
    """What an image is called by.

    Parameters
    ----------
    image_id : str
    path : str
        Of its source file, relative to the scanned folder if that is known; empty if there is none.
    part : str
        What a file of several images calls this one; empty for others.
    """

    image_id: str
    path: str
    part: str


def names_of(images: Sequence[Named]) -> dict[str, str]:
    """Return a distinct name for each image.

    It is the name of the source file; with as many of its folders as it takes to tell it from
    others; with the part of the file, or the beginning of the id, where one file is several images.
    An image without a file is called by its id.
    """
    names = {image.image_id: image.image_id for image in images if not image.path}
    open_names = [(image, _segments(image.path)) for image in images if image.path]
    depth = 1
    while open_names:
        groups: defaultdict[str, list[tuple[Named, list[str]]]] = defaultdict(list)
        for image, segments in open_names:
            groups["/".join(segments[-depth:])].append((image, segments))
        open_names = []
        for name, group in groups.items():
            if len(group) == 1:
                names[group[0][0].image_id] = name
            elif all(segments == group[0][1] for _, segments in group):
                names |= _of_one_file(name, [image for image, _ in group])
            else:
                open_names += group
        depth += 1
    return names


def _of_one_file(name: str, images: Sequence[Named]) -> dict[str, str]:
    parts = Counter(image.part for image in images)
    whole = all(image.part and parts[image.part] == 1 for image in images)
    if whole:
        return {image.image_id: f"{name} [{image.part}]" for image in images}
    length = _MIN_PREFIX
    while len({image.image_id[:length] for image in images}) < len(images):
        length += 1
    return {image.image_id: f"{name} [{image.image_id[:length]}]" for image in images}


def _segments(path: str) -> list[str]:
    windows = "\\" in path and "/" not in path
    return [part for part in path.split("\\" if windows else "/") if part]


def candidates(text: str, images: Sequence[Named], names: dict[str, str]) -> list[str]:
    """Return the ids of the images that a text may mean, those of the strictest reading.

    In this order: an id; a name; the end of the path of a source file; a file name without its
    suffix; the beginning of an id.
    """
    if text in names:
        return [text]
    called = [image_id for image_id, name in names.items() if name == text]
    if called:
        return called
    wanted = _segments(text)
    at_end, stems = [], []
    for image in images:
        segments = _segments(image.path)
        if wanted and segments[-len(wanted) :] == wanted:
            at_end.append(image.image_id)
        elif segments and text in _stems(segments[-1]):
            stems.append(image.image_id)
    return at_end or stems or [i.image_id for i in images if text and i.image_id.startswith(text)]


def _stems(name: str) -> list[str]:
    stems = []
    while "." in name[1:]:
        name = name.rpartition(".")[0]
        stems.append(name)
    return stems


def find_one(text: str, images: Sequence[Named], *, where: str) -> str:
    """Return the id of the one image that a text means.

    Raises
    ------
    RecordNotFoundError
        If no image is called so.
    ArgumentError
        If several are; names some of them.
    """
    names = names_of(images)
    matches = candidates(text, images, names)
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise RecordNotFoundError(
            f"no image is called {text!r}, and no image id begins with it",
            where=where,
            hint="kymflow-zarr ls lists them.",
        )
    some = ", ".join(names[image_id] for image_id in matches[:_SHOWN])
    raise ArgumentError(
        f"{len(matches)} images are called {text!r}, or have an id that begins so: "
        f"{some}{', ...' if len(matches) > _SHOWN else ''}",
        where=where,
        hint="Give the folder too, or more of the id.",
    )
