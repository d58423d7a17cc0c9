"""Write a file that appears when it is complete."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kymflow_zarr.errors import TargetExistsError
from kymflow_zarr.storage.local.files import os_errors


@contextmanager
def complete_file(target: Path) -> Iterator[Path]:
    """Yield a path to write a new file at, and give the file its name after the block.

    Raises
    ------
    TargetExistsError
        If the name was taken meanwhile.
    StorageError
        If the system refuses; nothing is left.
    """
    with hidden_file(target) as part:
        yield part
        give_name(part, target)


@contextmanager
def hidden_file(target: Path) -> Iterator[Path]:
    """Yield an unused hidden path beside a file, at which nothing is left after the block."""
    part = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    with os_errors("write", str(target)):
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def give_name(part: Path, target: Path) -> None:
    """Give a complete file its name; raise TargetExistsError if the name is taken."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise taken(target) from error
    except OSError:
        # Network shares and USB sticks may not support hard links.
        if os.path.lexists(target):
            raise taken(target) from None
        part.rename(target)


def taken(target: Path) -> TargetExistsError:
    """Return the error of a name at which something is."""
    return TargetExistsError(
        "there is something already", where=str(target), hint="Choose another name."
    )
