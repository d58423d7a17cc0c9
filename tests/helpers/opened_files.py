"""Which files this process opens, by Python's audit events."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class OpenedFiles:
    """Lists the files that are opened while :meth:`below` is entered.

    An audit hook cannot be removed, so it stays and does nothing after that.
    """

    def __init__(self) -> None:
        self._folder: str | None = None
        self._paths: list[Path] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def below(self, folder: Path) -> Iterator[list[Path]]:
        """List the files below a folder that are opened in the ``with`` block."""
        self._paths = []
        self._folder = f"{folder.resolve()}{os.sep}"
        try:
            yield self._paths
        finally:
            self._folder = None

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self._folder is None or event != "open" or not isinstance(args[0], str | Path):
            return
        path = Path(args[0]).absolute()
        if str(path).startswith(self._folder) and not path.is_dir():
            self._paths.append(path)
