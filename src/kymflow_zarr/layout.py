r"""All keys and paths of the format, and the rule for safe keys; no I/O.

The name that a user gives to an artifact, a table or an image is encoded as a part of a file
name. The encoding is reversible, valid on every file system, and unique even on file systems
that fold case or normalize Unicode:

1. every character outside ``a-z A-Z 0-9 _ - + = , @ ( ) .`` and space is written as the
   ``%xx`` of its UTF-8 bytes, in lower-case hexadecimal;
2. so is a dot or a space that begins or ends the segment, the dot of a ``.json``,
   ``.parquet`` or ``.csv.gz`` that ends a folder's name, and the first letter of ``zarr``,
   whose ``.json`` file Zarr readers would mistake for their own;
3. if the segment has capital letters A-Z, ``^`` and a hexadecimal number follow, in which bit
   *i* is set if character *i* of the name is a capital (``ROI_mask`` -> ``ROI_mask^7``).
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final

from kymflow_zarr.errors import ArgumentTypeError, InvalidNameError
from kymflow_zarr.types import ARTIFACT_SUFFIXES, ArtifactKind

GROUP: Final = "zarr.json"
IMAGES: Final = "images"
TABLES: Final = "tables"
INDEX: Final = "index"
ANALYSIS: Final = "analysis"
ANALYSIS_ARRAYS: Final = "analysis_arrays"
LEVEL_0: Final = "data"
PYRAMID: Final = "pyramid"
LABELS: Final = "labels"
SOURCE_FILES: Final = "source_files"
CHECKSUMS: Final = "checksums.sha256"
QUARANTINE: Final = "quarantine"
WORK: Final = ".kymflow_zarr"
# The suffix of a dataset that is packed into one file (RFC-9 of OME-Zarr).
PACKED_SUFFIX: Final = ".ozx"
# The entries of a dataset's folder.
OWN_NAMES: Final = frozenset(
    {GROUP, CHECKSUMS, IMAGES, TABLES, INDEX, SOURCE_FILES, QUARANTINE, WORK}
)
_LITTER: Final = re.compile(
    # macOS, its files on other disks, and its folders on shares
    r"\.DS_Store|\._.*|\.Apple(?:Double|DB|Desktop)|\.Spotlight-V100|\.fseventsd|\.TemporaryItems"
    r"|\.Trashes|Icon\r|__MACOSX"
    # Windows and Office
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information|~\$.*"
    # Linux, NFS, FUSE and LibreOffice
    r"|\.directory|\.Trash-\d+|lost\+found|\.nfs[0-9a-fA-F]+|\.fuse_hidden[0-9a-f]+|\.~lock\..*#"
    # NAS and synchronization programs
    r"|@eaDir|@Recycle|@Recently-Snapshot|#recycle|#snapshot|\.snapshots?|\.@__thumb|\.streams"
    r"|\.st(?:folder|versions|ignore)|\.syncthing\..*|~syncthing~.*|\.sync|\.dropbox(?:\.cache|\.attr)?"
    r"|\.owncloudsync\.log|\._sync_.*|\.tmp\.drive(?:down|up)load",
    re.DOTALL,
)
TEMPORARY_PREFIX: Final = ".tmp-"
MANIFEST: Final = f"{INDEX}/images.parquet"
# What publishing writes beside the dataset: the page, what was published, the page's HTML.
PUBLISHED_PAGE: Final = f"{INDEX}/page"
PUBLISHED: Final = f"{PUBLISHED_PAGE}/published.json"
PUBLISHED_HTML: Final = "index.html"  # The viewer, which yields it, uses the face only.
ORDER: Final = f"{INDEX}/order.json"
EARLIER_MANIFEST: Final = f"{INDEX}/manifest.json"
THUMBNAILS: Final = f"{INDEX}/thumbnails"
SCANS: Final = f"{INDEX}/scans"
COPIES: Final = f"{INDEX}/copies"
SOURCE_FILES_LIST: Final = f"{SOURCE_FILES}/files.json"
EXPORT_MANIFEST: Final = "kymflow_zarr_export.json"
EXPORT_FORMAT: Final = "kymflow_zarr_export"
METADATA: Final = "metadata"
PROVENANCE: Final = "provenance"
CURATION: Final = "curation"
LINEAGE: Final = "lineage"

# On-disk format: the dot of these is escaped at the end of a folder's name. A kind of artifacts
# that is added later changes nothing here, or datasets that exist would read otherwise.
_ESCAPED_IN_FOLDERS: Final = (".json", ".parquet", ".csv.gz")

# Characters that some system does not allow in file names, and a "%" that would be read as one.
_NOT_IN_FILE_NAMES: Final = re.compile(
    r"""[<>:"|?*\\/\x00-\x1f]|%(?=(?:[01][0-9a-f]|2[25af]|3[acef]|5c|7c))"""
)
_SPELLED: Final = re.compile(r"%([01][0-9a-f]|2[25af]|3[acef]|5c|7c)")

# Linux, macOS and Windows allow 255; the rest is for suffixes and temporary names.
MAX_SEGMENT_BYTES: Final = 200
MAX_NAME_BYTES: Final = 1024
# The limits of file systems for one segment and for a path; our keys stay below them.
_MAX_FILE_NAME_BYTES: Final = 255
_MAX_KEY_BYTES: Final = 4096

_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=,@(). "
)
_RESERVED: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL
)
# A fast path: most ids are their own file names.
_SIMPLE: Final = r"(?!con|prn|aux|nul|com|lpt|zarr(?:/|\Z))[a-z0-9_-]{1,200}+"
_is_simple: Final = re.compile(_SIMPLE).fullmatch
_SIMPLE_NAMES: Final = re.compile(f"(?:{_SIMPLE}/)*+")
_DRIVE: Final = re.compile(r"[A-Za-z]:([/\\]|$)")
_NOT_A_CHILD: Final = frozenset({"", ".", ".."})
_ILLEGAL_ON_WINDOWS: Final = frozenset('<>:"|?*\\') | {chr(i) for i in range(32)}
_ENCODED_UPPER: Final = re.compile(r"(.*)\^([0-9a-f]+)", re.DOTALL)


def leads_out(path: str, *, windows: bool = sys.platform == "win32") -> bool:
    r"""Return True unless a path with ``/`` between its segments stays below its folder.

    Parameters
    ----------
    path : str
        From a document or another program, with any name that a file system allows.
    windows : bool
        Apply the rules of Windows: ``\\`` is a separator, ``:`` marks a drive or a stream,
        trailing dots and spaces of a segment are dropped, and device names are reserved.
    """
    segments = path.split("/")
    if "\0" in path or not _NOT_A_CHILD.isdisjoint(segments):
        return True
    return windows and not all(map(is_legal_on_windows, segments))


def is_legal_on_windows(segment: str) -> bool:
    """Return True if Windows stores a file name unchanged."""
    return (
        _ILLEGAL_ON_WINDOWS.isdisjoint(segment)
        and segment[-1:] not in {"", ".", " "}
        and not _RESERVED.fullmatch(segment)
    )


# The documents of Zarr v2, which format version 1 wrote.
ZARR_V2_NAMES: Final = frozenset({".zgroup", ".zattrs", ".zarray", ".zmetadata"})


def is_safe_key(key: str) -> bool:
    """Return True if a key in a document stays in the dataset on every file system.

    All keys of this package do. Any other is from a damaged or malicious document.
    """
    try:
        data = key.encode()
    except UnicodeEncodeError:
        return False
    if len(data) > _MAX_KEY_BYTES:
        return False
    if max(map(len, data.split(b"/"))) > _MAX_FILE_NAME_BYTES:
        return False
    # Some shares normalize compatibility characters, such as U+2025, to dots.
    folded = key if key.isascii() else unicodedata.normalize("NFKC", key)
    return folded.count("/") == key.count("/") and not leads_out(folded, windows=True)


def is_source_file_key(key: str) -> bool:
    """Return True if a key, below its record or the dataset, can be that of a source file."""
    folder, _, name = key.partition("/")
    if folder != SOURCE_FILES or name in _NOT_A_CHILD or "/" in name:
        return False
    # Allow device names, which the first datasets did not encode.
    return is_safe_key(f"-{name}")


def is_litter(name: str) -> bool:
    """Return True if desktops, NAS or synchronization programs put such a file into folders."""
    return _LITTER.fullmatch(name) is not None


def image_prefix(image_id: str) -> str:
    """Return the key of an image record's group."""
    if type(image_id) is str and _is_simple(image_id):  # Fast path for every image.
        return f"{IMAGES}/{image_id}"
    return f"{IMAGES}/{encode_segment(image_id, what='image id')}"


def artifact_key(kind: ArtifactKind, name: str) -> str:
    """Return the key of an artifact below its record."""
    return f"{ANALYSIS}/{encode_name(name, what='artifact name')}{ARTIFACT_SUFFIXES[kind]}"


def array_artifact_prefix(name: str) -> str:
    """Return the key of an array artifact's group below its record.

    The group is always one level deep, because a Zarr array cannot hold another: ``/`` is
    written ``%2f``.
    """
    check_name(name, what="artifact name")
    return f"{ANALYSIS_ARRAYS}/{_bounded(_encode(name), name, 'artifact name')}"


def labels_prefix(name: str) -> str | None:
    """Return the key of the label image that an array artifact may be, None if it cannot be one.

    The label image ``cells`` is the array artifact ``labels/cells``.
    """
    below = name.removeprefix(f"{LABELS}/")
    if below == name or not below:
        return None
    return f"{LABELS}/{_bounded(_encode_folder(below), name, 'name of labels')}"


def parse_labels(folder: str) -> str | None:
    """Return the name of the array artifact in a folder of ``labels/``, or None."""
    below = decode_name(folder)
    try:
        name = None if below is None else f"{LABELS}/{below}"
        is_own = name is not None and labels_prefix(name) == f"{LABELS}/{folder}"
    except InvalidNameError:
        return None  # Too long to be a name of ours.
    return name if is_own else None


def parse_array_artifact(folder: str) -> str | None:
    """Return the name of the array artifact in a folder of ``analysis_arrays/``, or None."""
    name = decode_name(folder)
    try:
        is_own = name is not None and array_artifact_prefix(name) == f"{ANALYSIS_ARRAYS}/{folder}"
    except InvalidNameError:
        return None  # Too long to be a name of ours.
    return name if is_own else None


def sidecar_name(name: str) -> str:
    """Return the name of an artifact as a part of a file name: ``a/b`` is ``a%2fb``.

    `parse_sidecar_name` gives back every name.
    """
    return _NOT_IN_FILE_NAMES.sub(lambda match: f"%{ord(match[0]):02x}", name)


def parse_sidecar_name(spelled: str) -> str:
    """Return the name of the artifact that `sidecar_name` spells so.

    What it never writes stays as it is: ``50%20mM`` is a name of its own.
    """
    return _SPELLED.sub(lambda match: chr(int(match[1], 16)), spelled)


def table_key(name: str) -> str:
    """Return the key of a dataset table."""
    return f"{TABLES}/{encode_name(name, what='table name')}.parquet"


def thumbnail_key(image_id: str) -> str:
    """Return the key of the thumbnail of an image."""
    return f"{THUMBNAILS}/{encode_segment(image_id, what='image id')}.png"


def parse_thumbnail(name: str) -> str | None:
    """Return the id of the image that a thumbnail file shows, or None."""
    return parse_image_folder(name.removesuffix(".png")) if name.endswith(".png") else None


def source_file_key(name: str) -> str:
    """Return the key of a stored source file, below its record or the dataset.

    `name` is the file's path in its folder. It is not checked as our names are: every segment
    is encoded, and ``..`` becomes harmless text.
    """
    encoded = "%2f".join(_encode(segment) for segment in name.split("/"))
    if _RESERVED.fullmatch(encoded):
        encoded = f"%{ord(encoded[0]):02x}{encoded[1:]}"
    if len(encoded) > MAX_SEGMENT_BYTES:
        encoded = hashlib.sha256(name.encode()).hexdigest()
    return f"{SOURCE_FILES}/{encoded}.gz"


def pixels_path(generation: int) -> str:
    """Return the name of the array that holds a generation of pixels; the first is 1."""
    return _of_generation(LEVEL_0, generation)


def parse_pixels_path(name: str) -> int | None:
    """Return the generation of pixels in a folder, or None if it is not one of pixels."""
    return _generation_of(LEVEL_0, name)


def pyramid_path(generation: int) -> str:
    """Return the name of the group that holds the further levels of a generation of pixels."""
    return _of_generation(PYRAMID, generation)


def parse_pyramid_path(name: str) -> int | None:
    """Return the generation of pixels whose levels are in a folder, or None if none are."""
    return _generation_of(PYRAMID, name)


def _of_generation(name: str, generation: int) -> str:
    return name if generation == 1 else f"{name}-{generation}"


def _generation_of(first: str, name: str) -> int | None:
    number = "1" if name == first else name.removeprefix(f"{first}-")
    generation = int(number) if number.isdecimal() else 0
    return generation if generation > 0 and _of_generation(first, generation) == name else None


def parse_image_folder(name: str) -> str | None:
    """Return the id of the image in a folder of ``images/``, or None if it is not an image."""
    if _is_simple(name):
        return name
    image_id = _name_of(name, "")
    return image_id if image_id is not None and "/" not in image_id else None


def parse_image_folders(names: Sequence[str]) -> Sequence[str | None]:
    """Return :func:`parse_image_folder` of each folder of ``images/``, quickly."""
    if _SIMPLE_NAMES.fullmatch("/".join([*names, ""])):
        return names
    return [parse_image_folder(name) for name in names]


def parse_artifact_key(key: str) -> tuple[ArtifactKind, str] | None:
    """Return kind and name of a key below ``analysis/``, or None if it is not an artifact."""
    relative = key.removeprefix(f"{ANALYSIS}/")
    for kind, suffix in ARTIFACT_SUFFIXES.items():
        name = _name_of(relative, suffix)
        if name is not None:
            return kind, name
    return None


def parse_table_key(key: str) -> str | None:
    """Return the name of the table at a key, or None if it is not a table."""
    return _name_of(key.removeprefix(f"{TABLES}/"), ".parquet")


def _name_of(relative: str, suffix: str) -> str | None:
    if not relative.endswith(suffix):
        return None
    encoded = relative.removesuffix(suffix)
    name = decode_name(encoded)
    try:
        return name if name is not None and encode_name(name, what="name") == encoded else None
    except InvalidNameError:
        return None  # Too long to be a name of ours.


def encode_name(name: str, *, what: str) -> str:
    """Return the key of a name that may nest with ``/``.

    Raises
    ------
    InvalidNameError
        If the name is empty, absolute or too long, or contains ``..``, an empty segment, NUL,
        or a name that Windows reserves for a device.
    """
    check_name(name, what=what)
    *folders, last = name.split("/")
    encoded = [_bounded(_encode_folder(folder), name, what) for folder in folders]
    return "/".join([*encoded, _bounded(_encode(last), name, what)])


def encode_segment(name: str, *, what: str) -> str:
    """Return the key of a name that may not nest; errors as for :func:`encode_name`."""
    if type(name) is str and _is_simple(name):
        return name
    check_name(name, what=what)
    if "/" in name:
        raise InvalidNameError(
            f"the {what} {name!r} may not hold '/'", hint="Write it flat, as with '_' or '-'."
        )
    return _bounded(_encode(name), name, what)


def decode_name(key: str) -> str | None:
    """Return the name that a key encodes, or None if it encodes none."""
    segments = [_decode(segment) for segment in key.split("/")]
    if any(segment is None or segment == "" for segment in segments):
        return None
    name = "/".join(segment for segment in segments if segment is not None)
    try:
        check_name(name, what="name")
    except InvalidNameError:
        return None
    return name


def check_name(name: str, *, what: str) -> str:
    """Return `name` as a plain str; raise InvalidNameError if it is not a valid name."""
    if not isinstance(name, str):
        raise ArgumentTypeError(
            f"the {what} must be a str, not {type(name).__name__}",
            hint="Use str(...) to make it one.",
        )
    if type(name) is str and _is_simple(name):
        return name
    problem = _problem(name)
    if problem is not None:
        raise InvalidNameError(f"the {what} {name!r} {problem}")
    return str.__str__(name)  # np.str_ is a str, too; documents need plain ones.


def _problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if "\0" in name:
        return "holds a NUL character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode (it holds half of a surrogate pair)"
    if size > MAX_NAME_BYTES:
        return f"is {size} bytes long; at most {MAX_NAME_BYTES} can be kept"
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "is an absolute path; give a name relative to the record or dataset"
    for segment in name.split("/"):
        if not segment:
            return "has an empty part between slashes"
        if segment in {".", ".."} or segment.replace("\\", "/").split("/").count(".."):
            return "leads out of its folder with '..' or '.'"
        if _RESERVED.fullmatch(segment):
            return f"holds {segment!r}, which Windows reserves for a device"
    return None


def _bounded(encoded: str, name: str, what: str) -> str:
    if len(encoded) > MAX_SEGMENT_BYTES:
        raise InvalidNameError(
            f"the {what} {name[:40]!r}... takes {len(encoded)} bytes in a file name; "
            f"at most {MAX_SEGMENT_BYTES} can be kept",
            hint="Shorten it; letters outside ASCII take up to 12 bytes each.",
        )
    return encoded


def _encode_folder(segment: str) -> str:
    # The folder of "a.json/b" must not clash with the file of the artifact "a".
    for suffix in _ESCAPED_IN_FOLDERS:
        if segment.lower().endswith(suffix):
            cut = len(segment) - len(suffix)
            return _encode(segment, escape_also=cut)
    return _encode(segment)


def _encode(segment: str, *, escape_also: int = -1) -> str:
    last = len(segment) - 1
    parts = []
    capitals = 0
    for i, character in enumerate(segment):
        if "A" <= character <= "Z":
            capitals |= 1 << i
        at_edge = i in (0, last) and character in ". "
        escaped = at_edge or i == escape_also or (i == 0 and segment == "zarr")
        if character in _PLAIN and not escaped:
            parts.append(character)
        else:
            parts.extend(f"%{byte:02x}" for byte in character.encode())
    return "".join(parts) + (f"^{capitals:x}" if capitals else "")


def _decode(encoded: str) -> str | None:
    capitals = 0
    match = _ENCODED_UPPER.fullmatch(encoded)
    if match is not None:
        encoded, capitals = match[1], int(match[2], 16)
    try:
        raw = re.sub(
            rb"%([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), encoded.encode("ascii")
        )
        plain = raw.decode()
    except UnicodeError:
        return None
    # A file system may have folded the case; restore it from the number.
    folded = "".join(c.lower() if "A" <= c <= "Z" else c for c in plain)
    if capitals >> len(folded):
        return None
    return "".join(c.upper() if capitals >> i & 1 else c for i, c in enumerate(folded))
