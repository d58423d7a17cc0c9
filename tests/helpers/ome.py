"""OME-TIFFs as programs write them, file names and UUIDs included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
CHANNEL = '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'


def planes(*shape: int, dtype: str = "uint16", seed: int = 5) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(dtype)


def urn(number: int) -> str:
    return f"urn:uuid:0000000{number}-0000-4000-8000-00000000000{number}"


def ome(
    sizes: str,
    inner: str,
    *,
    uuid: str = "",
    image: str = "",
    pixels: str = "",
    dtype: str = "uint16",
    more: str = "",
) -> str:
    """Return OME-XML; `sizes` is such as ``"x9 y8 t4"``, letters left out are 1."""
    given = {part[0].upper(): part[1:] for part in sizes.split()}
    stated = " ".join(f'Size{letter}="{given.get(letter, "1")}"' for letter in "XYZCT")
    own = f' UUID="{uuid}"' if uuid else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}"{own}>'
        f'<Image ID="Image:0" Name="s">{image}<Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="{dtype}" {stated} {pixels}>{inner}</Pixels></Image>{more}</OME>'
    )


def binary_only(uuid: str, master: str, master_uuid: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}" UUID="{uuid}">'
        f'<BinaryOnly MetadataFile="{master}" UUID="{master_uuid}"/></OME>'
    )


def data(letter: str, names: dict[str, str], *, ifd: bool = False) -> str:
    """Return a TiffData for each file: plane number i along `letter` is the page of file i."""
    return "".join(
        f'<TiffData First{letter}="{i}" IFD="{i if ifd else 0}" PlaneCount="1">'
        f'<UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for i, (name, uuid) in enumerate(names.items())
    )


def write_ome(path: Path, pixels: npt.NDArray[Any], text: str, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        pixels,
        metadata=None,
        description=text.encode(),
        **({"photometric": "minisblack"} | options),
    )
    return path


def write_set(folder: Path, pixels: npt.NDArray[Any], *, names: list[str] | None = None) -> None:
    """Write each frame as a file of its own, with the whole OME-XML in each."""
    count = len(pixels)
    names = names or [f"exp_T{i}.ome.tif" for i in range(count)]
    inner = CHANNEL + data("T", {f"exp_T{i}.ome.tif": urn(i) for i in range(count)})
    for i, name in enumerate(names):
        text = ome(
            f"x{pixels.shape[2]} y{pixels.shape[1]} t{count}", inner, uuid=urn(i),
            pixels='PhysicalSizeX="0.5" PhysicalSizeY="0.25" TimeIncrement="2"',
        )  # fmt: skip
        write_ome(folder / name, pixels[i], text)
