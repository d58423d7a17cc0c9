"""The codes of the checks, and the list of findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from kymflow_zarr.check.report import Problem
from kymflow_zarr.errors import FormatVersionError, KymflowZarrError, StorageError
from kymflow_zarr.formats.kinds import KINDS
from kymflow_zarr.types import Severity

RESTORE: Final = "Restore it from a copy of the dataset."

SEVERITIES: Final[dict[str, Severity]] = {
    # Any document
    "unreadable": "error",
    "format-version": "error",
    "format-version-1": "warning",
    "timestamp": "error",
    "digest": "error",
    "foreign-file": "warning",
    "leftover": "warning",
    "quarantine": "warning",
    # The dataset
    "root-document": "error",
    "group-document": "error",
    "index": "warning",
    # An image
    "image-folder": "error",
    "image-document-missing": "error",
    "image-document": "error",
    "image-id": "error",
    "dimensions": "error",
    "axis-name": "error",
    "axis-step": "error",
    "channel-names": "error",
    "ome": "error",
    "ome-not-expressible": "warning",
    # An array, of pixels or an artifact
    "array-missing": "error",
    "axis-times": "error",
    "array-document": "error",
    "array-mismatch": "error",
    "array-foreign": "warning",
    "dimension-names": "error",
    "chunk-missing": "error",
    "chunk-empty": "error",
    "chunk-stray": "warning",
    "stored-bytes": "error",
    "leftover-pixels": "warning",
    "source-file": "error",
    # Artifacts and tables
    **{kind.replace("_", "-"): "error" for kind in KINDS},
    "array-artifact-document": "error",
    "array-artifact-name": "error",
    "table-image-id": "warning",
    "curation": "warning",
    "lineage": "warning",
    # The metadata payload
    "metadata-keys": "warning",
    "metadata-form": "warning",
    "metadata-shape": "warning",
    "metadata-acquired": "warning",
    "roi-id": "warning",
    "roi-outside": "warning",
    "roi-mask": "warning",
}
"""Severity of each code: one code for each rule of the format."""


class Findings:
    """The findings so far of the checks of a dataset or of one image."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The findings, in the order of the checks."""
        return tuple(self._problems)

    def add(self, code: str, where: str, message: str) -> None:
        """Add a finding.

        Parameters
        ----------
        code : str
            A key of :data:`SEVERITIES`.
        where : str
            Key of the place in the dataset.
        message : str
            What is wrong, and what can be done.
        """
        self._problems.append(Problem(SEVERITIES[code], code, where, message))

    def retain(self, problems: Collection[Problem]) -> None:
        """Drop all findings but these."""
        self._problems = [problem for problem in self._problems if problem in problems]

    def extend(self, other: Findings) -> None:
        """Add the findings of another check."""
        self._problems.extend(other.problems)

    @contextmanager
    def reading(self, code: str, where: str) -> Iterator[None]:
        """Turn an error in the ``with`` block into a finding, and continue after the block.

        Errors of the operating system get the code ``unreadable``, and unknown versions
        ``format-version``, whatever `code` is.
        """
        try:
            yield
        except FormatVersionError as error:
            self.add("format-version", where, _sentence(error))
        except StorageError as error:
            self.add("unreadable", where, _sentence(error, "Check the permissions and the disk."))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self.add("unreadable", where, f"cannot read: {reason}. Check the permissions.")
        except KymflowZarrError as error:
            self.add(code, where, _sentence(error))


def _sentence(error: KymflowZarrError, hint: str = RESTORE) -> str:
    return f"{error.what}. {error.hint or hint}"
